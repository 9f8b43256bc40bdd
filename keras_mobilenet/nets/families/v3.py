"""MobileNetV3, Large and Small, written once, as data.

Source: Howard et al., 2019, arXiv 1905.02244, tables 1 and 2. Widths and padding are those of
`keras.applications`, and so are all names that it fixes. Its activations, which it leaves to Keras'
counters, are named after the convolution before them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from keras_mobilenet.nets.conventions import (
    NO_ZEROS,
    STEM_STRIDE,
    Length,
    Padding,
    Step,
    centred_zeros,
    steps,
)
from keras_mobilenet.nets.families.v2 import alphas_of, zeros
from keras_mobilenet.nets.net import (
    HARD_SIGMOID,
    HARD_SWISH,
    Family,
    Kind,
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

BlockActivation = Literal["relu", "hard_swish"]


@dataclass(frozen=True)
class Block:
    """One row of the paper's tables: an inverted residual.

    It widens its input by `expansion`, which None leaves out, moves a window of `kernel` pixels
    over each channel, weighs the channels by what `squeeze` makes of their means, and narrows the
    result to `filters`.
    """

    filters: int
    stride: int = 1
    expansion: float | None = 6
    kernel: int = 3
    squeeze: bool = False
    activation: BlockActivation = HARD_SWISH

    def is_sound(self) -> bool:
        """Return whether a net can be made of it."""
        widens = self.expansion is None or self.expansion > 0
        known = self.activation in ("relu", HARD_SWISH) and isinstance(self.squeeze, bool)
        return are_positive(self.filters, self.stride, self.kernel) and widens and known


STEM = 16  # filters, at every alpha
HEAD = 6  # times the last block's channels
SMALL_TOP, LARGE_TOP = 1024, 1280  # of the convolution behind the pool, widened by alpha above 1
SQUEEZE = 4  # times fewer channels than are weighed
# The row number, from 0, is that of the blocks in the layers' names. Expansions are Keras' own,
# which gives the paper's widths as multiples of the input's, so that alpha scales them too.
SMALL = (
    Block(16, 2, None, 3, True, "relu"),
    Block(24, 2, 72 / 16, 3, False, "relu"),
    Block(24, 1, 88 / 24, 3, False, "relu"),
    Block(40, 2, 4, 5, True),
    *[Block(40, 1, 6, 5, True)] * 2,
    *[Block(48, 1, 3, 5, True)] * 2,
    Block(96, 2, 6, 5, True),
    *[Block(96, 1, 6, 5, True)] * 2,
)
LARGE = (
    Block(16, 1, None, 3, False, "relu"),
    Block(24, 2, 4, 3, False, "relu"),
    Block(24, 1, 3, 3, False, "relu"),
    Block(40, 2, 3, 5, True, "relu"),
    *[Block(40, 1, 3, 5, True, "relu")] * 2,
    Block(80, 2, 6),
    Block(80, 1, 2.5),
    *[Block(80, 1, 2.3)] * 2,
    *[Block(112, 1, 6, 3, True)] * 2,
    Block(160, 2, 6, 5, True),
    *[Block(160, 1, 6, 5, True)] * 2,
)
_CONVOLUTION = r"expanded_conv(?:_[1-9]\d{0,2})?_(?:expand|depthwise|project)"
_OLDER = re.compile(  # Conv, expanded_conv_3/expand/BatchNorm, expanded_conv/squeeze_excite/Conv_1
    r"(?:Conv(?:_[12])?|expanded_conv(?:_\d+)?/(?:expand|depthwise|project))(?:/BatchNorm)?"
    r"|expanded_conv(?:_\d+)?/squeeze_excite/Conv(?:_1)?|Logits"
)
_OF_BLOCK = re.compile(r"expanded_conv_(?:([1-9]\d{0,2})_)?(?:expand|depthwise|squeeze|project)\w*")


def minimalistic_block(block: Block) -> Block:
    """Return a block as the minimalistic net has it, for hardware that is slow at the rest."""
    return replace(block, kernel=3, squeeze=False, activation="relu")


def width(filters: float, alpha: float) -> int:
    """Return the channels that `filters` become under `alpha`."""
    return divisible_by_8(filters * alpha)


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
    blocks: Sequence[Block],
    include_preprocessing: bool = False,
    name_prefix: str = "",
    minimalistic: bool = False,
    top_channels: int,
) -> Net:
    """Return the net, from its input to its last layer.

    `size` is the image's (height, width): Keras pads a stride by the parity of what it meets, and
    takes an unknown length as even.
    """
    activation: BlockActivation = "relu" if minimalistic else HARD_SWISH
    if minimalistic:
        blocks = [minimalistic_block(block) for block in blocks]
    layers = [*image(channels, include_preprocessing)]
    layers += stem(channels, STEM, padding, activation)
    moves = steps([(b.kernel, b.stride) for b in blocks], padding, output_stride, size, zeros)
    for number, (block, step) in enumerate(zip(blocks, moves, strict=True)):
        layers += _block(number, block, width(block.filters, alpha), step, layers[-1])
    last = layers[-1].channels
    layers += _head(last, divisible_by_8(HEAD * last), activation)
    if include_top:
        wide = only_widened(top_channels, alpha)
        layers += _top(layers[-1].channels, wide, classes, activation)
    elif pooling:
        kept = pool(pooling, layers[-1].channels)
        layers.append(replace(kept, name=f"{pooling}_pool", counted=False))
    return Net(tuple(layers)).prefixed(name_prefix)


def top(channels: int, classes: int, pooling: Pooling = "avg") -> tuple[Layer, ...]:
    """Return a classifier that stands on the pool, without the convolution between the two."""
    return pool(pooling, channels, keepdims=True), *classifier(channels, classes)


def describe(names: Collection[str]) -> Net:
    """Return a net that has layers of these names; its channels and strides mean nothing.

    Names tell which blocks there are, and which of them expand, squeeze and add. Names that are
    none of V3's are passed over.
    """
    numbers = {int(match[1] or 0) for match in map(_OF_BLOCK.fullmatch, names) if match}
    # The padding that has every layer.
    layers = stem(1, 1, "symmetric", _activation_of("conv", names))
    for number in sorted(numbers):
        before, prefix = layers[-1], _prefix(number)
        block = Block(
            1,
            2,
            1 if number or f"{prefix}expand" in names else None,
            3,
            f"{prefix}squeeze_excite_conv" in names,
            _activation_of(f"{prefix}depthwise", names),
        )
        layers += _block(number, block, 1, Step(2, 1, NO_ZEROS), before)
        if f"{prefix}add" in names:
            layers.append(skip(f"{prefix}add", before, layers[-1]))
    layers += _head(1, 1, _activation_of("conv_1", names))
    if "conv_2" in names or "logits" not in names:
        return Net((*layers, *_top(1, 1, 1, _activation_of("conv_2", names))))
    return Net((*layers, *top(1, 1)))


def _activation_of(convolution: str, names: Collection[str]) -> BlockActivation:
    return "relu" if f"{convolution}_relu" in names else HARD_SWISH


def recognise(
    shapes: Mapping[str, Shape], *, net: str, blocks: Sequence[Block], top_channels: int
) -> Origin | None:
    """Return the arguments that lead to arrays of these shapes, None if they are no such net's."""
    first = shapes.get("conv/kernel", ())
    last = shapes.get(f"{_prefix(len(blocks) - 1)}project/kernel", ())
    if not len(first) == len(last) == 4 or f"{_prefix(len(blocks))}project/kernel" in shapes:
        return None
    minimalistic = not any("squeeze_excite" in name for name in shapes)
    options: dict[str, Any] = {"minimalistic": True} if minimalistic else {}
    build = functools.partial(network, blocks=blocks, top_channels=top_channels, **options)
    alphas = alphas_of(blocks[-1].filters, last[3], width)
    return first_origin(shapes, net, alphas, build, top, options)


def first_origin(
    shapes: Mapping[str, Shape],
    net: str,
    alphas: Iterable[float],
    build: Callable[..., Net],
    top: Callable[[int, int], tuple[Layer, ...]],
    options: Mapping[str, Any],
) -> Origin | None:
    """Return the arguments under the first alpha with which a net has arrays of these shapes.

    `build` makes the net of an alpha, of channels and classes, and with its own top or without;
    `top` makes a classifier that stands on the pool.
    """
    channels = shapes["conv/kernel"][2]
    logits = shapes.get("logits/kernel", ())
    classes = logits[3] if len(logits) == 4 else None
    on_pool = classes is not None and "conv_2/kernel" not in shapes
    for alpha in alphas:
        found = build(alpha, channels, classes or 1, classes is not None and not on_pool)
        arrays = found.arrays()
        if on_pool and classes:
            arrays |= Net(top(found.layers[-1].channels, classes)).arrays()
        if arrays.items() <= shapes.items():
            return Origin(net, alpha, channels, classes, classes is not None, options, on_pool)
    return None


def renamed(names: Collection[str]) -> dict[str, str]:
    """Return today's names of the layers that Keras named with slashes before version 3."""
    if "Conv/BatchNorm" not in names:
        return {}
    older = [name for name in names if _OLDER.fullmatch(name)]
    return {name: name.replace("BatchNorm", "bn").replace("/", "_").lower() for name in older}


def file_name(
    alpha: float, size: int, include_top: bool, minimalistic: bool = False, *, kind: str
) -> str:
    """Return the name of a published file of Keras'."""
    kind += "_minimalistic" * minimalistic
    top = "" if include_top else "_no_top_v2"
    return f"weights_mobilenet_v3_{kind}_{size}_{float(alpha)}_float{top}.h5"


def _prefix(number: int) -> str:
    return f"expanded_conv_{number}_" if number else "expanded_conv_"


def _act(convolution: str, part: str, channels: int, activation: str) -> Layer:
    kind: Kind = "ReLU" if activation == "relu" else "Activation"
    return Layer(f"{convolution}_{activation}", kind, part, channels, activation=activation)


def normalised(
    name: str, part: str, role: Role, kernel: Shape, activation: str = "", **options: Any
) -> Iterator[Layer]:
    """Yield a convolution, its batch norm and its activation, if it has one."""
    first = convolution(name, part, role, kernel, **options)
    yield first
    yield Layer(f"{name}_bn", "BatchNormalization", part, first.channels)
    if activation:
        yield _act(name, part, first.channels, activation)


def stem(channels: int, filters: int, padding: Padding, activation: str) -> list[Layer]:
    """Return the first convolution, with a layer that pads ahead of it where PyTorch pads."""
    pads = padding == "symmetric"
    pad = Layer("conv_pad", "ZeroPadding2D", "stem", channels, pad=(centred_zeros(3),) * 2)
    layers = normalised(
        "conv", "stem", "stem", (3, 3, channels, filters), activation,
        stride=STEM_STRIDE, padding="valid" if pads else "same",
    )  # fmt: skip
    return [pad, *layers] if pads else [*layers]


def _block(number: int, block: Block, filters: int, step: Step, before: Layer) -> list[Layer]:
    part, prefix, channels = block_name(number), _prefix(number), before.channels
    layers: list[Layer] = []

    def add(role: Role, kernel: Shape, activation: str = "", **options: Any) -> None:
        layers.extend(normalised(f"{prefix}{role}", part, role, kernel, activation, **options))

    wide = channels
    if block.expansion is not None:
        wide = divisible_by_8(channels * block.expansion)
        add("expand", (1, 1, channels, wide), block.activation)
    if step.pad:
        layers.append(Layer(f"{prefix}depthwise_pad", "ZeroPadding2D", part, wide, pad=step.pad))
    add(
        "depthwise", (block.kernel, block.kernel, wide, 1), block.activation,
        stride=step.stride, dilation=step.dilation, padding="valid" if step.pad else "same",
    )  # fmt: skip
    if block.squeeze:
        layers += _squeeze_excite(f"{prefix}squeeze_excite", part, layers[-1])
    add("project", (1, 1, wide, filters))
    if block.stride == 1 and channels == filters:
        layers.append(skip(f"{prefix}add", before, layers[-1]))
    return layers


def _squeeze_excite(name: str, part: str, weighed: Layer) -> Iterator[Layer]:
    wide = weighed.channels
    narrow = divisible_by_8(wide / SQUEEZE)
    yield Layer(f"{name}_avg_pool", "GlobalAveragePooling2D", part, wide, keepdims=True)
    kernel = (1, 1, wide, narrow)
    yield Layer(f"{name}_conv", "Conv2D", part, narrow, kernel, bias=True, role="squeeze")
    yield Layer(f"{name}_relu", "ReLU", part, narrow, activation="relu")
    kernel = (1, 1, narrow, wide)
    yield Layer(f"{name}_conv_1", "Conv2D", part, wide, kernel, bias=True, role="excite")
    yield Layer(f"{name}_gate", "ReLU", part, wide, activation=HARD_SIGMOID)
    inputs = (weighed.name, f"{name}_gate")
    yield Layer(f"{name}_mul", "Multiply", part, wide, inputs=inputs)


def _head(channels: int, filters: int, activation: str) -> Iterator[Layer]:
    return normalised("conv_1", "head", "head", (1, 1, channels, filters), activation)


def _top(channels: int, wide: int, classes: int, activation: str) -> Iterator[Layer]:
    yield pool("avg", channels, keepdims=True)
    kernel = (1, 1, channels, wide)
    yield Layer("conv_2", "Conv2D", "top", wide, kernel, bias=True, role="head")
    yield _act("conv_2", "top", wide, activation)
    yield from classifier(wide, classes)


def classifier(channels: int, classes: int) -> Iterator[Layer]:
    """Yield what stands on the last features that are pooled, from the dropout on."""
    yield Layer("dropout", "Dropout", "top", channels, counted=True, optional=True)
    kernel = (1, 1, channels, classes)
    yield Layer("logits", "Conv2D", "top", classes, kernel, bias=True, role="classifier")
    yield Layer("flatten", "Flatten", "top", classes, counted=True)
    yield Layer("predictions", "Activation", "top", classes)


def _family(kind: str, blocks: tuple[Block, ...], top_channels: int) -> Family:
    name = f"MobileNetV3{kind.title()}"
    return Family(
        name=name,
        key=f"mobilenet_v3_{kind}",
        network=functools.partial(network, blocks=blocks, top_channels=top_channels),
        top=top,
        convolutions=re.compile(rf"(.*?)({_CONVOLUTION})"),
        describe=describe,
        recognise=functools.partial(recognise, net=name, blocks=blocks, top_channels=top_channels),
        zeros=zeros,
        blocks=blocks,
        blocks_name=f"{__name__}.{kind.upper()}",
        stem=STEM,
        width=width,
        file_name=functools.partial(file_name, kind=kind),
        renamed=renamed,
        folder="mobilenet_v3",
        model_name=lambda alpha, height: None,
        default_size=None,
        options={"minimalistic": False},
        dropout="dropout_rate",
        dropout_rate=0.2,
    )


SMALL_FAMILY = _family("small", SMALL, SMALL_TOP)
LARGE_FAMILY = _family("large", LARGE, LARGE_TOP)
