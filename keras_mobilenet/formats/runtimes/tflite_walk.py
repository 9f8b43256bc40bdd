"""The convolutions of a TFLite graph in the order in which they run, and what lies between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.runtimes.known_nets import (
    ADDED,
    DENSE,
    HAS_ATTENTION,
    INPUT,
    MULTIPLIED,
    Scaling,
    Value,
)
from keras_mobilenet.formats.runtimes.tflite_model import Graph, Operator, Tensor
from keras_mobilenet.nets.conventions import Zeros

FULLY_CONNECTED = "FULLY_CONNECTED"
_KINDS = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D", FULLY_CONNECTED: DENSE}
_JOINING = {ADDED, MULTIPLIED}
_ACTIVATIONS = {"RELU", "RELU6", "HARD_SWISH", "SOFTMAX", "LOGISTIC"}
_MOVING = {"CAST", "QUANTIZE", "DEQUANTIZE"}  # changes no value
_POOLS = {"MEAN", "AVERAGE_POOL_2D"}
_FLATTENING = {"RESHAPE", "SQUEEZE"}
_SHAPES = {"SHAPE", "STRIDED_SLICE", "PACK"}  # work out the shape of a RESHAPE


@dataclass
class Step:
    """A convolution of the file, and what was found around it."""

    operator: Operator
    takes: Value
    kernel: int  # its height, and width
    pads: tuple[Zeros, Zeros] | None  # of a PAD ahead of it
    pooled: bool  # whether its input is of 1 x 1
    behind: list[str] = field(default_factory=list)  # operators of their own; "MUL 0.166667"

    @property
    def kind(self) -> str:
        """The Keras class."""
        return _KINDS[self.operator.name]

    @property
    def strides(self) -> tuple[int, ...]:
        """Along height and width."""
        return self._options("StrideH", "StrideW")

    @property
    def dilations(self) -> tuple[int, ...]:
        """Along height and width."""
        return self._options("DilationHFactor", "DilationWFactor")

    def _options(self, *names: str) -> tuple[int, ...]:
        return tuple(self.operator.options.get(name, -1) for name in names)


@dataclass
class Walk:
    """What was found in a graph."""

    graph: Graph
    steps: list[Step] = field(default_factory=list)
    constants: dict[int, Tensor] = field(default_factory=dict)  # float16, behind a DEQUANTIZE
    values: dict[int, Value] = field(default_factory=dict)  # of tensors that the net computes
    pads: dict[int, tuple[Zeros, Zeros]] = field(default_factory=dict)  # around some of these
    scaling: Scaling | None = None  # of the input; None: the net takes it as it is

    def tensor(self, number: int) -> Tensor:
        """Return a tensor, with a constant's values."""
        return self.constants.get(number) or self.graph.tensors[number]


def walked(graph: Graph) -> Walk:
    """Follow the operators from the input on."""
    walk = Walk(graph)
    walk.values[graph.input] = INPUT
    for operator in graph.operators:
        first = operator.inputs[0] if operator.inputs else -1
        if operator.name == "DEQUANTIZE" and graph.tensors[first].values is not None:
            walk.constants[operator.outputs[0]] = graph.tensors[first]
        elif operator.name not in _SHAPES:
            walk.values[operator.outputs[0]] = _value(walk, operator)
    return walk


def _value(walk: Walk, operator: Operator) -> Value:
    """Return what an operator makes."""
    computed = [number for number in operator.inputs if number in walk.values]
    if not computed or (operator.name not in _JOINING and len(computed) > 1):
        raise _another(walk, operator)
    if operator.name in _KINDS:
        return _step(walk, operator)
    if any(number in walk.pads for number in computed):
        raise CheckpointError(f"{_place(walk)} is {operator.name} on a padded image")
    taken = walk.values[computed[0]]
    if operator.name == "PAD":
        walk.pads[operator.outputs[0]] = _pads(walk, operator)
    elif len(computed) == 2 and not operator.options.get("FusedActivationFunction"):
        return operator.name, frozenset(walk.values[number] for number in computed)
    elif operator.name in _JOINING:
        _constant(walk, operator, computed[0])
    elif operator.name in _ACTIVATIONS and isinstance(taken, int):
        walk.steps[taken].behind.append(operator.name)
    elif operator.name in _POOLS:
        _check_pooled(walk, operator, operator.outputs[0])
    elif operator.name in _FLATTENING:
        _check_pooled(walk, operator, computed[0])
    elif operator.name not in _MOVING:
        raise _another(walk, operator)
    return taken


def _step(walk: Walk, operator: Operator) -> Value:
    image = operator.inputs[0]
    shape = walk.tensor(operator.inputs[1]).shape
    walk.steps.append(
        Step(
            operator,
            walk.values[image],
            shape[1] if len(shape) == 4 else 1,
            walk.pads.get(image),
            _is_pooled(walk, image),
        )
    )
    return len(walk.steps) - 1


def _constant(walk: Walk, operator: Operator, image: int) -> None:
    """Take a sum or product with a constant: of an input that is rescaled, or a gate's."""
    other = next((number for number in operator.inputs if number != image), image)
    constant, taken = walk.tensor(other).values, walk.values[image]
    if constant is None or operator.options.get("FusedActivationFunction"):
        raise _another(walk, operator)
    numbers, channels = constant.reshape(-1), walk.tensor(image).shape[-1]
    is_float = constant.dtype.kind == "f" and np.isfinite(numbers).all()
    if taken == INPUT and is_float and numbers.size in (1, channels):
        walk.scaling = _scaled(walk.scaling, operator.name, numbers.astype(np.float64))
    elif isinstance(taken, int) and is_float and numbers.size == 1:
        walk.steps[taken].behind.append(f"{operator.name} {float(numbers[0]):.6f}")
    else:
        raise _another(walk, operator)


def _scaled(before: Scaling | None, name: str, numbers: npt.NDArray[np.float64]) -> Scaling:
    """Return a scaling with one more sum or product behind it."""
    scale, offset = before or (np.ones(1), np.zeros(1))
    if name == ADDED:
        return scale, offset + numbers
    return scale * numbers, offset * numbers


def _is_pooled(walk: Walk, number: int) -> bool:
    return prod(walk.graph.tensors[number].shape[1:-1]) == 1


def _check_pooled(walk: Walk, operator: Operator, number: int) -> None:
    if not _is_pooled(walk, number):
        raise _another(walk, operator)


def _another(walk: Walk, operator: Operator) -> CheckpointError:
    if any(x.name == "BATCH_MATMUL" for x in walk.graph.operators):
        return CheckpointError(HAS_ATTENTION)
    return CheckpointError(f"{_place(walk)} is {operator.name}, so this is another net")


def _place(walk: Walk) -> str:
    return f"the operator behind {len(walk.steps)} convolutions"


def _pads(walk: Walk, operator: Operator) -> tuple[Zeros, Zeros]:
    """Return the zeros before and after on height and width, if they are there alone."""
    values = walk.graph.tensors[operator.inputs[1]].values
    rows = [] if values is None else values.tolist()
    if len(rows) != 4 or rows[0] != [0, 0] or rows[3] != [0, 0]:
        raise CheckpointError(f"{_place(walk)} pads by {rows}, which no MobileNet does")
    return (rows[1][0], rows[1][1]), (rows[2][0], rows[2][1])
