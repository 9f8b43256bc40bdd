"""A graph as a TFLite flatbuffer, with the schema that LiteRT's package ships.

It has builtin operators only, and of them those that LiteRT's kernels take the fewest steps for:
zeros are left to a convolution where they are TensorFlow's SAME, a clipping ReLU to what it
follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_mobilenet.deploy.graphs.operations import (
    INPUT,
    SIGNATURE,
    Activation,
    Array,
    Graph,
    Operation,
)
from keras_mobilenet.nets.conventions import NO_ZEROS, Length, same_zeros

_IDENTIFIER = b"TFL3"
_VERSION = 3
_ALIGNMENT = 16  # bytes: LiteRT reads constants where they lie in the file
_TYPES = {name: name.upper() for name in ("float32", "float16", "uint8", "int8", "int32")}
_VERSIONS = {"DEQUANTIZE": 3}  # of operators that came later than others' first; this: float16
_FUSED = {"": "NONE", "relu": "RELU", "relu6": "RELU6"}
_FUSING = {  # operators that clip what they put out, and their options
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
}
_ALONE: dict[Activation, str] = {
    "relu": "RELU",
    "relu6": "RELU6",
    "hard_swish": "HARD_SWISH",
    "sigmoid": "LOGISTIC",
    "softmax": "SOFTMAX",
    "gelu": "GELU",
}
_OPERATORS = {
    "convolution": "CONV_2D",
    "depthwise": "DEPTHWISE_CONV_2D",
    "dense": "FULLY_CONNECTED",
    "add": "ADD",
    "multiply": "MUL",
    "average": "MEAN",
    "maximum": "REDUCE_MAX",
}


def fuses(operation: Operation) -> bool:
    """Return whether an operation and its activation are one operator."""
    clips = _OPERATORS.get(operation.kind, "") in _FUSING
    return clips and operation.activation in _FUSED


def tensor_behind(operation: Operation) -> str:
    """Return the name of the tensor that an operation's result is."""
    own = not operation.activation or fuses(operation)
    gate = operation.activation == "hard_sigmoid" and operation.kernel is not None
    return operation.name if own or gate else f"{operation.name}/{operation.activation}"


def tflite_content(graph: Graph, *, batch: int | None = None, float16: bool = False) -> bytes:
    """Return the content of a `.tflite` file.

    Args:
        graph: What it computes; the tensors are called `input` and `output`.
        batch: How many images it takes at once, None for any number.
        float16: Whether kernels are stored in half precision, and widened when it is opened.
    """
    return Writer(graph, batch, float16=float16).content()


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """The bytes of values, which are packed with one copy, where the schema takes three."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's
        data = builder.CreateByteVector(self.data)
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class Writer:
    """The tables of one file, as they fill up."""

    def __init__(self, graph: Graph, batch: int | None, *, float16: bool = False) -> None:
        self._graph, self._batch, self._float16 = graph, batch, float16
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first one is no one's values
        self._operators: list[Any] = []
        self._codes: list[str] = []
        self._constants: dict[bytes, int] = {}  # small ones are shared
        self._made: dict[str, int] = {}  # tensors by the names of what put them out

    def content(self) -> bytes:
        """Return the file's content."""
        first, self._made[INPUT] = self._input()
        for operation in self._graph.operations:
            self._made[operation.name] = self._add(operation)
        outputs = {
            name: self._output(self._made[made], made) for name, made in self._graph.outputs.items()
        }
        for name, tensor in outputs.items():
            self._tensors[tensor].name = name
        return self._packed(first, outputs)

    def _input(self) -> tuple[int, int]:
        """Add the input, and return it and what the operations take for it."""
        graph = self._graph
        first = self._tensor(INPUT, graph.input_shape, "uint8" if graph.pixels else "float32")
        return first, self._cast(first) if graph.pixels else first

    def _output(self, made: int, _name: str) -> int:
        """Return the tensor that comes out of the file where an operation's result does."""
        return made

    def _packed(self, first: int, outputs: Mapping[str, int]) -> bytes:
        subgraph = schema.SubGraphT()
        subgraph.name = self._graph.name
        subgraph.tensors, subgraph.operators = self._tensors, self._operators
        subgraph.inputs, subgraph.outputs = [first], [*outputs.values()]
        model = schema.ModelT()
        model.version = _VERSION
        model.description = "keras-mobilenet"
        model.subgraphs, model.buffers = [subgraph], self._buffers
        model.operatorCodes = [_code(name) for name in self._codes]
        model.signatureDefs = [_signature(first, outputs)]
        size = sum(0 if b.data is None else len(b.data) for b in self._buffers)
        builder = flatbuffers.Builder(size + (1 << 18))  # and the tables: it doubles when full
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        del model.buffers[:]  # the same values a third time
        return bytes(memoryview(builder.Bytes)[builder.Head() :])  # `Output` would copy twice

    def _add(self, operation: Operation) -> int:
        """Add the operators of an operation and return the tensor that comes out."""
        taken = [self._made[name] for name in operation.inputs]
        shape = self._graph.shapes[operation.name]
        if operation.kind in ("scale", "flatten", "pad", "none"):
            made = getattr(self, f"_{operation.kind}")(operation, taken[0], shape)
            return self._activated(operation, made, shape)
        if operation.activation == "hard_sigmoid" and operation.kernel is not None:
            return self._weighted_gate(operation, shape)
        if operation.kernel is not None:
            padding, taken = self._padded(operation, taken)
            taken += [self._kernel(operation), self._bias(operation)]
        else:
            padding = ""
        if operation.kind == "attention":
            return self._activated(operation, self._attention(operation, taken), shape)
        name = _OPERATORS[operation.kind]
        fused = fuses(operation)
        clip = _FUSED[operation.activation if fused else ""]
        options = self._options(operation, padding, clip)
        if operation.kind in ("average", "maximum"):
            taken.append(self._constant(np.array([1, 2], np.int32)))
        made = self._operator(name, taken, operation.name, shape, options)
        return made if fused else self._activated(operation, made, shape)

    def _weighted_gate(self, operation: Operation, shape: Sequence[Length]) -> int:
        """Add a convolution with relu6(x + 3) / 6 behind it, the 3 in its bias."""
        bias = (0 if operation.bias is None else operation.bias) + np.float32(3)
        name = f"{operation.name}/relu6"
        clipped = replace(operation, name=name, bias=bias, activation="relu6")
        self._graph.shapes[name] = tuple(shape)
        inputs = [self._add(clipped), self._constant(np.array([1 / 6], np.float32))]
        return self._operator("MUL", inputs, operation.name, shape, schema.MulOptionsT())

    def _options(self, operation: Operation, padding: str, clip: str) -> Any:
        name = _OPERATORS[operation.kind]
        if operation.kind in ("average", "maximum"):
            reducing = schema.ReducerOptionsT()
            reducing.keepDims = operation.keepdims
            return reducing
        options = getattr(schema, f"{_FUSING[name]}T")()
        options.fusedActivationFunction = getattr(schema.ActivationFunctionType, clip)
        if padding:
            options.padding = getattr(schema.Padding, padding)
            options.strideH = options.strideW = operation.stride
            options.dilationHFactor = options.dilationWFactor = operation.dilation
        if operation.kind == "depthwise":
            options.depthMultiplier = operation.kernel.shape[3]
        return options

    def _padded(self, operation: Operation, taken: list[int]) -> tuple[str, list[int]]:
        """Return a convolution's padding, and what it takes then; "" of one without a window."""
        if operation.kind == "dense":
            return "", taken
        if operation.pads is None:
            return "SAME", taken
        if operation.pads == NO_ZEROS:
            return "VALID", taken
        source = self._graph.shapes[operation.inputs[0]]
        same = all(
            length is not None and operation.pads[axis] == _same(operation, axis, length)
            for axis, length in enumerate(source[:2])
        )
        return ("SAME", taken) if same else ("VALID", [self._pad(operation, taken[0], source)])

    def _pad(self, operation: Operation, taken: int, source: Sequence[Length]) -> int:
        """Add zeros around an image."""
        zeros = operation.pads or NO_ZEROS
        height, width = (
            None if n is None else n + sum(zeros[axis]) for axis, n in enumerate(source[:2])
        )
        amounts = self._constant(np.array([(0, 0), *zeros, (0, 0)], np.int32))
        shape = (height, width, source[2])
        name = operation.name if operation.kind == "pad" else f"{operation.name}/pad"
        return self._operator("PAD", [taken, amounts], name, shape, schema.PadOptionsT())

    def _scale(self, operation: Operation, taken: int, shape: Sequence[Length]) -> int:
        for name, values, neutral in (("Mul", operation.kernel, 1), ("Add", operation.bias, 0)):
            if (values == neutral).all():
                continue
            options = getattr(schema, f"{name}OptionsT")()
            tensor = f"{operation.name}/{name.lower()}"
            inputs = [taken, self._constant(values)]
            taken = self._operator(name.upper(), inputs, tensor, shape, options)
        return taken

    def _flatten(self, operation: Operation, taken: int, shape: Sequence[Length]) -> int:
        return self._reshaped(taken, operation.name, shape)

    def _attention(self, operation: Operation, taken: list[int]) -> int:
        """Add a product of queries and keys, and one of its softmax and the values.

        Channels come last, so that the heads of each pixel are so many rows more.
        """
        name, shape = operation.name, self._graph.shapes[operation.name]
        heads, depth = self._graph.heads_of(operation)
        counts = [self._pixels(x) for x in operation.inputs]
        rows = [(count * n, depth) for count, n in zip(counts, (heads, 1, 1), strict=True)]
        queries, keys, values = (
            self._reshaped(x, f"{name}/{part}", lengths)
            for x, part, lengths in zip(taken, ("queries", "keys", "values"), rows, strict=True)
        )
        root = self._constant(np.array([depth**-0.5], np.float32))
        scaled = self._operator(
            "MUL", [queries, root], f"{name}/scaled", rows[0], schema.MulOptionsT()
        )
        by_key = (rows[0][0], rows[1][0])
        transposed, plain = schema.BatchMatMulOptionsT(), schema.BatchMatMulOptionsT()
        transposed.adjY = True
        products = self._operator(
            "BATCH_MATMUL", [scaled, keys], f"{name}/products", by_key, transposed
        )
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        shares = self._operator("SOFTMAX", [products], f"{name}/shares", by_key, softmax)
        answers = self._operator(
            "BATCH_MATMUL", [shares, values], f"{name}/answers", rows[0], plain
        )
        return self._reshaped(answers, name, shape)

    def _pixels(self, name: str) -> int:
        """Return how many pixels an image of the graph has.

        Raises:
            ValueError: its size is not known.
        """
        height, width, _ = self._graph.shapes[name]
        if height is None or width is None:
            raise ValueError(
                "A .tflite file of a net with attention is for images of one size, and this net "
                "takes any. Build it with an `input_shape` of known height and width."
            )
        return height * width

    def _reshaped(self, taken: int, name: str, shape: Sequence[Length]) -> int:
        """Add the same values in another shape, of any number of images."""
        lengths = np.array([-1, *shape], np.int32)
        options = schema.ReshapeOptionsT()
        options.newShape = [*lengths]
        return self._operator("RESHAPE", [taken, self._constant(lengths)], name, shape, options)

    def _none(self, _operation: Operation, taken: int, _shape: Sequence[Length]) -> int:
        return taken

    def _activated(self, operation: Operation, taken: int, shape: Sequence[Length]) -> int:
        """Add an operation's activation as operators of their own."""
        name = f"{operation.name}/{operation.activation}"
        if not operation.activation:
            return taken
        if operation.activation == "hard_sigmoid":  # relu6(x + 3) / 6
            add, mul = schema.AddOptionsT(), schema.MulOptionsT()
            add.fusedActivationFunction = schema.ActivationFunctionType.RELU6
            three, sixth = (self._constant(np.array([n], np.float32)) for n in (3, 1 / 6))
            taken = self._operator("ADD", [taken, three], f"{name}/add", shape, add)
            return self._operator("MUL", [taken, sixth], name, shape, mul)
        options = None
        if operation.activation == "softmax":
            options = schema.SoftmaxOptionsT()
            options.beta = 1.0
        elif operation.activation == "gelu":
            options = schema.GeluOptionsT()
        return self._operator(_ALONE[operation.activation], [taken], name, shape, options)

    def _cast(self, taken: int) -> int:
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
        return self._operator("CAST", [taken], "floats", self._graph.input_shape, options)

    def _kernel(self, operation: Operation) -> int:
        values = laid_out(operation.kind, operation.kernel)
        if not self._float16:
            return self._constant(values, f"{operation.name}/kernel")
        half = self._constant(values.astype(np.float16), f"{operation.name}/kernel/half")
        wide = self._tensor(f"{operation.name}/kernel", values.shape, "float32", whole=True)
        return self._operator_into("DEQUANTIZE", [half], wide, schema.DequantizeOptionsT())

    def _bias(self, operation: Operation) -> int:
        bias = operation.bias
        if bias is None:
            bias = np.zeros(operation.channels, np.float32)
        if not self._float16:
            return self._constant(bias, f"{operation.name}/bias")
        half = self._constant(bias.astype(np.float16), f"{operation.name}/bias/half")
        wide = self._tensor(f"{operation.name}/bias", bias.shape, "float32", whole=True)
        return self._operator_into("DEQUANTIZE", [half], wide, schema.DequantizeOptionsT())

    def _operator(
        self, name: str, taken: list[int], tensor: str, shape: Sequence[Length], options: Any
    ) -> int:
        return self._operator_into(name, taken, self._tensor(tensor, shape, "float32"), options)

    def _operator_into(self, name: str, taken: list[int], made: int, options: Any) -> int:
        if name not in self._codes:
            self._codes.append(name)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(name)
        operator.inputs, operator.outputs = taken, [made]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._operators.append(operator)
        return made

    def _tensor(
        self, name: str, shape: Sequence[Length], dtype: str, *, whole: bool = False
    ) -> int:
        """Add a tensor: of one image's shape, or if `whole` of all its axes."""
        tensor = schema.TensorT()
        tensor.name, tensor.type = name, getattr(schema.TensorType, _TYPES[dtype])
        lengths = [*shape] if whole else [self._batch, *shape]
        tensor.shape = [1 if n is None else n for n in lengths]
        if None in lengths:  # what a runtime may resize
            tensor.shapeSignature = [-1 if n is None else n for n in lengths]
        tensor.buffer, tensor.hasRank = 0, True
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _constant(self, values: Any, name: str | None = None) -> int:
        values = np.ascontiguousarray(values)
        key = f"{values.dtype}{values.shape}".encode() + values.tobytes() if name is None else b""
        if key in self._constants:
            return self._constants[key]
        number = self._tensor(
            name or f"constant_{len(self._constants)}", values.shape, values.dtype.name, whole=True
        )
        buffer = _Buffer()
        buffer.data = values.tobytes()
        self._tensors[number].buffer = len(self._buffers)
        self._buffers.append(buffer)
        if key:
            self._constants[key] = number
        return number


def laid_out(kind: str, kernel: Array) -> Array:
    """Return a kernel with its axes in TFLite's order."""
    if kind == "dense":
        values = kernel.T
    elif kind == "depthwise":
        values = kernel.reshape(1, *kernel.shape[:2], -1)
    else:
        values = kernel.transpose(3, 0, 1, 2)
    return np.ascontiguousarray(values)


def _same(operation: Operation, axis: int, length: int) -> tuple[int, int]:
    return same_zeros(length, operation.window[axis], operation.stride, operation.dilation)


def _code(name: str) -> Any:
    code = schema.OperatorCodeT()
    number = getattr(schema.BuiltinOperator, name)
    code.builtinCode = number
    code.deprecatedBuiltinCode = min(number, 127)  # where older readers look
    code.version = _VERSIONS.get(name, 1)
    return code


def _signature(first: int, outputs: Mapping[str, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs = [_named(INPUT, first)]
    signature.outputs = [_named(name, tensor) for name, tensor in outputs.items()]
    return signature


def _named(name: str, tensor: int) -> Any:
    known = schema.TensorMapT()
    known.name, known.tensorIndex = name, tensor
    return known
