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

Pixels = npt.NDArray[np.uint8]
_FEW = 8  # images, of which fewer may by chance have no dark or no bright pixel
_ROUNDING = 1e-3  # by which values miss their range's ends
_DIM = 16  # of 255: what is no brighter may be a black image, or one of another range
# Interpolation by cubic curves goes beyond its range at sharp edges. Only values above those that
# are left when a mean was taken off, 151 at most, can be told from them.
_BEYOND, _BRIGHT = 64, 200


@dataclass(frozen=True)
class ValueRange:
    """How an array's values came from pixels `p`, 0 to 255: `p * scale + offset`."""

    scale: Any  # a number, or one for each channel
    offset: Any

    def pixels(self, values: npt.NDArray[Any]) -> Pixels:
        """Return the pixels that values were, rounded to 8 bits."""
        found: Pixels = np.clip(np.rint((values - self.offset) / self.scale), 0, 255).astype(
            "uint8"
        )
        return found

    def __str__(self) -> str:
        ends = np.array([self.offset, 255 * self.scale + self.offset])
        low, high = ends.min(), ends.max()
        return f"{low:g} to {high:g}"


PIXELS, UNIT = ValueRange(1.0, 0.0), ValueRange(1 / 255, 0.0)
SIGNED = ValueRange(1 / 127.5, -1.0)
NAMED = {"none": PIXELS, "0..1": UNIT, "-1..1": SIGNED}


def as_range(preprocessing: Any) -> ValueRange | None:
    """Return the range of values that a preprocessing made of pixels; None for None.

    Args:
        preprocessing: A name in `NAMED`, or what has a `scale` and an `offset`, numbers or one for
            each channel.

    Raises:
        ValueError: it is neither.
    """
    if preprocessing is None:
        return None
    if isinstance(preprocessing, str) and preprocessing in NAMED:
        return NAMED[preprocessing]
    try:
        scale, offset = np.asarray(preprocessing.scale), np.asarray(preprocessing.offset)
        fits = all(x.dtype.kind in "iuf" and x.shape in ((), (3,)) for x in (scale, offset))
        if fits and np.isfinite([*scale.ravel(), *offset.ravel()]).all() and scale.all():
            return ValueRange(scale.astype(np.float32), offset.astype(np.float32))
    except AttributeError:
        pass
    raise ValueError(
        "`preprocessing` must be 'none' for pixels from 0 to 255, '0..1', '-1..1', or have a scale "
        "and an offset, numbers or one for each of 3 channels. "
        f"Received: preprocessing={preprocessing!r}"
    )


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

    def range(self) -> ValueRange | None:
        """Return the only range that the values can be of; None where there are none or several."""
        overshoot = _BEYOND if self.high >= _BRIGHT else 0
        if -overshoot <= self.low and _DIM < self.high <= 255 + overshoot:
            return PIXELS
        if self.high > 1 + _ROUNDING or self.low < -1 - _ROUNDING:
            return None
        few = self.images < _FEW
        if self.low < (-0.9 if few else -0.55):  # from -0.5 to 0.5 is yet another range
            return SIGNED
        dark_and_bright = 0 <= self.low < 0.1 and self.high > 0.5
        return UNIT if dark_and_bright and not few and not self.binary else None


class PixelReader:
    """Turns the images of one argument, given by and by, into pixels, 0 to 255.

    Args:
        argument: Its name.
        known: The range of its values, if known; floats tell it themselves otherwise.
    """

    def __init__(self, argument: str, known: ValueRange | None = None) -> None:
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
            self.images += map(self.range.pixels, self._waiting)
            self._waiting = []

    def finish(self, fallback: ValueRange | None = None) -> list[Pixels]:
        """Return all images' pixels.

        Args:
            fallback: The range of values that may be of several.

        Raises:
            ValueError: the values may be of several ranges, and there is no `fallback`.
        """
        if self._waiting:
            self.range = fallback
            if fallback is None:
                raise ValueError(self._unknown())
            self.images += map(fallback.pixels, self._waiting)
        return self.images

    def _find(self) -> None:
        """Find the range, and hold it against that of the images before."""
        found = self._seen.range()
        if self.range is not None and found != self.range:
            raise ValueError(
                f"The images of `{self._argument}` are floats from {self._seen.low:g} to "
                f"{self._seen.high:g}, where the first ones are from {self.range}. {_REMEDY}"
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


_REMEDY = (
    "Say what was made of pixels: preprocessing='0..1', '-1..1', or 'none' for 0 to 255; or pass "
    "uint8 pixels."
)
