"""Where a net is cut in two: what is computed once, and what trains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_mobilenet.models.cuts import output_in
from keras_mobilenet.models.frozen import layers_within
from keras_mobilenet.models.model_files import info_of, set_info
from keras_mobilenet.models.parts import FoundNet, find_nets
from keras_mobilenet.transfer.trained_parts import TOP

_NO_SETTINGS = ("name", "trainable")  # of what a layer computes


def boundary(model: Any, train_from: str) -> Any:
    """Return the `KerasTensor` between what is computed once and what trains.

    It is the model's own input where everything trains.
    """
    if train_from == TOP:
        return pooled(model)
    net = _net(model)
    parts = [*net.parts]
    place = parts.index(train_from)
    return output_in(model, net.parts[parts[place - 1]][-1]) if place else model.inputs[0]


def pooled(model: Any) -> Any:
    """Return the `KerasTensor` of what the classifier is applied to: pooled features.

    It is `(batch, 1, 1, features)` or `(batch, features)`; where the net's weights hold a
    convolution between pool and classifier, it is what that one puts out.
    """
    return output_in(model, _net(model).features[-1])


def classifier(model: Any) -> Any:
    """Return the layer that tells the classes."""
    net = _net(model)
    name = net.family.classifier.prefixed(net.prefix).name
    return next(layer for layer in net.top if layer.name == name)


def logits(model: Any) -> Any:
    """Return the `KerasTensor` before the last activation, `(batch, classes)`.

    A dense layer holds its activation: it puts out logits within `classifier_is_linear`.
    """
    *_, before, last = _net(model).top
    return output_in(model, last if last is classifier(model) else before)


@contextmanager
def classifier_is_linear(model: Any) -> Iterator[None]:
    """Let a classifier that holds its activation put out logits in what is traced meanwhile."""
    layer = classifier(model)
    activation = layer.activation
    layer.activation = keras.activations.linear
    try:
        yield
    finally:
        layer.activation = activation


def _net(model: Any) -> FoundNet:
    """Return the net in a model that `base_net` returned."""
    (net,) = find_nets(model)
    return net


def submodel(model: Any, start: Any, end: Any) -> keras.Model:
    """Return the part of a model between two tensors; its layers are the model's own.

    Its info is the model's, or takes what it is given where it begins within.
    """
    cut = keras.Model(start, end, name=f"{model.name}_part")
    info = info_of(model)
    set_info(cut, info if start is model.inputs[0] else info.taking_pixels())
    return cut


def fingerprint(model: Any) -> str:
    """Return a SHA-256 of what a model computes: its layers' settings, and every weight.

    Names are left out: some of them tell how many layers the process had made before.
    """
    digest = hashlib.sha256()
    for layer in layers_within(model):
        config = {key: x for key, x in layer.get_config().items() if key not in _NO_SETTINGS}
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        for weight in layer.get_weights():
            digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
