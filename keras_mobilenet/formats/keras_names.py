"""Our array names, and what Keras' own files call the same array.

Ours are Keras 3's variable paths: a layer's name, a slash, and the variable's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from keras_mobilenet.nets.families.registry import FAMILIES, todays_names
from keras_mobilenet.nets.net import BATCH_NORM_ARRAYS

KERAS_3_CLASSES = {  # in snake case, as .weights.h5 numbers its groups
    "Conv2D": "conv2d",
    "DepthwiseConv2D": "depthwise_conv2d",
    "Dense": "dense",
    "BatchNormalization": "batch_normalization",
}
_KERAS_2 = {"depthwise_kernel": "kernel"}
_KERAS_1 = {
    "W": "kernel",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "depthwise_kernel": "kernel",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",  # holds the variance: keras issue 3484
}
# Keras 1 joins layer and variable by "_"; TensorFlow numbers what a process makes again.
_KERAS_1_WEIGHT = re.compile(rf"(?P<layer>[^/]+)_(?P<variable>{'|'.join(_KERAS_1)})(_\d+)?(:\d+)?")
_NESTED_MODEL = re.compile(r"(sequential|model|functional)_?\d*")  # names that Keras gives models


def from_legacy_keras(layer: str, weights: Sequence[str]) -> list[str]:
    """Return our names of a layer's weights in a legacy H5, `layer/depthwise_kernel:0` etc.

    The layer's group says which layer it is; the weights' own prefix may be numbered (`layer_1/`)
    where a process had built the net twice. Of a nested model the prefixes are its layers.
    """
    parts = [_owner_and_variable(layer, weight) for weight in weights]
    owners = [owner.rpartition("/")[2] for owner, _ in parts]
    if _is_nested(layer, [owner for owner, _ in parts]):
        owners = _without_number(owners)
    else:
        owners = [layer] * len(parts)
    return [f"{owner}/{variable}" for owner, (_, variable) in zip(owners, parts, strict=True)]


def is_keras_1(weight: str) -> bool:
    """Return whether a weight's name in a legacy H5 is one that Keras 1 gave, as `layer_W:0`."""
    return _KERAS_1_WEIGHT.fullmatch(weight) is not None


def from_tfjs(weights: Sequence[str]) -> list[str]:
    """Return our names of the weights in a TensorFlow.js manifest, as `model/layer/kernel:0`.

    Older layers of V3 have slashes in their own names; in a nested model its name goes before.
    """
    parts = [weight.partition(":")[0].rpartition("/") for weight in weights]
    owners = {owner: owner for owner, _, _ in parts}
    older = todays_names(owners)
    if not older:
        owners = {owner: owner.partition("/")[2] for owner in owners}
        older = todays_names(owners.values())
    layers = {x: older.get(own, x.rpartition("/")[2]) for x, own in owners.items()}
    names = [(layers[owner], _KERAS_2.get(variable, variable)) for owner, _, variable in parts]
    return [f"{layer}/{variable}" if layer else variable for layer, variable in names]


def _owner_and_variable(layer: str, weight: str) -> tuple[str, str]:
    """Return the layer and the variable that a legacy H5's weight names, in our words."""
    if match := _KERAS_1_WEIGHT.fullmatch(weight):
        return match["layer"], _KERAS_1[match["variable"]]
    owner, _, variable = weight.partition(":")[0].rpartition("/")
    return owner or layer, _KERAS_2.get(variable, variable)


def _is_nested(layer: str, owners: Sequence[str]) -> bool:
    """Return whether a group's weights are those of a nested model.

    Several owners show it. One may be the layer under an older name, unless the group's name is
    one that Keras gives models, or the owner's path leads through it.
    """
    if len(set(owners)) > 1:
        return True
    return any(
        layer in owner.split("/")[:-1]
        or (_NESTED_MODEL.fullmatch(layer) and owner.rpartition("/")[2] != layer)
        for owner in owners
    )


def _without_number(owners: Sequence[str]) -> list[str]:
    """Return a nested model's layers without the number of a net that was built before.

    TensorFlow 1 then numbers each of them, and none has its plain name.
    """
    for family in FAMILIES:
        net = family.network()
        stem = f"{net.stem.name}_"
        for number in {o.removeprefix(stem) for o in owners if o.startswith(stem)}:
            stripped = {owner: owner.removesuffix(f"_{number}") for owner in owners}
            if number.isdecimal() and net.stem.name not in owners:
                return [stripped[o] if stripped[o] in net.by_name else o for o in owners]
    return list(owners)


def to_legacy_keras(layer: str, variables: Sequence[str], *, depthwise: bool) -> list[str]:
    """Return the names of a layer's weights in a legacy H5, as Keras 2 writes them."""
    theirs = {ours: name for name, ours in _KERAS_2.items()} if depthwise else {}
    return [f"{layer}/{theirs.get(variable, variable)}:0" for variable in variables]


def keras_3_variables(class_name: str, count: int) -> Sequence[str]:
    """Return the variable names behind the numbers 0, 1, ... that Keras 3 stores for a layer.

    Args:
        class_name: The layer's class in snake case, such as `"batch_normalization"`.
        count: How many variables the layer has.
    """
    if class_name == "batch_normalization" and count == len(BATCH_NORM_ARRAYS):
        return BATCH_NORM_ARRAYS
    return ("kernel", "bias")[:count] if count <= 2 else tuple(map(str, range(count)))
