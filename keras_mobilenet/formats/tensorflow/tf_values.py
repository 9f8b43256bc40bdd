"""What TensorFlow's checkpoints and graphs share: shapes, types and packed values."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike, Lazy
from keras_mobilenet.formats.tensorflow import protobuf_wire as wire

# The numbers are those of TensorFlow's types.proto; only floats are a MobileNet's weights.
FLOATS: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    14: np.dtype(ml_dtypes.bfloat16),
    19: np.dtype("<f2"),
}
_MAX_AXES = 8
# TensorProto
_CONTENT, _FLOATS, _DOUBLES = 4, 5, 6
_VALUES = {1: _FLOATS, 2: _DOUBLES}
# TensorShapeProto
_DIM, _DIM_SIZE, _UNKNOWN_RANK = 2, 1, 3


def shape(proto: memoryview, name: str) -> tuple[int, ...]:
    """Return the shape in a TensorShapeProto."""
    axes = tuple(wire.integer(dim, _DIM_SIZE) for dim in wire.parts(proto, _DIM))
    if wire.integer(proto, _UNKNOWN_RANK) or len(axes) > _MAX_AXES or any(n < 0 for n in axes):
        raise CheckpointError(f"{name} declares the impossible shape {axes[:_MAX_AXES]}")
    return axes


def floats(number: int, name: str) -> np.dtype[Any]:
    """Return the NumPy type behind TensorFlow's number of a float type."""
    if number not in FLOATS:
        raise CheckpointError(f"{name} holds TensorFlow's type {number}, not floats")
    return FLOATS[number]


def check_size(name: str, axes: tuple[int, ...], dtype: np.dtype[Any], size: int) -> None:
    """Raise if `size` bytes are not the values of an array."""
    needed = math.prod(axes) * dtype.itemsize
    if needed != size:
        raise CheckpointError(
            f"{name} declares the shape {axes}, {needed:,} bytes, and the file holds {size:,}"
        )


def from_tensor(
    proto: memoryview, number: int, axes: tuple[int, ...], name: str
) -> np.ndarray[Any, Any]:
    """Return the values of a TensorProto with this type and shape; a view where they lie."""
    dtype, content = floats(number, name), _content(proto, number)
    check_size(name, axes, dtype, len(content))
    return np.frombuffer(content, dtype).reshape(axes)


def from_constant(proto: memoryview, number: int, axes: tuple[int, ...], name: str) -> ArrayLike:
    """Return the values of a graph's constant, of which equal ones at the end are left out."""
    dtype, content = floats(number, name), _content(proto, number)
    count = math.prod(axes)
    if len(content) >= count * dtype.itemsize or len(content) % dtype.itemsize:
        return from_tensor(proto, number, axes, name)
    if wire.part(proto, _CONTENT):
        check_size(name, axes, dtype, len(content))
    stored = np.frombuffer(content or bytes(dtype.itemsize), dtype)

    def make() -> np.ndarray[Any, Any]:
        return np.pad(stored, (0, count - len(stored)), mode="edge").reshape(axes)

    return Lazy(axes, dtype, make)  # made only where a model wants this many values


def _content(proto: memoryview, number: int) -> memoryview:
    content = wire.part(proto, _CONTENT)
    return content if content or number not in _VALUES else wire.part(proto, _VALUES[number])
