"""MobileNetV4's nets for Keras, which has none of its own: convolutional ones, and hybrid ones.

The builders are as those of `keras.applications.mobilenet_v2`, and pad and normalise as timm's nets
do, whose weights they take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import keras

from keras_mobilenet.checkpoints.building import build_model
from keras_mobilenet.models.preprocessing import decode_predictions, preprocess_input
from keras_mobilenet.nets.conventions import Padding
from keras_mobilenet.nets.families import v4, v4_hybrid
from keras_mobilenet.nets.net import OutputStride

__all__ = [
    "MobileNetV4ConvLarge",
    "MobileNetV4ConvMedium",
    "MobileNetV4ConvSmall",
    "MobileNetV4HybridLarge",
    "MobileNetV4HybridMedium",
    "decode_predictions",
    "preprocess_input",
]


def MobileNetV4ConvSmall(  # noqa: N802 - as Keras names builders
    input_shape: tuple[int | None, ...] | None = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = None,
    *,
    dropout: float = v4.SMALL_FAMILY.dropout_rate,
    padding: Padding | None = None,
    epsilon: float | None = None,
    output_stride: OutputStride = 32,
    blocks: Sequence[v4.Block] = v4.SMALL,
    name_prefix: str = "",
    include_preprocessing: bool = False,
    bn_momentum: float = v4.SMALL_FAMILY.bn_momentum,
    initializer: Any = "glorot_uniform",
    weight_decay: float | None = None,
) -> keras.Model:
    """Return a MobileNetV4-Conv-S as a functional Keras model.

    Args:
        input_shape: `(height, width, channels)` in pixels, or `(channels, height, width)` where
            that is the data format; sizes of at least 32, or None for any. The default is
            `(224, 224, 3)` with a top and `(None, None, 3)` without.
        alpha: Width multiplier: a block has `filters * alpha` channels, made divisible by 8, and so
            has the last convolution, of 960. The stem has its 32, or more above 1; what follows
            the pool has 1280 at every alpha. timm's `conv_small_050` and `035` are 0.5 and 0.35.
        include_top: Whether the classifier is part of the model.
        weights: A name on the hub, as in `"timm/mobilenetv4_conv_small.e2400_r224_in1k"` or
            `"hf://owner/name"`, the path of a file in any readable format, or None for random
            values. Keras publishes none.
        input_tensor: A `KerasTensor` to build on instead of a new input.
        pooling: Without a top, `"avg"` or `"max"` for an output of shape `(batch, features)`;
            None for the last convolution's `(batch, height, width, features)`.
        classes: Number of classes, with a top only.
        classifier_activation: Activation of the last layer; None returns the logits.
        name: The model's name, by default `mobilenetv4_conv_small_{alpha:.2f}_{height}`.
        dropout: Share of the classifier's inputs that training drops, with a top only.
        padding: That of the strided convolutions: `"symmetric"`, as PyTorch pads, or `"same"`, as
            TensorFlow does. None follows the file given as `weights`, and is `"symmetric"` without
            one, which `"keras"` also means here.
        epsilon: That of the batch norms. None follows the file, and is 0.00001 without one.
        output_stride: The input's size over that of the last block's output: 32, or 16 or 8,
            where the later strides become dilations, as in `MobileNet`.
        blocks: The blocks, by default the paper's sixteen,
            `keras_mobilenet.nets.families.v4.SMALL`.
        name_prefix: Goes before the name of each layer, so that one graph can hold several nets.
        include_preprocessing: Whether the net takes pixels, 0 to 255, and scales them to -1 to 1
            itself. timm's files of Small `e3600`, 0.5 and 0.35 were trained on that range. The
            others were trained on pixels normalised by ImageNet's mean and deviation: of a net of
            these, `set_preprocessing` is to say so.
        bn_momentum: Share of a batch norm's moving statistics that a step of training keeps.
        initializer: Of all kernels: anything that Keras takes as one.
        weight_decay: Adds half of it times the sum of the squared kernels to the loss; depthwise
            kernels are left out.

    Returns:
        A `keras.Model`. Its layers are named after their blocks' kind and number, as in
        `universal_4_expand`.

    Raises:
        ValueError: an argument has a wrong type or value; raised before any layer is made.
        CheckpointError: the file of weights cannot be read or does not fit.

    Source: Qin et al., 2024, arXiv 2404.10518; timm 1.0.31, `mobilenetv4_conv_small`.
    """
    return build_model(
        v4.SMALL_FAMILY,
        input_tensor,
        classifier_activation,
        input_shape=input_shape,
        alpha=alpha,
        include_top=include_top,
        weights=weights,
        pooling=pooling,
        classes=classes,
        name=name,
        dropout=dropout,
        padding=padding,
        epsilon=epsilon,
        output_stride=output_stride,
        blocks=blocks,
        name_prefix=name_prefix,
        include_preprocessing=include_preprocessing,
        bn_momentum=bn_momentum,
        initializer=initializer,
        weight_decay=weight_decay,
    )


def MobileNetV4ConvMedium(  # noqa: N802 - as Keras names builders
    input_shape: tuple[int | None, ...] | None = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = None,
    *,
    dropout: float = v4.MEDIUM_FAMILY.dropout_rate,
    padding: Padding | None = None,
    epsilon: float | None = None,
    output_stride: OutputStride = 32,
    blocks: Sequence[v4.Block] = v4.MEDIUM,
    name_prefix: str = "",
    include_preprocessing: bool = False,
    bn_momentum: float = v4.MEDIUM_FAMILY.bn_momentum,
    initializer: Any = "glorot_uniform",
    weight_decay: float | None = None,
) -> keras.Model:
    """Return a MobileNetV4-Conv-M as a functional Keras model.

    Arguments, returns, errors and source are those of `MobileNetV4ConvSmall`, but for the size,
    256 x 256 by default, and the blocks, by default the paper's twenty-two,
    `keras_mobilenet.nets.families.v4.MEDIUM`.
    """
    return build_model(
        v4.MEDIUM_FAMILY,
        input_tensor,
        classifier_activation,
        input_shape=input_shape,
        alpha=alpha,
        include_top=include_top,
        weights=weights,
        pooling=pooling,
        classes=classes,
        name=name,
        dropout=dropout,
        padding=padding,
        epsilon=epsilon,
        output_stride=output_stride,
        blocks=blocks,
        name_prefix=name_prefix,
        include_preprocessing=include_preprocessing,
        bn_momentum=bn_momentum,
        initializer=initializer,
        weight_decay=weight_decay,
    )


def MobileNetV4ConvLarge(  # noqa: N802 - as Keras names builders
    input_shape: tuple[int | None, ...] | None = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = None,
    *,
    dropout: float = v4.LARGE_FAMILY.dropout_rate,
    padding: Padding | None = None,
    epsilon: float | None = None,
    output_stride: OutputStride = 32,
    blocks: Sequence[v4.Block] = v4.LARGE,
    name_prefix: str = "",
    include_preprocessing: bool = False,
    bn_momentum: float = v4.LARGE_FAMILY.bn_momentum,
    initializer: Any = "glorot_uniform",
    weight_decay: float | None = None,
) -> keras.Model:
    """Return a MobileNetV4-Conv-L as a functional Keras model.

    Arguments, returns, errors and source are those of `MobileNetV4ConvSmall`, but for the size,
    384 x 384 by default, the stem, of 24, and the blocks, by default the paper's twenty-seven,
    `keras_mobilenet.nets.families.v4.LARGE`.
    """
    return build_model(
        v4.LARGE_FAMILY,
        input_tensor,
        classifier_activation,
        input_shape=input_shape,
        alpha=alpha,
        include_top=include_top,
        weights=weights,
        pooling=pooling,
        classes=classes,
        name=name,
        dropout=dropout,
        padding=padding,
        epsilon=epsilon,
        output_stride=output_stride,
        blocks=blocks,
        name_prefix=name_prefix,
        include_preprocessing=include_preprocessing,
        bn_momentum=bn_momentum,
        initializer=initializer,
        weight_decay=weight_decay,
    )


def MobileNetV4HybridMedium(  # noqa: N802 - as Keras names builders
    input_shape: tuple[int | None, ...] | None = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = None,
    *,
    dropout: float = v4_hybrid.MEDIUM_FAMILY.dropout_rate,
    padding: Padding | None = None,
    epsilon: float | None = None,
    output_stride: OutputStride = 32,
    blocks: Sequence[v4.Block] = v4_hybrid.MEDIUM,
    name_prefix: str = "",
    include_preprocessing: bool = False,
    bn_momentum: float = v4_hybrid.MEDIUM_FAMILY.bn_momentum,
    initializer: Any = "glorot_uniform",
    weight_decay: float | None = None,
) -> keras.Model:
    """Return a MobileNetV4-Hybrid-M, with attention in its later blocks, as a functional model.

    Arguments, returns and errors are those of `MobileNetV4ConvSmall`, but for the size, 256 x 256
    by default, the blocks, by default timm's thirty-one,
    `keras_mobilenet.nets.families.v4_hybrid.MEDIUM`, and `output_stride`, which must be 32.

    Source: Qin et al., 2024, arXiv 2404.10518; timm 1.0.31, `mobilenetv4_hybrid_medium`.
    """
    return build_model(
        v4_hybrid.MEDIUM_FAMILY,
        input_tensor,
        classifier_activation,
        input_shape=input_shape,
        alpha=alpha,
        include_top=include_top,
        weights=weights,
        pooling=pooling,
        classes=classes,
        name=name,
        dropout=dropout,
        padding=padding,
        epsilon=epsilon,
        output_stride=output_stride,
        blocks=blocks,
        name_prefix=name_prefix,
        include_preprocessing=include_preprocessing,
        bn_momentum=bn_momentum,
        initializer=initializer,
        weight_decay=weight_decay,
    )


def MobileNetV4HybridLarge(  # noqa: N802 - as Keras names builders
    input_shape: tuple[int | None, ...] | None = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = None,
    *,
    dropout: float = v4_hybrid.LARGE_FAMILY.dropout_rate,
    padding: Padding | None = None,
    epsilon: float | None = None,
    output_stride: OutputStride = 32,
    blocks: Sequence[v4.Block] = v4_hybrid.LARGE,
    name_prefix: str = "",
    include_preprocessing: bool = False,
    bn_momentum: float = v4_hybrid.LARGE_FAMILY.bn_momentum,
    initializer: Any = "glorot_uniform",
    weight_decay: float | None = None,
) -> keras.Model:
    """Return a MobileNetV4-Hybrid-L, of GELU and attention, as a functional Keras model.

    Arguments, returns and errors are those of `MobileNetV4HybridMedium`, but for the size,
    384 x 384 by default, the stem, of 24, and the blocks, by default timm's thirty-six,
    `keras_mobilenet.nets.families.v4_hybrid.LARGE`.

    Source: Qin et al., 2024, arXiv 2404.10518; timm 1.0.31, `mobilenetv4_hybrid_large`.
    """
    return build_model(
        v4_hybrid.LARGE_FAMILY,
        input_tensor,
        classifier_activation,
        input_shape=input_shape,
        alpha=alpha,
        include_top=include_top,
        weights=weights,
        pooling=pooling,
        classes=classes,
        name=name,
        dropout=dropout,
        padding=padding,
        epsilon=epsilon,
        output_stride=output_stride,
        blocks=blocks,
        name_prefix=name_prefix,
        include_preprocessing=include_preprocessing,
        bn_momentum=bn_momentum,
        initializer=initializer,
        weight_decay=weight_decay,
    )
