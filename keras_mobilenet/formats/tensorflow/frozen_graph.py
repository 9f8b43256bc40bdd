"""A frozen GraphDef of TF-slim's MobileNet V1: its constants are read, the graph is never run.

The other nodes are looked at, so that a graph is refused that computes something else with the same
constants: another activation, other strides, fake quantisation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.files import bounded_content
from keras_mobilenet.formats.arrays import ArrayLike, shortened
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.tensorflow import protobuf_wire as wire
from keras_mobilenet.formats.tensorflow import slim_net, tf_values
from keras_mobilenet.formats.tensorflow.slim_net import SLIM_AVERAGE, SLIM_ROOT, from_slim
from keras_mobilenet.nets.families import v1

NAME = "frozen GraphDef of TF-slim"
MAX_NODES = 20_000  # a MobileNet's has under 1,000
# A node, in it its name, and behind it the name of its operation.
_FIRST_NODE = re.compile(
    rb"\n[\x80-\xff]{0,4}[\x00-\x7f]\n[\x01-\x7f][A-Za-z0-9.][\w./>-]*\x12[\x01-\x7f][A-Z_]"
)
_BATCH_NORMS = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}
_CONVOLUTIONS = {"Conv2D", "DepthwiseConv2dNative"}
# What slim's inference graph is made of. `Relu6` is the one activation, and SAME the one padding.
_OPERATIONS = (
    _BATCH_NORMS
    | _CONVOLUTIONS
    | {"Const", "Identity", "Relu6", "AvgPool", "Mean", "BiasAdd", "Squeeze", "Reshape", "Softmax"}
    | {"Add", "AddV2", "Sub", "Mul", "Rsqrt", "Shape", "NoOp", "Placeholder"}
)
_LOGITS = f"{SLIM_ROOT}Logits/"
# GraphDef, NodeDef, an entry of NodeDef's attributes, and AttrValue
_NODE = 1
_NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 5
_KEY, _VALUE = 1, 2
_LIST, _BYTES, _FLOAT, _TENSOR = 1, 2, 4, 8
_LIST_INTEGERS = 3
# TensorProto
_DTYPE, _SHAPE = 1, 2


def recognises(path: str, head: bytes) -> bool:
    """Return whether a file that begins with `head` is a graph of TensorFlow's, of any net."""
    return _FIRST_NODE.match(head) is not None


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the graph at `path`, if the file has `max_bytes` at most."""
    nodes = _nodes(memoryview(bounded_content(path, max_bytes)))
    if not nodes:
        raise CheckpointError(f"the graph has no node {SLIM_ROOT}..., so it is another net")
    _check(nodes)
    yield slim_net.checkpoint(NAME, _constants(nodes), _epsilon(nodes))


@dataclass(frozen=True)
class _Node:
    name: str
    operation: str
    message: memoryview

    def attribute(self, key: str) -> memoryview:
        """Return the value of an attribute; an empty one if it is not set."""
        for entry in wire.parts(self.message, _NODE_ATTRIBUTE):
            if wire.text(entry, _KEY) == key:
                return wire.part(entry, _VALUE)
        return memoryview(b"")


def _nodes(graph: memoryview) -> list[_Node]:
    """Return the nodes of slim's net."""
    nodes: dict[str, _Node] = {}
    for count, message in enumerate(wire.parts(graph, _NODE), start=1):
        if count > MAX_NODES:
            raise CheckpointError(f"more than {MAX_NODES:,} nodes, which no MobileNet has")
        name = wire.text(message, _NODE_NAME)
        if name in nodes:
            raise CheckpointError(f"two nodes have the name {name}")
        nodes[name] = _Node(name, wire.text(message, _NODE_OP), message)
    return [node for name, node in nodes.items() if name.startswith(SLIM_ROOT)]


def _check(nodes: Sequence[_Node]) -> None:
    """Refuse a net that computes something else than slim's MobileNet V1."""
    if odd := [f"{n.name} ({n.operation})" for n in nodes if n.operation not in _OPERATIONS]:
        raise CheckpointError(
            "the graph computes something else than a float MobileNet V1: "
            + ", ".join(shortened(odd))
        )
    for node in nodes:
        if node.operation in _CONVOLUTIONS:
            padding = bytes(wire.part(node.attribute("padding"), _BYTES))
            if padding != b"SAME" and _strides(node) != (1, 1):
                raise CheckpointError(f"{node.name} pads {padding.decode('latin1')}, not SAME")
        if node.operation == "BiasAdd" and not node.name.startswith(_LOGITS):
            raise CheckpointError(f"{node.name} adds a bias, of which a MobileNet V1 has none")
    layers = v1.network(include_top=False)
    for what, actual, expected in (
        (
            "convolutions with a stride of 2",
            sum(_strides(n) == (2, 2) for n in nodes if n.operation in _CONVOLUTIONS),
            sum(layer.stride == 2 for layer in layers),
        ),
        (
            "Relu6",
            sum(node.operation == "Relu6" for node in nodes),
            sum(layer.kind == "ReLU" for layer in layers),
        ),
    ):
        if actual != expected:
            raise CheckpointError(f"the graph has {actual} {what}, a MobileNet V1 {expected}")


def _strides(node: _Node) -> tuple[int, ...]:
    """Return a convolution's strides in height and width; the list is packed or is not."""
    values: list[int] = []
    for number, content in wire.fields(wire.part(node.attribute("strides"), _LIST)):
        if number == _LIST_INTEGERS and isinstance(content, int):
            values.append(content)
        elif number == _LIST_INTEGERS and not isinstance(content, int):
            position = 0
            while position < len(content):
                value, position = wire.varint(content, position)
                values.append(value)
    return tuple(values[1:3])


def _epsilon(nodes: Sequence[_Node]) -> float:
    """Return the batch norms' epsilon: an attribute, or a constant where they are not fused."""
    stored = {
        bytes(wire.part(node.attribute("epsilon"), _FLOAT))
        for node in nodes
        if node.operation in _BATCH_NORMS
    } or {
        np.asarray(_constant(node)).astype("<f4").tobytes()
        for node in nodes
        if node.operation == "Const" and node.name.endswith("/batchnorm/add/y")
    }
    if not stored:
        raise CheckpointError("the graph has no batch norms: they were folded into the kernels")
    value = stored.pop()
    if stored or len(value) != 4:
        raise CheckpointError("the graph's batch norms have several epsilons, or damaged ones")
    return float(str(np.frombuffer(value, "<f4")[0]))  # 0.001, as it was written before float32


def _constants(nodes: Sequence[_Node]) -> dict[str, ArrayLike]:
    """Return the variables that were frozen, under slim's names."""
    known = from_slim()
    return {
        node.name: _constant(node)
        for node in nodes
        if node.operation == "Const" and node.name.removesuffix(SLIM_AVERAGE) in known
    }


def _constant(node: _Node) -> ArrayLike:
    tensor = wire.part(node.attribute("value"), _TENSOR)
    axes = tf_values.shape(wire.part(tensor, _SHAPE), node.name)
    return tf_values.from_constant(tensor, wire.integer(tensor, _DTYPE), axes, node.name)
