"""A graph as a model of OpenVINO's own operators, of any batch size."""

from __future__ import annotations

from typing import Any

import numpy as np
from openvino import Model, PartialShape, opset13

from keras_mobilenet.deploy.graphs.operations import INPUT, OUTPUT, Graph, Operation
from keras_mobilenet.nets.conventions import NO_ZEROS

_AXES = [2, 3]  # height and width, where channels come first


def openvino_model(graph: Graph) -> Any:
    """Return an `openvino.Model`; its tensors are called `input` and `output`."""
    lengths = [-1 if n is None else n for n in graph.input_shape]
    dtype = np.uint8 if graph.pixels else np.float32
    images = opset13.parameter(PartialShape([-1, *lengths]), dtype, name=INPUT)
    images.output(0).set_names({INPUT})
    first = opset13.convert(images, "f32") if graph.pixels else images
    made = {INPUT: opset13.transpose(first, [0, 3, 1, 2])}
    for operation in graph.operations:
        taken = [made[name] for name in operation.inputs]
        node = _activated(operation, _node(graph, operation, taken))
        node.set_friendly_name(operation.name)
        made[operation.name] = node
    last = made[graph.output]
    if len(graph.shapes[graph.output]) == 3:
        last = opset13.transpose(last, [0, 2, 3, 1])
    last.output(0).set_names({OUTPUT})
    result = opset13.result(last, name=OUTPUT)
    return Model([result], [images], graph.name)


def _node(graph: Graph, operation: Operation, taken: list[Any]) -> Any:
    image = len(graph.shapes[operation.name]) == 3
    match operation.kind:
        case "convolution" | "depthwise":
            return _convolution(graph, operation, taken[0])
        case "dense":
            made = opset13.matmul(taken[0], _constant(operation.kernel), False, False)
            return _with_bias(made, operation, image=False)
        case "scale":
            shape = (1, -1, 1, 1) if image else (1, -1)
            product = opset13.multiply(taken[0], _constant(operation.kernel, shape))
            return _with_bias(product, operation, image=image)
        case "pad":
            (top, bottom), (left, right) = operation.pads or NO_ZEROS
            return opset13.pad(
                taken[0], [0, 0, top, left], [0, 0, bottom, right], "constant", np.float32(0)
            )
        case "add":
            return opset13.add(*taken)
        case "multiply":
            return opset13.multiply(*taken)
        case "attention":
            return _attention(graph, operation, taken)
        case "average":
            return opset13.reduce_mean(taken[0], _AXES, operation.keepdims)
        case "maximum":
            return opset13.reduce_max(taken[0], _AXES, operation.keepdims)
        case "flatten":
            return _flat(graph, operation, taken[0])
    return taken[0]


def _convolution(graph: Graph, operation: Operation, taken: Any) -> Any:
    kernel = operation.kernel
    strides, dilations = [operation.stride] * 2, [operation.dilation] * 2
    zeros = graph.zeros_of(operation)
    begin, end = ([z[side] for z in zeros or NO_ZEROS] for side in (0, 1))
    auto_pad = "same_upper" if zeros is None else "explicit"
    if operation.kind == "convolution":
        values = _constant(kernel.transpose(3, 2, 0, 1))
        made = opset13.convolution(taken, values, strides, begin, end, dilations, auto_pad)
    else:  # (groups, outputs of each, 1, height, width)
        values = _constant(kernel.transpose(2, 3, 0, 1)[:, :, None])
        made = opset13.group_convolution(taken, values, strides, begin, end, dilations, auto_pad)
    return _with_bias(made, operation, image=True)


def _with_bias(made: Any, operation: Operation, *, image: bool) -> Any:
    if operation.bias is None:
        return made
    shape = (1, -1, 1, 1) if image else (1, -1)
    return opset13.add(made, _constant(operation.bias, shape))


def _attention(graph: Graph, operation: Operation, taken: list[Any]) -> Any:
    """Return the values, weighed by the softmax of the products of queries and keys."""
    heads, depth = graph.heads_of(operation)
    queries, keys, values = (
        opset13.reshape(x, [0, n, depth, -1], True)
        for x, n in zip(taken, (heads, 1, 1), strict=True)
    )
    scaled = opset13.multiply(queries, np.float32(depth**-0.5))
    shares = opset13.softmax(opset13.matmul(scaled, keys, True, False), -1)
    answers = opset13.matmul(values, shares, False, True)
    return opset13.reshape(answers, opset13.shape_of(taken[0]), False)


def _flat(graph: Graph, operation: Operation, taken: Any) -> Any:
    source = graph.shapes[operation.inputs[0]]
    if len(source) == 3 and source[:2] != (1, 1):  # as Keras does, channels last
        taken = opset13.transpose(taken, [0, 2, 3, 1])
    return opset13.reshape(taken, [0, -1], True)


def _activated(operation: Operation, made: Any) -> Any:
    match operation.activation:
        case "relu":
            return opset13.relu(made)
        case "relu6":
            return opset13.clamp(made, 0.0, 6.0)
        case "hard_swish":
            return opset13.hswish(made)
        case "hard_sigmoid":
            return opset13.hsigmoid(made)
        case "sigmoid":
            return opset13.sigmoid(made)
        case "gelu":
            return opset13.gelu(made, "erf")
        case "softmax":
            return opset13.softmax(made, -1)
    return made


def _constant(values: Any, shape: tuple[int, ...] | None = None) -> Any:
    shaped = values if shape is None else values.reshape(shape)
    return opset13.constant(np.ascontiguousarray(shaped), np.float32)
