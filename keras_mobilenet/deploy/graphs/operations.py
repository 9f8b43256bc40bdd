"""A graph as a runtime computes it: operations with their values, written down for no format yet.

Neither Keras nor a runtime is imported. `net_graph` makes one of a net and its arrays,
`keras_graph` of a Keras model's configuration; `writers` turns one into a file's content.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from keras_mobilenet.errors import AccuracyError
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.nets.conventions import NO_ZEROS, Length, Zeros, same_zeros

_HALF_ENDS = float(np.finfo(np.float16).max)

INPUT, OUTPUT = "input", "output"  # the tensors' names in every format
FEATURES = "features"  # that of what comes out beside the output, where something does
SIGNATURE = "serving_default"

Array = npt.NDArray[Any]
Pads = tuple[Zeros, Zeros]  # zeros around the height and the width
Kind = Literal[
    "convolution",  # kernel (height, width, inputs, outputs)
    "depthwise",  # kernel (height, width, inputs, outputs for each)
    "dense",  # kernel (inputs, outputs)
    "scale",  # x * kernel + bias, a number or one a channel
    "pad",
    "add",
    "multiply",
    "attention",  # of queries, keys and values
    "average",  # over the whole image
    "maximum",
    "flatten",
    "none",  # at inference nothing is done
]
# What may follow an operation at once; "" is nothing.
Activation = Literal[
    "", "relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "softmax", "gelu"
]  # fmt: skip
ACTIVATIONS = frozenset(get_args(Activation))
WEIGHTED = ("convolution", "depthwise", "dense")
POOLS = ("average", "maximum")


@dataclass(frozen=True, eq=False)
class Operation:
    """One step of a graph, and the activation behind it."""

    name: str  # also that of the tensor it puts out
    kind: Kind
    inputs: tuple[str, ...]
    channels: int  # of the output
    kernel: Any = None  # an array; None where the kind has none
    bias: Any = None
    stride: int = 1
    dilation: int = 1
    pads: Pads | None = NO_ZEROS  # around the input; None is TensorFlow's SAME
    activation: Activation = ""
    keepdims: bool = True  # of a pool that keeps a 1 x 1 image

    @property
    def window(self) -> tuple[int, int]:
        """The kernel's (height, width)."""
        shape = (1, 1) if self.kernel is None or self.kernel.ndim != 4 else self.kernel.shape
        return shape[0], shape[1]

    def zeros(self, axis: int, length: int) -> Zeros:
        """Return the zeros before and after an axis of the input, 0 for the height."""
        if self.pads is not None:
            return self.pads[axis]
        return same_zeros(length, self.window[axis], self.stride, self.dilation)

    def output_length(self, axis: int, length: Length) -> Length:
        """Return the output's length on an axis, None where it is not known."""
        if self.kind in POOLS:
            return 1
        if length is None:
            return None
        reach = (self.window[axis] - 1) * self.dilation + 1
        return (length + sum(self.zeros(axis, length)) - reach) // self.stride + 1

    def shape_behind(self, taken: Sequence[tuple[Length, ...]]) -> tuple[Length, ...]:
        """Return the output's shape, of one image, from the inputs'."""
        # A gate is 1 x 1: the largest of the inputs is what comes out.
        images = [shape for shape in taken if len(shape) == 3 and shape[:2] != (1, 1)]
        first = (images or taken)[0]
        flat = self.kind in POOLS and not self.keepdims
        if flat or len(first) == 1 or self.kind == "flatten":
            return (self.channels,)
        height, width = (self.output_length(axis, first[axis]) for axis in (0, 1))
        return height, width, self.channels


@dataclass(frozen=True, eq=False)
class Graph:
    """Operations, each behind those that it takes; the last one's result is the output."""

    name: str
    input_shape: tuple[Length, Length, int]  # (height, width, channels); None: any length
    operations: tuple[Operation, ...]
    pixels: bool = False  # whether the input is uint8
    features: str | None = None  # a tensor that comes out as well, of a `.tflite` file

    @cached_property
    def by_name(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {operation.name: operation for operation in self.operations}

    @cached_property
    def uses(self) -> Counter[str]:
        """How often each tensor is taken, and what comes out once more."""
        uses = Counter(name for operation in self.operations for name in operation.inputs)
        uses.update(self.outputs.values())
        return uses

    @property
    def output(self) -> str:
        """The name of the last operation, or of the input where there is none."""
        return self.operations[-1].name if self.operations else INPUT

    @property
    def outputs(self) -> dict[str, str]:
        """The tensors that come out, by the names that they have then."""
        also = {} if self.features is None else {FEATURES: self.features}
        return {OUTPUT: self.output} | also

    @cached_property
    def shapes(self) -> dict[str, tuple[Length, ...]]:
        """Each tensor's shape, of one image: `(height, width, channels)` or `(channels,)`."""
        shapes: dict[str, tuple[Length, ...]] = {INPUT: self.input_shape}
        for operation in self.operations:
            taken = [shapes[name] for name in operation.inputs]
            shapes[operation.name] = operation.shape_behind(taken)
        return shapes

    def zeros_of(self, operation: Operation) -> Pads | None:
        """Return the zeros around what an operation takes; None: they depend on a length unknown.

        Without a stride SAME puts as many around any length. ONNX Runtime refuses SAME where a
        kernel is dilated.
        """
        lengths = self.shapes[operation.inputs[0]][:2]
        if operation.pads is None and operation.stride > 1 and None in lengths:
            return None
        height, width = (operation.zeros(axis, n or 0) for axis, n in enumerate(lengths))
        return height, width

    def heads_of(self, attention: Operation) -> tuple[int, int]:
        """Return how many heads of queries an attention has, and the channels of one."""
        queries, keys = (self.shapes[name][-1] or 0 for name in attention.inputs[:2])
        return queries // keys, keys

    @property
    def classifies(self) -> bool:
        """Whether the output's largest value names a class: a net of features ends elsewhere."""
        last = self.by_name.get(self.output)
        features = (*POOLS, "flatten")
        plain = last is not None and last.activation not in ("relu", "relu6")
        return last is not None and plain and last.kind not in features

    def fingerprint(self) -> str:
        """Return a SHA-256 of what is computed: names are left out, every value goes in."""
        places = {INPUT: -1} | {x.name: place for place, x in enumerate(self.operations)}
        digest = hashlib.sha256(f"{self.pixels} {self.input_shape}".encode())
        for x in self.operations:
            inputs = [places[name] for name in x.inputs]
            settings = (x.kind, inputs, x.stride, x.dilation, x.pads, x.activation, x.keepdims)
            digest.update(repr(settings).encode())
            for values in (x.kernel, x.bias):
                if values is not None:
                    digest.update(f"{values.dtype} {values.shape}".encode())
                    digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def taking_pixels(self, scaling: Preprocessing) -> Graph:
        """Return the graph of pixels, uint8, that become its input by `scaling`."""
        if self.pixels:
            return self
        name = "rescaling"
        while name in self.by_name:
            name += "_"
        scales = scaled(name, INPUT, self.input_shape[2], scaling)
        first = [scales] if not scaling.takes_pixels else []
        rest = [_renamed(x, {INPUT: name} if first else {}) for x in self.operations]
        return replace(self, operations=(*first, *rest), pixels=True)


def scaled(name: str, source: str, channels: int, scaling: Preprocessing) -> Operation:
    """Return the operation that does what a preprocessing does."""
    kernel, bias = (
        np.atleast_1d(np.asarray(x, np.float64)) for x in (scaling.scale, scaling.offset)
    )
    return Operation(name, "scale", (source,), channels, kernel, bias)


def _renamed(operation: Operation, names: Mapping[str, str]) -> Operation:
    return replace(operation, inputs=tuple(names.get(n, n) for n in operation.inputs))


def leading_to(output: str, operations: Mapping[str, Operation]) -> tuple[Operation, ...]:
    """Return the operations that a tensor depends on, in their order."""
    needed, waiting = {output}, [output]
    while waiting:
        operation = operations.get(waiting.pop())
        new = {*operation.inputs} - needed if operation else set()
        needed |= new
        waiting += new
    return tuple(x for x in operations.values() if x.name in needed)


def simplified(graph: Graph) -> Graph:
    """Return a graph of the same values with as few operations as possible, in float32.

    Batch norms and other scales go into the kernels before them, zeros around an image into the
    convolutions behind, activations to what they follow; what does nothing is left out. A batch
    norm that no convolution stands before is a depthwise one of 1 x 1.

    Raises:
        AccuracyError: a kernel with a batch norm in it is too large for float32.
    """
    done: dict[str, Operation] = {}
    names: dict[str, str] = {}  # of tensors that others stand for
    for operation in graph.operations:
        taken = _renamed(operation, names)
        only = taken.inputs[0]
        before = done.get(only) if graph.uses[operation.inputs[0]] == 1 else None
        if taken.kind == "none" and not taken.activation:
            names[taken.name] = only
        elif before is not None and (merged := _behind(before, taken)) is not None:
            done[before.name] = merged
            names[taken.name] = before.name
        elif before is not None and _takes_zeros(before, taken):
            del done[before.name]
            done[taken.name] = replace(taken, inputs=before.inputs, pads=before.pads)
        else:
            done[taken.name] = taken
    features = None if graph.features is None else names.get(graph.features, graph.features)
    made = (_in_float32(_as_convolution(graph, x)) for x in done.values())
    return replace(graph, operations=tuple(made), features=features)


def _behind(before: Operation, operation: Operation) -> Operation | None:
    """Return an operation that does both; None where it takes two."""
    if before.activation or len(operation.inputs) != 1:
        return None
    if operation.kind == "none" and before.kind != "pad":
        return replace(before, activation=operation.activation)
    if operation.kind == "scale" and before.kind in WEIGHTED:
        return replace(_with_scale(before, operation), activation=operation.activation)
    return None


def _with_scale(convolution: Operation, scale: Operation) -> Operation:
    """Return a convolution with the scale behind it in its values, worked out in double."""
    factor = np.broadcast_to(np.asarray(scale.kernel, np.float64), convolution.channels)
    bias = factor * (0.0 if convolution.bias is None else convolution.bias) + scale.bias
    # A depthwise kernel has two axes of outputs, (input, which of its outputs).
    axes = convolution.kernel.shape[2:] if convolution.kind == "depthwise" else (-1,)
    if convolution.window != (1, 1):
        kernel = _rounded(convolution.kernel * factor.reshape(axes))
        return replace(convolution, kernel=kernel, bias=bias)
    kernel = np.empty(convolution.kernel.shape, np.float32)
    with np.errstate(over="ignore"):  # `_in_float32` raises
        # Rounded as it is written: all of it in double would be twice as much to write and read.
        np.multiply(convolution.kernel, factor.reshape(axes), out=kernel, casting="same_kind")
    return replace(convolution, kernel=kernel, bias=bias)


def _rounded(kernel: Array) -> npt.NDArray[np.float32]:
    """Return a kernel in float32 whose sum over the window is as near as each of its values.

    Neighbouring pixels are much alike, so that what a window puts out is mostly that sum times
    them. What is lost by rounding one value is given to the next smaller one.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # `_in_float32` raises
        taps = kernel.reshape(-1, *kernel.shape[2:])
        order = np.argsort(-np.abs(taps), axis=0)
        taps = np.take_along_axis(taps, order, 0)
        lost = np.zeros(taps.shape[1:])
        for tap in taps:
            wanted = tap + lost
            tap[...] = wanted.astype(np.float32)
            lost = wanted - tap
        rounded = np.empty(taps.shape, np.float32)
        np.put_along_axis(rounded, order, taps.astype(np.float32), 0)
        return rounded.reshape(kernel.shape)


def check_half(graph: Graph) -> None:
    """Raise unless float16 holds a graph's values: beyond its end some writers put infinity.

    Raises:
        AccuracyError: it does not; the message names the operation.
    """
    for operation in graph.operations:
        values = (x for x in (operation.kernel, operation.bias) if x is not None)
        largest = max((float(np.abs(x).max()) for x in values), default=0.0)
        if largest > _HALF_ENDS:
            raise AccuracyError(
                f"The values of {operation.name!r}, with the batch norm behind it, reach "
                f"{largest:.3g}, and float16 ends at {_HALF_ENDS:.0f}. Nothing was written. Export "
                "in float32 or int8, or look at the weights: those of trained nets are far smaller."
            )


def _as_convolution(graph: Graph, operation: Operation) -> Operation:
    """Return a scale of an image's channels as one operation: runtimes take two for it.

    What scales the input stays, as readers of files look for it there.
    """
    plain = operation.kind == "scale" and operation.inputs[0] != INPUT
    if not plain or len(graph.shapes[operation.name]) != 3:
        return operation
    factors, bias = (
        np.broadcast_to(x, operation.channels) for x in (operation.kernel, operation.bias)
    )
    return replace(operation, kind="depthwise", kernel=factors[None, None, :, None], bias=bias)


def _takes_zeros(before: Operation, operation: Operation) -> bool:
    convolves = operation.kind in ("convolution", "depthwise")
    return before.kind == "pad" and convolves and operation.pads == NO_ZEROS


def _in_float32(operation: Operation) -> Operation:
    with np.errstate(over="ignore"):  # it is checked below
        kernel, bias = (
            None if x is None else np.asarray(x, np.float32)
            for x in (operation.kernel, operation.bias)
        )
    if not all(x is None or np.isfinite(x).all() for x in (kernel, bias)):
        raise AccuracyError(
            f"The values of {operation.name!r}, with the batch norm behind it, are too large for "
            "float32. The weights are damaged, or of a model that does not work either."
        )
    return replace(operation, kernel=kernel, bias=bias)
