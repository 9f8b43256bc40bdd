"""What a whole-model H5 tells of its net beyond arrays: which layer is which, and its conventions.

Programs that write MobileNet out by hand leave its layers the numbers that Keras gives them, as in
`depthwise_conv2d_3`. Then the configuration tells: it is read as data, and nothing in it is run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from keras_mobilenet.formats.arrays import ArrayLike, Rearranged, without_conv_biases
from keras_mobilenet.nets.conventions import Activation, Conventions, Padding
from keras_mobilenet.nets.families import v1
from keras_mobilenet.nets.net import RELU_MAX, RELU_MAXIMA, Layer

_Layer = Mapping[str, Any]  # a layer's configuration, and "class_name"
_POOLS = ("GlobalAveragePooling2D", "AveragePooling2D")
_NET = v1.network()
_BATCH_NORMS = _NET.batch_norm_names()
_STEM = _NET.stem.name
_DAMAGES = (AttributeError, LookupError, TypeError, ValueError)  # of what any text may lead to
_SHAPING = ("Dropout", "Flatten", "Reshape")


class _AnotherNetError(Exception):
    """The configuration is not that of a MobileNet V1 in a chain."""


def recognised(
    configuration: str | bytes, arrays: Mapping[str, ArrayLike]
) -> tuple[dict[str, ArrayLike], Conventions] | None:
    """Return the arrays under our names, and the net's conventions; None for any other net.

    Args:
        configuration: The model's, as JSON.
        arrays: The file's arrays, by its own layers' names.
    """
    try:
        names, conventions = _names_and_conventions(_chain(json.loads(configuration)))
    except (_AnotherNetError, StopIteration, RecursionError, *_DAMAGES):
        return None
    if _STEM in names:  # the names are ours, and a user's own top may have others
        return dict(arrays), conventions
    ours: dict[str, ArrayLike] = {}
    for name, array in arrays.items():
        layer, _, variable = name.rpartition("/")
        if layer not in names:
            return None
        dense = len(array.shape) == 2
        ours[f"{names[layer]}/{variable}"] = (
            Rearranged(array, (None, None, 0, 1)) if dense else array
        )
    return without_conv_biases(ours, _BATCH_NORMS), conventions


def _chain(configuration: Any) -> list[_Layer]:
    """Return the layers of a model in which each one feeds the next."""
    layers = configuration["config"]["layers"]
    for before, layer in pairwise(layers):
        nodes = layer.get("inbound_nodes")  # a Sequential model has none
        _check(not nodes or [_source(node) for node in nodes] == [before["config"]["name"]])
    return [{**layer["config"], "class_name": layer["class_name"]} for layer in layers]


def _source(node: Any) -> Any:
    """Return the name of the one layer that a call takes its input from, of Keras 2 or 3."""
    if isinstance(node, dict):
        (tensor,) = node["args"]
        return tensor["config"]["keras_history"][0]
    (tensor,) = node
    return tensor[0]


def _names_and_conventions(layers: list[_Layer]) -> tuple[dict[str, str], Conventions]:
    """Return our name of each of the file's layers with weights, and the conventions."""
    size = (layers[0].get("batch_input_shape") or layers[0]["batch_shape"])[1:3]
    waiting = iter(layer for layer in layers if layer["class_name"] != "InputLayer")
    names: dict[str, str] = {}
    pads: dict[str, Any] = {}  # of strided convolutions: a layer's zeros, or "same"
    epsilons, activations = set(), set()
    *convolutions, top = _NET.convolutions
    for ours in convolutions:
        theirs = next(waiting)
        if theirs["class_name"] == "ZeroPadding2D":
            pads[ours.name], theirs = theirs["padding"], next(waiting)
        elif ours.stride > 1:
            pads[ours.name] = theirs["padding"]
        _check_convolution(theirs, ours, padded=isinstance(pads.get(ours.name), list))
        norm, activation = next(waiting), next(waiting)
        _check(norm["class_name"] == "BatchNormalization" and norm["center"] and norm["scale"])
        names |= {theirs["name"]: ours.name, norm["name"]: _BATCH_NORMS[ours.name]}
        epsilons.add(float(norm["epsilon"]))
        activations.add(_activation(activation))
    if pool := next(waiting, None):
        _check_pool(pool, size)
        names[_classifier(waiting.__next__)] = top.name
    _check(len(epsilons) == len(activations) == 1)
    return names, Conventions(epsilons.pop(), _padding(pads), activations.pop())


def _check(sound: Any) -> None:
    if not sound:
        raise _AnotherNetError


def _check_convolution(theirs: _Layer, ours: Layer, *, padded: bool) -> None:
    _check(theirs["class_name"] == ours.kind)
    _check(theirs["kernel_size"] == list(ours.kernel[:2]))
    _check(theirs["strides"] == [ours.stride] * 2 and theirs["dilation_rate"] == [1, 1])
    _check(theirs["activation"] == "linear" and theirs["data_format"] == "channels_last")
    _check(theirs.get("groups", 1) == 1 and theirs["padding"] == ("valid" if padded else "same"))


def _activation(layer: _Layer) -> Activation:
    kind, limit = layer["class_name"], layer.get("max_value")
    _check(kind in ("Activation", "ReLU", "relu6"))
    if kind == "ReLU":
        _check(not layer.get("negative_slope") and not layer.get("threshold"))
        name = {RELU_MAX: "relu6", None: "relu"}.get(limit)
    else:
        name = layer["activation"]
    for known in RELU_MAXIMA:
        if name == known:
            return known
    raise _AnotherNetError


def _padding(pads: Mapping[str, Any]) -> Padding:
    """Return the convention of the strided convolutions, whose pads these are."""
    stem, *others = pads.values()
    for padding, blocks in v1.PADS.items():
        zeros = [list(blocks)] * 2
        if stem == (zeros if padding == "symmetric" else "same") and others == [zeros] * 4:
            return padding
    _check([stem, *others] == ["same"] * 5)
    return "same"


def _check_pool(pool: _Layer, size: list[int | None]) -> None:
    """Raise unless a pool is one of the whole image."""
    _check(pool["class_name"] in _POOLS)
    if pool["class_name"] == "AveragePooling2D":
        _check(pool["pool_size"] == [None if n is None else _reduced(n) for n in size])


def _classifier(following: Callable[[], _Layer]) -> str:
    """Return the name of the layer of the classes."""
    layer = following()
    while layer["class_name"] in _SHAPING:
        layer = following()
    _check(layer["class_name"] in ("Dense", "Conv2D") and layer["use_bias"])
    _check(layer["activation"] in ("linear", "softmax"))
    return str(layer["name"])


def _reduced(length: int) -> int:
    """Return the length that the last block puts out, where every stride rounds up."""
    for layer in _NET.convolutions:
        length = -(-length // layer.stride)
    return length
