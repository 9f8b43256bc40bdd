"""A net and its arrays as a folder that timm opens: its names, its order of axes, its settings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from safetensors.numpy import save_file

from keras_mobilenet.checkpoints.net_weights import NetWeights
from keras_mobilenet.files import filling
from keras_mobilenet.formats.arrays import shapes_of
from keras_mobilenet.formats.checkpoint import INFO, describe
from keras_mobilenet.formats.plain.third_party import PAD_TYPES, to_third_party
from keras_mobilenet.formats.plain.timm_models import TimmModel, model_for
from keras_mobilenet.images.model_info import Label, ModelInfo
from keras_mobilenet.images.pixel_scaling import WHITE, Numbers
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families.registry import recognise
from keras_mobilenet.nets.net import DEFAULT_SIZE, Net, Size
from keras_mobilenet.nets.published.rows import CONFIG, WEIGHTS

_TORCH = "pt"  # PyTorch's mark in a file's metadata
# In pixels: every length that a stride meets on the way down is even, or odd.
_EVEN, _ODD = (224, 224), (225, 225)


@dataclass(frozen=True)
class TimmFolder:
    """What `write_timm_folder` wrote.

    Attributes:
        folder: Where.
        architecture: timm's name of the net.
        arguments: What timm's function takes beside the name, as `config.json` tells it.
        notes: Where the two nets are not one function.
    """

    folder: str
    architecture: str
    arguments: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return "; ".join((f"{self.folder}: timm's {self.architecture}{what}", *self.notes))


def write_timm_folder(
    folder: str | PathLike[str],
    weights: NetWeights,
    info: ModelInfo | None = None,
    licence: str | None = None,
) -> TimmFolder:
    """Write a net's arrays under timm's names, and the `config.json` that timm goes by.

    `timm.create_model(f"local-dir:{folder}", pretrained=True)` opens it, with the same logits.

    Args:
        folder: Made, or filled; nothing is written unless all is.
        weights: The net and its arrays.
        info: What images become, and the classes' names; None for what is known of the weights.
        licence: Of the weights, as the hub writes it.

    Raises:
        ValueError: timm has no such net, or how pixels become its input is not known.
        OSError: the files cannot be written.
    """
    info = info or weights.info
    origin = recognise(shapes_of(weights.arrays))
    if origin is None:
        raise ValueError(f"{weights.name} has blocks of its own, and timm has no such net.")
    size = info.size or (DEFAULT_SIZE, DEFAULT_SIZE)
    model = model_for(origin, _one_padding(weights, size))
    metadata = describe(model.conventions, writer=_TORCH) | {INFO: info.to_text()}
    config = _config(model, weights.net, info, size, licence)
    with filling(folder) as place:
        arrays = to_third_party(model.source, weights.arrays)
        save_file(arrays, os.path.join(place, WEIGHTS), metadata)
        with open(os.path.join(place, CONFIG), "w", encoding="utf-8") as file:
            json.dump(config, file, indent=1, ensure_ascii=False)
    notes = _notes(weights, model.conventions, size)
    return TimmFolder(os.fspath(folder), model.name, model.arguments, notes)


def _one_padding(weights: NetWeights, size: Size) -> Conventions:
    """Return a net's conventions with that of timm's two paddings which is one with its own.

    Where both are at this size, it is the one that is at others too.

    Raises:
        ValueError: neither is.
    """
    known = [replace(weights.conventions, padding=padding) for padding in PAD_TYPES.values()]
    fitting = [other for other in known if _are_one(weights, other, size)]
    if fitting:
        return max(fitting, key=lambda x: sum(_are_one(weights, x, s) for s in (_EVEN, _ODD)))
    height, width = size
    raise ValueError(
        f"At {height} x {width} {weights.family.name} pads as neither of timm's ways does. Both "
        "lengths must be multiples of 32 for weights of Keras'."
    )


def _are_one(weights: NetWeights, other: Conventions, size: Size) -> bool:
    """Return whether a net computes the same under other conventions, at a size."""
    windows = weights.family.network(include_top=False, size=size).windows(size)
    return weights.conventions.fits(other, windows, weights.family.zeros)


def _notes(weights: NetWeights, written: Conventions, size: Size) -> tuple[str, ...]:
    if _are_one(weights, written, _EVEN) and _are_one(weights, written, _ODD):
        return ()
    height, width = size
    note = "where a length is no multiple of 32 timm pads otherwise than Keras"
    return (f"{note}: the logits are the same at {height} x {width}, and not at all sizes",)


def _config(
    model: TimmModel, net: Net, info: ModelInfo, size: Size, licence: str | None
) -> dict[str, Any]:
    """Return what timm reads before it builds the net, as `timm.models._hub` writes it."""
    classes = net.classifier.channels if net.classifier else 0
    scaling = info.known_preprocessing()
    channels = net.layers[0].channels
    pretrained = {
        "custom_load": False,
        "input_size": [channels, *size],
        "fixed_input_size": False,
        "interpolation": info.interpolation,
        "crop_pct": info.crop,
        "crop_mode": "center",
        "mean": _shares(scaling.mean, channels),
        "std": _shares(scaling.std, channels),
        "num_classes": classes,
        "pool_size": [n // 32 for n in size],
        "first_conv": "conv_stem",
        "classifier": "classifier",
        **({"license": licence} if licence else {}),
    }
    return {
        "architecture": model.name,
        "num_classes": classes,
        "global_pool": "avg",
        **(_labels(info.labels) if info.labels else {}),
        **({"model_args": dict(model.arguments)} if model.arguments else {}),
        "pretrained_cfg": pretrained,
    }


def _shares(numbers: Numbers, channels: int) -> list[float]:
    """Return pixels as shares of white, one for each channel."""
    each = numbers if isinstance(numbers, tuple) else (numbers,) * channels
    return [float(f"{number / WHITE:.9g}") for number in each]


def _labels(labels: tuple[Label, ...]) -> dict[str, Any]:
    pairs = [(label, label) if isinstance(label, str) else label for label in labels]
    record: dict[str, Any] = {"label_names": [name for name, _ in pairs]}
    if any(name != words for name, words in pairs):
        record["label_descriptions"] = dict(pairs)
    return record
