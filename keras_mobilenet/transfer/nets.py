"""The MobileNet within a model: its layers below the top, known by name and kind."""

from __future__ import annotations

from typing import Any

from keras_mobilenet import spec
from keras_mobilenet.frozen import layers_within

# This padding has every layer that any padding has.
_LAYERS = {layer.name: layer for layer in spec.network(padding="symmetric")}
_PLACES = {name: place for place, name in enumerate(_LAYERS)}
BLOCKS_END = next(x.name for x in reversed(_LAYERS.values()) if x.part != "top")
_FIRST = ("conv1", "conv_dw_1")  # without these, a "conv1" alone may be anybody's


def part_of(layer: Any) -> str:
    """Return `"stem"` or `"block_1"` to `"block_13"`; `""` for a layer of a top or of no net."""
    known = _LAYERS.get(layer.name)
    if known is None or known.kind != type(layer).__name__ or known.part in ("input", "top"):
        return ""
    return known.part


def place_of(layer: Any) -> int:
    """Return where a layer of the net stands in it."""
    return _PLACES[layer.name]


def net_layers(model: Any) -> list[Any]:
    """Return the layers of the MobileNet in a model, under its top, in graph order.

    Raises:
        ValueError: there is none.
    """
    layers = [layer for layer in layers_within(model) if part_of(layer)]
    if not {layer.name for layer in layers}.issuperset(_FIRST):
        raise ValueError(
            f"Model {model.name!r} has no MobileNet in it: no layers of the names "
            f"{' and '.join(_FIRST)}. Pass a model that MobileNet() returned, or one built on it."
        )
    return layers
