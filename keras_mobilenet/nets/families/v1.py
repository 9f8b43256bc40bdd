"""MobileNet V1, written once, as data.

Source: Howard et al., 2017, arXiv 1704.04861, table 1. Names, padding and the order of the top's
layers are those of `keras.applications.MobileNet`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from keras_mobilenet.nets.conventions import (
    STEM_STRIDE,
    Length,
    Padding,
    Step,
    Window,
    Zeros,
    same_zeros,
    steps,
)
from keras_mobilenet.nets.net import (
    ConvPadding,
    Family,
    Layer,
    Net,
    Origin,
    OutputStride,
    Pooling,
    Shape,
    are_positive,
    block_name,
    image,
    pool,
)


@dataclass(frozen=True)
class Block:
    """One row of the paper's table 1: a depthwise and a pointwise convolution.

    A block that is not `separable` is one full 3 x 3 convolution: of 13 such is the paper's "Conv
    MobileNet" of table 4.
    """

    filters: int
    stride: int = 1
    separable: bool = True

    def is_sound(self) -> bool:
        """Return whether a net can be made of it."""
        return are_positive(self.filters, self.stride) and isinstance(self.separable, bool)


STEM = Block(32, stride=STEM_STRIDE)
# The row number, from 1, is the block id in the layers' names. The paper prints a stride of 2 in
# the last row as well; its own sizes there, 7 x 7 in and out, show that it is 1.
BLOCKS = (
    Block(64),
    Block(128, stride=2),
    Block(128),
    Block(256, stride=2),
    Block(256),
    Block(512, stride=2),
    Block(512),
    Block(512),
    Block(512),
    Block(512),
    Block(512),
    Block(1024, stride=2),
    Block(1024),
)
# The paper's "Shallow MobileNet" of table 5 is without the five blocks of 512 filters that keep
# 14 x 14; in the "Conv MobileNet" of table 4 every separable convolution is a full one.
SHALLOW_BLOCKS = tuple(block for block in BLOCKS if block != Block(512))
FULL_BLOCKS = tuple(replace(block, separable=False) for block in BLOCKS)
# Zeros before and after, on both axes, ahead of a strided convolution. "same" leaves them to the
# convolution itself, which pads one zero at the end of an even length and one at both of an odd.
PADS: dict[Padding, Zeros] = {"keras": (0, 1), "symmetric": (1, 1)}
_OF_BLOCK = re.compile(r"conv_(?:dw_|pw_|pad_)?([1-9]\d{0,3})(?:_bn|_relu)?")


def width(filters: int, alpha: float) -> int:
    """Return the channels that `filters` become under `alpha`, by Keras' rule."""
    return int(filters * alpha)


def network(
    alpha: float = 1.0,
    depth_multiplier: int = 1,
    channels: int = 3,
    classes: int = 1000,
    include_top: bool = True,
    pooling: Pooling | None = None,
    padding: Padding = "keras",
    *,
    size: tuple[Length, Length] = (None, None),
    output_stride: OutputStride = 32,
    blocks: Sequence[Block] = BLOCKS,
    include_preprocessing: bool = False,
    name_prefix: str = "",
) -> Net:
    """Return the net, from its input to its last layer."""
    layers = [*image(channels, include_preprocessing)]
    layers += _stem(channels, width(STEM.filters, alpha), padding)
    windows = [(3, block.stride) for block in blocks]
    moves = steps(windows, padding, output_stride, size, zeros)
    for block_id, (block, step) in enumerate(zip(blocks, moves, strict=True), start=1):
        scaled = replace(block, filters=width(block.filters, alpha))
        layers += _block(block_id, scaled, step, layers[-1].channels, depth_multiplier)
    if include_top:
        layers += top(layers[-1].channels, classes)
    elif pooling:
        layers.append(pool(pooling, layers[-1].channels))
    return Net(tuple(layers)).prefixed(name_prefix)


def top(channels: int, classes: int, pooling: Pooling = "avg") -> tuple[Layer, ...]:
    """Return the classifier's layers, from the pool to the last."""
    return (
        pool(pooling, channels, keepdims=True),
        Layer("dropout", "Dropout", "top", channels),
        Layer(
            "conv_preds",
            "Conv2D",
            "top",
            classes,
            (1, 1, channels, classes),
            bias=True,
            role="classifier",
        ),
        Layer("reshape_2", "Reshape", "top", classes),
        Layer("predictions", "Activation", "top", classes),
    )


def zeros(padding: Padding, window: Window, length: Length) -> Zeros | None:
    """Return the zeros before and after that V1 pads to an axis ahead of a stride.

    None is SAME where the length is unknown. Keras' stem is SAME, its blocks pad at the end.
    """
    if padding == "symmetric" or (padding == "keras" and not window.is_stem):
        return PADS[padding]
    return None if length is None else same_zeros(length, window.kernel, window.stride)


def describe(names: Collection[str]) -> Net:
    """Return a net that has layers of these names; its channels and strides mean nothing.

    Names tell which blocks there are, and which of them are full convolutions; every layer that
    such a block may have is there, a padding among them, and so are a stem and a top. Names that
    are none of V1's are passed over.
    """
    numbers = sorted({int(match[1]) for match in map(_OF_BLOCK.fullmatch, names) if match})
    layers = _stem(1, 1, "symmetric")  # this padding has every layer that any padding has
    for number in numbers:
        separable = f"conv_dw_{number}" in names or f"conv_{number}" not in names
        block = Block(1, stride=2, separable=separable)
        layers += _block(number, block, Step(2, 1, (PADS["symmetric"],) * 2), 1, 1)
    return Net((*layers, *top(1, 1)))


def recognise(shapes: Mapping[str, Shape]) -> Origin | None:
    """Return the arguments that lead to arrays of these shapes, or None if they are no V1's."""
    stem, depthwise = shapes.get("conv1/kernel", ()), shapes.get("conv_dw_1/kernel", ())
    last = shapes.get(f"conv_pw_{len(BLOCKS)}/kernel", ())
    if not len(stem) == len(depthwise) == len(last) == 4:
        return None
    classifier = shapes.get("conv_preds/kernel", ())
    origin = Origin(
        net=FAMILY.name,
        alpha=_shortest_alpha(last[3]),
        channels=stem[2],
        classes=classifier[3] if len(classifier) == 4 else None,
        include_top=len(classifier) == 4,
        options={"depth_multiplier": depthwise[3]},
    )
    net = network(
        origin.alpha,
        depthwise[3],
        origin.channels,
        origin.classes or 1,
        origin.include_top,
    )
    return origin if net.arrays().items() <= shapes.items() else None


def file_name(alpha: float, size: int, include_top: bool) -> str:
    """Return the name of a published file of Keras': `mobilenet_2_5_224_tf_no_top.h5`."""
    digits = "10" if alpha == 1 else f"{alpha:.2f}"[2:]
    return f"mobilenet_{'_'.join(digits)}_{size}_tf{'' if include_top else '_no_top'}.h5"


def _shortest_alpha(channels: int) -> float:
    """Return the shortest decimal that widens the last block's filters to `channels`."""
    filters = BLOCKS[-1].filters
    for digits in range(1, 17):
        step = 10.0**-digits
        alpha = round(ceil(channels / filters / step) * step, digits)
        if width(filters, alpha) == channels:
            return float(alpha)
    return channels / filters


def _batch_norm_and_relu(conv: Layer) -> list[Layer]:
    return [
        Layer(f"{conv.name}_bn", "BatchNormalization", conv.part, conv.channels),
        Layer(f"{conv.name}_relu", "ReLU", conv.part, conv.channels),
    ]


def _stem(channels: int, filters: int, padding: Padding) -> list[Layer]:
    kernel = (3, 3, channels, filters)
    pad: list[Layer] = []
    if padding == "symmetric":  # Keras' own stem is SAME: only the depthwise ones pad at the end
        pad = [Layer("conv1_pad", "ZeroPadding2D", "stem", channels, pad=(PADS[padding],) * 2)]
    own_padding: ConvPadding = "valid" if pad else "same"
    conv = Layer("conv1", "Conv2D", "stem", filters, kernel, STEM.stride, own_padding, role="stem")
    return [*pad, conv, *_batch_norm_and_relu(conv)]


def _block(
    block_id: int, block: Block, window: Step, channels: int, depth_multiplier: int
) -> list[Layer]:
    part, layers = block_name(block_id), []
    if window.pad:
        layers.append(
            Layer(f"conv_pad_{block_id}", "ZeroPadding2D", part, channels, pad=window.pad)
        )
    first = Layer(
        f"conv_dw_{block_id}" if block.separable else f"conv_{block_id}",
        "DepthwiseConv2D" if block.separable else "Conv2D",
        part,
        channels * depth_multiplier if block.separable else block.filters,
        (3, 3, channels, depth_multiplier if block.separable else block.filters),
        window.stride,
        "valid" if window.pad else "same",
        dilation=window.dilation,
        role="depthwise" if block.separable else "full",
    )
    layers += [first, *_batch_norm_and_relu(first)]
    if block.separable:
        kernel = (1, 1, first.channels, block.filters)
        pointwise = Layer(
            f"conv_pw_{block_id}", "Conv2D", part, block.filters, kernel, role="pointwise"
        )
        layers += [pointwise, *_batch_norm_and_relu(pointwise)]
    return layers


FAMILY = Family(
    name="MobileNet",
    key="mobilenet",
    network=network,
    top=top,
    convolutions=re.compile(r"(.*?)(conv1|conv_(?:dw_|pw_)?[1-9]\d{0,3})"),
    describe=describe,
    recognise=recognise,
    zeros=zeros,
    blocks=BLOCKS,
    blocks_name=f"{__name__}.BLOCKS",
    stem=STEM.filters,
    width=width,
    model_name=lambda alpha, height: f"mobilenet_{alpha:0.2f}_{height}",
    file_name=file_name,
    folder="mobilenet",
    options={"depth_multiplier": 1},
    bn_momentum=0.99,
    dropout_rate=1e-3,
)
