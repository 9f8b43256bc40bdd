"""A model's side of loading: its weights by name, its conventions, and assigning values to it.

Keras is not imported: a model is asked for its layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from keras_mobilenet.naming import name_prefix
from keras_mobilenet.spec import Conventions, Padding

_IN_BLOCK = re.compile(r".*conv_(dw_)?\d+")  # the 3 x 3 convolution of a block
_PAD_IN_BLOCK = re.compile(r".*conv_pad_\d+")


def variables_of(model: Any) -> dict[str, Any]:
    """Return the model's weights by name, those of nested models included.

    The names are plain: a net's `name_prefix` is no part of them, unless the model holds several.
    """
    variables: dict[str, Any] = {}
    for layer_name, layer in _named_leaves(model):
        for variable in layer.weights:
            name = f"{layer_name}/{variable.name}"
            if variables.setdefault(name, variable) is not variable:
                raise ValueError(
                    f"Two layers of model {model.name!r} have a weight of the name {name!r}, so "
                    "that a file's arrays cannot be told apart. Load each nested model by itself."
                )
    return variables


def _leaves(model: Any) -> Sequence[Any]:
    if not hasattr(model, "layers"):
        return [model]
    return [leaf for layer in model.layers for leaf in _leaves(layer)]


def _named_leaves(model: Any) -> Sequence[tuple[str, Any]]:
    """Return each layer with its plain name; one name may come twice."""
    leaves = _leaves(model)
    prefix = name_prefix({leaf.name for leaf in leaves})
    return [(leaf.name.removeprefix(prefix), leaf) for leaf in leaves]


def conventions_of(model: Any) -> Conventions:
    """Return the conventions that a model was built with, read off its layers."""
    epsilons = {x.epsilon for x in _leaves(model) if type(x).__name__ == "BatchNormalization"}
    if len(epsilons) > 1:
        raise ValueError(
            f"The batch norms of model {model.name!r} have different epsilons, "
            f"{sorted(epsilons)}, of which a file of weights records one only."
        )
    epsilon = epsilons.pop() if epsilons else Conventions().epsilon
    return Conventions(epsilon, _padding(model))


def _padding(model: Any) -> Padding:
    leaves = _leaves(model)
    if any(leaf.name.endswith("conv1_pad") for leaf in leaves):
        return "symmetric"
    # Of a net that is cut short before its first strided block, any padding is true.
    convolutions = [leaf for leaf in leaves if _IN_BLOCK.fullmatch(leaf.name)]
    strided = [leaf for leaf in convolutions if getattr(leaf, "strides", (1,))[0] > 1]
    padded = any(_PAD_IN_BLOCK.fullmatch(leaf.name) for leaf in leaves)
    centred = any(leaf.padding == "same" for leaf in strided) or _dilated(convolutions)
    return "same" if centred and not padded else "keras"


def stem_size_of(model: Any) -> tuple[int | None, int | None]:
    """Return the (height, width) that the model's stem puts out, None where unknown."""
    for name, layer in _named_leaves(model):
        if name == "conv1":
            shape = layer.output.shape
            height, width = shape[2:] if layer.data_format == "channels_first" else shape[1:3]
            return height, width
    return None, None


def reduction_of(model: Any) -> int | None:
    """Return what the blocks divide the stem's output by; None where a stride was left out.

    Behind such a one the kernels are dilated. Where nothing follows, its padding is left.
    """
    leaves = _leaves(model)
    convolutions = [leaf for leaf in leaves if _IN_BLOCK.fullmatch(leaf.name)]
    strides = [getattr(leaf, "strides", (1,))[0] for leaf in convolutions]
    pads = [leaf for leaf in leaves if _PAD_IN_BLOCK.fullmatch(leaf.name)]
    if _dilated(convolutions) or len(pads) > sum(stride > 1 for stride in strides):
        return None
    return prod(strides)


def _dilated(convolutions: Sequence[Any]) -> bool:
    return any(getattr(leaf, "dilation_rate", (1,))[0] > 1 for leaf in convolutions)


def assign(variables: Mapping[str, Any], values: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Assign all values, or on any error none."""
    before: dict[str, np.ndarray[Any, Any]] = {}
    try:
        for name, value in values.items():
            before[name] = np.asarray(variables[name])  # a copy: Keras hands out no other
            variables[name].assign(value)
    except BaseException:  # an interrupt must not leave half a net either
        for name, value in before.items():
            variables[name].assign(value)
        raise
