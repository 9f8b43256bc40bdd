"""What int8 needs to know of a graph: the range of every tensor, and biases that make up for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import evenly_spaced
from keras_mobilenet.deploy.graphs.operations import INPUT, Array, Graph, Operation
from keras_mobilenet.deploy.graphs.reference import activated, computed
from keras_mobilenet.deploy.graphs.writers.tflite import fuses, tensor_behind

_LEVELS = 127  # of a weight on either side of zero
_CODES = 255  # steps between the least and the largest code of a tensor
_CORRECTED = ("convolution", "depthwise")
_FEW = 32  # images, for means alone: each has thousands of pixels
_IMAGES = 100  # that ranges are taken from: more widen them no further
# Outputs whose codes LiteRT fixes: 0 to 1 in steps of 1/256.
_SHARES = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Codes:
    """What the int8 codes of a tensor stand for: `scale * (code - zero)`."""

    scale: float
    zero: int

    @classmethod
    def of_range(cls, low: float, high: float) -> Codes:
        """Return the codes for values between two, zero among them."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / _CODES or 1.0
        return cls(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


SHARES = Codes(1 / 256, -128)


@dataclass(frozen=True)
class Quantized:
    """A graph whose biases make up for rounded kernels, and the codes of its tensors."""

    graph: Graph
    codes: Mapping[str, Codes]  # by the names that the writer gives the tensors


def quantized_graph(graph: Graph, samples: npt.NDArray[Any]) -> Quantized:
    """Return a simplified graph ready for int8.

    Args:
        graph: What is to be computed, in float32, without a scaling of its own input.
        samples: Inputs that ranges are taken from, `(count, height, width, channels)`.
    """
    some = evenly_spaced(samples, _IMAGES)
    means = _Means()
    lows: dict[str, float] = {INPUT: float(some.min())}
    highs: dict[str, float] = {INPUT: float(some.max())}
    for image in some:
        means.add(INPUT, image)
        for operation, before, after in computed(graph, image):
            means.add(operation.name, after)
            for name, values in _tensors(operation, before, after):
                lows[name] = min(lows.get(name, 0.0), float(values.min()))
                highs[name] = max(highs.get(name, 0.0), float(values.max()))
    codes = {name: Codes.of_range(lows[name], highs[name]) for name in lows}
    for operation in graph.operations:
        if operation.activation in _SHARES:
            codes[tensor_behind(operation)] = SHARES
        elif operation.kind in ("flatten", "pad") and not operation.activation:
            codes[operation.name] = codes[_source(graph, operation)]
    operations = tuple(_corrected(x, means, _as_int8) for x in graph.operations)
    return Quantized(replace(graph, operations=operations), codes)


def bfloat16_graph(graph: Graph, samples: npt.NDArray[Any]) -> Graph:
    """Return a simplified graph whose biases make up for what bfloat16 rounds off its kernels.

    Args:
        graph: What is to be computed, in float32.
        samples: Inputs that means are taken from, `(count, height, width, channels)`.
    """
    means = _Means()
    for image in evenly_spaced(samples, _FEW):
        means.add(INPUT, image)
        for operation, _, after in computed(graph, image):
            means.add(operation.name, after)
    operations = tuple(_corrected(x, means, _as_bfloat16) for x in graph.operations)
    return replace(graph, operations=operations)


def _as_bfloat16(operation: Operation) -> Array:
    """Return a kernel as bfloat16 holds it: the nearest with half as many bits, an even one."""
    bits = np.ascontiguousarray(operation.kernel, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def _as_int8(operation: Operation) -> Array:
    codes, scales = kernel_codes(operation)
    shape = operation.kernel.shape[2:] if operation.kind == "depthwise" else (-1,)
    return np.asarray(codes * scales.reshape(shape))


class _Means:
    """The mean of each channel of the tensors, over all images and places."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, values: Array) -> None:
        rows = values.reshape(-1, values.shape[-1])
        # In double: sums of single precision are off by more than the shifts.
        self._sums[name] = self._sums.get(name, 0.0) + rows.mean(axis=0, dtype=np.float64)
        self._counts[name] = self._counts.get(name, 0) + 1

    def __getitem__(self, name: str) -> Array:
        return np.asarray(self._sums[name] / self._counts[name])


def _source(graph: Graph, operation: Operation) -> str:
    """Return the tensor that an operation takes, by the writer's name."""
    name = operation.inputs[0]
    return name if name == INPUT else tensor_behind(graph.by_name[name])


def _tensors(operation: Operation, before: Array, after: Array) -> Iterator[tuple[str, Array]]:
    """Yield the tensors that the writer makes of an operation, with their values."""
    if operation.activation == "hard_sigmoid" and operation.kernel is not None:
        yield f"{operation.name}/relu6", activated("relu6", before + np.float32(3))
        yield operation.name, after
    elif operation.activation and not fuses(operation):
        yield operation.name, before
        yield tensor_behind(operation), after
    else:
        yield operation.name, after


def kernel_codes(operation: Operation) -> tuple[npt.NDArray[np.int8], Array]:
    """Return a kernel's codes, symmetric about zero, and the scale of each output channel.

    The axes are the kernel's own; the scales are in the order of the outputs.
    """
    kernel = operation.kernel
    depthwise = operation.kind == "depthwise"
    axes = (0, 1) if depthwise else tuple(range(kernel.ndim - 1))
    largest = np.abs(kernel).max(axis=axes, keepdims=True)
    scale = np.where(largest > 0, largest / _LEVELS, 1.0).astype(np.float32)
    return np.rint(kernel / scale).astype(np.int8), scale.reshape(-1)


def _corrected(
    operation: Operation, means: _Means, rounded: Callable[[Operation], Array]
) -> Operation:
    """Return an operation whose bias makes up for what rounding its kernel adds on average."""
    if operation.kind not in _CORRECTED:
        return operation
    depthwise = operation.kind == "depthwise"
    error = rounded(operation) - operation.kernel
    taps, mean = error.sum(axis=(0, 1), dtype=np.float64), means[operation.inputs[0]]
    shift = (taps * mean[:, None]).reshape(-1) if depthwise else mean @ taps
    bias = 0.0 if operation.bias is None else operation.bias
    return replace(operation, bias=np.asarray(bias - shift, np.float32))
