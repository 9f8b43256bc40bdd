"""From a net and its arrays to a graph of operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from keras_mobilenet.checkpoints.net_weights import NetWeights
from keras_mobilenet.deploy.graphs.operations import (
    INPUT,
    POOLS,
    Activation,
    Array,
    Graph,
    Operation,
    scaled,
)
from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE
from keras_mobilenet.nets.conventions import NO_ZEROS, Conventions
from keras_mobilenet.nets.net import Kind as LayerKind
from keras_mobilenet.nets.net import Layer

_KINDS: Mapping[LayerKind, str] = {
    "Conv2D": "convolution",
    "DepthwiseConv2D": "depthwise",
    "Dense": "dense",
    "ZeroPadding2D": "pad",
    "Add": "add",
    "Multiply": "multiply",
    "MultiQueryAttention": "attention",
    "GlobalAveragePooling2D": "average",
    "GlobalMaxPooling2D": "maximum",
    "Reshape": "flatten",
    "Flatten": "flatten",
    "Dropout": "none",
    "ReLU": "none",
    "Activation": "none",
}


def graph_of_net(weights: NetWeights) -> Graph:
    """Return the graph that a net and its arrays compute."""
    operations = []
    net = weights.net
    activation = weights.classifier_activation or ""
    for layer in net:
        if layer.kind == "InputLayer":
            continue
        inputs = tuple(_tensor(before) for before in net.inputs[layer.name])
        operation = _operation(layer, inputs, weights.arrays, weights.conventions)
        if layer.part == "top" and layer.kind in ("Activation", "Dense") and not layer.activation:
            operation = replace(operation, activation=cast(Activation, activation))
        operations.append(operation)
    return Graph(weights.name, (*weights.size, net.layers[0].channels), tuple(operations))


def _tensor(layer: Layer) -> str:
    return INPUT if layer.kind == "InputLayer" else layer.name


def _operation(
    layer: Layer,
    inputs: tuple[str, ...],
    arrays: Mapping[str, Array],
    conventions: Conventions,
) -> Operation:
    if layer.kind == "Rescaling":  # as `models.layers.graph` builds it
        return scaled(layer.name, inputs[0], layer.channels, MINUS_ONE_TO_ONE)
    if layer.kind == "BatchNormalization":
        values = {n.rpartition("/")[2]: arrays[n] for n in layer.arrays()}
        return batch_norm(layer.name, inputs, layer.channels, values, conventions.epsilon)
    pads = None if layer.padding == "same" and layer.window else NO_ZEROS
    activation = layer.activation
    if layer.kind == "ReLU" and activation is None:
        activation = conventions.activation
    return Operation(
        name=layer.name,
        kind=_KINDS[layer.kind],  # type: ignore[arg-type]
        inputs=inputs,
        channels=layer.channels,
        kernel=arrays[f"{layer.name}/kernel"] if layer.kernel else None,
        bias=arrays[f"{layer.name}/bias"] if layer.bias else None,
        stride=layer.stride,
        dilation=layer.dilation,
        pads=layer.pad if layer.kind == "ZeroPadding2D" else pads,
        activation=cast(Activation, activation or ""),
        keepdims=layer.keepdims or _KINDS[layer.kind] not in POOLS,
    )


def batch_norm(
    name: str, inputs: tuple[str, ...], channels: int, values: Mapping[str, Array], epsilon: float
) -> Operation:
    """Return a batch norm as the scale that it is at inference, in double."""
    double = {n: np.asarray(x, np.float64) for n, x in values.items()}
    factor = double.get("gamma", 1.0) / np.sqrt(double["moving_variance"] + epsilon)
    bias = double.get("beta", 0.0) - double["moving_mean"] * factor
    return Operation(name, "scale", inputs, channels, factor, bias)
