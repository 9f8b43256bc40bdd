"""MobileNet V1 for Keras: a drop-in for `keras.applications.mobilenet`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import keras

from keras_mobilenet.checkpoints.building import build_model
from keras_mobilenet.models.preprocessing import decode_predictions, preprocess_input
from keras_mobilenet.nets.conventions import Activation, Padding
from keras_mobilenet.nets.families import v1
from keras_mobilenet.nets.net import OutputStride

__all__ = ["MobileNet", "decode_predictions", "preprocess_input"]


def MobileNet(  # noqa: N802 - Keras' name
    input_shape: tuple[int | None, ...] | None = None,
    alpha: float = 1.0,
    depth_multiplier: int = 1,
    dropout: float = 1e-3,
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
    blocks: Sequence[v1.Block] = v1.BLOCKS,
    name_prefix: str = "",
    include_preprocessing: bool = False,
    bn_momentum: float = 0.99,
    initializer: Any = "glorot_uniform",
    weight_decay: float | None = None,
    activation: Activation | None = None,
) -> keras.Model:
    """Return a MobileNet V1 as a functional Keras model.

    Args:
        input_shape: `(height, width, channels)` in pixels, or `(channels, height, width)` where
            that is the data format; sizes of at least 32, or None for any. The default is
            `(224, 224, 3)` with a top and `(None, None, 3)` without.
        alpha: Width multiplier: each layer has `int(filters * alpha)` channels.
        depth_multiplier: Depthwise filters for each input channel. It has nothing to do with the
            paper's resolution multiplier, which is the size of the input.
        dropout: Share of the pooled features that training drops, with a top only.
        include_top: Whether the classifier is part of the model.
        weights: `"imagenet"` for the weights that Keras publishes, a name on the hub, as in
            `"timm/mobilenetv2_100.ra_in1k"` or `"hf://owner/name"`, the path of a file in any
            readable format, or None for random values.
        input_tensor: A `KerasTensor` to build on instead of a new input.
        pooling: Without a top, `"avg"` or `"max"` for an output of shape `(batch, features)`;
            None for the last block's `(batch, height, width, features)`.
        classes: Number of classes, with a top only.
        classifier_activation: Activation of the last layer; None returns the logits.
        name: The model's name, by default `mobilenet_{alpha:.2f}_{height}`.
        padding: That of the strided convolutions: `"keras"`; `"same"`, as TF-slim and Hugging
            Face pad; `"symmetric"`, as PyTorch pads. None follows the file given as `weights`.
        epsilon: That of the batch norms. None follows the file, and is 0.001 without one.
        output_stride: The input's size over that of the last block's output. Below 32 the later
            strides become dilations, with the same layers and weights: an output of
            `(batch, height / 16, width / 16, features)` or of eighths, for segmentation and
            detection. Every other one of its rows and columns, `[::2, ::2]` for 16 and
            `[::4, ::4]` for 8, is the output of the net of 32: with `padding="symmetric"` at any
            size, with `"keras"` where the strides left out would have met even lengths, as at all
            multiples of 32; elsewhere the last rows and columns differ. `"same"` gives TF-slim's
            graph, where they begin one place later, `[1::2, 1::2]`, for each even length.
        blocks: The blocks, by default the paper's thirteen,
            `keras_mobilenet.nets.families.v1.BLOCKS`.
            A block of stride 2 halves its input; one that is not `separable` is a full
            convolution. Files know their layers by name, so that `weights` takes one of such a net.
        name_prefix: Goes before the name of each layer, so that one graph can hold several nets.
            Weights load and are saved by their plain names all the same. Without one, the names
            that Keras leaves to its counters, of the pool, are the next ones of the process, and
            so is the input's: `input_1`, `input_2`, ...
        include_preprocessing: Whether the net takes pixels, 0 to 255, and scales them itself, in a
            `Rescaling` layer, as `preprocess_input` does.
        bn_momentum: Share of a batch norm's moving statistics that a step of training keeps.
            TF-slim trained the published weights with 0.9997.
        initializer: Of all kernels: anything that Keras takes as one. Each layer gets a copy; one
            with a seed gives kernels of one shape the same values.
        weight_decay: Adds half of it times the sum of the squared kernels to the loss, as TF-slim
            does with 0.00004; depthwise kernels are left out, as the paper has it. It is no part
            of `compile`'s optimizer, which may have a weight decay of its own.
        activation: That behind the batch norms: `"relu6"`, or `"relu"`, which has no limit. None
            follows the file given as `weights`, and is `"relu6"` without one.

    Returns:
        A `keras.Model` with the layers, names and weights of `keras.applications.MobileNet`.

    Raises:
        ValueError: an argument has a wrong type or value; raised before any layer is made.
        CheckpointError: the file of weights cannot be read or does not fit.
        DownloadError: the published weights are neither at hand nor to be fetched.

    Source: Howard et al., 2017, arXiv 1704.04861; `keras.applications.MobileNet`.
    """
    return build_model(
        v1.FAMILY,
        input_tensor,
        classifier_activation,
        input_shape=input_shape,
        alpha=alpha,
        depth_multiplier=depth_multiplier,
        dropout=dropout,
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
