"""What TFLite's kernels make of their inputs, for the operators that nets of images are made of.

A file whose every operator is known here, and declares the shapes and types that its kernel makes,
does not surprise the interpreter: it reads what was written before, and takes the memory that was
counted. Anything else is not wrong, but has to be tried out.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keras_mobilenet.formats.runtimes.flatbuffer import Table

_F32, _F16, _I32, _U8, _I64, _BOOL, _I16, _I8, _F64 = 0, 1, 2, 3, 4, 6, 7, 9, 10
# Bytes of a value, of those types that have whole ones.
BYTES = {_F32: 4, _F16: 2, _I32: 4, _U8: 1, _I64: 8, _BOOL: 1, _I16: 2, 8: 8, _I8: 1, _F64: 8}
_QUANTISED = (_U8, _I8)
_ACTIVATIONS = (_F32, *_QUANTISED)
_MOST = 1 << 24  # of any length, stride or pad
_SAME = 0
# Of the schema's BuiltinOptions.
_CONVOLUTION, _DEPTHWISE, _POOL, _FULLY_CONNECTED, _BATCH_MATMUL = 1, 2, 5, 8, 101


@dataclass(frozen=True)
class Value:
    """A tensor as a file declares it."""

    shape: tuple[int, ...]
    kind: int
    content: memoryview  # empty where the net computes it
    scales: int  # how many
    plain: bool  # whether there is nothing unusual about it

    @property
    def stored(self) -> bool:
        """Whether the file holds its values."""
        return bool(self.content)

    @property
    def size(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        return self.size * BYTES.get(self.kind, 8)

    @property
    def active(self) -> bool:
        """Whether a kernel can compute with it: floats, or codes of one scale."""
        return self.kind == _F32 or (self.kind in _QUANTISED and self.scales == 1)

    def integers(self) -> tuple[int, ...]:
        """Return what is stored, of a type for lengths and axes; nothing if it is not."""
        letter = {_I32: "i", _I64: "q"}.get(self.kind, "")
        return (
            struct.unpack(f"<{self.size}{letter}", self.content) if letter and self.stored else ()
        )


@dataclass(frozen=True)
class Step:
    """An operator as a file declares it; -1 stands for an input that is left out."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_kind: int
    options: Table | None
    plain: bool


def are_known(
    inputs: Sequence[int], outputs: Sequence[int], values: Sequence[Value], steps: Sequence[Step]
) -> bool:
    """Return whether each step's kernel is known, and makes of its inputs what is declared."""
    ready = {number for number, value in enumerate(values) if value.stored}
    if not steps or not all(value.plain and value.size for value in values) or ready & {*inputs}:
        return False
    ready |= {*inputs}
    for step in steps:
        given = {number for number in step.inputs if number != -1}
        if not step.plain or not given <= ready or len(step.outputs) != 1 or not step.inputs:
            return False
        if step.outputs[0] in ready or step.inputs[0] == -1 or -1 in step.inputs[:-1]:
            return False
        x = [values[number] for number in step.inputs if number != -1]
        kernel = _KERNELS.get(step.code)
        if kernel is None or not kernel(step, x, values[step.outputs[0]]):
            return False
        ready.add(step.outputs[0])
    return {*outputs} <= ready


def _convolution(step: Step, x: list[Value], y: Value) -> bool:
    return _is_convolution(step, x, y, _CONVOLUTION)


def _depthwise(step: Step, x: list[Value], y: Value) -> bool:
    return _is_convolution(step, x, y, _DEPTHWISE)


def _is_convolution(step: Step, x: list[Value], y: Value, kind: int) -> bool:
    if step.options is None or step.options_kind != kind or not _is_weighted(x, y, 4):
        return False
    depthwise, kernel, channels = kind == _DEPTHWISE, x[1].shape, x[0].shape[3]
    fields = (6, 5) if depthwise else (5, 4)
    dilations = tuple(step.options.number(field, default=1) for field in fields)
    windows = _windows(step.options, x[0].shape, kernel[1:3], dilations)
    axis = 3 if depthwise else 0  # of the filters
    counted = (1, channels * step.options.number(3)) if depthwise else (kernel[0], channels)
    return (
        (kernel[0], kernel[3]) == counted
        and y.shape == (x[0].shape[0], *windows, kernel[axis])
        and _has_scales(x[1], axis)
        and _is_bias(x, kernel[axis])
    )


def _fully_connected(step: Step, x: list[Value], y: Value) -> bool:
    if step.options is None or step.options_kind != _FULLY_CONNECTED or not _is_weighted(x, y, 2):
        return False
    filters, channels = x[1].shape
    return (
        step.options.number(1, "b") == 0
        and x[0].shape[-1] == channels
        and y.size * channels == x[0].size * filters
        and y.shape[-1] == filters
        and _has_scales(x[1], 0)
        and _is_bias(x, filters)
    )


def _pool(step: Step, x: list[Value], y: Value) -> bool:
    if step.options is None or step.options_kind != _POOL or len(x) != 1:
        return False
    kernel = step.options.number(4), step.options.number(3)
    if len(x[0].shape) != 4 or not all(0 < n <= _MOST for n in kernel):
        return False
    windows = _windows(step.options, x[0].shape, kernel, (1, 1))
    return _are_alike(x[0], y) and y.shape == (x[0].shape[0], *windows, x[0].shape[3])


def _windows(
    options: Table, shape: tuple[int, ...], kernel: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the (height, width) that a kernel's steps make; nothing where they make none."""
    strides = options.number(2), options.number(1)
    if not all(0 < n <= _MOST for n in (*strides, *dilations)):
        return ()
    spans = [1 if options.number(0, "b") == _SAME else (k - 1) * d + 1
             for k, d in zip(kernel, dilations, strict=True)]  # fmt: skip
    return tuple(
        (n - s) // stride + 1 for n, s, stride in zip(shape[1:3], spans, strides, strict=True)
    )


def _is_weighted(x: list[Value], y: Value, axes: int) -> bool:
    """Return whether a kernel has so many axes, and a type that goes with the others."""
    if len(x) not in (2, 3) or len(x[1].shape) != axes:
        return False
    if axes == 4 and len(x[0].shape) != 4:
        return False
    mixed = x[0].kind == _F32 and x[1].kind == _I8
    return _are_alike(x[0], y) and (mixed or x[1].kind == x[0].kind)


def _has_scales(kernel: Value, axis: int) -> bool:
    wanted = (0,) if kernel.kind == _F32 else (1, kernel.shape[axis])
    return kernel.scales in wanted


def _is_bias(x: list[Value], filters: int) -> bool:
    if len(x) == 2:
        return True
    return x[2].shape == (filters,) and x[2].kind == (_F32 if x[0].kind == _F32 else _I32)


def _are_alike(x: Value, y: Value) -> bool:
    return x.active and y.active and x.kind == y.kind


def _alike(step: Step, x: list[Value], y: Value) -> bool:
    return len(x) == 1 and _are_alike(x[0], y) and x[0].shape == y.shape


def _converted(step: Step, x: list[Value], y: Value) -> bool:
    of_floats = x[0].active or x[0].kind == _F16
    return len(x) == 1 and x[0].shape == y.shape and of_floats and y.active


def _cast(step: Step, x: list[Value], y: Value) -> bool:
    kinds = (*_ACTIVATIONS, _I32)
    return len(x) == 1 and x[0].shape == y.shape and x[0].kind in kinds and y.kind in kinds


def _broadcast(step: Step, x: list[Value], y: Value) -> bool:
    if len(x) != 2 or not (_are_alike(x[0], y) and _are_alike(x[1], y)):
        return False
    rank = max(len(value.shape) for value in x)
    first, second = ((1,) * (rank - len(value.shape)) + value.shape for value in x)
    fits = all(a == b or 1 in (a, b) for a, b in zip(first, second, strict=True))
    return fits and rank <= 4 and y.shape == tuple(map(max, first, second))


def _reshaped(step: Step, x: list[Value], y: Value) -> bool:
    fits = x[0].size == y.size and x[0].kind == y.kind
    if len(x) == 1 or not x[1].stored:
        return fits
    lengths = x[1].integers()
    return fits and len(lengths) == len(y.shape) and all(
        n in (-1, wanted) for n, wanted in zip(lengths, y.shape, strict=True)
    )  # fmt: skip


def _padded(step: Step, x: list[Value], y: Value) -> bool:
    if len(x) != 2 or x[1].shape != (len(x[0].shape), 2):
        return False
    pads = x[1].integers()
    wanted = tuple(n + sum(pads[2 * i : 2 * i + 2]) for i, n in enumerate(x[0].shape))
    sane = bool(pads) and all(0 <= n <= _MOST for n in pads)
    return sane and _are_alike(x[0], y) and y.shape == wanted and len(wanted) <= 4


def _averaged(step: Step, x: list[Value], y: Value) -> bool:
    axes = x[1].integers() if len(x) == 2 else ()
    rank = len(x[0].shape)
    if not axes or not all(-rank <= axis < rank for axis in axes):
        return False
    over = {axis % rank for axis in axes}
    kept = math.prod(n for axis, n in enumerate(x[0].shape) if axis not in over)
    return len(over) == len(axes) and _are_alike(x[0], y) and y.size == kept


def _multiplied(step: Step, x: list[Value], y: Value) -> bool:
    """Products of matrices, one of each for an image."""
    if step.options is None or step.options_kind != _BATCH_MATMUL or len(x) != 2:
        return False
    if not all(len(value.shape) == 3 and value.kind == _F32 for value in (*x, y)):
        return False
    one, other = (
        value.shape[:0:-1] if step.options.number(field, "b") else value.shape[1:]
        for field, value in enumerate(x)
    )
    images = {value.shape[0] for value in (*x, y)}
    return len(images) == 1 and one[1] == other[0] and y.shape[1:] == (one[0], other[1])


def _shape(step: Step, x: list[Value], y: Value) -> bool:
    return len(x) == 1 and y.kind in (_I32, _I64) and y.shape == (len(x[0].shape),)


def _slice_of_shape(step: Step, x: list[Value], y: Value) -> bool:
    """One length out of a shape."""
    if len(x) != 4 or x[0].kind != _I32 or y.kind != _I32 or len(x[0].shape) != 1:
        return False
    begin, end, stride = (value.integers() for value in x[1:])
    short = all(len(n) == 1 and value.shape == (1,) for n, value in
                zip((begin, end, stride), x[1:], strict=True))  # fmt: skip
    return short and stride == (1,) and 0 <= begin[0] < end[0] <= x[0].size and y.size == 1


def _packed(step: Step, x: list[Value], y: Value) -> bool:
    """Lengths made a shape."""
    lengths = [value.integers() for value in x]
    known = [n for value in lengths for n in value]
    single = all(value.kind == _I32 and value.size == 1 and not value.shape for value in x)
    sane = all(-1 <= n <= _MOST for n in known) and math.prod(map(abs, known)) <= _MOST
    return single and sane and y.kind == _I32 and y.shape == (len(x),)


_KERNELS: dict[int, Callable[[Step, list[Value], Value], bool]] = {
    0: _broadcast,  # ADD
    1: _pool,  # AVERAGE_POOL_2D
    3: _convolution,
    4: _depthwise,
    6: _converted,  # DEQUANTIZE
    9: _fully_connected,
    14: _alike,  # LOGISTIC
    17: _pool,  # MAX_POOL_2D
    18: _broadcast,  # MUL
    19: _alike,  # RELU
    21: _alike,  # RELU6
    22: _reshaped,
    25: _alike,  # SOFTMAX
    34: _padded,
    40: _averaged,  # MEAN
    41: _broadcast,  # SUB
    43: _reshaped,  # SQUEEZE
    45: _slice_of_shape,  # STRIDED_SLICE
    53: _cast,
    77: _shape,
    83: _packed,
    114: _converted,  # QUANTIZE
    117: _alike,  # HARD_SWISH
    126: _multiplied,  # BATCH_MATMUL
    150: _alike,  # GELU
}
