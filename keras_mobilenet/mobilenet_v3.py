"""MobileNetV3, Large and Small, for Keras: a drop-in for `keras.applications.mobilenet_v3`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import keras

from keras_mobilenet.checkpoints.building import build_model
from keras_mobilenet.models.preprocessing import decode_predictions
from keras_mobilenet.nets.conventions import Padding
from keras_mobilenet.nets.families import v3
from keras_mobilenet.nets.net import OutputStride

__all__ = ["MobileNetV3Large", "MobileNetV3Small", "decode_predictions", "preprocess_input"]


def MobileNetV3Small(  # noqa: N802 - Keras' name
    input_shape: tuple[int | None, ...] | None = None,
    alpha: float = 1.0,
    minimalistic: bool = False,
    include_top: bool = True,
    weights: str | PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    classes: int = 1000,
    pooling: str | None = None,
    dropout_rate: float = 0.2,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    include_preprocessing: bool = True,
    name: str | None = "MobileNetV3Small",
    *,
    padding: Padding | None = None,
    epsilon: float | None = None,
    output_stride: OutputStride = 32,
    blocks: Sequence[v3.Block] = v3.SMALL,
    name_prefix: str = "",
    bn_momentum: float = v3.SMALL_FAMILY.bn_momentum,
    initializer: Any = "glorot_uniform",
    weight_decay: float | None = None,
) -> keras.Model:
    """Return a MobileNetV3 Small as a functional Keras model.

    It takes pixels, 0 to 255, unless `include_preprocessing` is False. A size that is known is
    padded by its parity, as TensorFlow's SAME is; one that is unknown, as by default, is taken as
    even, as in Keras, which at odd lengths is another function and another shape:
    `padding="same"` pads right at every size.

    Args:
        input_shape: `(height, width, channels)` in pixels, or `(channels, height, width)` where
            that is the data format; sizes of at least 32, or None for any, which is the default.
        alpha: Width multiplier: a block has `filters * alpha` channels, made divisible by 8. The
            stem has 16 at every alpha.
        minimalistic: Whether all kernels are 3 x 3, all activations ReLU, and channels are not
            weighed: for hardware that is slow at the rest.
        include_top: Whether the classifier is part of the model.
        weights: `"imagenet"` for the weights that Keras publishes, a name on the hub, as in
            `"timm/mobilenetv2_100.ra_in1k"` or `"hf://owner/name"`, the path of a file in any
            readable format, or None for random values.
        input_tensor: A `KerasTensor` to build on instead of a new input.
        classes: Number of classes, with a top only.
        pooling: Without a top, `"avg"` or `"max"` for an output of shape `(batch, features)`;
            None for the last convolution's `(batch, height, width, features)`.
        dropout_rate: Share of the classifier's inputs that training drops, with a top only.
        classifier_activation: Activation of the last layer; None returns the logits.
        include_preprocessing: Whether the net scales the pixels itself, in a `Rescaling` layer.
        name: The model's name.
        padding: That of the strided convolutions: `"keras"`; `"same"`, as TF-slim and Hugging
            Face pad; `"symmetric"`, as PyTorch pads. None follows the file given as `weights`.
        epsilon: That of the batch norms. None follows the file, and is 0.001 without one.
        output_stride: The input's size over that of the last block's output: 32, or 16 or 8,
            where the later strides become dilations, as in `MobileNet`.
        blocks: The blocks, by default the paper's eleven, `keras_mobilenet.nets.families.v3.SMALL`.
        name_prefix: Goes before the name of each layer, so that one graph can hold several nets.
        bn_momentum: Share of a batch norm's moving statistics that a step of training keeps.
        initializer: Of all kernels: anything that Keras takes as one.
        weight_decay: Adds half of it times the sum of the squared kernels to the loss; depthwise
            kernels are left out.

    Returns:
        A `keras.Model` with the layers and weights of `keras.applications.MobileNetV3Small`, and
        the names that it fixes. Activations are named after the convolution before them.

    Raises:
        ValueError: an argument has a wrong type or value; raised before any layer is made.
        CheckpointError: the file of weights cannot be read or does not fit.
        DownloadError: the published weights are neither at hand nor to be fetched.

    Source: Howard et al., 2019, arXiv 1905.02244; `keras.applications.MobileNetV3Small`.
    """
    return build_model(
        v3.SMALL_FAMILY,
        input_tensor,
        classifier_activation,
        input_shape=input_shape,
        alpha=alpha,
        minimalistic=minimalistic,
        include_top=include_top,
        weights=weights,
        classes=classes,
        pooling=pooling,
        dropout=dropout_rate,
        include_preprocessing=include_preprocessing,
        name=name,
        padding=padding,
        epsilon=epsilon,
        output_stride=output_stride,
        blocks=blocks,
        name_prefix=name_prefix,
        bn_momentum=bn_momentum,
        initializer=initializer,
        weight_decay=weight_decay,
    )


def MobileNetV3Large(  # noqa: N802 - Keras' name
    input_shape: tuple[int | None, ...] | None = None,
    alpha: float = 1.0,
    minimalistic: bool = False,
    include_top: bool = True,
    weights: str | PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    classes: int = 1000,
    pooling: str | None = None,
    dropout_rate: float = 0.2,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    include_preprocessing: bool = True,
    name: str | None = "MobileNetV3Large",
    *,
    padding: Padding | None = None,
    epsilon: float | None = None,
    output_stride: OutputStride = 32,
    blocks: Sequence[v3.Block] = v3.LARGE,
    name_prefix: str = "",
    bn_momentum: float = v3.LARGE_FAMILY.bn_momentum,
    initializer: Any = "glorot_uniform",
    weight_decay: float | None = None,
) -> keras.Model:
    """Return a MobileNetV3 Large as a functional Keras model.

    Arguments, returns, errors and source are those of `MobileNetV3Small`; the default of `blocks`
    is the paper's fifteen, `keras_mobilenet.nets.families.v3.LARGE`.
    """
    return build_model(
        v3.LARGE_FAMILY,
        input_tensor,
        classifier_activation,
        input_shape=input_shape,
        alpha=alpha,
        minimalistic=minimalistic,
        include_top=include_top,
        weights=weights,
        classes=classes,
        pooling=pooling,
        dropout=dropout_rate,
        include_preprocessing=include_preprocessing,
        name=name,
        padding=padding,
        epsilon=epsilon,
        output_stride=output_stride,
        blocks=blocks,
        name_prefix=name_prefix,
        bn_momentum=bn_momentum,
        initializer=initializer,
        weight_decay=weight_decay,
    )


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Return `x` as it is: the net scales its pixels itself, as Keras' does.

    For a net that was built with `include_preprocessing=False`, the -1 to 1 that it takes is made
    by `keras_mobilenet.preprocess_input`.
    """
    return x
