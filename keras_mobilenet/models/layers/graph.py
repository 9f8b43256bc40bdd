"""The Keras layers of a net: the only file that makes them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras

from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE
from keras_mobilenet.models.layers.attention import MultiQueryAttention
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.conventions import Activation, Conventions, Length
from keras_mobilenet.nets.net import (
    HARD_SIGMOID,
    INPUT,
    Layer,
    relu_max,
)


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


def check_classifier(value: Any, *, published: bool) -> None:
    """Raise if an activation of the outputs is unknown, or none that published weights go with."""
    function = activation("classifier_activation", value)
    if published and function not in (keras.activations.softmax, keras.activations.linear):
        raise ValueError(
            "`classifier_activation` must be 'softmax' or None with weights='imagenet', which were "
            "trained with softmax. Pass include_top=False and add a top of your own. "
            f"Received: classifier_activation={value!r}"
        )


def check_initializer(value: Any) -> None:
    """Raise if `value` is nothing that Keras takes as an initializer."""
    state = random.getstate()  # of the generator that a new initializer draws its seed from
    try:
        keras.initializers.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "`initializer` must be the name of a Keras initializer, an object or a function. "
            f"Received: initializer={value!r}"
        ) from error
    finally:
        random.setstate(state)


def inputs(input_tensor: Any, input_shape: tuple[Length, ...], name_prefix: str) -> tuple[Any, Any]:
    """Return a model's inputs, and the tensor that the net's first layer is applied to."""
    if input_tensor is None:
        x = new_input(input_shape, name_prefix)
        return x, x
    if not keras.backend.is_keras_tensor(input_tensor):
        raise ValueError(
            "`input_tensor` must be a KerasTensor, such as keras.Input(...) returns. "
            f"Received: {type(input_tensor).__name__}"
        )
    # A list of one, as in Keras: `model.input_shape` and saved configurations depend on it.
    return keras.utils.get_source_inputs(input_tensor), input_tensor


def image_shape(x: Any) -> tuple[tuple[Length, Length], int]:
    """Return the (height, width) and the channels of a `KerasTensor` of images."""
    if keras.config.image_data_format() == "channels_first":
        _, channels, height, width = x.shape
    else:
        _, height, width, channels = x.shape
    return (height, width), channels


def data_format() -> Any:
    """Return the data format that new layers have, `"channels_last"` or `"channels_first"`."""
    return keras.config.image_data_format()


def published_shape(input_tensor: Any, net: str) -> tuple[Length, ...] | None:
    """Return the shape of a tensor of images if weights were published for their size."""
    if not keras.backend.is_keras_tensor(input_tensor):
        return None
    (height, width), _ = image_shape(input_tensor)
    published = height == width and height in pretrained.sizes(net)
    return tuple(input_tensor.shape[1:]) if published else None


def model(inputs: Any, outputs: Any, name: str | None) -> keras.Model:
    """Return the functional model between two tensors."""
    return keras.Model(inputs, outputs, name=name)


def build(layers: Iterable[Layer], input_tensor: Any, settings: Settings) -> Any:
    """Return the output `KerasTensor` of `layers`, applied to `input_tensor`.

    Layers of kind `InputLayer` are passed over: `input_tensor` stands for them.
    """
    x = input_tensor
    outputs: dict[str, Any] = {}
    for layer in layers:
        absent = layer.optional and not settings.dropout
        if layer.kind != "InputLayer" and not absent:
            taken = [outputs[name] for name in layer.inputs] or [x]
            x = _applied(layer, settings, taken if len(taken) > 1 else taken[0])
        outputs[layer.name] = x
    return x


def _applied(layer: Layer, settings: Settings, x: Any) -> Any:
    made = make_layer(layer, settings)
    if layer.activation == HARD_SIGMOID:  # operations around a ReLU, as in Keras' own nets
        return made(x + 3.0) * (1.0 / 6.0)
    return made(x)


def make_layer(  # noqa: PLR0912 - one case a kind
    layer: Layer, settings: Settings
) -> keras.Layer:
    """Return the Keras layer that `layer` describes, under the global dtype and data format."""
    name = None if layer.counted else layer.name  # None: Keras' counters give one
    match layer.kind:
        case "Rescaling":
            scaling = MINUS_ONE_TO_ONE  # as preprocess_input does
            return keras.layers.Rescaling(scaling.scale, scaling.offset, name=name)
        case "Conv2D" | "DepthwiseConv2D":
            return _convolution(layer, settings)
        case "Dense":
            return _dense(layer, settings)
        case "ZeroPadding2D":
            return keras.layers.ZeroPadding2D(layer.pad, name=name)
        case "BatchNormalization":
            return _batch_norm(layer, settings)
        case "ReLU":
            return keras.layers.ReLU(relu_max(layer.activation or settings.activation), name=name)
        case "Add":
            return keras.layers.Add(name=name)
        case "Multiply":
            return keras.layers.Multiply(name=name)
        case "MultiQueryAttention":
            return MultiQueryAttention(name=name)
        case "GlobalAveragePooling2D":
            return keras.layers.GlobalAveragePooling2D(keepdims=layer.keepdims, name=name)
        case "GlobalMaxPooling2D":
            return keras.layers.GlobalMaxPooling2D(keepdims=layer.keepdims, name=name)
        case "Dropout":
            return keras.layers.Dropout(settings.dropout, name=name)
        case "Reshape":
            return keras.layers.Reshape((layer.channels,), name=name)
        case "Flatten":
            return keras.layers.Flatten(name=name)
        case "Activation":
            return keras.layers.Activation(
                layer.activation or settings.classifier_activation, name=name
            )
    raise AssertionError(f"no Keras layer for {layer}")


def _dense(layer: Layer, settings: Settings) -> keras.Layer:
    return keras.layers.Dense(
        layer.channels,
        activation=layer.activation or settings.classifier_activation,
        use_bias=layer.bias,
        kernel_initializer=settings.new_initializer(),
        kernel_regularizer=settings.regularizer(),
        name=layer.name,
    )


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
