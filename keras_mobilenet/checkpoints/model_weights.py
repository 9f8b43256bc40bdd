"""A model's side of loading: its weights by name, its conventions, and assigning values to it.

Keras is not imported: a model is asked for its layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from keras_mobilenet.models.parts import FoundNet, find_net, find_nets, leaves_of
from keras_mobilenet.nets.conventions import (
    Activation,
    Conventions,
    Padding,
    Window,
    ZerosOf,
)
from keras_mobilenet.nets.net import Layer, is_block


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


def _named_leaves(model: Any) -> Sequence[tuple[str, Any]]:
    """Return each layer with its plain name; one name may come twice."""
    # Of several nets the prefixes are what tells them apart, so that they are part of the names.
    prefixes = {net.prefix for net in find_nets(model)}
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    return [(leaf.name.removeprefix(prefix), leaf) for leaf in leaves_of(model)]


def conventions_of(model: Any) -> Conventions:
    """Return the conventions that a model was built with, read off its nets' layers.

    A model without a net, or with a piece of one, tells those of all its layers.
    """
    nets = find_nets(model)
    layers = [x for net in nets for x in net.layers.values()] or leaves_of(model)
    epsilons = {x.epsilon for x in layers if type(x).__name__ == "BatchNormalization"}
    if len(epsilons) > 1:
        raise ValueError(
            f"The batch norms of model {model.name!r} have different epsilons, "
            f"{sorted(epsilons)}, of which a file of weights records one only."
        )
    default = nets[0].family.conventions if nets else Conventions()
    epsilon = epsilons.pop() if epsilons else default.epsilon
    padding = _padding(nets[0]) if nets else default.padding
    return Conventions(epsilon, padding, _activation(nets))


def _activation(nets: Iterable[FoundNet]) -> Activation:
    """Return what the ReLUs are that a net leaves to its caller."""
    limits = {
        layer.max_value
        for net in nets
        for name, layer in net.layers.items()
        if type(layer).__name__ == "ReLU" and net.description.by_name[name].activation is None
    }
    return "relu" if None in limits else "relu6"


def _padding(net: FoundNet) -> Padding:
    if type(net.first).__name__ == "ZeroPadding2D" and net.stem is not None:
        return "symmetric"
    # Of a net that is cut short before its first strided block, any padding is true.
    strided = [layer for layer in _windows(net) if layer.strides[0] > 1]
    centred = any(layer.padding == "same" for layer in strided) or _is_dilated(net)
    return "same" if centred and not _pads(net) else "keras"


def windows_of(model: Any) -> tuple[list[Window] | None, ZerosOf | None]:
    """Return what each stride of the model's net meets, and what its family pads there.

    The former is None where a stride was left out, the latter without a net.
    """
    net = find_net(model)
    if net is None:
        return [], None
    strided = [layer for layer in _windows(net) if layer.strides[0] > 1]
    if _is_dilated(net) or len(_pads(net)) > len(strided):
        return None, net.family.zeros
    if net.stem is not None:
        strided.insert(0, net.stem)
    names = {id(layer): name for name, layer in net.layers.items()}
    windows = []
    for layer in strided:
        before = net.description.inputs[names[id(layer)]]
        pad = net.layers.get(before[0].name) if before else None
        first = pad if pad is not None and type(pad).__name__ == "ZeroPadding2D" else layer
        shape = first.input.shape
        height, width = shape[2:] if layer.data_format == "channels_first" else shape[1:3]
        kernel, stride = int(layer.kernel_size[0]), int(layer.strides[0])
        windows.append(Window(kernel, stride, (height, width), is_stem=layer is net.stem))
    return windows, net.family.zeros


def _windows(net: FoundNet) -> list[Any]:
    """Return the convolutions of the blocks that move a window over their input."""
    known = net.description.by_name
    return [x for n, x in net.layers.items() if is_block(known[n].part) and _is_window(known[n])]


def _is_window(layer: Layer) -> bool:
    return prod(layer.window) > 1


def _pads(net: FoundNet) -> list[Any]:
    blocks = (layers for part, layers in net.parts.items() if is_block(part))
    return [x for layers in blocks for x in layers if type(x).__name__ == "ZeroPadding2D"]


def _is_dilated(net: FoundNet) -> bool:
    return any(layer.dilation_rate[0] > 1 for layer in _windows(net))


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
