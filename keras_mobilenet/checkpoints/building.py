"""A Keras model of a net, with the weights of a file: what every builder ends in."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from keras_mobilenet.checkpoints.load_errors import other_conventions, undecided
from keras_mobilenet.checkpoints.loading import load_weights
from keras_mobilenet.checkpoints.published.weights import weights_file
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.registry import open_checkpoint, unpacked_limit
from keras_mobilenet.models import graph
from keras_mobilenet.nets import arguments, families
from keras_mobilenet.nets.conventions import Conventions, Length
from keras_mobilenet.nets.net import Net

logger = logging.getLogger(__name__)


def build_model(
    checked: arguments.Arguments,
    input_tensor: Any,
    classifier_activation: Any,
    *,
    wanted: Mapping[str, Any],
    bn_momentum: float,
    initializer: Any,
    weight_decay: float | None,
) -> Any:
    """Return the `keras.Model` of checked arguments, with the weights they ask for.

    Args:
        checked: What `arguments.check` returned.
        input_tensor: A `KerasTensor` to build on, or None for an input of the net's own.
        classifier_activation: Of the outputs, where the net has a top.
        wanted: The caller's `padding`, `epsilon` and `activation`; None follows the file.
        bn_momentum: Share of the moving statistics that a step of training keeps.
        initializer: Of all kernels.
        weight_decay: Of all kernels but the depthwise ones, or None.

    Raises:
        ValueError: an argument that only Keras knows of is wrong.
        CheckpointError: the file of weights cannot be read or does not fit.
        DownloadError: the published weights are neither at hand nor to be fetched.
    """
    arguments.check_training(bn_momentum, weight_decay)
    if checked.include_top:
        graph.check_classifier(classifier_activation, published=checked.published is not None)
    graph.check_initializer(initializer)
    path = checked.weights
    if checked.published:
        path = weights_file(checked.published, checked.include_top)
    inputs, x = graph.inputs(input_tensor, checked.input_shape, checked.name_prefix)
    size, channels = graph.image_shape(x)
    layers = functools.partial(checked.layers, size=size, channels=channels)
    conventions = _conventions(path, wanted, layers(padding="keras"), size, checked)
    settings = graph.Settings(
        dropout=checked.dropout,
        classifier_activation=classifier_activation,
        epsilon=conventions.epsilon,
        activation=conventions.activation,
        bn_momentum=bn_momentum,
        initializer=initializer,
        weight_decay=weight_decay,
    )
    net = layers(padding=conventions.padding)
    model = graph.model(inputs, graph.build(net, x, settings), checked.name)
    if path is not None:
        logger.info("%s", load_weights(model, path, adapt_channels=True))
    return model


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
    family = families.family(net)
    checked = arguments.check(
        family, input_shape=input_shape, alpha=alpha, include_top=include_top, weights=weights,
        pooling=pooling, classes=classes,
        dropout=family.dropout_rate if dropout is None else dropout,
        data_format=graph.data_format(), **others,
    )  # fmt: skip
    named = replace(checked, name=checked.name or family.name)
    wanted = {name: others.get(name) for name in ("padding", "epsilon", "activation")}
    return build_model(
        named, None, classifier_activation, wanted=wanted,
        bn_momentum=family.bn_momentum if bn_momentum is None else bn_momentum,
        initializer=initializer, weight_decay=weight_decay,
    )  # fmt: skip


def _conventions(
    path: str | None,
    wanted: Mapping[str, Any],
    net: Net,
    size: tuple[Length, Length],
    checked: arguments.Arguments,
) -> Conventions:
    """Return the conventions to build with: the caller's, else the file's, else Keras'.

    `net` is the one of Keras' padding.
    """
    file = None

    def are_one(known: Conventions, other: Conventions) -> bool:
        return known.fits(other, net.windows(size), checked.family.zeros)

    if path is not None:
        with open_checkpoint(path, unpacked_limit(net.arrays())) as checkpoint:
            file = _told(path, checkpoint, wanted, are_one)
    known = file or Conventions()
    # Where the two are one function, Keras' own graph serves a file from elsewhere.
    padded = replace(known, padding="keras")
    preferred = padded if are_one(known, padded) else known
    chosen = replace(preferred, **_given(wanted))
    if path is not None and file and not are_one(file, chosen):
        raise CheckpointError(other_conventions(path, file, chosen, checked.family.name))
    return chosen


def _given(wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if value is not None}


def _told(
    path: str,
    checkpoint: Checkpoint,
    wanted: Mapping[str, Any],
    are_one: Callable[[Conventions, Conventions], bool],
) -> Conventions | None:
    """Return the file's conventions; of several, the one that goes with the arguments given."""
    if not checkpoint.candidates:
        return checkpoint.conventions
    given = _given(wanted)
    fitting = [
        known
        for known in checkpoint.candidates.values()
        if given and are_one(known, replace(known, **given))
    ]
    if len(fitting) != 1:
        raise CheckpointError(undecided(path, checkpoint.candidates))
    return fitting[0]
