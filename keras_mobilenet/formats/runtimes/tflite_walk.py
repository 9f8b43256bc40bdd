"""The convolutions of a TFLite graph in the order in which they run, and what lies between them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from math import isclose, prod

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.runtimes.tflite_model import Graph, Operator, Tensor
from keras_mobilenet.nets.conventions import Zeros
from keras_mobilenet.nets.net import Net

CONVOLUTIONS = {"Conv2D": "CONV_2D", "DepthwiseConv2D": "DEPTHWISE_CONV_2D"}
FULLY_CONNECTED = "FULLY_CONNECTED"
WEIGHTED = {*CONVOLUTIONS.values(), FULLY_CONNECTED}
INPUT = "input"
# An image as what it is made of: the input, a convolution's number, or a pair of such, joined.
Value = Hashable
_JOINING = {"ADD": "Add", "MUL": "Multiply"}
_ACTIVATIONS = {"RELU", "RELU6", "HARD_SWISH", "SOFTMAX", "LOGISTIC"}
_MOVING = {"QUANTIZE", "DEQUANTIZE"}  # changes no value
_POOLS = {"MEAN", "AVERAGE_POOL_2D"}
_FLATTENING = {"RESHAPE", "SQUEEZE"}
_SHAPES = {"SHAPE", "STRIDED_SLICE", "PACK"}  # work out the shape of a RESHAPE
_RESCALING = {"MUL": 1 / 127.5, "ADD": -1.0}  # of pixels, in the graph of a net that takes them
RESCALED = "its graph scales pixels to -1 to 1 itself: its weights take what that makes"


@dataclass
class Step:
    """A convolution of the file, and what was found around it."""

    operator: Operator
    takes: Value
    kernel: int  # its height, and width
    pads: tuple[Zeros, Zeros] | None  # of a PAD ahead of it
    pooled: bool  # whether its input is of 1 x 1
    behind: list[str] = field(default_factory=list)  # operators of their own; "MUL 0.166667"


@dataclass
class Walk:
    """What was found in a graph."""

    graph: Graph
    steps: list[Step] = field(default_factory=list)
    constants: dict[int, Tensor] = field(default_factory=dict)  # float16, behind a DEQUANTIZE
    values: dict[int, Value] = field(default_factory=dict)  # of tensors that the net computes
    pads: dict[int, tuple[Zeros, Zeros]] = field(default_factory=dict)  # around some of these
    notes: tuple[str, ...] = ()

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
    if operator.name in WEIGHTED:
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
    if constant is None or constant.size != 1 or operator.options.get("FusedActivationFunction"):
        raise _another(walk, operator)
    number = float(constant.reshape(-1)[0])
    if taken == INPUT and isclose(number, _RESCALING[operator.name], rel_tol=1e-5):
        walk.notes = (RESCALED,)
    elif isinstance(taken, int) and constant.dtype.kind == "f":
        walk.steps[taken].behind.append(f"{operator.name} {number:.6f}")
    else:
        raise _another(walk, operator)


def _is_pooled(walk: Walk, number: int) -> bool:
    return prod(walk.graph.tensors[number].shape[1:-1]) == 1


def _check_pooled(walk: Walk, operator: Operator, number: int) -> None:
    if not _is_pooled(walk, number):
        raise _another(walk, operator)


def _another(walk: Walk, operator: Operator) -> CheckpointError:
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


def taken_by(net: Net) -> list[Value]:
    """Return what each convolution of a net takes, as `Step.takes` is."""
    numbers = {layer.name: number for number, layer in enumerate(net.convolutions)}
    operators = {kind: name for name, kind in _JOINING.items()}
    values: dict[str, Value] = {}
    found: list[Value] = []
    for layer in net:
        inputs = [values[before.name] for before in net.inputs[layer.name]] or [INPUT]
        if layer.kernel:
            found.append(inputs[0])
        joined = operators.get(layer.kind)
        values[layer.name] = (joined, frozenset(inputs)) if joined else inputs[0]
        values[layer.name] = numbers.get(layer.name, values[layer.name])
    return found


def activations_of(net: Net) -> dict[str, str | None]:
    """Return the activation behind each convolution, by its name.

    "" where there is none, None where a net leaves it to its caller.
    """
    found: dict[str, str | None] = {layer.name: "" for layer in net.convolutions}
    behind: dict[str, str] = {}  # layers on the way to an activation
    for layer in net:
        before = net.inputs[layer.name]
        if layer.kernel:
            behind[layer.name] = layer.name
        elif layer.kind == "BatchNormalization" and before[0].name in behind:
            behind[layer.name] = behind[before[0].name]
        elif layer.kind in ("ReLU", "Activation") and before[0].name in behind:
            found[behind[before[0].name]] = layer.activation
    return found
