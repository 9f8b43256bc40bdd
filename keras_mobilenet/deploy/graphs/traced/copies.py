"""Copies of Keras models, layer by layer: the same graph, with layers that differ where asked."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_mobilenet.models.backends import tensorflow_left_out
from keras_mobilenet.models.cuts import inputs_of

FLOAT32 = "float32"
_OTHERS = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16", "float64")


def is_model(layer: Any) -> bool:
    """Return whether a layer is a model, nested in another."""
    return isinstance(layer, keras.Model)


def view_of(model: Any) -> keras.Model:
    """Return the same graph and layers, not compiled, as a model whose constructor is known."""
    if isinstance(model, keras.Sequential):  # `input` is known once it was called, only
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(inputs_of(model), model.output, name=model.name)


def config_of(operation: Any) -> dict[str, Any]:
    """Return the configuration of a layer or a model, which is not going to be saved."""
    with warnings.catch_warnings(), tensorflow_left_out():
        warnings.filterwarnings("ignore", ".*serialized includes a `lambda`")
        config: dict[str, Any] = operation.get_config()
    return config


def copy_of(layer: Any, changes: Mapping[str, Any] | None = None, *, float32: bool = False) -> Any:
    """Return a layer like `layer`, with new weights and some entries of its configuration changed.

    Functions, as of an activation, are handed on as they are: by its name Keras finds one only if
    it is registered, and a lambda never.
    """
    config = config_of(layer)
    if float32:
        config = _with_float32(config)
    functions = {key: getattr(layer, key, None) for key in config}
    config |= {key: value for key, value in functions.items() if _is_function(value)}
    return type(layer).from_config(config | dict(changes or {}))


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, (type, keras.layers.Layer, keras.Variable))


def copied(model: Any, *, float32: bool = False) -> keras.Model:
    """Return a copy of a functional or `Sequential` model, with the same weights.

    Args:
        model: A Keras model.
        float32: Whether all that computes in another precision is to do so in float32.
    """
    copies: dict[str, Any] = {}

    def copy(layer: Any) -> Any:
        copies[layer.name] = (
            copied(layer, float32=float32) if is_model(layer) else copy_of(layer, float32=float32)
        )
        return copies[layer.name]

    def new_input(tensor: Any) -> Any:
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        dtype = FLOAT32 if float32 and dtype in _OTHERS else dtype
        return keras.Input(batch_shape=tensor.shape, dtype=dtype, name=tensor.name)

    view = view_of(model)
    inputs = keras.tree.map_structure(new_input, view.input)
    new = keras.models.clone_model(view, input_tensors=inputs, clone_function=copy)
    for layer in view.layers:
        if layer.name in copies and not is_model(layer):
            copies[layer.name].set_weights(layer.get_weights())
    return new


def in_float32(model: Any) -> Any:
    """Return `model`, or if a part of it computes in another precision, a copy in float32.

    The variables of mixed precision are float32 already: the copy computes what half precision
    stands for, and runtimes decide themselves what is fast on their hardware.
    """
    if all(map(_is_float32, _operations(model))):
        return model
    return copied(model, float32=True)


def _operations(model: Any) -> Iterator[Any]:
    """Yield what computes in a model, and its inputs; of nested models too."""
    for operation in view_of(model).operations:
        if is_model(operation):
            yield from _operations(operation)
        else:
            yield operation


def _is_float32(operation: Any) -> bool:
    config = config_of(operation)
    return bool(_with_float32(config) == config)


def _with_float32(config: Any) -> Any:
    """Return a configuration, of a layer and those within it, with float32 for other floats."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return FLOAT32 if config["config"]["name"] in _OTHERS else config
        return {
            key: FLOAT32 if key == "dtype" and value in _OTHERS else _with_float32(value)
            for key, value in config.items()
        }
    return [_with_float32(value) for value in config] if isinstance(config, list) else config
