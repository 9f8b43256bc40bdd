"""The net that a training begins with: with a new top as a Keras model, or its features alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from keras_mobilenet.checkpoints.net_weights import Builder
from keras_mobilenet.checkpoints.published.local_files import copies
from keras_mobilenet.deploy.graphs.operations import WEIGHTED, Graph, leading_to
from keras_mobilenet.deploy.opened import Opened, open_model
from keras_mobilenet.nets import arguments, pretrained
from keras_mobilenet.nets.families import registry
from keras_mobilenet.nets.net import Size
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
            include_top=_takes_top(net, alpha, weights, size, options),
            weights=weights,
            dropout=0.0,
            blocks=blocks,
            **options,
        )
        # No dropout: it is for long trainings of whole nets, and would cost the exactness of
        # "the same seed, the same numbers".
        model = replace_top(base, len(labels), labels=labels, dropout=0.0, activation=activation)
    set_info(model, replace(info_of(model), size=size, crop=WHOLE))
    return model


def base_features(
    *,
    net: str,
    alpha: float,
    weights: Any,
    size: Size,
    channels: int,
    blocks: Sequence[Any] | None = None,
    **options: Any,
) -> Opened:
    """Return the same net up to what its classifier stands on, without Keras.

    Raises:
        ValueError: an argument is wrong.
        CheckpointError: the file of weights cannot be read or does not fit.
        DownloadError: the published weights are neither at hand nor to be fetched.
    """
    takes_top = _takes_top(net, alpha, weights, size, options)
    arguments = {
        "input_shape": (*size, channels), "alpha": alpha, "weights": weights, "blocks": blocks,
        "include_top": takes_top, "pooling": None if takes_top else "avg", **options,
    }  # fmt: skip
    opened = open_model(Builder(net, arguments))
    graph = _before_classifier(opened.graph) if takes_top and opened.graph else opened.graph
    info = replace(opened.info, size=size, crop=WHOLE, labels=None)
    return replace(opened, graph=graph, info=info, classes=None)


def _before_classifier(graph: Graph) -> Graph:
    """Return a graph up to what its last layer with a kernel takes."""
    last = graph.by_name[graph.output]
    while last.kind not in WEIGHTED:
        last = graph.by_name[last.inputs[0]]
    before = graph.by_name[last.inputs[0]]
    while before.kind == "none" and not before.activation:
        before = graph.by_name[before.inputs[0]]
    return replace(graph, operations=leading_to(before.name, graph.by_name))


def _takes_top(
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
    wide = any(layer.role == "head" for layer in known.network().parts["top"])
    return here[True] is not None and (wide or here[False] is None)


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
