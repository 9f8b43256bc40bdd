"""Settings: what they must be, with one wording, and what JSON holds of them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Any

from keras_mobilenet.nets.arguments import as_int
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.net import MIN_SIZE, Size


def check_data_format(feature: str) -> None:
    """Raise ValueError unless Keras' data format is `"channels_last"`."""
    import keras  # noqa: PLC0415 - the other checks need none

    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            f"{feature} works with the data format 'channels_last' only. "
            "Call keras.config.set_image_data_format('channels_last') first."
        )


def checked_size(value: Any) -> Size:
    """Return `size` as (height, width).

    Raises:
        ValueError: it is none, or too small for the net.
    """
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"`size` must be (height, width) in pixels. Received: size={value!r}")
    for length in pair:
        check_whole("size", length, MIN_SIZE)
    return int(pair[0]), int(pair[1])


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise ValueError unless an argument is a whole number of at least `least`."""
    number = as_int(value)
    if number is None or number < least:
        raise ValueError(
            f"`{name}` must be a whole number of at least {least}. Received: {name}={value!r}"
        )


def check_range(
    name: str,
    value: Any,
    low: float,
    high: float,
    *,
    or_least: bool = False,
    or_most: bool = False,
) -> None:
    """Raise ValueError unless an argument is a number between two, or a permitted end."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    ends = [low] * or_least + [high] * or_most
    if not number or not (low < value < high or value in ends):
        least = f"at least {low}" if or_least else f"above {low}"
        below = f"at most {high}" if or_most else f"below {high}"
        most = "" if high == math.inf else f" and {below}"
        raise ValueError(f"`{name}` must be {least}{most}. Received: {name}={value!r}")


def settings_to_json(settings: Any) -> dict[str, Any]:
    """Return the settings of a training, a dataclass, as JSON holds them."""
    record = {field.name: getattr(settings, field.name) for field in fields(settings)} | {
        "size": list(settings.size),
        "validation": _validation_to_json(settings.validation),
        "blocks": _blocks_to_json(settings.blocks, settings.net),
    }
    if not settings.minimalistic:  # as the runs have it that were before this setting
        del record["minimalistic"]
    return record


def _blocks_to_json(blocks: Sequence[Any], net: str) -> list[list[Any]] | None:
    """Return a net's blocks as JSON holds them, None for the paper's."""
    papers = family(net).blocks
    return None if tuple(blocks) == papers else [list(astuple(block)) for block in blocks]


def _validation_to_json(validation: Any) -> Any:
    """Return what was validated with as JSON holds it: a share, a path, or the kind of data."""
    if validation is None or isinstance(validation, (int, float)):
        return validation
    if isinstance(validation, (str, os.PathLike)):
        return os.fspath(validation)
    return type(validation).__name__
