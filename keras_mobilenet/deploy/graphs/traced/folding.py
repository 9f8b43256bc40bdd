"""fold_batch_norm(): the same model, without its batch norms."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_mobilenet.deploy.graphs.traced.copies import (
    config_of,
    copy_of,
    in_float32,
    is_model,
    view_of,
)
from keras_mobilenet.deploy.graphs.traced.rounding import check_rounding
from keras_mobilenet.models.model_files import info_of, set_info
from keras_mobilenet.models.parts import find_nets

# The kernel's axis of output channels; a depthwise kernel has two, (channel, multiplier).
CHANNEL_AXES: Mapping[type, tuple[int, ...]] = {
    keras.layers.Conv1D: (-1,),
    keras.layers.Conv2D: (-1,),
    keras.layers.Conv3D: (-1,),
    keras.layers.Dense: (-1,),
    keras.layers.DepthwiseConv1D: (-2, -1),
    keras.layers.DepthwiseConv2D: (-2, -1),
    keras.layers.Conv1DTranspose: (-2,),
    keras.layers.Conv2DTranspose: (-2,),
    keras.layers.Conv3DTranspose: (-2,),
}

# How the names begin of Keras' layers that do nothing at inference; not every runtime has what they
# do in training. What RandomCrop does then is left to Keras.
_AUGMENTING = ("Random", "RandAugment", "AugMix", "CutMix", "MixUp")
_ACTING = "RandomCrop"


def fold_batch_norm(model: Any) -> keras.Model:
    """Return a copy of `model` whose batch norms are folded into the convolutions before them.

    The copy computes what `model` computes at inference, from the same inputs; its convolutions
    have the same names, and a bias. Layers that augment images, which do nothing at inference, are
    left out. Models nested in it are folded too. Both are run on generated
    images and compared before the copy is returned; the difference is logged at INFO.
    Preprocessing and labels go with the copy.

    A batch norm is left as it is where folding is not safe, and named in a `UserWarning`: it does
    not follow a convolution or `Dense` layer directly, either of the two is used more than once,
    the convolution has an activation of its own or is of a class that is not Keras', the batch
    norm runs over another axis or in training mode. Those ahead of a MobileNet's attention, which
    no convolution is before, stay without a word.

    Args:
        model: A built functional or `Sequential` Keras model.

    Returns:
        A new `keras.Model`, not compiled, that shares no weights with `model`.

    Raises:
        ValueError: `model` is not functional, or a layer of it cannot be copied.
        AccuracyError: the outputs differ by more than rounding, in float32 and before the last
            activation.
    """
    folded = without_batch_norms(model)
    set_info(folded, info_of(model))
    return folded


def without_batch_norms(model: Any) -> keras.Model:
    """Return what `fold_batch_norm` does, on its own: no preprocessing nor labels go with it."""
    _check_functional(model)
    left: list[str] = []
    folded = _folded(model, left)
    check_rounding(in_float32(model), in_float32(folded))
    nets = find_nets(model)
    known = {net.prefix + name for net in nets for name in net.description.lone_norms()}
    left = [name for name in left if name not in known]
    if left:
        warnings.warn(
            f"Batch norms of model {model.name!r} that cannot be folded: {', '.join(left)}. "
            "They stay as they are.",
            UserWarning,
            stacklevel=3,
        )
    return folded


def _check_functional(model: Any) -> None:
    functional = isinstance(model, keras.Sequential) or hasattr(model, "operations")
    if not (isinstance(model, keras.Model) and functional):
        raise ValueError(
            "Only functional and Sequential Keras models can be folded: the graph of others is not "
            f"known before they are called. Received: {type(model).__name__}"
        )
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built. Call it on an input first.")


def _folded(model: Any, left: list[str]) -> keras.Model:
    """Return the folded copy, and add the names of the batch norms left in it to `left`."""
    view = view_of(model)
    folds = _folds(view)  # convolution -> batch norm
    absorbed = set(folds.values())
    copies: dict[str, Any] = {}

    def copy(layer: Any) -> Any:
        if is_model(layer):
            copied = _folded(layer, left)
        else:
            changes = {"use_bias": True, "bias_initializer": "zeros"}
            copied = copy_of(layer, changes if layer.name in folds else {})
        copies[layer.name] = copied
        return copied

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        if layer.name in absorbed or _does_nothing(layer, *inputs):
            return inputs[0]
        return layer(*inputs, **options)

    folded = keras.models.clone_model(view, clone_function=copy, call_function=call)
    for layer in view.layers:
        if layer.name in absorbed or is_model(layer) or layer.name not in copies:
            continue
        norm = view.get_layer(folds[layer.name]) if layer.name in folds else None
        weights = _folded_weights(layer, norm) if norm else layer.get_weights()
        copies[layer.name].set_weights(weights)
        if isinstance(layer, keras.layers.BatchNormalization):
            left.append(layer.name)
    return folded


def _does_nothing(layer: Any, *inputs: Any) -> bool:
    """Return whether a layer augments images, which at inference go through as they are.

    Keras notes `training=True` with its call, which a model that predicts overrides.
    """
    kind = type(layer).__name__
    keras_own = type(layer) is getattr(keras.layers, kind, None)
    augments = keras_own and kind.startswith(_AUGMENTING) and kind != _ACTING
    return bool(augments and layer.compute_dtype == getattr(inputs[0], "dtype", None))


def _folds(model: Any) -> dict[str, str]:
    """Return the name of each convolution that can take a batch norm, with the norm's."""
    nodes, uses = _links(model)
    folds = {}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.BatchNormalization) or len(nodes[layer.name]) != 1:
            continue
        (node,) = nodes[layer.name]
        sources = list(_sources(node))
        options = node["kwargs"].values()
        if len(sources) != 1 or any(option not in (None, False) for option in options):
            continue  # among them training=True: its statistics are those of each batch
        (source,) = sources
        alone = len(nodes[source]) == 1 and uses[source] == 1
        if alone and _takes(model.get_layer(source), layer):
            folds[source] = layer.name
    return folds


def _links(model: Any) -> tuple[dict[str, list[Any]], Counter[str]]:
    """Return each layer's calls in the graph, and how often its outputs are used in it."""
    config = config_of(model)
    nodes = {layer["name"]: layer["inbound_nodes"] for layer in config["layers"]}
    uses = Counter(source for calls in nodes.values() for source in _sources(calls))
    uses.update(name for name, _, _ in _triples(config["output_layers"]))
    return nodes, uses


def _sources(item: Any) -> Iterator[str]:
    """Yield the names of the layers whose outputs a part of a configuration refers to."""
    if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
        yield item["config"]["keras_history"][0]
    elif isinstance(item, (dict, list, tuple)):
        for part in item.values() if isinstance(item, dict) else item:
            yield from _sources(part)


def _triples(item: Any) -> Iterator[Any]:
    """Yield each (layer, node, tensor) in the structure of a model's outputs."""
    if isinstance(item, (list, tuple)) and item and isinstance(item[0], str):
        yield item
    else:
        for part in item.values() if isinstance(item, dict) else item:
            yield from _triples(part)


def _takes(convolution: Any, norm: Any) -> bool:
    """Return whether a layer's weights can take those of the batch norm behind it."""
    if type(convolution) not in CHANNEL_AXES or not norm.built:
        return False
    plain = convolution.activation is keras.activations.linear
    plain = plain and getattr(convolution, "quantization_mode", None) is None
    last = getattr(convolution, "data_format", "channels_last") == "channels_last"
    axes = (norm.axis,) if isinstance(norm.axis, int) else tuple(norm.axis)
    rank = len(norm.input.shape)
    return plain and [axis % rank for axis in axes] == [rank - 1 if last else 1]


def _folded_weights(convolution: Any, norm: Any) -> list[Any]:
    """Return the convolution's kernel and bias with the norm in them, worked out in double."""
    values = {v.name: np.asarray(v, np.float64) for v in (*convolution.weights, *norm.weights)}
    scale = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + norm.epsilon)
    bias = (values.get("bias", 0.0) - values["moving_mean"]) * scale + values.get("beta", 0.0)
    kernel = convolution.kernel
    axes = CHANNEL_AXES[type(convolution)]
    shape = [n if i - len(kernel.shape) in axes else 1 for i, n in enumerate(kernel.shape)]
    return [np.asarray(kernel, np.float64) * scale.reshape(shape), bias]
