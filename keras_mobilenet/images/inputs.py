"""Images as users have them in hand: files, bytes, streams, Pillow images, arrays."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from keras_mobilenet.images.images import image_pixels, read_bytes, read_image

_BYTES = (bytes, bytearray, memoryview)


def is_one_image(x: Any) -> bool:
    """Return whether `x` is one image, and no array: a path, bytes, a stream, a Pillow image."""
    return isinstance(x, (str, PathLike, Image.Image, *_BYTES)) or hasattr(x, "read")


def pixels_of(x: Any, **fit: Any) -> npt.NDArray[np.uint8]:
    """Return one image as pixels, `uint8` and of shape `(height, width, 3)`.

    Args:
        x: The image.
        fit: `size`, `crop` and the others of `read_image`, but for `scaled`.

    Raises:
        ImageError: it cannot be read as an image.
        ValueError: it is of another kind.
    """
    if isinstance(x, Image.Image):
        return image_pixels(x, **fit)
    if isinstance(x, (str, PathLike)):
        return read_image(x, **fit)
    if hasattr(x, "read"):
        x = x.read()
    if not isinstance(x, _BYTES):
        raise ValueError(
            "An image must be a path, bytes, a binary stream, a Pillow image or an array. "
            f"Received: {type(x).__name__}"
        )
    return read_bytes(bytes(x), **fit)
