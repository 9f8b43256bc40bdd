"""A classifier up to its pooled embedding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras

from keras_mobilenet.deploy.opened import open_model
from keras_mobilenet.models.cuts import backwards, free_name, names_in
from keras_mobilenet.models.model_files import set_info

_POOLING = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)


def features_model(model: Any) -> keras.Model:
    """Return the part of `model` up to its last global pooling, which shares its weights.

    A model without a top, whose output has a height and a width, gets average pooling.

    Args:
        model: A functional Keras model of images, or a `.keras` file.

    Returns:
        A model of shape `(batch, height, width, channels)` to `(batch, features)`, with the
        info of `model` but for the classes' names.

    Raises:
        ValueError: `model` is of another kind, or pools nowhere.
    """
    opened = open_model(model)
    model = opened.model
    flatten = keras.layers.Flatten(name=free_name("features", names_in(model)))
    pooled = flatten(_pooled(model))
    features = keras.Model(model.inputs[0], pooled, name=f"{model.name}_features")
    set_info(features, replace(opened.info, labels=None))
    return features


def _pooled(model: Any) -> Any:
    for path, node in backwards(model):  # before layers aside, such as squeeze-and-excitation's
        if path == (model,) and isinstance(node.operation, _POOLING):
            return node.operation.output
    output = model.outputs[0]
    if len(output.shape) == 4:
        formats = {getattr(layer, "data_format", None) for layer in model.layers} - {None}
        data_format = formats.pop() if len(formats) == 1 else None
        name = free_name("global_average_pooling2d", names_in(model))
        return keras.layers.GlobalAveragePooling2D(data_format=data_format, name=name)(output)
    for layer in reversed(model.layers):
        if isinstance(layer, _POOLING):
            return layer.output
    raise ValueError(
        f"Model {model.name!r} has no layer of global pooling in its own graph, whose "
        "output would be the features. Pass a model with one, or one without a top."
    )
