"""The net's activations at several strides, as decoders and feature pyramids take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

STRIDES = (4, 8, 16, 32)
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")


def features(model: Any, *, strides: Sequence[int] = STRIDES) -> keras.Model:
    """Return a model with the last activation at each of `strides`, on the same layers.

    The output is a dict, `{"stride_4": ..., "stride_8": ...}`, so that a decoder takes what it
    needs by name, whatever the order, and losses and metrics can be given by name. `"stride_8"` is
    of shape `(batch, height / 8, width / 8, features)`. The names tell the stride, not KerasHub's
    level ("P3"), which says nothing true of a net with an `output_stride`.

    Nothing is copied: the model shares `model`'s layers, weights and input. With
    `output_stride=16` or `8` the last blocks stand at that stride, and there is none beyond.

    Args:
        model: A `MobileNet`, with or without a top, or a net in a graph with one of them.
        strides: The input's size over the activations', each one once.

    Raises:
        ValueError: the model has no activation at one of the strides, or `model` is not one net.
    """
    strides = tuple(strides)
    found = _last_activations(model)
    absent = [stride for stride in strides if stride not in found]
    if absent or not strides or len(set(strides)) < len(strides):
        there = ", ".join(map(str, found)) or "none"
        raise ValueError(
            f"`strides` must be some of those that model {model.name!r} has activations at, each "
            f"once: {there}. Received: strides={strides}"
        )
    outputs = {f"stride_{stride}": found[stride] for stride in strides}
    # One input goes in as it is: Keras warns where a list of one was given and an array comes.
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    return keras.Model(inputs, outputs, name=f"{model.name}_features")


def _last_activations(model: Any) -> dict[int, Any]:
    """Return the output of the last ReLU at each stride, in the order of the strides."""
    stride, found = 1, {}
    stems = [layer.name for layer in model.layers if layer.name.endswith("conv1")]
    if len(stems) != 1:
        raise ValueError(
            f"Model {model.name!r} must hold one MobileNet in its own layers, which has one stem, "
            f"conv1. Found: {', '.join(stems) or 'none'}. Pass the model that MobileNet returned."
        )
    for layer in model.layers:
        if type(layer).__name__ in _CONVOLUTIONS:
            stride *= layer.strides[0]
        elif type(layer).__name__ == "ReLU":
            found[stride] = layer.output
    return found
