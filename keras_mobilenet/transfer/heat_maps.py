"""How strongly each place of an image speaks for a class, as colours over the image."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from keras_mobilenet.images.images import central_crop, fit_pixels, read_image
from keras_mobilenet.nets.net import Size

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ActivationMap:
    """How strongly each place of an image speaks for one class."""

    array: npt.NDArray[
        np.float32
    ]  # (height, width) of the net's last features; its mean: the logit
    class_index: int
    label: str | None  # None where the model's classes have no names
    image: Pixels  # (height, width, 3), cropped as the model saw it, of its own resolution
    exact: bool = True  # False: to first order at the image, behind a top that is not linear

    def overlay(self, *, size: int | tuple[int, int] | None = None, alpha: float = 0.5) -> Pixels:
        """Return the image with the map over it, dark where it is low and bright where high.

        Args:
            size: `(height, width)` in pixels, an int for a square, or None for the image's own.
            alpha: How much of the image the map covers: 0 shows the image, 1 the map.

        Returns:
            A `uint8` array of shape `(height, width, 3)`.

        Raises:
            ValueError: `size` or `alpha` is out of range.
        """
        return overlaid(fit_pixels(self.image, size=size), self.array, alpha)


def cropped(image: str | PathLike[str] | Pixels, crop: float, aspect: Size | None = None) -> Pixels:
    """Return an image's file, or its pixels, cropped about its centre, to the aspect of a size."""
    if isinstance(image, (str, PathLike)):
        image = read_image(image)
    shape = np.shape(image)
    if len(shape) == 3 and shape[2] == 1:  # greys, as a model of one channel takes them
        image = np.repeat(image, 3, axis=2)
    return central_crop(fit_pixels(image), crop, aspect)


# From the lowest number to the highest, evenly spaced. Their brightness rises all the way, so that
# the order can be seen in greys, too, and with any kind of colour vision.
RAMP = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)]
)


def coloured(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return numbers of any shape as colours, `(..., 3)`: the lowest dark, the highest bright.

    Equal numbers are all dark: none of them stands out.
    """
    low, high = numbers.min(), numbers.max()
    share = (numbers - low) / (high - low) if high > low else np.zeros_like(numbers)
    stops = np.linspace(0, 1, len(RAMP))
    channels = [np.interp(share, stops, RAMP[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlaid(
    image: npt.NDArray[np.uint8], numbers: npt.NDArray[np.float32], alpha: float
) -> npt.NDArray[np.uint8]:
    """Return an image, `(height, width, 3)`, with a map of any `(height, width)` over it.

    The map is stretched over the image, bilinear, and covers it with a share of `alpha`.

    Raises:
        ValueError: `alpha` is not in 0 to 1.
    """
    if isinstance(alpha, (bool, str)) or not 0 <= alpha <= 1:
        raise ValueError(f"`alpha` must be between 0 and 1. Received: alpha={alpha!r}")
    height, width, _ = image.shape
    # The numbers are stretched, not their colours, between which there may be colours of others.
    stretched = Image.fromarray(numbers).resize((width, height), Image.Resampling.BILINEAR)
    heat = Image.fromarray(coloured(np.asarray(stretched)))
    return np.array(Image.blend(Image.fromarray(image), heat, alpha))
