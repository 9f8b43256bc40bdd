"""What a graph computes, worked out in NumPy: what a written file is compared with.

It goes by the operations as they stand, before batch norms and paddings are merged into others, and
shares no code with the runtimes: an image at a time, some tenths of a second each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.graphs.operations import INPUT, Activation, Array, Graph, Operation
from keras_mobilenet.nets.conventions import NO_ZEROS, Zeros


def reference_outputs(
    graph: Graph, images: npt.NDArray[Any], dtype: npt.DTypeLike = np.float32
) -> npt.NDArray[np.floating[Any]]:
    """Return the outputs for images of shape `(count, height, width, channels)`.

    They are worked out in `dtype`: double tells which of two runtimes rounds more.
    """
    outputs = []
    for image in images:
        made = np.asarray(image, dtype)
        for operation, _, after in computed(graph, image, dtype):
            if operation.name == graph.output:
                made = after
        outputs.append(made)
    return np.stack(outputs)


def computed(
    graph: Graph, image: Array, dtype: npt.DTypeLike = np.float32
) -> Iterator[tuple[Operation, Array, Array]]:
    """Yield each operation with what it puts out for an image, before its activation and after.

    What is no longer needed is not kept.
    """
    made = {INPUT: np.asarray(image, dtype)}
    left = graph.uses.copy()
    for operation in graph.operations:
        before = _computed(operation, [made[name] for name in operation.inputs])
        made[operation.name] = activated(operation.activation, before)
        yield operation, before, made[operation.name]
        for name in operation.inputs:
            left[name] -= 1
            if not left[name]:
                del made[name]


def _computed(operation: Operation, taken: list[Array]) -> Array:
    x = taken[0]
    match operation.kind:
        case "convolution":
            return _with_bias(operation, _convolution(operation, x))
        case "depthwise":
            return _with_bias(operation, _depthwise(operation, x))
        case "dense":
            return _with_bias(operation, x @ operation.kernel)
        case "scale":
            return np.asarray(x * operation.kernel + operation.bias, x.dtype)
        case "pad":
            return _padded(operation, x, 0.0)
        case "add":
            return np.asarray(taken[0] + taken[1])
        case "multiply":
            return np.asarray(taken[0] * taken[1])
        case "attention":
            return _attention(*taken)
        case "average":
            return np.asarray(x.mean((0, 1), keepdims=operation.keepdims))
        case "maximum":
            return np.asarray(x.max((0, 1), keepdims=operation.keepdims))
        case "flatten":
            return x.reshape(-1)
    return x


def _with_bias(operation: Operation, x: Array) -> Array:
    return x if operation.bias is None else np.asarray(x + operation.bias, x.dtype)


def _zeros(operation: Operation, x: Array) -> tuple[Zeros, Zeros]:
    return operation.zeros(0, x.shape[0]), operation.zeros(1, x.shape[1])


def _padded(operation: Operation, x: Array, value: float) -> Array:
    zeros = _zeros(operation, x)
    return x if zeros == NO_ZEROS else np.pad(x, (*zeros, (0, 0)), constant_values=value)


def _taps(operation: Operation, x: Array) -> Any:
    """Yield each place of a kernel's window, and what it meets at all places of the output."""
    height, width = (operation.output_length(axis, x.shape[axis]) or 0 for axis in (0, 1))
    stride, dilation = operation.stride, operation.dilation
    padded = _padded(operation, x, 0.0)
    for row, column in np.ndindex(operation.window):
        rows = slice(row * dilation, row * dilation + stride * (height - 1) + 1, stride)
        columns = slice(column * dilation, column * dilation + stride * (width - 1) + 1, stride)
        yield (row, column), padded[rows, columns]


def _convolution(operation: Operation, x: Array) -> Array:
    return np.asarray(sum(met @ operation.kernel[place] for place, met in _taps(operation, x)))


def _depthwise(operation: Operation, x: Array) -> Array:
    kernel = operation.kernel
    if kernel.shape[3] == 1:
        return np.asarray(sum(m * kernel[place][:, 0] for place, m in _taps(operation, x)))
    several = sum(met[..., None] * kernel[place] for place, met in _taps(operation, x))
    return np.asarray(several).reshape(*np.shape(several)[:2], -1)


def _attention(queries: Array, keys: Array, values: Array) -> Array:
    """Return what each pixel of the queries takes from the values, in each head."""
    depth = keys.shape[-1]
    asked = queries.reshape(-1, depth) / np.sqrt(depth).astype(queries.dtype)
    shares = activated("softmax", asked @ keys.reshape(-1, depth).T)
    return np.asarray(shares @ values.reshape(-1, depth)).reshape(queries.shape)


def activated(activation: Activation, x: Array) -> Array:
    """Return what an activation makes of values."""
    match activation:
        case "relu":
            return np.maximum(x, 0)
        case "relu6":
            return np.clip(x, 0, 6)
        case "hard_swish":
            return np.asarray(x * np.clip(x + 3, 0, 6) / 6, x.dtype)
        case "hard_sigmoid":
            return np.asarray(np.clip(x + 3, 0, 6) / 6, x.dtype)
        case "sigmoid":
            return np.asarray(1 / (1 + np.exp(-x)), x.dtype)
        case "gelu":
            return np.asarray(x * (1 + _erf(x / np.sqrt(2))) / 2, x.dtype)
        case "softmax":
            powers = np.exp(x - x.max(-1, keepdims=True))
            return np.asarray(powers / powers.sum(-1, keepdims=True), x.dtype)
    return x


_ERF_REACH = 6  # beyond it the error function is 1
_ERF_PLACES = 256  # of the table, between one number and the next


@functools.cache
def _erf_table() -> tuple[Array, Array]:
    """Return the error function at places from -6 to 6, and how it rises to the next place."""
    count = 2 * _ERF_REACH * _ERF_PLACES
    places = np.linspace(-_ERF_REACH, _ERF_REACH, count + 1)
    values = np.array([math.erf(x) for x in places])
    return values, 2 / math.sqrt(math.pi) / _ERF_PLACES * np.exp(-(places**2))


def _erf(x: Array) -> Array:
    """Return the error function, which NumPy has not, in double: cubics, off by 1e-11 at most."""
    values, slopes = _erf_table()
    place = (np.clip(x, -_ERF_REACH, _ERF_REACH) + np.float64(_ERF_REACH)) * _ERF_PLACES
    left = np.minimum(place.astype(np.intp), len(values) - 2)
    t = place - left
    rise = values[left + 1] - values[left]
    bend = t * (1 - t) * ((1 - t) * (slopes[left] - rise) - t * (slopes[left + 1] - rise))
    return np.asarray(values[left] + t * rise + bend)
