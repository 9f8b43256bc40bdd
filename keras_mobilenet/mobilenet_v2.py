"""MobileNetV2 for Keras: a drop-in for `keras.applications.mobilenet_v2`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import keras

from keras_mobilenet.checkpoints.building import build_model
from keras_mobilenet.models.layers import graph
from keras_mobilenet.models.preprocessing import decode_predictions, preprocess_input
from keras_mobilenet.nets.conventions import Activation, Padding
from keras_mobilenet.nets.families import v2
from keras_mobilenet.nets.net import OutputStride

__all__ = ["MobileNetV2", "decode_predictions", "preprocess_input"]


def MobileNetV2(  # noqa: N802 - Keras' name
    input_shape: tuple[int | None, ...] | None = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = None,
    *,
    padding: Padding | None = None,
    epsilon: float | None = None,
    output_stride: OutputStride = 32,
    blocks: Sequence[v2.Block] = v2.BLOCKS,
    name_prefix: str = "",
    include_preprocessing: bool = False,
    bn_momentum: float = v2.FAMILY.bn_momentum,
    initializer: Any = "glorot_uniform",
    weight_decay: float | None = None,
    activation: Activation | None = None,
) -> keras.Model:
    """Return a MobileNetV2 as a functional Keras model.

    A size that is known is padded by its parity, as TensorFlow's SAME is; one that is unknown is
    taken as even, as in Keras, which at odd lengths is another function and another shape:
    `padding="same"` pads right at every size.

    Args:
        input_shape: `(height, width, channels)` in pixels, or `(channels, height, width)` where
            that is the data format; sizes of at least 32, or None for any. The default is
            `(224, 224, 3)` with a top and `(None, None, 3)` without.
        alpha: Width multiplier: a block has `int(filters * alpha)` channels, made divisible by 8.
            The last convolution has 1280, or more above 1.
        include_top: Whether the classifier is part of the model.
        weights: `"imagenet"` for the weights that Keras publishes, a name on the hub, as in
            `"timm/mobilenetv2_100.ra_in1k"` or `"hf://owner/name"`, the path of a file in any
            readable format, or None for random values.
        input_tensor: A `KerasTensor` to build on instead of a new input.
        pooling: Without a top, `"avg"` or `"max"` for an output of shape `(batch, features)`;
            None for the last convolution's `(batch, height, width, features)`.
        classes: Number of classes, with a top only.
        classifier_activation: Activation of the last layer; None returns the logits.
        name: The model's name, by default `mobilenetv2_{alpha:.2f}_{height}`.
        padding: That of the strided convolutions: `"keras"`; `"same"`, as TF-slim and Hugging
            Face pad; `"symmetric"`, as PyTorch pads. None follows the file given as `weights`.
        epsilon: That of the batch norms. None follows the file, and is 0.001 without one.
        output_stride: The input's size over that of the last block's output: 32, or 16 or 8,
            where the later strides become dilations, as in `MobileNet`.
        blocks: The blocks, by default the paper's seventeen,
            `keras_mobilenet.nets.families.v2.BLOCKS`.
        name_prefix: Goes before the name of each layer, so that one graph can hold several nets.
        include_preprocessing: Whether the net takes pixels, 0 to 255, and scales them itself.
        bn_momentum: Share of a batch norm's moving statistics that a step of training keeps.
        initializer: Of all kernels: anything that Keras takes as one.
        weight_decay: Adds half of it times the sum of the squared kernels to the loss; depthwise
            kernels are left out.
        activation: That behind the batch norms: `"relu6"`, or `"relu"`, which has no limit. None
            follows the file given as `weights`, and is `"relu6"` without one.

    Returns:
        A `keras.Model` with the layers, names and weights of `keras.applications.MobileNetV2`.

    Raises:
        ValueError: an argument has a wrong type or value; raised before any layer is made.
        CheckpointError: the file of weights cannot be read or does not fit.
        DownloadError: the published weights are neither at hand nor to be fetched.

    Source: Sandler et al., 2018, arXiv 1801.04381; `keras.applications.MobileNetV2`.
    """
    if input_shape is None and include_top:  # as Keras' builder has it
        input_shape = graph.published_shape(input_tensor, v2.FAMILY.name)
    return build_model(
        v2.FAMILY,
        input_tensor,
        classifier_activation,
        input_shape=input_shape,
        alpha=alpha,
        include_top=include_top,
        weights=weights,
        pooling=pooling,
        classes=classes,
        name=name,
        padding=padding,
        epsilon=epsilon,
        activation=activation,
        output_stride=output_stride,
        blocks=blocks,
        name_prefix=name_prefix,
        include_preprocessing=include_preprocessing,
        bn_momentum=bn_momentum,
        initializer=initializer,
        weight_decay=weight_decay,
    )
