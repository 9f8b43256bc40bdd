"""A new top on a net that is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_mobilenet.images.model_info import Label, checked_labels
from keras_mobilenet.models.cuts import (
    features_of,
    free_name,
    inputs_of,
    names_in,
    output_in,
    tensors_at,
)
from keras_mobilenet.models.layers import graph
from keras_mobilenet.models.model_files import info_of, set_info
from keras_mobilenet.models.parts import FoundNet, find_nets
from keras_mobilenet.nets import arguments
from keras_mobilenet.nets.net import Layer, Pooling

POOLINGS = ("avg", "max")


def replace_top(
    model: Any,
    classes: int,
    *,
    dropout: float = 1e-3,
    pooling: Pooling = "avg",
    activation: str | Callable[..., Any] | None = "softmax",
    labels: Sequence[Label] | None = None,
) -> keras.Model:
    """Return a model of the same net with a new top, for other classes.

    The layers under the top are the same ones, not copies: what one of the two models learns, or
    `freeze` sets, is the other's too. Those of the top are named as `MobileNet`'s, with a number
    behind where a layer ahead of them has that name, and start from Keras' random values, which
    `keras.utils.set_random_seed` fixes.

    Args:
        model: What `MobileNet` or this function returned, with a top, which is left out, or
            without; for any size and number of channels.
        classes: Outputs of the new top.
        dropout: Share of the pooled features that training drops.
        pooling: `"avg"`, as in MobileNet, or `"max"`. With the former a convolution that the
            model has between its pool and its classifier, as MobileNetV3 has, is kept.
        activation: Of the outputs: a Keras activation's name, a function, or None for logits.
        labels: The classes' names in order, or pairs of an identifier and a name. They are kept
            in the model's file, as is how an image becomes its input: that is as for `model`.

    Returns:
        A `keras.Model`, not compiled, with outputs of shape `(batch, classes)`.

    Raises:
        ValueError: the model has no MobileNet that ends in its last block, an argument is wrong,
            or there are not as many labels as classes.
    """
    net = _net(model)
    classes = arguments.positive_int("classes", classes, "Pass the number of your classes.")
    names = checked_labels(labels, classes)
    _check(classes, pooling, activation)
    features, layers = _stand(net, classes, pooling)
    ahead = keras.Model(inputs_of(model), features, name=model.name)
    taken = names_in(ahead)  # the user's layers are among them
    layers = tuple(layer.prefixed(net.prefix) for layer in layers)
    outputs = graph.build(
        [replace(layer, name=free_name(layer.name, taken)) for layer in layers],
        features,
        graph.Settings(arguments.share_dropped(dropout), activation),
    )
    new = keras.Model(inputs_of(model), outputs, name=model.name)
    set_info(new, replace(info_of(model), labels=names))
    return new


def _stand(net: FoundNet, classes: int, pooling: Pooling) -> tuple[Any, tuple[Layer, ...]]:
    """Return what a new top stands on, and its layers.

    A top with a convolution between pool and classifier is kept up to that: its weights are
    trained ones. It was trained behind average pooling, so that it goes with another one.
    """
    channel_axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    kept = net.features
    if len(kept) > 1 and pooling == "avg":
        features = tensors_at(*_output_of(net, kept[-1]))
        _, *layers = net.family.top(features.shape[channel_axis], classes, pooling)
        return features, tuple(layers)
    features = features_of(net)
    return features, net.family.top(features.shape[channel_axis], classes, pooling)


def _output_of(net: FoundNet, layer: Any) -> tuple[tuple[Any, ...], Any]:
    """Return the models down to the one that has a layer of the top, and what it puts out there."""
    for depth in range(len(net.path), 0, -1):
        if layer in net.path[depth - 1].layers:
            return net.path[:depth], output_in(net.path[depth - 1], layer)
    raise AssertionError(f"{layer.name} is in none of the models around the net")


def _net(model: Any) -> FoundNet:
    """Return the net in a model that a new top is to stand on."""
    name = getattr(model, "name", model)
    nets = find_nets(model)
    if len(nets) != 1 or not nets[0].ends_part:
        problem = "None of them is a MobileNet's"
        if nets:
            problem = f"They end with {', '.join(net.last.name for net in nets)}"
        raise ValueError(
            f"Model {name!r} must have one MobileNet among its layers or those of the models in "
            "it, which ends with its last block or the convolution behind that. "
            f"{problem}. Pass a model that MobileNet() or replace_top() returned, or one that is "
            "built on it."
        )
    data_format = _data_format(nets[0])
    if data_format != keras.config.image_data_format():
        raise ValueError(
            f"The model's data format is {data_format!r}, that of new layers is "
            f"{keras.config.image_data_format()!r}. "
            f"Call keras.config.set_image_data_format({data_format!r}) first."
        )
    return nets[0]


def _data_format(net: FoundNet) -> str:
    return next(str(x.data_format) for x in net.layers.values() if hasattr(x, "data_format"))


def _check(classes: int, pooling: Any, activation: Any) -> None:
    if pooling not in POOLINGS:
        raise ValueError(f"`pooling` must be 'avg' or 'max'. Received: pooling={pooling!r}")
    function = graph.activation("activation", activation)
    if classes == 1 and function is keras.activations.softmax:
        raise ValueError(
            "`activation` must not be 'softmax' with classes=1: the softmax of one output is 1, "
            "whatever the image. Pass activation='sigmoid', or classes=2."
        )
