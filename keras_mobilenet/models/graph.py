"""The Keras layers of the net: the only file that makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import keras

from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE
from keras_mobilenet.nets.net import INPUT, RELU_MAXIMA, Activation, Conventions, Layer


@dataclass(frozen=True)
class Settings:
    """What the layers are told that is neither in their shapes nor in their order."""

    dropout: float
    classifier_activation: str | Callable[..., Any] | None
    epsilon: float = Conventions().epsilon  # of the batch norms, and their momentum
    bn_momentum: float = 0.99
    initializer: Any = (
        "glorot_uniform"  # of kernels: a name, a configuration, an object, a function
    )
    weight_decay: float | None = None
    activation: Activation = Conventions().activation

    def new_initializer(self) -> Any:
        """Return an initializer for one layer: one object would give equal shapes equal values.

        What only describes one is left to the layer. Each that is made draws a seed, and a program
        that sets the seed gets Keras' values only where no more are drawn than there.
        """
        known = self.initializer
        return known.clone() if isinstance(known, keras.initializers.Initializer) else known

    def regularizer(self) -> keras.Regularizer | None:
        """Return what adds half of `weight_decay` times the squared kernel, as TF-slim does."""
        return None if self.weight_decay is None else keras.regularizers.L2(self.weight_decay / 2)


def activation(argument: str, value: Any) -> Any:
    """Return the function that a Keras activation stands for.

    Raises:
        ValueError: it is unknown; the message names `argument`.
    """
    try:
        return keras.activations.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{argument}` must be the name of a Keras activation, a function or None. "
            f"Received: {argument}={value!r}"
        ) from error


def new_input(shape: tuple[int | None, ...], name_prefix: str = "") -> Any:
    """Return a net's own input: `input_1`, `input_2`, ... as in tf.keras; `input_1` with a prefix.

    Keras would call it `input_layer` and so on. That number is used up too, so that inputs that are
    made afterwards have the names that they have behind Keras' builder.
    """
    number = 1
    if not name_prefix:
        number = keras.backend.get_uid(INPUT)
        keras.backend.get_uid("input_layer")
    return keras.Input(shape, name=f"{name_prefix}{INPUT}_{number}")


def build(layers: Iterable[Layer], input_tensor: Any, settings: Settings) -> Any:
    """Return the output `KerasTensor` of `layers`, applied to `input_tensor`.

    Layers of kind `InputLayer` are passed over: `input_tensor` stands for them.
    """
    x = input_tensor
    outputs: dict[str, Any] = {}
    for layer in layers:
        if layer.kind != "InputLayer":
            taken = [outputs[name] for name in layer.inputs] or [x]
            x = make_layer(layer, settings)(taken if len(taken) > 1 else taken[0])
        outputs[layer.name] = x
    return x


def make_layer(layer: Layer, settings: Settings) -> keras.Layer:
    """Return the Keras layer that `layer` describes, under the global dtype and data format."""
    name = None if layer.counted else layer.name  # None: Keras' counters give one
    match layer.kind:
        case "Rescaling":
            scaling = MINUS_ONE_TO_ONE  # as preprocess_input does
            return keras.layers.Rescaling(scaling.scale, scaling.offset, name=name)
        case "Conv2D" | "DepthwiseConv2D":
            return _convolution(layer, settings)
        case "ZeroPadding2D":
            return keras.layers.ZeroPadding2D((layer.pad, layer.pad), name=name)
        case "BatchNormalization":
            return _batch_norm(layer, settings)
        case "ReLU":
            return keras.layers.ReLU(_relu_max(layer, settings), name=name)
        case "Add":
            return keras.layers.Add(name=name)
        case "Multiply":
            return keras.layers.Multiply(name=name)
        case "GlobalAveragePooling2D":
            return keras.layers.GlobalAveragePooling2D(keepdims=layer.keepdims, name=name)
        case "GlobalMaxPooling2D":
            return keras.layers.GlobalMaxPooling2D(keepdims=layer.keepdims, name=name)
        case "Dropout":
            return keras.layers.Dropout(settings.dropout, name=name)
        case "Reshape":
            return keras.layers.Reshape((layer.channels,), name=name)
        case "Activation":
            return keras.layers.Activation(
                layer.activation or settings.classifier_activation, name=name
            )
    raise AssertionError(f"no Keras layer for {layer}")


def _relu_max(layer: Layer, settings: Settings) -> float | None:
    return RELU_MAXIMA[cast(Activation, layer.activation or settings.activation)]


def _batch_norm(layer: Layer, settings: Settings) -> keras.Layer:
    return keras.layers.BatchNormalization(
        axis=1 if keras.config.image_data_format() == "channels_first" else -1,
        momentum=settings.bn_momentum,
        epsilon=settings.epsilon,
        name=layer.name,
    )


def _convolution(layer: Layer, settings: Settings) -> keras.Layer:
    *size, _, last = layer.kernel  # last: filters, or the depth multiplier
    shared = {
        "kernel_size": tuple(size),
        "strides": (layer.stride, layer.stride),
        "padding": layer.padding,
        "dilation_rate": (layer.dilation, layer.dilation),
        "use_bias": layer.bias,
        "name": layer.name,
    }
    if layer.kind == "DepthwiseConv2D":
        # No weight decay: they have too few parameters to need it (the paper's section 3.2).
        return keras.layers.DepthwiseConv2D(
            depth_multiplier=last, depthwise_initializer=settings.new_initializer(), **shared
        )
    return keras.layers.Conv2D(
        filters=last,
        kernel_initializer=settings.new_initializer(),
        kernel_regularizer=settings.regularizer(),
        **shared,
    )
