"""The layers of an attention block: each pixel takes from others what it asks them for.

Several heads ask with queries of their own, and all of them are answered by one head of keys and
values, which may be made of fewer pixels.

Source: Qin et al., 2024, arXiv 2404.10518, section 3.2, "Mobile MQA"; Shazeer, 2019, arXiv
1911.02150; timm 1.0.31, `layers/attention2d.py`, `MultiQueryAttention2d`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from keras_mobilenet.nets.conventions import Padding, centred_zeros
from keras_mobilenet.nets.families.v3 import normalised
from keras_mobilenet.nets.net import REDUCE, Layer, Role, convolution, skip

STRIDE = 2  # of what makes keys and values of fewer pixels


@dataclass(frozen=True)
class Attention:
    """What an attention block is made of."""

    name: str  # before those of its layers
    part: str
    filters: int  # that it puts out
    heads: int
    depth: int  # channels of a query, a key and a value
    kernel: int  # of the convolutions that stride ahead of keys and values; 0 without
    padding: Padding  # of these: `"same"` or `"symmetric"`


def attention(block: Attention, before: Layer) -> list[Layer]:
    """Return a block's layers, which take what the layer before them puts out.

    The batch norm stands first, and what takes it are no neighbours in the list.
    """
    name, part, channels = block.name, block.part, before.channels
    wide = block.heads * block.depth
    norm = Layer(f"{name}_bn", "BatchNormalization", part, channels)
    query = convolution(f"{name}_query", part, "query", (1, 1, channels, wide))
    layers = [norm, query]
    for role in ("key", "value"):
        layers += _made_of(norm, role, block)
    answers = (query.name, f"{name}_key", f"{name}_value")
    layers.append(Layer(f"{name}_attend", "MultiQueryAttention", part, wide, inputs=answers))
    layers.append(convolution(f"{name}_project", part, "project", (1, 1, wide, block.filters)))
    if channels == block.filters:
        layers.append(skip(f"{name}_add", before, layers[-1]))
    return layers


def _made_of(norm: Layer, role: Role, block: Attention) -> Iterator[Layer]:
    """Yield what makes keys or values of a batch norm's output."""
    name, part, channels = f"{block.name}_{role}", block.part, norm.channels
    layers: list[Layer] = []
    if block.kernel:
        pads = block.padding == "symmetric"
        if pads:
            zeros = (centred_zeros(block.kernel),) * 2
            layers.append(Layer(f"{name}_pad", "ZeroPadding2D", part, channels, pad=zeros))
        layers += normalised(
            f"{name}_reduce", part, REDUCE, (block.kernel, block.kernel, channels, 1),
            stride=STRIDE, padding="valid" if pads else "same",
        )  # fmt: skip
    layers.append(convolution(name, part, role, (1, 1, channels, block.depth)))
    first, *others = layers
    yield replace(first, inputs=(norm.name,))
    yield from others
