"""A TFLite flatbuffer as plain data: operators and tensors, looked at where they lie, never run.

The schema's own classes check nothing; every count is held against a limit here, and every
constant against its shape.
"""

from __future__ import annotations

import math
import struct
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_mobilenet.errors import CheckpointError, damage_as_error

MAX_OBJECTS = 10_000  # operators, tensors or buffers; a MobileNet has under 200
_MAX_AXES = 8
# What NumPy, struct and the schema's classes raise on damaged files.
_FAULTS = (struct.error, IndexError, KeyError, ValueError, TypeError, OverflowError, AttributeError)
_OPTIONS = ("Conv2DOptions", "DepthwiseConv2DOptions", "FullyConnectedOptions", "AddOptions",
            "MulOptions")  # fmt: skip
_DTYPES = {
    "FLOAT32": "<f4",
    "FLOAT16": "<f2",
    "FLOAT64": "<f8",
    "INT8": "i1",
    "UINT8": "u1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
}


@dataclass(frozen=True)
class Quantization:
    """Real values are `(stored - zero_point) * scale`, for the whole tensor or along `axis`."""

    scale: np.ndarray[Any, Any]
    zero_point: np.ndarray[Any, Any]
    axis: int


@dataclass(frozen=True)
class Tensor:
    """A tensor; `values` are a view of the file's bytes, None where the net computes them."""

    name: str
    shape: tuple[int, ...]
    type: str
    values: np.ndarray[Any, Any] | None
    quantization: Quantization | None


@dataclass(frozen=True)
class Operator:
    """A step of the net; inputs and outputs are numbers of tensors, -1 where there is none."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int]


@dataclass(frozen=True)
class Graph:
    """A net of one subgraph, its operators in the order in which they run."""

    input: int
    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]


def faults() -> AbstractContextManager[None]:
    """Turn what a damaged flatbuffer raises into `CheckpointError`."""
    return damage_as_error("the TFLite file", _FAULTS)


def parse(content: bytes) -> Graph:
    """Return the net in a TFLite file's bytes.

    Raises:
        CheckpointError: the file is damaged, or in a form that no MobileNet has.
    """
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415 - needed by few

    with faults():
        model = schema.Model.GetRootAs(content, 0)
        if model.SubgraphsLength() != 1:
            raise CheckpointError(f"{model.SubgraphsLength()} subgraphs, where a MobileNet has one")
        graph = model.Subgraphs(0)
        if graph.InputsLength() != 1:
            raise CheckpointError(f"{graph.InputsLength()} inputs, where a MobileNet has one")
        codes = [_operation(schema, code) for code in _all(model, "OperatorCodes")]
        operators = [_operator(schema, codes, o) for o in _all(graph, "Operators")]
        buffers = _all(model, "Buffers")
        tensors = [_tensor(schema, buffers, t) for t in _all(graph, "Tensors")]
        return Graph(int(graph.Inputs(0)), tuple(operators), tuple(tensors))


def _all(parent: Any, name: str) -> list[Any]:
    count = getattr(parent, f"{name}Length")()
    if count > MAX_OBJECTS:
        raise CheckpointError(f"the file declares {count:,} {name.lower()}, which no MobileNet has")
    return [getattr(parent, name)(i) for i in range(count)]


def _name_of(enumeration: Any, value: int) -> str:
    """Return the name of an enumeration's value; the number itself if this schema has none."""
    names = {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}
    return str(names.get(value, value))


def _operation(schema: Any, code: Any) -> str:
    # Files of before 2020 have the first of the two only, a byte.
    number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
    return _name_of(schema.BuiltinOperator, number)


def _operator(schema: Any, codes: list[str], operator: Any) -> Operator:
    options: dict[str, int] = {}
    kind = _name_of(schema.BuiltinOptions, operator.BuiltinOptionsType())
    if kind in _OPTIONS:
        table, parsed = operator.BuiltinOptions(), getattr(schema, kind)()
        parsed.Init(table.Bytes, table.Pos)
        for name in ("Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor",
                     "DepthMultiplier", "FusedActivationFunction"):  # fmt: skip
            if hasattr(parsed, name):
                options[name] = getattr(parsed, name)()
    return Operator(
        codes[operator.OpcodeIndex()], _numbers(operator, "Inputs"), _numbers(operator, "Outputs"),
        options,
    )  # fmt: skip


def _numbers(parent: Any, name: str, most: int = 64) -> tuple[int, ...]:
    if getattr(parent, f"{name}Length")() > most:
        raise CheckpointError(f"more than {most} {name.lower()}, which no MobileNet has")
    return tuple(int(n) for n in np.atleast_1d(_vector(parent, name)))


def _vector(parent: Any, name: str) -> np.ndarray[Any, Any]:
    """Return a vector of numbers, a view; an empty one where the schema's class returns 0."""
    if not getattr(parent, f"{name}Length")():
        return np.zeros(0, np.int64)
    return np.asarray(getattr(parent, f"{name}AsNumpy")())


def _tensor(schema: Any, buffers: list[Any], tensor: Any) -> Tensor:
    name = (tensor.Name() or b"")[:200].decode("utf-8", "replace")
    shape, kind = _numbers(tensor, "Shape", _MAX_AXES), _name_of(schema.TensorType, tensor.Type())
    buffer = buffers[tensor.Buffer()]
    if buffer.Offset() > 1 or tensor.ExternalBuffer():
        raise CheckpointError(f"{name} lies outside of the flatbuffer, which is not supported")
    values = None
    if buffer.DataLength():
        if tensor.Sparsity() is not None:
            raise CheckpointError(f"{name} is sparse, which is not supported")
        values = _values(name, shape, kind, _vector(buffer, "Data"))
    return Tensor(name, shape, kind, values, _quantization(tensor.Quantization()))


def _values(
    name: str, shape: tuple[int, ...], kind: str, stored: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any] | None:
    if kind not in _DTYPES:
        return None
    dtype = np.dtype(_DTYPES[kind])
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(stored):
        raise CheckpointError(
            f"{name} declares the shape {shape} of {kind}, and the file holds {len(stored):,} bytes"
        )
    return stored.view(dtype).reshape(shape)


def _quantization(quantization: Any) -> Quantization | None:
    if quantization is None or not quantization.ScaleLength():
        return None
    if quantization.DetailsType():
        raise CheckpointError("a tensor is quantised in a way of its own, which is not supported")
    scale, zero = _vector(quantization, "Scale"), _vector(quantization, "ZeroPoint")
    return Quantization(
        scale, zero if len(zero) else np.zeros(1, np.int64), quantization.QuantizedDimension()
    )
