"""Named arrays: what a model expects, what a file holds, and where the two differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.net import BATCH_NORM_ARRAYS, Shape


class ArrayLike(Protocol):
    """An array that may still lie in a file: its header is known, its values are read later.

    `numpy.asarray` reads it. NumPy arrays and h5py data sets are of this kind.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's axes, as its header gives them."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the stored values."""


@dataclass(frozen=True)
class Lazy:
    """Values that still lie in a file, or are worked out from it; `numpy.asarray` makes them."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[], np.ndarray[Any, Any]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.make(), dtype=dtype)


@dataclass(frozen=True)
class Comparison:
    """Array names, sorted into what fits and what does not, each in the model's or file's order."""

    fitting: tuple[str, ...]
    missing: tuple[str, ...]  # the model has them, the file does not
    unexpected: tuple[str, ...]  # the file has them, the model does not
    shape_differs: tuple[tuple[str, Shape, Shape], ...]  # name, file's, model's


def shapes_of(arrays: Mapping[str, ArrayLike]) -> dict[str, Shape]:
    """Return the shape of each array; reads no values."""
    return {name: tuple(array.shape) for name, array in arrays.items()}


def compare(expected: Mapping[str, Shape], stored: Mapping[str, Shape]) -> Comparison:
    """Compare the shapes in a file with those that a model expects."""
    common = [name for name in expected if name in stored]
    return Comparison(
        fitting=tuple(n for n in common if stored[n] == expected[n]),
        missing=tuple(n for n in expected if n not in stored),
        unexpected=tuple(n for n in stored if n not in expected),
        shape_differs=tuple(
            (n, stored[n], expected[n]) for n in common if stored[n] != expected[n]
        ),
    )


def checked_values(name: str, array: ArrayLike, dtype: str) -> np.ndarray[Any, Any]:
    """Read `array` and return its values as `dtype`.

    Raises:
        ValueError: the values are not floats, not finite, or a variance is negative.
    """
    if not is_float(array.dtype):
        raise ValueError(f"{name} holds {array.dtype}, not floats")
    values = np.asarray(array)
    with np.errstate(all="ignore"):  # an overflow becomes infinite and is reported below
        values = values.astype(dtype, copy=False)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are NaN or infinite as {dtype}")
    if name.endswith("/moving_variance") and (values < 0).any():
        raise ValueError(f"{name} holds a negative variance")
    return values


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether `dtype` is a float of 16 to 64 bits; bfloat16 of ml_dtypes counts."""
    return (dtype.kind == "f" and 2 <= dtype.itemsize <= 8) or dtype.name == "bfloat16"


def by_order(
    expected: Mapping[str, Shape], stored: Mapping[str, ArrayLike]
) -> dict[str, ArrayLike]:
    """Return the file's arrays under the model's names, matched by position.

    Raises:
        ValueError: the two differ in number, or a kernel would meet a batch norm's array.
    """
    if len(expected) != len(stored):
        raise ValueError(f"the file holds {len(stored)} arrays, the model {len(expected)}")
    for ours, theirs in zip(expected, stored, strict=True):
        if _last_part(ours) != _last_part(theirs):
            raise ValueError(f"by order, {theirs} would be loaded as {ours}")
    return dict(zip(expected, stored.values(), strict=True))


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def shortened(items: Iterable[str], most: int = 3) -> list[str]:
    """Return at most `most` of the items, and a last line that counts the rest."""
    lines = list(items)
    rest = len(lines) - most
    return lines[:most] + ([f"... and {rest} more"] if rest > 0 else [])


@dataclass(frozen=True)
class Rearranged:
    """An array with its axes in another order; `numpy.asarray` reads and moves it.

    `axes` are the array's own axes in the new order; None is a new axis of length 1.
    """

    array: ArrayLike
    axes: tuple[int | None, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The axes after the move."""
        return tuple(1 if axis is None else self.array.shape[axis] for axis in self.axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the stored values."""
        return self.array.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        order = [axis for axis in self.axes if axis is not None]
        moved = np.asarray(self.array).transpose(order).reshape(self.shape)
        return np.ascontiguousarray(moved, dtype=dtype)


def without_conv_biases(
    arrays: Mapping[str, ArrayLike], batch_norms: Mapping[str, str]
) -> dict[str, ArrayLike]:
    """Return a net's arrays with the biases before batch norms taken off their moving means.

    A batch norm takes its mean from what it gets, so that nothing else changes. `batch_norms` are
    their names, by those of the convolutions before them.
    """
    rest = dict(arrays)
    for name in arrays:
        layer, _, variable = name.rpartition("/")
        mean = f"{batch_norms.get(layer)}/moving_mean"
        if variable == "bias" and mean in rest:
            rest[mean] = _less(rest[mean], rest.pop(name))
    return rest


def _less(mean: ArrayLike, bias: ArrayLike) -> Lazy:
    def difference() -> np.ndarray[Any, Any]:
        exact = np.asarray(mean, np.float64) - np.asarray(bias, np.float64)
        return exact.astype(mean.dtype)

    if mean.shape != bias.shape:
        raise ValueError(f"a bias of shape {bias.shape} goes before a mean of {mean.shape}")
    return Lazy(tuple(mean.shape), mean.dtype, difference)


def scaled(array: ArrayLike, factors: ArrayLike) -> Lazy:
    """Return an array whose last axis is multiplied by a factor for each place, in float32.

    Raises:
        ValueError: there are more or fewer factors than places, or they are no floats.
    """
    if tuple(factors.shape) != tuple(array.shape[-1:]) or not is_float(factors.dtype):
        found = f"{factors.dtype} of shape {tuple(factors.shape)}"
        raise ValueError(f"{found} are no factors for {array.shape[-1]} channels")

    def product() -> np.ndarray[Any, Any]:
        with np.errstate(over="ignore"):  # what is not finite is refused when it is read
            return np.asarray(array, np.float32) * np.asarray(factors, np.float32)

    return Lazy(tuple(array.shape), np.dtype(np.float32), product)


def folded_batch_norm(
    batch_norm: str, bias: ArrayLike, epsilon: float = Conventions().epsilon
) -> dict[str, ArrayLike]:
    """Return the arrays of a batch norm that only adds `bias`: the real one was folded before.

    `gamma / sqrt(variance + epsilon)` is 1 to the last bit of float32, so that the convolution
    and its bias come out as they were.
    """
    one = np.ones(tuple(bias.shape), np.float32)
    variance = one - np.float32(epsilon)
    values = {"gamma": one, "beta": bias, "moving_mean": 0 * one, "moving_variance": variance}
    return {f"{batch_norm}/{name}": values[name] for name in BATCH_NORM_ARRAYS}
