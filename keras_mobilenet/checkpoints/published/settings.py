"""What timm and transformers say, in JSON beside their weights, of a net's input and classes.

Sources: timm 1.0.31, `models/_hub.py` (`save_config_for_hf`) and `models/_pretrained.py`;
transformers 5.24, `models/mobilenet_v1/image_processing_mobilenet_v1.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import isfinite
from os import PathLike
from typing import Any

from keras_mobilenet.checkpoints.published.hub import PROCESSOR
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.plain.third_party import read_config
from keras_mobilenet.images.model_info import Label, ModelInfo, checked_labels
from keras_mobilenet.images.pixel_scaling import WHITE, Preprocessing
from keras_mobilenet.nets.net import Size
from keras_mobilenet.nets.published.rows import CONFIG, IMAGENET_CLASSES, Interpolation

_TIMM: Mapping[Any, Interpolation] = {"bilinear": "bilinear", "bicubic": "bicubic"}
_PILLOW: Mapping[Any, Interpolation] = {2: "bilinear", 3: "bicubic"}
_DAMAGE = (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError)


def info_beside(path: str | PathLike[str]) -> ModelInfo:
    """Return what the settings beside another library's file say; of nothing, nothing is known.

    Raises:
        CheckpointError: they are damaged, or ask for what is not done here.
    """
    folder = os.path.dirname(os.path.abspath(path))
    config, processor = (_settings(os.path.join(folder, name)) for name in (CONFIG, PROCESSOR))
    try:
        if processor:
            return _of_transformers(processor, config)
        return _of_timm(config.get("pretrained_cfg", config), config)
    except _DAMAGE as error:
        name = PROCESSOR if processor else CONFIG
        what = f"{name} beside the file does not tell what images become ({error!r})"
        raise CheckpointError(f"{what}. Correct it, or move the weights elsewhere") from error


def _settings(path: str) -> Mapping[str, Any]:
    config = read_config(path)
    return config if isinstance(config, dict) else {}


def _of_timm(evaluation: Mapping[str, Any], config: Mapping[str, Any]) -> ModelInfo:
    """Return what timm tests with: at the size for tests, where there is one."""
    at_test = evaluation.get("test_input_size") is not None
    shape = evaluation.get("test_input_size" if at_test else "input_size")
    if shape is None:
        return ModelInfo(None, preprocessing=None, labels=_timm_labels(config))
    crop = (evaluation.get("test_crop_pct") if at_test else None) or evaluation["crop_pct"]
    scaling = None
    if {"mean", "std"} <= evaluation.keys():
        mean, std = ([WHITE * x for x in evaluation[name]] for name in ("mean", "std"))
        if {len(mean), len(std)} != {shape[0]}:
            raise ValueError(f"{len(mean)} means of {shape[0]} channels")
        scaling = Preprocessing.from_mean_std(mean, std)
    return ModelInfo(
        _size(*shape[1:]),
        _share(crop),
        scaling,
        _timm_labels(config),
        _interpolation(_TIMM, evaluation.get("interpolation", "bicubic")),
        keep_aspect=evaluation.get("crop_mode") != "squash",
    )


def _timm_labels(config: Mapping[str, Any]) -> tuple[Label, ...] | None:
    names = config.get("label_names")
    if not names:
        return None
    words = config.get("label_descriptions") or {}
    return checked_labels([(x, words[x]) if x in words else x for x in names], None)


def _of_transformers(processor: Mapping[str, Any], config: Mapping[str, Any]) -> ModelInfo:
    """Return what a processor of images does, with the names in the model's configuration."""
    resized = _edges(processor["size"]) if processor.get("do_resize", True) else None
    cropped = _edges(processor["crop_size"]) if processor.get("do_center_crop") else None
    size, crop, keep_aspect = _fitting(resized, cropped)
    return ModelInfo(
        size,
        crop,
        _scaling(processor),
        _hugging_labels(config.get("id2label")),
        _interpolation(_PILLOW, processor.get("resample", 2)),
        keep_aspect,
    )


def _edges(value: Any) -> tuple[int | None, Any]:
    """Return the length of the shorter side where only that is given, and the size."""
    if isinstance(value, int):
        return None, (value, value)
    shortest = value.get("shortest_edge")
    return shortest, None if shortest else (value["height"], value["width"])


def _fitting(
    resized: tuple[int | None, Size | None] | None, cropped: tuple[int | None, Any] | None
) -> tuple[Size | None, float, bool]:
    """Return the size, the share that a crop keeps, and whether the aspect stays."""
    shortest, size = resized or (None, None)
    square = None if shortest is None else (shortest, shortest)
    target: Size | None = cropped[1] if cropped else size or square
    if target is None:
        return None, 1.0, False
    before = shortest or min(size or target)
    return _size(*target), _share(min(1.0, min(target) / before)), bool(shortest)


def _scaling(processor: Mapping[str, Any]) -> Preprocessing | None:
    factor = processor.get("rescale_factor", 1 / WHITE) if processor.get("do_rescale", True) else 1
    rescaled = Preprocessing(factor)
    if not processor.get("do_normalize", True):
        return rescaled
    if not {"image_mean", "image_std"} <= processor.keys():
        return None
    mean, std = processor["image_mean"], processor["image_std"]
    offset = tuple(-m / s for m, s in zip(mean, std, strict=True))
    return rescaled.then(Preprocessing(tuple(1 / x for x in std), offset))


def _hugging_labels(names: Any) -> tuple[Label, ...] | None:
    """Return the classes' names; those of ImageNet are known here, with their identifiers."""
    if not names or len(names) in (IMAGENET_CLASSES, IMAGENET_CLASSES + 1):
        return None
    return checked_labels([names[str(i)] for i in range(len(names))], None)


def _interpolation(known: Mapping[Any, Interpolation], value: Any) -> Interpolation:
    if value not in known:
        ways = " or ".join(map(str, known))
        raise ValueError(f"images are resized by {value!r}, and here it is by {ways}")
    return known[value]


def _size(height: Any, width: Any) -> Size:
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        raise ValueError(f"a size of {height!r} x {width!r}")
    return height, width


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isfinite(value) or not 0 < value <= 1:
        raise ValueError(f"a crop of {value!r}")
    return float(value)
