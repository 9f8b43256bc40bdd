"""How pixels become a model's input: one affine function, with a text that people can type."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Numbers = float | tuple[float, ...]  # for all channels, or one for each
WHITE = 255.0
_BOUNDS = (1e-6, 1e6)  # of a scale: past these no pixel is told from another, or all overflow
_MOST_CHANNELS = 1024
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,3})?"
_LIST = re.compile(rf"{_NUMBER}(?:/{_NUMBER})?(?:\s*[,\s]\s*{_NUMBER}(?:/{_NUMBER})?)*", re.I)
_FIELDS = re.compile(r"\s*(scale|offset|mean|std)\s*=\s*([^=]*?)\s*[;,]?\s*(?=[a-z]+\s*=|$)")
TEXTS = "'none', '0..1', '-1..1', 'scale=1/255,offset=0' or 'mean=124,116,104;std=58,57,57'"


@dataclass(frozen=True)
class Preprocessing:
    """What is done with pixels before a model: `x * scale + offset`, where `x` is 0 to 255.

    The default does nothing: the model takes pixels as they are.

    Args:
        scale: A number, or one for each channel.
        offset: Likewise.

    Raises:
        ValueError: they are no finite numbers, a scale is 0 or out of all proportion, or they are
            for different numbers of channels.
    """

    scale: Numbers = 1.0
    offset: Numbers = 0.0

    def __post_init__(self) -> None:
        """Check the numbers, and keep them as floats or tuples of floats."""
        scale, offset = _numbers("scale", self.scale), _numbers("offset", self.offset)
        low, high = _BOUNDS
        if not all(low <= abs(number) <= high for number in _each(scale)):
            raise ValueError(
                f"`scale` must lie between {low:g} and {high:g}, or below 0 so. "
                f"Received: scale={self.scale!r}"
            )
        if not all(abs(number) <= WHITE * high for number in _each(offset)):
            raise ValueError(
                f"`offset` must not lie beyond {WHITE * high:g}. Received: offset={self.offset!r}"
            )
        if len({len(x) for x in (scale, offset) if isinstance(x, tuple)}) > 1:
            raise ValueError(
                "`scale` and `offset` must be for as many channels. "
                f"Received: scale={self.scale!r}, offset={self.offset!r}"
            )
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "offset", offset)

    @classmethod
    def from_mean_std(cls, mean: Numbers | Sequence[float], std: Numbers | Sequence[float]) -> Self:
        """Return `(x - mean) / std`, where `x`, `mean` and `std` are in pixels, 0 to 255.

        Raises:
            ValueError: they are no such numbers. Those of PyTorch's models are for 0 to 1:
                multiply both by 255.
        """
        means, stds = _numbers("mean", mean), _numbers("std", std)
        if not all(number >= 1.0 for number in _each(stds)):
            raise ValueError(
                "`mean` and `std` must be those of pixels from 0 to 255, where no `std` is below "
                f"1. Multiply both by 255. Received: mean={mean!r}, std={std!r}"
            )
        return cls(_map(lambda s: 1.0 / s, stds), _map(lambda m, s: -m / s, means, stds))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return what a text stands for: `"none"`, `"0..1"`, `"-1..1"`, or numbers.

        Numbers are as in `"scale=1/127.5,offset=-1"` or `"mean=123.7,116.8,103.9;std=58.4"`.

        Raises:
            ValueError: the text is none of these.
        """
        if text in NAMED:
            return cls(NAMED[text].scale, NAMED[text].offset)
        fields = {match[1]: match[2] for match in _FIELDS.finditer(text)}
        rest = _FIELDS.sub("", text).strip()
        wrong = rest or not all(map(_LIST.fullmatch, fields.values()))
        if wrong or set(fields) not in (
            {"scale"},
            {"scale", "offset"},
            {"mean", "std"},
            {"offset"},
        ):
            raise ValueError(f"`preprocessing` must be {TEXTS}. Received: {text!r}")
        numbers = {name: _typed(value) for name, value in fields.items()}
        return cls.from_mean_std(**numbers) if "mean" in numbers else cls(**numbers)

    @property
    def mean(self) -> Numbers:
        """The pixel that becomes 0, or one for each channel."""
        return _map(lambda s, o: 0.0 - o / s, self.scale, self.offset)

    @property
    def std(self) -> Numbers:
        """By what the difference from `mean` is divided, or one for each channel."""
        return _map(lambda s: 1.0 / s, self.scale)

    @property
    def takes_pixels(self) -> bool:
        """Whether pixels stay as they are."""
        return self.is_close(PIXELS)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest input that pixels become."""
        ends = [_each(self._of(x)) for x in (0.0, WHITE)]
        return min(map(min, ends)), max(map(max, ends))

    def scaled(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return pixels, 0 to 255, of shape `(..., channels)` as the model's input.

        Raises:
            ValueError: the numbers are for another number of channels.
        """
        channels = {len(x) for x in (self.scale, self.offset) if isinstance(x, tuple)}
        if channels - {pixels.shape[-1] if pixels.ndim else 0}:
            raise ValueError(
                f"The preprocessing {self} is for {channels.pop()} channels, and the pixels are of "
                f"shape {pixels.shape}."
            )
        floats: npt.NDArray[np.float32] = pixels.astype("float32")
        # A division, as in `preprocess_input`: to multiply would round otherwise.
        floats /= _as_float32(self.std)
        floats += _as_float32(self.offset)
        return floats

    def then(self, other: Preprocessing) -> Preprocessing:
        """Return what this one and then the other do."""
        return Preprocessing(
            _map(lambda s, t: s * t, self.scale, other.scale),
            _map(lambda o, t, p: o * t + p, self.offset, other.scale, other.offset),
        )

    def inverse(self) -> Preprocessing:
        """Return what undoes this one."""
        return Preprocessing(self.std, self.mean)

    def is_close(self, other: Preprocessing, tolerance: float = 1e-6) -> bool:
        """Return whether all pixels become the same as with the other, but for rounding.

        Args:
            other: Another one.
            tolerance: Share of the inputs' range that they may differ by.
        """
        low, high = other.range
        pairs = ((self._of(x), other._of(x)) for x in (0.0, WHITE))
        apart = (_each(_map(lambda a, b: abs(a - b), *pair)) for pair in pairs)
        return max(map(max, apart)) <= tolerance * (high - low)

    def _of(self, x: float) -> Numbers:
        return _map(lambda s, o: s * x + o, self.scale, self.offset)

    def __str__(self) -> str:
        """Return a text that `from_text` takes."""
        for name, known in NAMED.items():
            if self.is_close(known):
                return name
        scale, offset = (",".join(f"{x:.9g}" for x in _each(n)) for n in (self.scale, self.offset))
        return f"scale={scale};offset={offset}"


def as_preprocessing(value: Preprocessing | str) -> Preprocessing:
    """Return a preprocessing that is given as one, or as a text.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, Preprocessing):
        return value
    if isinstance(value, str):
        return Preprocessing.from_text(value)
    raise ValueError(
        f"`preprocessing` must be a Preprocessing, or {TEXTS}. Received: {value!r} "
        f"({type(value).__name__})"
    )


def _numbers(argument: str, value: Any) -> Numbers:
    """Return a number as a float, and several as a tuple, which is one number if all are equal."""
    single = not hasattr(value, "__len__")
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError("a text is no number")
        numbers = tuple(_float(x) for x in ((value,) if single else value))
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if not 0 < len(numbers) <= _MOST_CHANNELS or not all(map(math.isfinite, numbers)):
        raise ValueError(
            f"`{argument}` must be a finite number, or one for each channel. "
            f"Received: {argument}={value!r}"
        )
    return numbers[0] if single else numbers


def _float(value: Any) -> float:
    if isinstance(value, (bool, str, bytes)):
        raise TypeError("no number")
    return float(value)


def _each(numbers: Numbers) -> tuple[float, ...]:
    return numbers if isinstance(numbers, tuple) else (numbers,)


def _map(function: Any, *several: Numbers) -> Numbers:
    """Return a function's value for each channel, or one where all are for all channels."""
    lengths = {len(numbers) for numbers in several if isinstance(numbers, tuple)}
    if not lengths:
        return float(function(*several))
    count = max(lengths)
    rows = [x if isinstance(x, tuple) and len(x) == count else _each(x) * count for x in several]
    return tuple(float(function(*row)) for row in zip(*rows, strict=True))


def _typed(text: str) -> Numbers:
    parts = [part.split("/") for part in re.split(r"[,\s]+", text.strip())]
    try:
        values = tuple(float(a) / float(b[0]) if b else float(a) for a, *b in parts)
    except ZeroDivisionError:
        raise ValueError(f"`preprocessing` divides by zero: {text!r}") from None
    return values[0] if len(values) == 1 else values


def _as_float32(numbers: Numbers) -> Any:
    import numpy as np  # noqa: PLC0415 - the numbers alone need none

    return np.asarray(numbers, np.float32)


PIXELS = Preprocessing()
ZERO_TO_ONE = Preprocessing(1 / WHITE)
MINUS_ONE_TO_ONE = Preprocessing(2 / WHITE, -1.0)
NAMED = {"none": PIXELS, "0..1": ZERO_TO_ONE, "-1..1": MINUS_ONE_TO_ONE}
