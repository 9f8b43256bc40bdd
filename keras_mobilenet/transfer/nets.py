"""The MobileNet within a model: its layers below the top, known by name and kind."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

from keras_mobilenet import spec
from keras_mobilenet.frozen import layers_within

_NUMBERED = re.compile(r"conv_.*?([1-9]\d{0,3})(?:_bn|_relu)?")
_FIRST = ("conv1", ("conv_dw_1", "conv_1"))  # without these, a "conv1" alone may be anybody's


@functools.cache
def _layers(block_id: int) -> dict[str, spec.Layer]:
    """Return what the layers of a block may be, by name and in graph order; of 0, the stem's."""
    if not block_id:  # this padding has every layer that any padding has
        stem = (x for x in spec.network(padding="symmetric") if x.part == "stem")
        return {layer.name: layer for layer in stem}
    both = (spec.layers_of_block(block_id, separable=it) for it in (True, False))
    return {layer.name: layer for layers in both for layer in layers}


@functools.cache
def _depthwise(block_id: int) -> str:
    """Return the name of the layer that tells a separable block from a full convolution."""
    layers = spec.layers_of_block(block_id, separable=True)
    return next(layer.name for layer in layers if layer.kind == "DepthwiseConv2D")


@functools.cache
def _of_full(block_id: int) -> frozenset[str]:
    """Return the names that only a block has that is one full convolution."""
    names = ({x.name for x in spec.layers_of_block(block_id, separable=it)} for it in (False, True))
    return frozenset(next(names) - next(names))


def _block_id(name: str) -> int:
    match = _NUMBERED.fullmatch(name)
    return int(match[1]) if match else 0


def part_of(layer: Any) -> str:
    """Return `"stem"`, `"block_1"`, `"block_2"`, ...; `""` for a layer of a top or of no net."""
    known = _layers(_block_id(layer.name)).get(layer.name)
    if known is None or known.kind != type(layer).__name__:
        return ""
    return known.part if tuple(getattr(layer, "kernel_size", ())) == known.kernel[:2] else ""


def of_net(layers: Iterable[Any]) -> list[Any]:
    """Return those of a model's layers that are a MobileNet's, in the same order.

    A "conv_3" is a user's own where a separable block 3 is there.
    """
    known = [(layer, _block_id(layer.name)) for layer in layers if part_of(layer)]
    names = {layer.name for layer, _ in known}
    return [
        layer
        for layer, block_id in known
        if not (block_id and layer.name in _of_full(block_id) and _depthwise(block_id) in names)
    ]


def place_of(layer: Any) -> tuple[int, int]:
    """Return where a layer of the net stands in it: its block's number, and the place in that."""
    block_id = _block_id(layer.name)
    return block_id, list(_layers(block_id)).index(layer.name)


def ends_block(layer: Any) -> bool:
    """Return whether a layer is the last one of a block of the net."""
    block_id = _block_id(layer.name)
    ends = (spec.layers_of_block(block_id, separable=it)[-1].name for it in (True, False))
    return bool(block_id and part_of(layer)) and layer.name in ends


def net_layers(model: Any) -> list[Any]:
    """Return the layers of the MobileNet in a model, under its top, in graph order.

    Raises:
        ValueError: there is none.
    """
    layers = of_net(layers_within(model))
    names = {layer.name for layer in layers}
    stem, first = _FIRST
    if stem not in names or names.isdisjoint(first):
        raise ValueError(
            f"Model {model.name!r} has no MobileNet in it: no layers of the names {stem} and "
            f"{' or '.join(first)}. Pass a model that MobileNet() returned, or one built on it."
        )
    return layers
