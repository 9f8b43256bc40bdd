"""The convolutions of an ONNX graph in the order in which they run, and what lies between them.

Each tensor is a function of what one convolution puts out, or of a sum or a product of two such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike
from keras_mobilenet.formats.runtimes.known_nets import (
    ADDED,
    DENSE,
    HAS_ATTENTION,
    INPUT,
    MULTIPLIED,
    Value,
    rounded_scaling,
)
from keras_mobilenet.formats.runtimes.onnx import curves
from keras_mobilenet.formats.runtimes.onnx.curves import BINARY, POINTS, UNARY, Curve
from keras_mobilenet.formats.runtimes.onnx.onnx_graph import Graph, Operation

_JOINING = {"Add": ADDED, "Mul": MULTIPLIED}
_PASSED_OVER = {"Identity", "Dropout", "Cast"}  # what changes no value at inference
_SHAPE_ONLY = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}
_POOLS = {"GlobalAveragePool", "ReduceMean"}
_LAST_POOLS = {"GlobalMaxPool", "ReduceMax"}
_WEIGHTED = {"Conv", "Gemm", "MatMul"}
_ENDS = {"Softmax"}
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
_POOLED = "pooled"


@dataclass(frozen=True)
class Pad:
    """A node that pads an image of one layout."""

    node: Operation
    channels_last: bool


@dataclass
class Step:
    """A convolution of the file, or a dense layer, and what was found around it."""

    node: Operation
    takes: Value
    pooled: bool
    pad: Pad | None  # a node of its own ahead
    end: str  # the tensor behind all that is linear
    bias: ArrayLike | None
    norm: Operation | None = None
    scale: ArrayLike | None = None  # per channel, of a batch norm in two nodes
    shift: ArrayLike | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The kernel's own shape."""
        return tuple(self.node.array(1).shape)

    @property
    def channels(self) -> int:
        """How many it puts out."""
        rows = self.node.type == "Conv" or self.node.attributes.get("transB")
        return self.shape[0 if rows else -1]

    @property
    def kind(self) -> str:
        """The Keras class."""
        if self.node.type != "Conv":
            return DENSE
        groups = self.node.attributes.get("group", 1)
        return "DepthwiseConv2D" if groups == self.shape[0] and groups > 1 else "Conv2D"

    @property
    def strides(self) -> tuple[int, ...]:
        """Along height and width."""
        return () if self.kind == DENSE else self.node.integers("strides", (1, 1))

    @property
    def dilations(self) -> tuple[int, ...]:
        """Along height and width."""
        return () if self.kind == DENSE else self.node.integers("dilations", (1, 1))

    @property
    def kernel(self) -> int:
        """Its height."""
        return self.shape[2] if len(self.shape) == 4 else 1


@dataclass(frozen=True)
class _Tensor:
    """What one tensor is: a curve of something."""

    of: Value
    curve: Curve = field(default_factory=lambda: POINTS)
    pooled: bool = False  # of 1 x 1
    channels_last: bool = False
    pad: Pad | None = None  # that made it


class Walk:
    """What was found in a graph.

    Attributes:
        steps: Its convolutions.
        activations: What follows each of them where it is taken, by number; None: no known one.
        scaling: What the graph multiplies its input by, and adds; None: it takes it as it is.
        channels_last: Whether its input is (batch, height, width, channels).
    """

    def __init__(self, graph: Graph) -> None:
        self.steps: list[Step] = []
        self.activations: dict[Value, set[str | None]] = {}
        self.scaling: tuple[Curve, Curve] | None = None
        self._readers = Counter(name for node in graph.operations for name in node.inputs)
        self.channels_last = _first_turn(graph) == "Transpose"
        products = (x for x in graph.operations if x.type == "MatMul")
        self._attends = any(x.constants.keys().isdisjoint(x.inputs) for x in products)
        self._tensors = {graph.input: _Tensor(INPUT, channels_last=self.channels_last)}
        for node in graph.operations:
            self._follow(node)
        for name, tensor in self._tensors.items():
            if not self._readers[name]:
                self._use(tensor)

    def _follow(self, node: Operation) -> None:
        images = [n for n in node.inputs if n in self._tensors]
        if not images or node.type == "Shape":
            return  # works out a constant or a shape
        if node.output in self._tensors:
            raise CheckpointError("the graph runs in a circle")
        make = self._maker(node.type)
        padded = any(self._tensors[name].pad for name in images) and node.type not in (
            "Conv",
            "Transpose",
        )
        if make is None or padded or (len(images) > 1 and node.type not in BINARY):
            raise self.another(node)
        self._tensors[node.output] = make(node, images)

    def _maker(self, kind: str) -> Callable[[Operation, list[str]], _Tensor] | None:
        makers: Mapping[str, Callable[[Operation, list[str]], _Tensor]] = {
            **dict.fromkeys(_WEIGHTED, self._step),
            **dict.fromkeys(BINARY, self._binary),
            **dict.fromkeys(UNARY, self._unary),
            **dict.fromkeys(_PASSED_OVER, lambda node, images: self._tensors[images[0]]),
            **dict.fromkeys(_SHAPE_ONLY, self._reshaped),
            **dict.fromkeys(_POOLS | _LAST_POOLS, self._pool),
            **dict.fromkeys(_ENDS, self._ended),
            "BatchNormalization": self._batch_norm,
            "Pad": self._padded,
            "Transpose": self._transposed,
        }
        return makers.get(kind)

    def another(self, node: Operation) -> CheckpointError:
        """Return the error about a node that no MobileNet has where it is."""
        if self._attends:
            return CheckpointError(HAS_ATTENTION)
        place = f"the node behind {len(self.steps)} convolutions"
        return CheckpointError(f"{place} is {node.type}, so this is another net")

    def _use(self, tensor: _Tensor) -> Value:
        """Note that a tensor is taken as it is, and return what it is a curve of."""
        if tensor.of == INPUT:
            self._check_scaling(tensor)
        elif isinstance(tensor.of, int):
            name = curves.name_of(tensor.curve)
            self.activations.setdefault(tensor.of, set()).add(name)
        elif curves.name_of(tensor.curve) != "":
            raise CheckpointError(
                f"the node behind {len(self.steps)} convolutions is an activation of a sum, a "
                "product or a pool, so this is another net"
            )
        return tensor.of

    def _check_scaling(self, tensor: _Tensor) -> None:
        if tensor.curve is POINTS:
            return
        self.scaling = rounded_scaling(curves.scaling(tensor.curve))
        if self.scaling is None:
            raise CheckpointError("the graph changes its input in a way that no MobileNet does")

    def _step(self, node: Operation, images: list[str]) -> _Tensor:
        image = self._tensors[images[0]]
        if node.inputs[0] != images[0] or (image.channels_last and not image.pooled):
            raise self.another(node)
        taken = self._use(image)
        if isinstance(taken, tuple) and taken[0] == _POOLED:
            taken = taken[1]
        if node.type != "Conv" and not image.pooled:
            raise self.another(node)
        bias = node.array(2) if node.has(2) else None
        self.steps.append(Step(node, taken, image.pooled, image.pad, node.output, bias))
        return _Tensor(len(self.steps) - 1, pooled=image.pooled)

    def _batch_norm(self, node: Operation, images: list[str]) -> _Tensor:
        step = self._step_before(images[0])
        if step is None or step.norm or step.scale or step.shift:
            raise self.another(node)
        step.norm, step.end = node, node.output
        return self._tensors[images[0]]

    def _step_before(self, name: str) -> Step | None:
        """Return the step that puts out a tensor, if nothing else takes it."""
        of = self._tensors[name].of
        step = self.steps[of] if isinstance(of, int) else None
        return step if step and step.end == name and self._readers[name] == 1 else None

    def _unary(self, node: Operation, images: list[str]) -> _Tensor:
        tensor = self._tensors[images[0]]
        return replace(tensor, curve=curves.behind(node, tensor.curve))

    def _binary(self, node: Operation, images: list[str]) -> _Tensor:
        if len(images) == 1 and len(node.inputs) == 2:
            return self._with_constant(node, images[0])
        first, *others = (self._tensors[name] for name in images)
        if len(others) != 1 or len(node.inputs) != 2:
            if node.type in ("Min", "Max") and len(node.inputs) == 1:
                return first
            raise self.another(node)
        second = others[0]
        if first.of == second.of and first.pooled == second.pooled:
            combined = BINARY[node.type](first.curve, second.curve)
            return replace(first, curve=combined)
        pooled = first.pooled or second.pooled
        alike = first.channels_last == second.channels_last
        if node.type not in _JOINING or not (alike or pooled):
            raise self.another(node)
        both = frozenset((self._use(first), self._use(second)))
        image = second if first.pooled else first
        return _Tensor(
            (_JOINING[node.type], both),
            pooled=first.pooled and second.pooled,
            channels_last=image.channels_last,
        )

    def _with_constant(self, node: Operation, name: str) -> _Tensor:
        tensor, place = self._tensors[name], node.inputs.index(name)
        constant = node.array(1 - place)
        step = self._step_before(name)
        if step and node.type in ("Add", "Mul") and _is_per_channel(constant, step, tensor):
            return self._linear(node, step, constant, tensor)
        values = np.asarray(constant, np.float64)
        if values.size != 1 and (tensor.of != INPUT or values.size > POINTS.size):
            raise self.another(node)
        column = values.reshape(-1, 1) if values.size > 1 else values.reshape(())
        with np.errstate(all="ignore"):
            pair = (tensor.curve, column) if place == 0 else (column, tensor.curve)
            return replace(tensor, curve=np.asarray(BINARY[node.type](*pair)))

    def _linear(self, node: Operation, step: Step, constant: ArrayLike, tensor: _Tensor) -> _Tensor:
        """Take what is multiplied with a step's channels, or added to them."""
        if step.norm or step.shift is not None or (step.scale is not None and node.type == "Mul"):
            raise self.another(node)
        if node.type == "Mul":
            step.scale = constant
        else:
            step.shift = constant
        step.end = node.output
        return tensor

    def _padded(self, node: Operation, images: list[str]) -> _Tensor:
        tensor = self._tensors[images[0]]
        return replace(tensor, pad=Pad(node, tensor.channels_last))

    def _transposed(self, node: Operation, images: list[str]) -> _Tensor:
        tensor = self._tensors[images[0]]
        orders = {_TO_CHANNELS_FIRST if tensor.channels_last else _TO_CHANNELS_LAST}
        if tensor.pooled:  # of 1 x 1 the two are the same values
            orders = {_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST}
        if node.attributes.get("perm") not in orders:
            raise CheckpointError("the graph turns an image's axes in another way than expected")
        if step := self._step_before(images[0]):
            step.end = node.output
        return replace(tensor, channels_last=not (tensor.channels_last or tensor.pooled))

    def _pool(self, node: Operation, images: list[str]) -> _Tensor:
        tensor = self._tensors[images[0]]
        over = node.numbers(1, "axes") if node.type.startswith("Reduce") else [2, 3]
        first = tensor.channels_last and node.type.startswith("Reduce")
        if {axis % 4 for axis in over or ()} != ({1, 2} if first else {2, 3}):
            raise CheckpointError("the pool is not over the image's height and width")
        taken = self._use(tensor)
        if tensor.pooled or (tensor.channels_last and not first):
            raise self.another(node)
        kind = _POOLED if node.type in _POOLS else node.type
        return _Tensor((kind, taken), pooled=True)

    def _reshaped(self, node: Operation, images: list[str]) -> _Tensor:
        tensor = self._tensors[images[0]]
        if not tensor.pooled:
            raise self.another(node)
        return replace(tensor, channels_last=False)

    def _ended(self, node: Operation, images: list[str]) -> _Tensor:
        return _Tensor((node.type, self._use(self._tensors[images[0]])), pooled=True)


def _first_turn(graph: Graph) -> str:
    """Return whether the input is transposed first, or goes into a convolution as it is."""
    behind = {graph.input}
    for node in graph.operations:
        if not behind.isdisjoint(node.inputs) and node.type != "Shape":
            if node.type in ("Transpose", "Conv"):
                return node.type
            behind.add(node.output)
    return ""


def _is_per_channel(constant: ArrayLike, step: Step, tensor: _Tensor) -> bool:
    """Return whether a constant has one value for each channel of a step."""
    shape: tuple[Any, ...] = tuple(constant.shape)
    flat = (step.channels,)
    in_the_end = tensor.pooled or tensor.channels_last
    if in_the_end and shape[-1:] == flat and int(np.prod(shape)) == step.channels:
        return True
    if tensor.channels_last:
        return False
    return shape[-3:] == (*flat, 1, 1) and int(np.prod(shape)) == step.channels
