"""Images that int8 ranges are taken from, and exports compared on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import evenly_spaced
from keras_mobilenet.errors import ImageError
from keras_mobilenet.images.images import as_channels, read_image
from keras_mobilenet.images.listing import list_images
from keras_mobilenet.images.model_info import ModelInfo

_SHOWN = 3  # files that cannot be read, in a warning
MOST = 300  # images: more change int8 ranges no further, and each takes 0.6 MB
_REMEDY = (
    "Pass some hundred images like those that the model will see: a folder, paths, uint8 arrays, "
    "or arrays as the model takes them."
)


def calibration_samples(
    calibration: Any, info: ModelInfo, shape: tuple[int | None, ...]
) -> npt.NDArray[np.float32]:
    """Return calibration images as a model's inputs, at most `MOST` of them, from all over.

    Files that cannot be read are left out, and a `UserWarning` names the first three.

    Args:
        calibration: A folder, looked through with all its subfolders; paths; an array of pixels,
            `uint8`; or a float array of inputs.
        info: How an image becomes an input.
        shape: Of one input, `(height, width, channels)`, None where any length goes.

    Raises:
        ValueError: there is no image, or an array is of another shape or type.
        ImageError: no file can be read as an image.
    """
    if calibration is None:
        raise ValueError(
            "int8 needs `calibration`: the ranges of a net's values cannot be read off its "
            f"weights. {_REMEDY}"
        )
    if isinstance(calibration, np.ndarray):
        samples = evenly_spaced(_checked(calibration, shape), MOST)
        return info.scaled(samples) if samples.dtype == np.uint8 else samples.astype(np.float32)
    paths = evenly_spaced(_paths(calibration), MOST)
    if not paths:
        raise ValueError(f"`calibration` holds no image. {_REMEDY}")
    size = info.size or (shape[0] or 224, shape[1] or 224)
    pixels = _readable(paths, {"size": size, **info.fit})
    return info.scaled(_checked(as_channels(pixels, shape[2]), shape))


def _readable(paths: Sequence[str], fit: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """Return the pixels of the files that can be read, of which there must be one."""
    pixels, faults = [], []
    for path in paths:
        try:
            pixels.append(read_image(path, **fit))
        except ImageError as error:
            faults.append(error)
    if not pixels:
        raise faults[0]
    if faults:
        some = "; ".join(" ".join(str(fault).split()) for fault in faults[:_SHOWN])
        warnings.warn(
            f"{len(faults)} of {len(paths)} calibration images cannot be read: {some}",
            UserWarning,
            stacklevel=2,
        )
    return np.stack(pixels)


def _checked(array: npt.NDArray[Any], shape: tuple[int | None, ...]) -> npt.NDArray[Any]:
    fits = array.ndim == 4 and all(
        n in (None, m) for n, m in zip(shape, array.shape[1:], strict=True)
    )
    if not fits or not len(array) or not (array.dtype == np.uint8 or array.dtype.kind == "f"):
        raise ValueError(
            f"`calibration` must be of shape (images, {', '.join(map(str, shape))}), uint8 or "
            f"floats, with at least one image. Received: {array.dtype} of shape {array.shape}"
        )
    return array


def _paths(calibration: Any) -> list[str]:
    """Return the images' paths."""
    if isinstance(calibration, (str, os.PathLike)):
        if not os.path.isdir(calibration):
            raise ValueError(f"`calibration` is no folder: {os.fspath(calibration)!r}. {_REMEDY}")
    elif not isinstance(calibration, Iterable):
        raise ValueError(f"{_REMEDY} Received: calibration={calibration!r}")
    return list(list_images(calibration))
