"""How far two computations of one model are apart, and inputs to find that out with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from keras_mobilenet.nets.net import Shape

Floats = npt.NDArray[np.floating[Any]]
COMPARED = 100  # images at most that an agreement is measured on: a few seconds
_COARSE = 7  # pixels: generated images are that many colours wide and high, smoothly joined


@dataclass(frozen=True)
class Difference:
    """How far outputs are from the reference's."""

    max_error: float  # the largest absolute difference
    relative_error: float  # that, over the largest absolute value of the reference
    rms_error: float  # root mean square of the differences, over that of the reference
    top1_agreement: float  # share of rows whose largest value stands in the same place
    infinite: tuple[float, float] = (0.0, 0.0)  # share of NaN and infinite reference and outputs

    def __str__(self) -> str:
        if any(self.infinite):
            reference, outputs = self.infinite
            return (
                f"{outputs:.1%} of its outputs are infinite or NaN, and {reference:.1%} of those "
                "that they are compared with"
            )
        return (
            f"largest error {self.max_error:.2g} ({self.relative_error:.2g} of the largest "
            f"output), root mean square error {self.rms_error:.2g} of the outputs', first class "
            f"the same on {self.top1_agreement:.1%}"
        )


def difference(reference: npt.ArrayLike, outputs: npt.ArrayLike) -> Difference:
    """Return how far `found` is from `reference`, both of shape `(batch, ...)`.

    Raises:
        ValueError: their shapes differ.
    """
    a, b = np.asarray(reference, np.float64), np.asarray(outputs, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"outputs of shape {b.shape} where the reference has {a.shape}")
    if a.size == 0:
        return Difference(0.0, 0.0, 0.0, 1.0)
    infinite = tuple(1 - float(np.isfinite(x).mean()) for x in (a, b))
    if any(infinite):
        return Difference(np.inf, np.inf, np.inf, 0.0, (infinite[0], infinite[1]))
    error = float(np.abs(a - b).max())
    largest = float(np.abs(a).max()) or 1.0
    power = float(np.square(a).mean()) or 1.0
    rms = float(np.sqrt(np.square(a - b).mean() / power))
    rows = len(a)
    same = a.reshape(rows, -1).argmax(1) == b.reshape(rows, -1).argmax(1)
    return Difference(error, error / largest, rms, float(same.mean()))


def agreement_of(reference: npt.NDArray[Any], outputs: npt.NDArray[Any]) -> float:
    """Return the share of rows, of shape `(count, classes)`, for which both name the same class."""
    if reference.shape[1] == 1:  # one of two classes: which side of the middle
        middle = 0.5 if reference.min() >= 0 and reference.max() <= 1 else 0.0
        same = (reference > middle) == (outputs > middle)
        return float(np.mean(same & np.isfinite(reference) & np.isfinite(outputs)))
    return difference(reference, outputs).top1_agreement


def variation(outputs: npt.ArrayLike) -> float:
    """Return how much outputs of shape `(batch, ...)` differ from row to row.

    The root mean square distance from their mean, as a share of their own root mean square.
    """
    rows = np.asarray(outputs, np.float64)
    power = float(np.square(rows).mean()) if rows.size else 0.0
    distance = np.square(rows - rows.mean(axis=0)).mean() if power else 0.0
    return float(np.sqrt(distance / (power or 1.0)))


def generated_images(
    shape: Shape, *, low: float = 0.0, high: float = 255.0, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Return random images of shape `(count, height, width, channels)`, with values in a range.

    Neighbouring pixels are alike, as in photographs: on white noise a trained net's outputs are
    near nothing that anybody will see, and their rounding errors are many times as large.
    """
    count, height, width, channels = shape
    random = np.random.default_rng(seed)
    planes = [
        _smooth(random.random((_COARSE, _COARSE), np.float32), height, width)
        for _ in range(count * channels)
    ]
    images = np.stack(planes).reshape(count, channels, height, width)
    return (low + (high - low) * images.transpose(0, 2, 3, 1)).astype(np.float32)


def _smooth(colours: npt.NDArray[np.float32], height: int, width: int) -> Any:
    image = Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image), 0.0, 1.0)


def evenly_spaced(rows: Any, limit: int) -> Any:
    """Return at most that many rows, from all over: images often come sorted by class.

    One is taken from each of `limit` equal stretches, at a random place that is always the same: a
    fixed step would take one class only where classes take turns.
    """
    if len(rows) <= limit:
        return rows
    ends = np.arange(limit + 1) * len(rows) // limit
    chosen = np.random.default_rng(0).integers(ends[:-1], ends[1:])
    return rows[chosen] if isinstance(rows, np.ndarray) else [rows[i] for i in chosen]
