"""An ONNX graph as operations with constants, which is all that a MobileNet needs.

Nothing is computed: an operation whose constants the graph would compute is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike, Lazy

_EXTERNAL = 1  # TensorProto.DataLocation
_DTYPES = {1: np.float32, 6: np.int32, 7: np.int64, 10: np.float16, 11: np.float64}
_DTYPES |= {16: ml_dtypes.bfloat16}


@dataclass(frozen=True)
class Operation:
    """One node; its inputs are told by name, "" where one is left out."""

    type: str
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    output: str  # the first one; a MobileNet needs no other
    constants: Mapping[str, ArrayLike]

    def has(self, index: int) -> bool:
        """Return whether the node has an input with this number, from 0."""
        return index < len(self.inputs) and bool(self.inputs[index])

    def array(self, index: int) -> ArrayLike:
        """Return the constant that is input number `index`, from 0; its values are not read."""
        name = self.inputs[index] if self.has(index) else ""
        if name not in self.constants:
            what = f"{name!r} is computed in the graph, not stored" if name else "it is not there"
            raise CheckpointError(f"a {self.type} node takes {name or 'an input'}, but {what}")
        return self.constants[name]

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return an attribute that is a list of integers."""
        value = self.attributes.get(name, default)
        if not isinstance(value, tuple):
            raise CheckpointError(f"{name} of a {self.type} node is {value}, not a list")
        return value

    def number(self, name: str, default: float) -> float:
        """Return an attribute that is a number."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise CheckpointError(f"{name} of a {self.type} node is {value}, not a number")
        return value

    def numbers(self, index: int, attribute: str = "") -> list[float] | None:
        """Return the values of a small constant, or of an attribute; None where neither is."""
        if self.has(index):
            return [float(value) for value in np.asarray(self.array(index)).ravel()[:16]]
        value = self.attributes.get(attribute)
        if value is None:
            return None
        single = isinstance(value, int | float)
        return [self.number(attribute, 0)] if single else [*self.integers(attribute, ())]


@dataclass(frozen=True)
class Graph:
    """A net: its one input, of a shape where 0 is unknown, and its nodes in their order."""

    input: str
    shape: tuple[int, ...]
    operations: tuple[Operation, ...]


def parsed(graph: Any) -> Graph:
    """Return a graph as plain data.

    Raises:
        CheckpointError: the graph has several inputs, nodes of its own, or keeps values elsewhere.
    """
    constants, nodes = _constants(graph)
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise CheckpointError(f"the graph has {len(inputs)} inputs, a MobileNet has 1")
    foreign = next((node for node in nodes if node.domain not in ("", "ai.onnx")), None)
    if foreign is not None:
        raise CheckpointError(f"the graph has a {foreign.op_type} node of {foreign.domain}")
    shape = tuple(dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim)
    operations = [
        Operation(n.op_type, _attributes(n), tuple(n.input), n.output[0], constants) for n in nodes
    ]
    return Graph(inputs[0].name, shape, tuple(operations))


def _constants(graph: Any) -> tuple[dict[str, ArrayLike], list[Any]]:
    """Return the graph's constants by name, and the nodes that make none."""
    constants: dict[str, ArrayLike] = {t.name: _initializer(t, t.name) for t in graph.initializer}
    nodes = []
    for node in graph.node:
        if not node.output:
            raise CheckpointError(f"a {node.op_type} node has no output")
        if node.op_type == "Constant":
            tensors = [a.t for a in node.attribute if a.name == "value"]
            for tensor in tensors:
                constants[node.output[0]] = _initializer(tensor, node.output[0])
        elif node.op_type == "Identity" and node.input and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
        else:
            nodes.append(node)
    return constants, nodes


def _initializer(tensor: Any, name: str) -> ArrayLike:
    if tensor.data_location == _EXTERNAL or tensor.external_data:
        raise CheckpointError(
            f"{name} lies in another file, which is never opened: export the net in one file, with "
            "torch.onnx.export(..., external_data=False)"
        )
    shape = tuple(tensor.dims)
    if any(n < 0 for n in shape):
        raise CheckpointError(f"{name} has the shape {shape}")
    dtype = np.dtype(_DTYPES.get(tensor.data_type, np.void))
    return Lazy(shape, dtype, partial(_values, tensor, name, shape))


def _values(tensor: Any, name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    from onnx import numpy_helper  # noqa: PLC0415 - an optional package

    try:
        return np.asarray(numpy_helper.to_array(tensor)).reshape(shape)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{name} holds other values than its shape tells") from error


def _attributes(node: Any) -> dict[str, Any]:
    """Return a node's attributes of the simple kinds; the others mean nothing here."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        kinds = {1: attribute.f, 2: attribute.i, 3: attribute.s}
        lists = {6: attribute.floats, 7: attribute.ints}
        if attribute.type in kinds:
            found[attribute.name] = kinds[attribute.type]
        elif attribute.type in lists:
            found[attribute.name] = tuple(lists[attribute.type])
    return found
