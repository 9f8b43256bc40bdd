"""A classifier up to its pooled embedding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keras_mobilenet.deploy.graphs.operations import POOLS, Graph, Operation, leading_to
from keras_mobilenet.deploy.opened import Opened, is_exported, open_model


def features_of(model: Any) -> Any:
    """Return what `Predictor` takes for the features of a model, without Keras where that can be.

    Args:
        model: Anything that `open_model` opens.

    Raises:
        ValueError: it pools nowhere, or was exported.
    """
    if is_exported(model):
        raise ValueError(
            f"{model} was exported: only its outputs can be had, not the features before them. "
            "Pass the .keras file that it was exported from."
        )
    opened = open_model(model)
    graph = None if opened.graph is None else _pooled_graph(opened.graph)
    if graph is None:
        return features_model(opened)
    info = replace(opened.info, labels=None)
    load = lambda: features_model(opened)  # noqa: E731 - for what only Keras can do
    return Opened(
        graph.name, info, opened.input_shape, opened.input_dtype, None, graph=graph, load=load
    )


def _pooled_graph(graph: Graph) -> Graph | None:
    """Return a graph up to its last global pooling, which may be added; None where none fits."""
    name = f"{graph.name}_features"
    last = graph.by_name.get(graph.output)
    while last is not None and last.kind not in POOLS:  # past layers aside, such as gates
        last = graph.by_name.get(last.inputs[0])
    if last is not None:
        before = [x for x in leading_to(last.name, graph.by_name) if x is not last]
        pool = replace(last, keepdims=False, activation="")
        return replace(graph, name=name, operations=(*before, pool))
    shape = graph.shapes[graph.output]
    if len(shape) != 3:
        return None
    pool = Operation(
        f"{graph.output}_pool", "average", (graph.output,), shape[2] or 0, keepdims=False
    )
    return replace(graph, name=name, operations=(*graph.operations, pool))


def features_model(model: Any) -> Any:
    """Return the part of `model` up to its last global pooling, which shares its weights.

    A model without a top, whose output has a height and a width, gets average pooling.

    Args:
        model: A functional Keras model of images, a `.keras` file, or a file of weights.

    Returns:
        A Keras model of shape `(batch, height, width, channels)` to `(batch, features)`, with the
        info of `model` but for the classes' names.

    Raises:
        ValueError: `model` is of another kind, or pools nowhere.
    """
    import keras  # noqa: PLC0415 - features_of needs it for few models

    from keras_mobilenet.models.cuts import free_name, names_in  # noqa: PLC0415
    from keras_mobilenet.models.model_files import set_info  # noqa: PLC0415

    opened = open_model(model).in_keras()
    model = opened.model
    flatten = keras.layers.Flatten(name=free_name("features", names_in(model)))
    pooled = flatten(_pooled(model))
    features = keras.Model(model.inputs[0], pooled, name=f"{model.name}_features")
    set_info(features, replace(opened.info, labels=None))
    return features


def _pooled(model: Any) -> Any:
    import keras  # noqa: PLC0415

    from keras_mobilenet.models.cuts import backwards, free_name, names_in  # noqa: PLC0415

    pooling = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
    for path, node in backwards(model):  # before layers aside, such as squeeze-and-excitation's
        if path == (model,) and isinstance(node.operation, pooling):
            return node.operation.output
    output = model.outputs[0]
    if len(output.shape) == 4:
        formats = {getattr(layer, "data_format", None) for layer in model.layers} - {None}
        data_format = formats.pop() if len(formats) == 1 else None
        name = free_name("global_average_pooling2d", names_in(model))
        return keras.layers.GlobalAveragePooling2D(data_format=data_format, name=name)(output)
    for layer in reversed(model.layers):
        if isinstance(layer, pooling):
            return layer.output
    raise ValueError(
        f"Model {model.name!r} has no layer of global pooling in its own graph, whose "
        "output would be the features. Pass a model with one, or one without a top."
    )
