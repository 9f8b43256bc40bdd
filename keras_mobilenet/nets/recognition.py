"""Which MobileNet it is that has some arrays or layers, told by their names and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from keras_mobilenet.nets import v1
from keras_mobilenet.nets.net import Layer, Shape, arrays_of


@dataclass(frozen=True)
class Origin:
    """The arguments of `MobileNet` that a file's array shapes tell."""

    alpha: float
    depth_multiplier: int
    channels: int
    classes: int | None  # None without a top
    include_top: bool

    def __str__(self) -> str:
        top = f"{self.classes} classes" if self.include_top else "no top"
        return f"alpha={self.alpha:g}, depth_multiplier={self.depth_multiplier}, {top}"


def infer_origin(shapes: Mapping[str, Shape]) -> Origin | None:
    """Return the arguments that lead to these shapes, or None if they are no MobileNet V1's."""
    stem, depthwise = shapes.get("conv1/kernel", ()), shapes.get("conv_dw_1/kernel", ())
    last = shapes.get(f"conv_pw_{len(v1.BLOCKS)}/kernel", ())
    if not len(stem) == len(depthwise) == len(last) == 4:
        return None
    top = shapes.get("conv_preds/kernel", ())
    origin = Origin(
        alpha=_shortest_alpha(last[3]),
        depth_multiplier=depthwise[3],
        channels=stem[2],
        classes=top[3] if len(top) == 4 else None,
        include_top=len(top) == 4,
    )
    layers = v1.network(
        origin.alpha,
        origin.depth_multiplier,
        origin.channels,
        origin.classes or 1,
        origin.include_top,
    )
    return origin if arrays_of(layers).items() <= shapes.items() else None


def _shortest_alpha(channels: int) -> float:
    """Return the shortest decimal that widens the last block's filters to `channels`."""
    filters = v1.BLOCKS[-1].filters
    for digits in range(1, 17):
        step = 10.0**-digits
        alpha = round(math.ceil(channels / filters / step) * step, digits)
        if v1.width(filters, alpha) == channels:
            return float(alpha)
    return channels / filters


TOP_LAYER = "conv_preds"
_BLOCK = re.compile(r"conv_(?:dw_|pw_)?([1-9]\d{0,3})")


def name_prefix(layers: Collection[str]) -> str:
    """Return the `name_prefix` of the one net that has these layers; "" without, or of several.

    Of several nets the prefixes are what tells them apart, so that they are part of the names.
    """
    stem = "conv1"
    prefixes = {name.removesuffix(stem) for name in layers if name.endswith(stem)}
    others = (f"{stem}_bn", "conv_dw_1", "conv_1")  # a folded net has no batch norm
    nets = {prefix for prefix in prefixes if any(f"{prefix}{name}" in layers for name in others)}
    return nets.pop() if len(nets) == 1 else ""


def net_of(layers: Collection[str]) -> tuple[Layer, ...]:
    """Return the net that has layers of these names; its channels and strides mean nothing.

    Names tell how many blocks there are, and which of them are full convolutions. Without any
    block it is the paper's net.
    """
    numbers = [int(match[1]) for match in map(_BLOCK.fullmatch, layers) if match]
    count = min(max(numbers, default=0), len(layers))  # a number may be anything in a file
    separable = [
        f"conv_dw_{block_id}" in layers or f"conv_{block_id}" not in layers
        for block_id in range(1, count + 1)
    ]
    # With a stride, so that a padding's layer is among them.
    blocks = [v1.Block(1, stride=2, separable=it) for it in separable]
    return v1.network(blocks=blocks or v1.BLOCKS)
