"""The net's activations at several strides, as decoders and feature pyramids take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import keras

from keras_mobilenet.models.cuts import inputs_of, output_in, tensors_at
from keras_mobilenet.models.model_files import info_of, set_info
from keras_mobilenet.models.parts import FoundNet, find_nets
from keras_mobilenet.nets.net import REDUCE

STRIDES = (4, 8, 16, 32)


def features(model: Any, *, strides: Sequence[int] = STRIDES) -> keras.Model:
    """Return a model with the last activation at each of `strides`, on the same layers.

    The output is a dict, `{"stride_4": ..., "stride_8": ...}`, so that a decoder takes what it
    needs by name, whatever the order, and losses and metrics can be given by name. `"stride_8"` is
    of shape `(batch, height / 8, width / 8, features)`. The names tell the stride, not KerasHub's
    level ("P3"), which says nothing true of a net with an `output_stride`.

    Nothing is copied: the model shares `model`'s layers, weights and input. With
    `output_stride=16` or `8` the last blocks stand at that stride, and there is none beyond.

    Args:
        model: A `MobileNet`, or a model built on one, flat or with the net nested in it; what the
            user put behind the net is left out, what is before it stays.
        strides: The input's size over the activations', each one once.

    Raises:
        ValueError: the model has no activation at one of the strides, or `model` is not one net.
    """
    strides = tuple(strides)
    net = _net(model)
    activations = _last_activations(net)
    absent = [stride for stride in strides if stride not in activations]
    if absent or not strides or len(set(strides)) < len(strides):
        there = ", ".join(map(str, activations)) or "none"
        raise ValueError(
            f"`strides` must be some of those that model {model.name!r} has activations at, each "
            f"once: {there}. Received: strides={strides}"
        )
    within = {f"stride_{stride}": output_in(net.owner, activations[stride]) for stride in strides}
    outputs = tensors_at(net.path, within)
    pyramid = keras.Model(inputs_of(model), outputs, name=f"{model.name}_features")
    set_info(pyramid, replace(info_of(model), labels=None))
    return pyramid


def _net(model: Any) -> FoundNet:
    """Return the one net in a model, from its stem on."""
    nets = find_nets(model)
    if len(nets) != 1 or nets[0].stem is None:
        stems = ", ".join(net.first.name for net in nets) or "none"
        raise ValueError(
            f"Model {model.name!r} must hold one MobileNet, in its own layers or a nested model's, "
            f"which begins with its stem. Found: {stems}. Pass the model that MobileNet returned, "
            "or one built on it."
        )
    return nets[0]


def _last_activations(net: FoundNet) -> dict[int, Any]:
    """Return what the net's last block at each stride puts out, in the order of the strides."""
    stride = prod(map(_stride, net.ahead or ()))
    by_name = net.description.by_name
    beside = {id(x) for name, x in net.layers.items() if by_name[name].role == REDUCE}
    activations = {}
    for layers in net.parts.values():
        stride *= prod(_stride(x) for x in layers if id(x) not in beside)
        activations[stride] = layers[-1]
    return activations


def _stride(operation: Any) -> int:
    strides = getattr(operation, "strides", 1)
    return int(strides[0] if isinstance(strides, (tuple, list)) else strides)
