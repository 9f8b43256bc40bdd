"""The Keras layers of the net: the only file that makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_mobilenet import spec


def build(
    layers: Sequence[spec.Layer],
    input_tensor: Any,
    *,
    dropout: float,
    classifier_activation: str | Callable[..., Any] | None,
    epsilon: float,
) -> Any:
    """Return the output `KerasTensor` of `layers`, applied to `input_tensor`.

    Layers of kind `InputLayer` are passed over: `input_tensor` stands for them.
    """
    x = input_tensor
    for layer in layers:
        if layer.kind != "InputLayer":
            x = make_layer(layer, dropout, classifier_activation, epsilon)(x)
    return x


def make_layer(
    layer: spec.Layer,
    dropout: float,
    classifier_activation: str | Callable[..., Any] | None,
    epsilon: float,
) -> keras.Layer:
    """Return the Keras layer that `layer` describes, under the global dtype and data format."""
    name = layer.name
    match layer.kind:
        case "Conv2D" | "DepthwiseConv2D":
            return _convolution(layer)
        case "ZeroPadding2D":
            return keras.layers.ZeroPadding2D((layer.pad, layer.pad), name=name)
        case "BatchNormalization":
            channels_first = keras.config.image_data_format() == "channels_first"
            axis = 1 if channels_first else -1
            return keras.layers.BatchNormalization(axis=axis, epsilon=epsilon, name=name)
        case "ReLU":
            return keras.layers.ReLU(spec.RELU_MAX, name=name)
        case "GlobalAveragePooling2D":
            return keras.layers.GlobalAveragePooling2D(keepdims=layer.keepdims, name=name)
        case "GlobalMaxPooling2D":
            return keras.layers.GlobalMaxPooling2D(keepdims=layer.keepdims, name=name)
        case "Dropout":
            return keras.layers.Dropout(dropout, name=name)
        case "Reshape":
            return keras.layers.Reshape((layer.channels,), name=name)
        case "Activation":
            return keras.layers.Activation(classifier_activation, name=name)
    raise AssertionError(f"no Keras layer for {layer}")


def _convolution(layer: spec.Layer) -> keras.Layer:
    *size, _, last = layer.kernel  # last: filters, or the depth multiplier
    make = keras.layers.Conv2D if layer.kind == "Conv2D" else keras.layers.DepthwiseConv2D
    argument = "filters" if layer.kind == "Conv2D" else "depth_multiplier"
    return make(
        kernel_size=tuple(size),
        strides=(layer.stride, layer.stride),
        padding=layer.padding,
        dilation_rate=(layer.dilation, layer.dilation),
        use_bias=layer.bias,
        name=layer.name,
        **{argument: last},
    )
