"""Arrays under another library's names, and the configuration that may lie beside their file."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike, Rearranged, shortened
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.plain import pytorch_names
from keras_mobilenet.formats.plain.pytorch_names import Source
from keras_mobilenet.nets import v1
from keras_mobilenet.nets.net import Conventions

CONFIG = "config.json"
_MAX_CONFIG_BYTES = 1 << 20  # with the names of 1001 classes it has 70,000
_MODEL_TYPE = "mobilenet_v1"
_ACTIVATION = "relu6"
_TOP_BIAS = f"{v1.FAMILY.classifier.name}/bias"


def from_third_party(path: str, arrays: Mapping[str, ArrayLike], format_name: str) -> Checkpoint:
    """Return the checkpoint in the arrays of a file at `path`, told by their names.

    Names that the source does not have stay as they are, so that they fit no model.
    """
    try:
        source = pytorch_names.find(arrays.keys())
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if source is None:
        names = ", ".join(shortened(arrays)) or "none"
        raise CheckpointError(
            "the file was not written by keras_mobilenet (its metadata does not say so), and its "
            f"array names are of no source that is known, whose padding and epsilon differ: {names}"
        )
    ours = _renamed(source, arrays)
    conventions, notes = _conventions(source, path)
    count = tuple(ours[_TOP_BIAS].shape) if _TOP_BIAS in ours else ()
    background = source.background_classes is not None and count == (source.background_classes,)
    return Checkpoint(f"{format_name} ({source.name})", ours, conventions, background, notes)


def _renamed(source: Source, arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """Return the arrays in our order, under our names and with our axes; then the unknown ones."""
    ours: dict[str, ArrayLike] = {}
    for name, theirs in source.names.items():
        if theirs in arrays:
            ours[name] = _rearranged(theirs, arrays[theirs], pytorch_names.axes(name))
    known = source.counters.union(source.names.values())
    for name in arrays:
        if name in ours:
            raise CheckpointError(f"{name} is in the file under {source.names[name]} as well")
        if name not in known:
            ours[name] = arrays[name]
    return ours


def _rearranged(name: str, array: ArrayLike, axes: pytorch_names.Axes) -> ArrayLike:
    rank = sum(axis is not None for axis in axes)
    if len(array.shape) != rank:
        raise CheckpointError(f"{name} has the shape {tuple(array.shape)}, not {rank} axes")
    return array if rank == 1 else Rearranged(array, axes)


def _conventions(source: Source, path: str) -> tuple[Conventions, tuple[str, ...]]:
    if not source.configured:
        return source.conventions, ()
    config = _config(os.path.join(os.path.dirname(path), CONFIG))
    if config is None:
        defaults = ", ".join(f"{k}={v!r}" for k, v in vars(source.conventions).items())
        return source.conventions, (f"no {CONFIG} beside the file: took {defaults}, the defaults",)
    try:
        return _configured(source.conventions, config), ()
    except ValueError as error:
        raise CheckpointError(f"{CONFIG} beside the file: {error}") from error


def _config(path: str) -> Any:
    """Return what the JSON at `path` holds, or None where there is no such file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError(f"{CONFIG} beside the file is no file")
        with open(path, "rb") as file:
            text = file.read(_MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{CONFIG} beside the file cannot be read ({error})") from error
    if len(text) > _MAX_CONFIG_BYTES:
        raise CheckpointError(f"{CONFIG} beside the file has more than {_MAX_CONFIG_BYTES:,} bytes")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{CONFIG} beside the file is no JSON ({error})") from error


def _configured(defaults: Conventions, config: Any) -> Conventions:
    """Return the conventions that Hugging Face's configuration tells.

    Raises:
        ValueError: it is of another net, or of one that cannot be built.
    """
    if not isinstance(config, dict):
        raise ValueError("it holds no settings")
    for key, only in (("model_type", _MODEL_TYPE), ("hidden_act", _ACTIVATION)):
        if config.get(key, only) != only:
            raise ValueError(f"{key}={config[key]!r}, where MobileNet V1 has {only!r}")
    epsilon = config.get("layer_norm_eps", defaults.epsilon)
    if type(epsilon) not in (int, float) or not (math.isfinite(epsilon) and 0 < epsilon < 1):
        raise ValueError(f"layer_norm_eps={epsilon!r} is no epsilon of a batch norm")
    tf_padding = config.get("tf_padding", True)
    if type(tf_padding) is not bool:
        raise ValueError(f"tf_padding={tf_padding!r} is neither true nor false")
    padding = defaults.padding if tf_padding else "symmetric"
    return replace(defaults, epsilon=float(epsilon), padding=padding)
