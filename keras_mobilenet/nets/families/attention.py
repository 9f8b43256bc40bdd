"""The layers of an attention block: each pixel takes from others what it asks them for.

Several heads ask with queries of their own, and all of them are answered by one head of keys and
values, which may be made of fewer pixels.

Source: Qin et al., 2024, arXiv 2404.10518, section 3.2, "Mobile MQA"; Shazeer, 2019, arXiv
1911.02150; timm 1.0.31, `layers/attention2d.py`, `MultiQueryAttention2d`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain

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

    Keras orders them by how far they are from the output: what makes the keys stands beside what
    makes the values, and each says what it takes.
    """
    name, part, channels = block.name, block.part, before.channels
    wide = block.heads * block.depth
    norm = Layer(f"{name}_bn", "BatchNormalization", part, channels)
    keys, values = (_reduced(norm, f"{name}_{role}", block) for role in ("key", "value"))
    layers = [norm, *chain(*zip(keys, values, strict=True))]
    answers: list[str] = []
    rows: tuple[tuple[Role, Layer, int], ...] = (
        ("query", norm, wide),
        ("key", keys[-1] if keys else norm, block.depth),
        ("value", values[-1] if values else norm, block.depth),
    )
    for role, taken, depth in rows:
        kernel = (1, 1, channels, depth)
        answers.append(f"{name}_{role}")
        layers.append(convolution(answers[-1], part, role, kernel, inputs=(taken.name,)))
    attend = Layer(f"{name}_attend", "MultiQueryAttention", part, wide, inputs=tuple(answers))
    project = convolution(f"{name}_project", part, "project", (1, 1, wide, block.filters))
    layers += [attend, project]
    if channels == block.filters:
        layers.append(skip(f"{name}_add", before, project))
    return layers


def _reduced(norm: Layer, name: str, block: Attention) -> list[Layer]:
    """Return what makes fewer pixels of a batch norm's output; nothing where all are taken."""
    if not block.kernel:
        return []
    pads, part, channels = block.padding == "symmetric", block.part, norm.channels
    zeros = (centred_zeros(block.kernel),) * 2
    pad = [Layer(f"{name}_pad", "ZeroPadding2D", part, channels, pad=zeros)] if pads else []
    layers = [
        *pad,
        *normalised(
            f"{name}_reduce", part, REDUCE, (block.kernel, block.kernel, channels, 1),
            stride=STRIDE, padding="valid" if pads else "same",
        ),
    ]  # fmt: skip
    taken = [norm, *layers[:-1]]
    return [replace(x, inputs=(y.name,)) for x, y in zip(layers, taken, strict=True)]
