"""A graph as an ONNX model of any batch size, images with their channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from keras_mobilenet.deploy.graphs.operations import (
    INPUT,
    OUTPUT,
    Activation,
    Array,
    Graph,
    Operation,
)
from keras_mobilenet.nets.conventions import Length

# Of 2020: the first with HardSwish. What is older reads more runtimes, and nothing newer is used.
_OPSET, _IR_VERSION = 14, 7
_BATCH = "batch"
_ALONE: dict[Activation, str] = {
    "relu": "Relu",
    "hard_swish": "HardSwish",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
}
_SIMPLE = {
    "add": "Add",
    "multiply": "Mul",
    "average": "GlobalAveragePool",
    "maximum": "GlobalMaxPool",
}


def onnx_content(graph: Graph) -> bytes:
    """Return the content of an `.onnx` file; its tensors are called `input` and `output`."""
    content: bytes = _Writer(graph).model().SerializeToString()
    return content


class _Writer:
    """The nodes and constants of one file, as they fill up."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._made: dict[str, str] = {}  # tensors by the names of what put them out

    def model(self) -> Any:
        graph = self._graph
        taken = INPUT
        if graph.pixels:
            taken = self._node("Cast", [taken], "floats", to=onnx.TensorProto.FLOAT)
        self._made[INPUT] = self._node("Transpose", [taken], "channels_first", perm=[0, 3, 1, 2])
        for operation in graph.operations:
            self._made[operation.name] = self._add(operation)
        last, shape = self._made[graph.output], graph.shapes[graph.output]
        if len(shape) == 3:
            self._node("Transpose", [last], OUTPUT, perm=[0, 2, 3, 1])
        else:
            self._nodes[-1].output[0] = OUTPUT
        dtype = onnx.TensorProto.UINT8 if graph.pixels else onnx.TensorProto.FLOAT
        made = helper.make_graph(
            self._nodes,
            graph.name,
            [_value(INPUT, dtype, graph.input_shape)],
            [_value(OUTPUT, onnx.TensorProto.FLOAT, shape)],
            [*self._constants.values()],
        )
        return helper.make_model(
            made,
            producer_name="keras-mobilenet",
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )

    def _add(self, operation: Operation) -> str:
        """Add the nodes of an operation and return the tensor that comes out."""
        taken = [self._made[name] for name in operation.inputs]
        name = operation.name
        if operation.kind in ("convolution", "depthwise"):
            made = self._convolution(operation, taken[0])
        elif operation.kind == "dense":
            made = self._dense(operation, taken[0])
        elif operation.kind == "scale":
            made = self._scale(operation, taken[0])
        elif operation.kind == "pad":
            made = self._pad(operation, taken[0])
        elif operation.kind == "flatten":
            made = self._flatten(operation, taken[0])
        elif operation.kind == "attention":
            made = self._attention(operation, taken)
        elif operation.kind == "none":
            made = taken[0]
        else:
            made = self._node(_SIMPLE[operation.kind], taken, name)
            if operation.kind in ("average", "maximum") and not operation.keepdims:
                made = self._node("Flatten", [made], f"{name}/flat")
        return self._activated(operation, made)

    def _convolution(self, operation: Operation, taken: str) -> str:
        kernel = operation.kernel
        height, width, inputs, outputs = kernel.shape
        depthwise = operation.kind == "depthwise"
        if depthwise:
            values = kernel.reshape(height, width, inputs * outputs, 1).transpose(2, 3, 0, 1)
        else:
            values = kernel.transpose(3, 2, 0, 1)
        names = [taken, self._constant(f"{operation.name}/kernel", values)]
        if operation.bias is not None:
            names.append(self._constant(f"{operation.name}/bias", operation.bias))
        return self._node(
            "Conv", names, operation.name,
            kernel_shape=[height, width],
            strides=[operation.stride] * 2,
            dilations=[operation.dilation] * 2,
            group=inputs if depthwise else 1,
            **self._padding(operation),
        )  # fmt: skip

    def _padding(self, operation: Operation) -> dict[str, Any]:
        """Return a convolution's zeros: in numbers where the image's size is known."""
        zeros = self._graph.zeros_of(operation)
        if zeros is None:
            return {"auto_pad": "SAME_UPPER"}
        return {"pads": [*(z[0] for z in zeros), *(z[1] for z in zeros)]}

    def _dense(self, operation: Operation, taken: str) -> str:
        names = [taken, self._constant(f"{operation.name}/kernel", operation.kernel)]
        if operation.bias is not None:
            names.append(self._constant(f"{operation.name}/bias", operation.bias))
        return self._node("Gemm", names, operation.name)

    def _scale(self, operation: Operation, taken: str) -> str:
        image = len(self._graph.shapes[operation.name]) == 3
        for kind, values, neutral in (("Mul", operation.kernel, 1), ("Add", operation.bias, 0)):
            if (values == neutral).all():
                continue
            shaped = values.reshape(-1, 1, 1) if image else values
            constant = self._constant(f"{operation.name}/{kind.lower()}ed", shaped)
            taken = self._node(kind, [taken, constant], f"{operation.name}/{kind.lower()}")
        return taken

    def _pad(self, operation: Operation, taken: str) -> str:
        (top, bottom), (left, right) = operation.pads or ((0, 0), (0, 0))
        amounts = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
        constant = self._constant(f"{operation.name}/zeros", amounts)
        return self._node("Pad", [taken, constant], operation.name)

    def _flatten(self, operation: Operation, taken: str) -> str:
        source = self._graph.shapes[operation.inputs[0]]
        if len(source) == 3 and source[:2] != (1, 1):  # as Keras does, channels last
            taken = self._node("Transpose", [taken], f"{operation.name}/last", perm=[0, 2, 3, 1])
        return self._node("Flatten", [taken], operation.name)

    def _attention(self, operation: Operation, taken: list[str]) -> str:
        """Add a product of queries and keys, and one of its softmax and the values."""
        name, (heads, depth) = operation.name, self._graph.heads_of(operation)
        queries, keys, values = (
            self._node("Reshape", [x, self._lengths(name, n, depth)], f"{name}/{part}")
            for x, part, n in zip(taken, ("queries", "keys", "values"), (heads, 1, 1), strict=True)
        )
        root = self._constant(f"{name}/root", np.array(depth**-0.5, np.float32))
        scaled = self._node("Mul", [queries, root], f"{name}/scaled")
        asked = self._node("Transpose", [scaled], f"{name}/asked", perm=[0, 1, 3, 2])
        products = self._node("MatMul", [asked, keys], f"{name}/products")
        shares = self._node("Softmax", [products], f"{name}/shares", axis=-1)
        # Transposed: rows of channels, as images have them here.
        turned = self._node("Transpose", [shares], f"{name}/turned", perm=[0, 1, 3, 2])
        answers = self._node("MatMul", [values, turned], f"{name}/answers")
        shape = self._node("Shape", [taken[0]], f"{name}/shape")
        return self._node("Reshape", [answers, shape], name)

    def _lengths(self, name: str, heads: int, depth: int) -> str:
        """Return the shape of an image whose pixels are in one row."""
        return self._constant(f"{name}/of_{heads}", np.array([0, heads, depth, -1], np.int64))

    def _activated(self, operation: Operation, taken: str) -> str:
        name = f"{operation.name}/{operation.activation}"
        match operation.activation:
            case "":
                return taken
            case "relu6":
                low, high = (self._constant(f"{n:g}", np.array(n, np.float32)) for n in (0.0, 6.0))
                return self._node("Clip", [taken, low, high], name)
            case "hard_sigmoid":
                return self._hard_sigmoid(taken, name)
            case "gelu":
                return self._gelu(taken, name)
            case known:
                return self._node(_ALONE[known], [taken], name)

    def _hard_sigmoid(self, taken: str, name: str) -> str:
        """Add relu6(x + 3) / 6: OpenCV takes HardSigmoid and Mul for a HardSwish of the gate."""
        three, low, high = (
            self._constant(f"{n:g}", np.array(n, np.float32)) for n in (3.0, 0.0, 6.0)
        )
        added = self._node("Add", [taken, three], f"{name}/add")
        clipped = self._node("Clip", [added, low, high], f"{name}/clip")
        return self._node("Div", [clipped, high], name)

    def _gelu(self, taken: str, name: str) -> str:
        """Add x (1 + erf(x / sqrt(2))) / 2: the operator came with opset 20."""
        root, one, half = (
            self._constant(f"{n:g}", np.array(n, np.float32)) for n in (2**0.5, 1.0, 0.5)
        )
        divided = self._node("Div", [taken, root], f"{name}/div")
        errors = self._node("Erf", [divided], f"{name}/erf")
        added = self._node("Add", [errors, one], f"{name}/add")
        product = self._node("Mul", [taken, added], f"{name}/mul")
        return self._node("Mul", [product, half], name)

    def _node(self, kind: str, taken: list[str], name: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, taken, [name], name, **attributes))
        return name

    def _constant(self, name: str, values: Array) -> str:
        if name not in self._constants:
            contiguous = np.ascontiguousarray(values)
            self._constants[name] = numpy_helper.from_array(contiguous, name)
        return name


def _value(name: str, dtype: int, shape: tuple[Length, ...]) -> Any:
    axes = ("height", "width", "channels")
    lengths = [n or axes[axis] for axis, n in enumerate(shape)]
    return helper.make_tensor_value_info(name, dtype, [_BATCH, *lengths])
