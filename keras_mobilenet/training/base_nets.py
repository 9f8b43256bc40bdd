"""The net that a training begins with: with a new top as a Keras model, or its features alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np

from keras_mobilenet.checkpoints.net_weights import Builder, NetWeights, net_weights
from keras_mobilenet.checkpoints.published.local_files import copies
from keras_mobilenet.deploy.opened import Opened, open_model
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.nets import arguments, pretrained
from keras_mobilenet.nets.families import registry
from keras_mobilenet.nets.net import Net, Size
from keras_mobilenet.training.checks import check_data_format

WHOLE = 1.0  # crop: users' objects stand near the edges too


def base_net(
    *,
    net: str = "mobilenet",
    alpha: float,
    weights: Any,
    size: Size,
    channels: int,
    labels: Sequence[str],
    seed: int,
    blocks: Sequence[Any] | None = None,
    activation: str = "softmax",
    **options: Any,
) -> Any:
    """Return a Keras model: a MobileNet with a top for `labels`, and the info for training and use.

    Published weights are taken with or without their top, whichever is at hand; `options` are what
    the net alone takes.

    Raises:
        ValueError: an argument is wrong, or the data format is not `"channels_last"`.
        CheckpointError: the file of weights cannot be read or does not fit.
        DownloadError: the published weights are neither at hand nor to be fetched.
    """
    from keras_mobilenet.checkpoints.building import build_net  # noqa: PLC0415 - Keras
    from keras_mobilenet.models.model_files import info_of, set_info  # noqa: PLC0415
    from keras_mobilenet.transfer.tops import replace_top  # noqa: PLC0415

    check_data_format("finetune")
    with seeded(seed):
        base = build_net(
            net,
            (*size, channels),
            alpha,
            include_top=takes_published_top(net, alpha, weights, size, options),
            weights=weights,
            dropout=0.0,
            blocks=blocks,
            **options,
        )
        # No dropout: it is for long trainings of whole nets, and would cost the exactness of
        # "the same seed, the same numbers".
        model = replace_top(base, len(labels), labels=labels, dropout=0.0, activation=activation)
    set_info(model, trained_info(info_of(model), size))
    return model


def trained_info(info: ModelInfo, size: Size) -> ModelInfo:
    """Return a base's info as that of what is trained: on whole images, stretched to `size`."""
    return replace(info, size=size, crop=WHOLE, interpolation="bilinear", keep_aspect=False)


def base_weights(
    *,
    net: str,
    alpha: float,
    weights: Any,
    size: Size,
    channels: int,
    blocks: Sequence[Any] | None = None,
    **options: Any,
) -> NetWeights:
    """Return the net under the top that `base_net` makes, and its arrays, without Keras.

    Raises:
        ValueError: an argument is wrong.
        CheckpointError: the file of weights cannot be read or does not fit.
        DownloadError: the published weights are neither at hand nor to be fetched.
    """
    takes_top = takes_published_top(net, alpha, weights, size, options)
    arguments = {
        "input_shape": (*size, channels), "alpha": alpha, "weights": weights, "blocks": blocks,
        "include_top": takes_top, "pooling": None if takes_top else "avg", **options,
    }  # fmt: skip
    found = net_weights(Builder(net, arguments))
    return replace(found, net=_before_classifier(found.net))


def base_features(weights: NetWeights, size: Size) -> Opened:
    """Return what a net's classifier stands on as a model of its own."""
    opened = open_model(weights)
    return replace(opened, info=replace(trained_info(opened.info, size), labels=None))


def _before_classifier(net: Net) -> Net:
    """Return a net up to what its classifier takes; one without a classifier as it is."""
    before = takewhile(lambda layer: layer.role != "classifier", net)
    return Net(tuple(layer for layer in before if layer.kind != "Dropout"))


def takes_published_top(
    net: str, alpha: float, weights: Any, size: Size, options: Mapping[str, Any]
) -> bool:
    """Return whether to begin with published weights that have their top.

    So it is where only these are at hand, or a top holds more than the classifier: what stands
    between pool and classifier is kept then.
    """
    known = registry.family(net)
    if weights != arguments.IMAGENET or alpha not in pretrained.alphas(known.name, **options):
        return False
    nearest = pretrained.nearest_size(size, known.name, alpha)
    row = pretrained.find(alpha, nearest, known.name, **options)
    here = {top: next(copies(row.file_name(top)), None) for top in (False, True)}
    return here[True] is not None and (known.has_wide_top or here[False] is None)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fix Keras' random values; Python's and NumPy's own go on afterwards as they would have."""
    import keras  # noqa: PLC0415

    python, numpy = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
