"""A Keras model of a net, with the weights of a file: what every builder ends in."""

from __future__ import annotations

import functools
import logging
from typing import Any

from keras_mobilenet.checkpoints.loading import load_weights
from keras_mobilenet.checkpoints.net_weights import (
    chosen_conventions,
    opened_if_any,
    published_builder,
    wanted_conventions,
    with_top_of,
)
from keras_mobilenet.checkpoints.published.hub import source_of
from keras_mobilenet.checkpoints.published.weights import local_weights, path_of
from keras_mobilenet.images.model_info import as_published
from keras_mobilenet.models.layers import graph
from keras_mobilenet.models.model_files import info_of, set_info
from keras_mobilenet.nets import arguments
from keras_mobilenet.nets.conventions import Length
from keras_mobilenet.nets.families import registry
from keras_mobilenet.nets.net import Family

logger = logging.getLogger(__name__)


def build_model(
    family: Family,
    input_tensor: Any = None,
    classifier_activation: Any = "softmax",
    *,
    bn_momentum: float,
    initializer: Any,
    weight_decay: float | None,
    default_name: str | None = None,
    **given: Any,
) -> Any:
    """Return the `keras.Model` that a builder's arguments ask for, with its weights.

    Args:
        family: The net's.
        input_tensor: A `KerasTensor` to build on, or None for an input of the net's own.
        classifier_activation: Of the outputs, where the net has a top.
        bn_momentum: Share of the moving statistics that a step of training keeps.
        initializer: Of all kernels.
        weight_decay: Of all kernels but the depthwise ones, or None.
        default_name: The model's, where neither the caller nor the family gives one.
        given: The arguments that `arguments.check` knows. None as `padding`, `epsilon` or
            `activation` follows the file of weights.

    Raises:
        ValueError: an argument has a wrong type or value.
        CheckpointError: the file of weights cannot be read or does not fit.
        DownloadError: the published weights are neither at hand nor to be fetched.
    """
    given["weights"] = local_weights(given["weights"])
    # A warning names the line that called the builder, which is two calls above.
    checked = arguments.check(family, **given, data_format=graph.data_format(), frames=2)
    arguments.check_training(bn_momentum, weight_decay)
    if checked.include_top:
        graph.check_classifier(classifier_activation, published=checked.published is not None)
    graph.check_initializer(initializer)
    path = path_of(checked)
    inputs, x = graph.inputs(input_tensor, checked.input_shape, checked.name_prefix)
    size, channels = graph.image_shape(x)
    layers = functools.partial(checked.layers, size=size, channels=channels)
    wanted = wanted_conventions(given)
    plain = layers(padding="keras")
    with opened_if_any(path, plain) as checkpoint:
        conventions = chosen_conventions(path, checkpoint, wanted, plain, size, family)
        net = with_top_of(checkpoint, layers(padding=conventions.padding), checked)
    settings = graph.Settings(
        dropout=checked.dropout,
        classifier_activation=classifier_activation,
        epsilon=conventions.epsilon,
        activation=conventions.activation,
        bn_momentum=bn_momentum,
        initializer=initializer,
        weight_decay=weight_decay,
    )
    model = graph.model(inputs, graph.build(net, x, settings), checked.name or default_name)
    if path is not None:
        logger.info("%s", load_weights(model, path, adapt_channels=True))
    if checked.hub and path is not None:
        set_info(model, as_published(info_of(model), checked.hub, channels, source_of(path)))
    return model


def from_pretrained(name: str, **arguments: Any) -> Any:
    """Return a Keras model of a MobileNet by the name of its published weights.

    `keras-mobilenet weights list` shows the names. The model knows how pixels become its input,
    the crop and, of ImageNet's classes, their names: `Predictor`, `export` and `finetune` go by
    them, and `preprocessing_of(model)` tells the first.

    Args:
        name: A repository of the hub, as in `"timm/mobilenetv1_100.ra4_e3600_r224_in1k"`. It is
            fetched with `huggingface_hub` into that package's cache, unless it is there. Of
            `"hf://owner/name"`, which `weights list` does not have, net and preprocessing are
            found in the file and in the settings beside it; so it is in a folder such as
            `save_weights(model, "folder/")` writes, whose path may be given as well.
        arguments: Those of the net's builder in place of the row's: `input_shape`, by default
            of the size that the publisher tests with, `include_top`, `pooling`,
            `classifier_activation` and others.

    Raises:
        ValueError: no such weights are known, or an argument is wrong.
        CheckpointError: the file does not fit.
        DownloadError: it is neither at hand nor to be fetched.
        MissingExtraError: `huggingface_hub` is not installed.
    """
    builder = published_builder(name, arguments)
    return build_net(builder.net, **builder.arguments)


def build_net(
    net: str,
    input_shape: tuple[Length, ...] | None = None,
    alpha: float = 1.0,
    *,
    include_top: bool = True,
    weights: Any = "imagenet",
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    dropout: float | None = None,
    bn_momentum: float | None = None,
    initializer: Any = "glorot_uniform",
    weight_decay: float | None = None,
    **others: Any,
) -> Any:
    """Return a `keras.Model` of the net that a key such as `"mobilenet_v2"` names.

    It is the one of its builder, with the same arguments, defaults and errors, but takes -1 to 1
    unless `include_preprocessing` is True, its dropout goes by `dropout`, and its name is the
    builder's where that has one name only.
    """
    family = registry.family(net)
    return build_model(
        family, None, classifier_activation, input_shape=input_shape, alpha=alpha,
        include_top=include_top, weights=weights, pooling=pooling, classes=classes,
        dropout=family.dropout_rate if dropout is None else dropout,
        bn_momentum=family.bn_momentum if bn_momentum is None else bn_momentum,
        initializer=initializer, weight_decay=weight_decay, default_name=family.name, **others,
    )  # fmt: skip
