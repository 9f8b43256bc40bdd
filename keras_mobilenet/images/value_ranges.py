"""What range an array's values are of: pixels from 0 to 255, from 0 to 1, or from -1 to 1.

The values themselves tell, where there are enough of them; where they may be of two ranges, the
caller is asked. A wrong guess would train on images that are nearly black, or nearly white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.images.pixel_scaling import (
    MINUS_ONE_TO_ONE,
    PIXELS,
    TEXTS,
    WHITE,
    ZERO_TO_ONE,
    Preprocessing,
)

Pixels = npt.NDArray[np.uint8]
_FEW = 8  # images, of which fewer may by chance have no dark or no bright pixel
_ROUNDING = 1e-3  # by which values miss their range's ends
_DIM = 16  # of 255: what is no brighter may be a black image, or one of another range
# Interpolation by cubic curves goes beyond its range at sharp edges. Only values above those that
# are left when a mean was taken off, 151 at most, can be told from them.
_BEYOND, _BRIGHT = 64, 200


def pixels_of(values: npt.NDArray[Any], made: Preprocessing) -> Pixels:
    """Return the pixels that a preprocessing made values of, rounded to 8 bits.

    Raises:
        ValueError: the preprocessing is for another number of channels.
    """
    pixels: Pixels = np.clip(np.rint(made.inverse().scaled(values)), 0, 255).astype("uint8")
    return pixels


def range_of(made: Preprocessing) -> str:
    """Return in words what range of values a preprocessing makes of pixels."""
    low, high = made.range
    return f"{low:g} to {high:g}"


@dataclass(frozen=True)
class Values:
    """What was seen of some images' values."""

    images: int = 0
    low: float = np.inf
    high: float = -np.inf
    binary: bool = True  # 0 and 1, only

    def with_those_of(self, images: Sequence[npt.NDArray[Any]]) -> Values:
        """Return what was seen with that of more images."""
        return Values(
            self.images + len(images),
            min(self.low, *(float(x.min()) for x in images)),
            max(self.high, *(float(x.max()) for x in images)),
            self.binary and all(bool(((x == 0) | (x == 1)).all()) for x in images),
        )

    def range(self) -> Preprocessing | None:
        """Return what alone can have made the values of pixels; None for nothing or several."""
        overshoot = _BEYOND if self.high >= _BRIGHT else 0
        if -overshoot <= self.low and _DIM < self.high <= 255 + overshoot:
            return PIXELS
        if self.high > 1 + _ROUNDING or self.low < -1 - _ROUNDING:
            return None
        few = self.images < _FEW
        if self.low < (-0.9 if few else -0.55):  # from -0.5 to 0.5 is yet another range
            return MINUS_ONE_TO_ONE
        dark_and_bright = 0 <= self.low < 0.1 and self.high > 0.5
        return ZERO_TO_ONE if dark_and_bright and not few and not self.binary else None


class PixelReader:
    """Turns the images of one argument, given by and by, into pixels, 0 to 255.

    Args:
        argument: Its name.
        known: What made its values of pixels, if known; floats tell it themselves otherwise.
    """

    def __init__(self, argument: str, known: Preprocessing | None = None) -> None:
        self._argument, self._known = argument, known
        self._seen = Values()
        self._waiting: list[npt.NDArray[Any]] = []  # whose range is not known yet
        self.range = known
        self.images: list[Pixels] = []

    def add(self, images: Sequence[npt.NDArray[Any]]) -> None:
        """Take images of shape `(height, width, 3)`, one type for all.

        Raises:
            ValueError: their values are of no known range, or of another one than those before.
        """
        if images[0].dtype == np.uint8 and self._known is None:
            self.images += images
            return
        if images[0].dtype.kind in "iu" and self._known is None:
            self._check(images[0].dtype, images, 0, 255)
            self.images += (x.astype(np.uint8) for x in images)
            return
        floats = [x.astype(np.float32) for x in images]
        if not all(bool(np.isfinite(x).all()) for x in floats):
            raise ValueError(f"The images of `{self._argument}` hold values that are not finite.")
        self._seen = self._seen.with_those_of(floats)
        self._waiting += floats
        if self._known is None:
            self._find()
        if self.range is not None:
            self.images += (pixels_of(x, self.range) for x in self._waiting)
            self._waiting = []

    def finish(self, fallback: Preprocessing | None = None) -> list[Pixels]:
        """Return all images' pixels.

        Args:
            fallback: What made values that may be of several ranges.

        Raises:
            ValueError: the values may be of several ranges, and there is no `fallback`.
        """
        if self._waiting:
            self.range = fallback
            if fallback is None:
                raise ValueError(self._unknown())
            self.images += (pixels_of(x, fallback) for x in self._waiting)
        return self.images

    def _find(self) -> None:
        """Find the range, and hold it against that of the images before."""
        found = self._seen.range()
        if self.range is not None and found != self.range:
            raise ValueError(
                f"The images of `{self._argument}` are floats from {self._seen.low:g} to "
                f"{self._seen.high:g}, where the first ones are from {range_of(self.range)}. "
                f"{_REMEDY}"
            )
        self.range = found

    def _check(self, dtype: Any, images: Sequence[npt.NDArray[Any]], low: int, high: int) -> None:
        least, most = min(int(x.min()) for x in images), max(int(x.max()) for x in images)
        if least < low or most > high:
            raise ValueError(
                f"The images of `{self._argument}` must be pixels from {low} to {high} where they "
                f"are whole numbers. Received: {dtype} from {least} to {most}"
            )

    def _unknown(self) -> str:
        seen = self._seen
        return (
            f"The images of `{self._argument}` are {seen.images} of floats from {seen.low:g} to "
            f"{seen.high:g}, which does not tell their range: 0 to 255, 0 to 1, -1 to 1, or "
            f"another. {_REMEDY}"
        )


_REMEDY = f"Say what was made of pixels, 0 to 255: preprocessing={TEXTS}; or pass uint8 pixels."


_CHANNELS = 4  # of images at the most: with more, they are features, which a part of a net takes
_TOO_LARGE = 3.0  # times the largest input that there is: noise and padding stay under it


def doubt(x: npt.NDArray[Any], size: float, preprocessing: Preprocessing) -> str | None:
    """Return why floats cannot be the inputs that pixels become, and what to do; None if they can.

    Args:
        x: Inputs for a model.
        size: Their root mean square, which tells most of it.
        preprocessing: How pixels become the model's input.
    """
    if x.shape[-1] > _CHANNELS:
        return None
    low, high = preprocessing.range
    if size > _TOO_LARGE * max(abs(low), abs(high)):
        return _words(f"values of {size:.0f} on average", preprocessing)
    if high - low >= WHITE / 2 and 0 < size <= 1 and (x != x.round()).any():
        return _words(f"values of {size:.2g} on average, as if scaled already", preprocessing)
    return None


def _words(found: str, preprocessing: Preprocessing) -> str:
    low, high = preprocessing.range
    taken = "pixels as they are" if preprocessing.takes_pixels else f"floats of {low:g} to {high:g}"
    remedy = "Pass pixels as uint8, which are scaled as the model needs"
    own = "" if preprocessing.takes_pixels else ", or scale them yourself"
    return f"`x` has {found}, and the model takes {taken}. {remedy}{own}."
