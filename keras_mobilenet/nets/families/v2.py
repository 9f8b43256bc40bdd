"""MobileNetV2, written once, as data.

Source: Sandler et al., 2018, arXiv 1801.04381, table 2. Names, widths and padding are those of
`keras.applications.MobileNetV2`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_mobilenet.nets.conventions import (
    NO_ZEROS,
    STEM_STRIDE,
    Length,
    Padding,
    Step,
    Window,
    Zeros,
    centred_zeros,
    same_zeros,
    steps,
)
from keras_mobilenet.nets.net import (
    Family,
    Layer,
    Net,
    Origin,
    OutputStride,
    Pooling,
    Role,
    Shape,
    are_positive,
    block_name,
    convolution,
    divisible_by_8,
    image,
    only_widened,
    pool,
    skip,
)


@dataclass(frozen=True)
class Block:
    """One row of the paper's table 2, unrolled: an inverted residual.

    It widens its input by `expansion`, moves a 3 x 3 window over each channel and narrows the
    result to `filters`. Without expansion, None, the window meets the input itself.
    """

    filters: int
    stride: int = 1
    expansion: float | None = 6

    def is_sound(self) -> bool:
        """Return whether a net can be made of it."""
        widens = self.expansion is None or self.expansion > 0
        return are_positive(self.filters, self.stride) and widens


STEM = 32  # filters
LAST = 1280  # of the last convolution, which alpha widens and does not narrow
# The row number, from 0, is that of the blocks in the layers' names.
BLOCKS = (
    Block(16, expansion=None),
    *(Block(24, stride=2), Block(24)),
    *(Block(32, stride=2), Block(32), Block(32)),
    *(Block(64, stride=2), Block(64), Block(64), Block(64)),
    *(Block(96), Block(96), Block(96)),
    *(Block(160, stride=2), Block(160), Block(160)),
    Block(320),
)
KERNEL = 3
_CONVOLUTION = r"(?:expanded_conv|block_[1-9]\d{0,2})_(?:expand|depthwise|project)"
_OF_BLOCK = re.compile(r"(?:expanded_conv|block_([1-9]\d{0,2}))_(?:expand|depthwise|project)\w*")


def width(filters: int, alpha: float) -> int:
    """Return the channels that a block's `filters` become under `alpha`, by Keras' rule."""
    return divisible_by_8(int(filters * alpha))


def network(
    alpha: float = 1.0,
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
    """Return the net, from its input to its last layer.

    `size` is the image's (height, width): Keras pads a stride by the parity of what it meets, and
    takes an unknown length as even.
    """
    layers = [*image(channels, include_preprocessing)]
    layers += _stem(channels, divisible_by_8(STEM * alpha), padding)
    moves = steps([(KERNEL, b.stride) for b in blocks], padding, output_stride, size, zeros)
    for number, (block, step) in enumerate(zip(blocks, moves, strict=True)):
        layers += _block(number, block, width(block.filters, alpha), step, layers[-1])
    layers += _head(layers[-1].channels, only_widened(LAST, alpha))
    if include_top:
        layers += top(layers[-1].channels, classes)
    elif pooling:
        layers.append(pool(pooling, layers[-1].channels))
    return Net(tuple(layers)).prefixed(name_prefix)


def top(channels: int, classes: int, pooling: Pooling = "avg") -> tuple[Layer, ...]:
    """Return the classifier's layers: a pool, and a dense layer that holds the activation."""
    kernel = (channels, classes)
    dense = Layer("predictions", "Dense", "top", classes, kernel, bias=True, role="classifier")
    return pool(pooling, channels), dense


def zeros(padding: Padding, window: Window, length: Length) -> Zeros | None:
    """Return the zeros before and after that V2 and V3 pad to an axis ahead of a stride.

    None is SAME where the length is unknown. Keras' own are SAME's at every known length; ahead of
    a block it takes an unknown one as even.
    """
    if padding == "symmetric":
        return centred_zeros(window.kernel)
    if padding == "keras" and not window.is_stem:
        odd = length is not None and length % 2
        return window.kernel // 2 - (0 if odd else 1), window.kernel // 2
    return None if length is None else same_zeros(length, window.kernel, window.stride)


def describe(names: Collection[str]) -> Net:
    """Return a net that has layers of these names; its channels and strides mean nothing.

    Names tell which blocks there are, and which of them expand and add. Names that are none of
    V2's are passed over.
    """
    numbers = {int(match[1] or 0) for match in map(_OF_BLOCK.fullmatch, names) if match}
    layers = _stem(1, 1, "symmetric")  # this padding has every layer that any padding has
    step = Step(2, 1, NO_ZEROS)
    for number in sorted(numbers):
        before = layers[-1]
        expands = number > 0 or f"{_prefix(0)}expand" in names
        layers += _block(number, Block(1, 2, 1 if expands else None), 1, step, before)
        if f"{_prefix(number)}add" in names:
            layers.append(skip(f"{_prefix(number)}add", before, layers[-1]))
    return Net((*layers, *_head(1, 1), *top(1, 1)))


def recognise(shapes: Mapping[str, Shape]) -> Origin | None:
    """Return the arguments that lead to arrays of these shapes, or None if they are no V2's."""
    stem = shapes.get("Conv1/kernel", ())
    last = shapes.get(f"{_prefix(len(BLOCKS) - 1)}project/kernel", ())
    if not len(stem) == len(last) == 4:
        return None
    dense = shapes.get("predictions/kernel", ())
    classes = dense[1] if len(dense) == 2 else None
    for alpha in alphas_of(BLOCKS[-1].filters, last[3], width):
        net = network(alpha, stem[2], classes or 1, classes is not None)
        if net.arrays().items() <= shapes.items():
            return Origin("MobileNetV2", alpha, stem[2], classes, classes is not None)
    return None


def renamed(names: Collection[str]) -> dict[str, str]:
    """Return today's names of the layers that Keras 2.2 named otherwise."""
    is_older = "Conv1" in names and "predictions" not in names
    return {"Logits": "predictions"} if is_older and "Logits" in names else {}


def file_name(alpha: float, size: int, include_top: bool) -> str:
    """Return the name of a published file of Keras', which writes alpha as Python does."""
    order = "weights_tf_dim_ordering_tf_kernels"
    return f"mobilenet_v2_{order}_{float(alpha)}_{size}{'' if include_top else '_no_top'}.h5"


def alphas_of(filters: int, channels: int, width: Callable[[int, float], int]) -> Iterator[float]:
    """Yield the alphas that make `channels` of `filters`, those of few digits first."""
    low, high = (channels - 8) / filters, (channels + 8) / (0.9 * filters)
    tried = set()
    for digits in (10, 20, 100, 1000):
        for i in range(max(1, int(low * digits)), int(high * digits) + 1):
            alpha = i / digits
            if alpha not in tried and width(filters, alpha) == channels:
                yield alpha
            tried.add(alpha)


def _prefix(number: int) -> str:
    return f"block_{number}_" if number else "expanded_conv_"


def _convolution(
    name: str, part: str, role: Role, kernel: Shape, norm: str, relu: str = "", **options: Any
) -> list[Layer]:
    """Return a convolution and its batch norm, and a ReLU where that has a name."""
    first = convolution(name, part, role, kernel, **options)
    layers = [first, Layer(norm, "BatchNormalization", part, first.channels)]
    return [*layers, Layer(relu, "ReLU", part, first.channels)] if relu else layers


def _stem(channels: int, filters: int, padding: Padding) -> list[Layer]:
    pads = padding == "symmetric"  # a layer that Keras 2.2 had too, of the same name
    pad = Layer("Conv1_pad", "ZeroPadding2D", "stem", channels, pad=(centred_zeros(KERNEL),) * 2)
    stem = _convolution(
        "Conv1", "stem", "stem", (KERNEL, KERNEL, channels, filters), "bn_Conv1", "Conv1_relu",
        stride=STEM_STRIDE, padding="valid" if pads else "same",
    )  # fmt: skip
    return [pad, *stem] if pads else stem


def _block(number: int, block: Block, filters: int, step: Step, before: Layer) -> list[Layer]:
    part, prefix, channels = block_name(number), _prefix(number), before.channels
    layers: list[Layer] = []

    def add(role: Role, kernel: Shape, relu: bool = True, **options: Any) -> None:
        name = f"{prefix}{role}"
        last = f"{name}_relu" if relu else ""
        layers.extend(_convolution(name, part, role, kernel, f"{name}_BN", last, **options))

    wide = channels if block.expansion is None else int(block.expansion * channels)
    if block.expansion is not None:
        add("expand", (1, 1, channels, wide))
    if step.pad:
        layers.append(Layer(f"{prefix}pad", "ZeroPadding2D", part, wide, pad=step.pad))
    add(
        "depthwise", (KERNEL, KERNEL, wide, 1), stride=step.stride, dilation=step.dilation,
        padding="valid" if step.pad else "same",
    )  # fmt: skip
    add("project", (1, 1, wide, filters), relu=False)
    if block.stride == 1 and channels == filters:
        layers.append(skip(f"{prefix}add", before, layers[-1]))
    return layers


def _head(channels: int, filters: int) -> list[Layer]:
    kernel = (1, 1, channels, filters)
    # Keras' is VALID, which is one with SAME for a kernel of 1 x 1.
    return _convolution("Conv_1", "head", "head", kernel, "Conv_1_bn", "out_relu", padding="valid")


FAMILY = Family(
    name="MobileNetV2",
    key="mobilenet_v2",
    network=network,
    top=top,
    convolutions=re.compile(rf"(.*?)(Conv1|{_CONVOLUTION})"),
    describe=describe,
    recognise=recognise,
    zeros=zeros,
    blocks=BLOCKS,
    blocks_name=f"{__name__}.BLOCKS",
    stem=STEM,
    width=width,
    file_name=file_name,
    renamed=renamed,
    folder="mobilenet_v2",
    model_name=lambda alpha, height: f"mobilenetv2_{alpha:0.2f}_{height}",
)
