"""MobileNetV4's convolutional nets, Small, Medium and Large, written once, as data.

The hybrid nets, in `v4_hybrid`, are made of the same blocks and of attention.

Source: Qin et al., 2024, arXiv 2404.10518; timm 1.0.31, `models/mobilenetv3.py`,
`_gen_mobilenet_v4`, whose rounding of channels, padding and epsilon these are: Keras has no V4.
Names follow V3's; a block's tell what it is and its number.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from keras_mobilenet.nets.conventions import (
    NO_ZEROS,
    Conventions,
    Length,
    Padding,
    Step,
    Window,
    Zeros,
    centred_zeros,
    steps,
)
from keras_mobilenet.nets.families import v2
from keras_mobilenet.nets.families.attention import Attention, attention
from keras_mobilenet.nets.families.v3 import (
    classifier,
    first_origin,
    normalised,
    stem,
    width,
)
from keras_mobilenet.nets.net import (
    OUTPUT_STRIDES,
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
    image,
    only_widened,
    pool,
    skip,
)


@dataclass(frozen=True)
class Block:
    """One row of the paper's tables: a universal inverted bottleneck, or what stands for one.

    It moves a window of `start` pixels over each channel, widens the result by `expansion`, moves
    one of `kernel` pixels over each channel of that, and narrows it to `filters`. Either window is
    left out where it is 0; the second has the stride, the first where it is the only one.

    A `fused` block has a full convolution of `kernel` pixels that strides and widens in place of
    the three. One without `expansion`, None, is nothing but such a convolution, to `filters`.

    One of `heads` is attention instead: so many heads, of `depth` channels each, ask for values
    that are made of the image, by a window of `kernel` pixels that strides where it is not 0.
    """

    filters: int
    stride: int = 1
    expansion: float | None = 4
    start: int = 0
    kernel: int = 3
    fused: bool = False
    heads: int = 0
    depth: int = 0

    @property
    def moved(self) -> int:
        """The window that has the stride, in pixels; 1 without one."""
        return self.kernel or self.start or 1

    def is_sound(self) -> bool:
        """Return whether a net can be made of it."""
        known = are_positive(self.filters, self.stride, self.start + 1, self.kernel + 1)
        if self.heads or self.depth:
            alone = self.stride == 1 and not self.start and not self.fused
            return known and alone and are_positive(self.heads, self.depth)
        if self.fused or self.expansion is None:
            return known and self.kernel > 0 and not self.start and (self.expansion or 1) > 0
        return known and self.expansion > 0 and (self.stride == 1 or self.moved > 1)


def _plain(kernel: int, filters: int, stride: int = 1) -> Block:
    return Block(filters, stride, None, 0, kernel)


def universal(
    start: int, kernel: int, filters: int, expansion: float = 4, stride: int = 1
) -> Block:
    """Return a universal inverted bottleneck."""
    return Block(filters, stride, expansion, start, kernel)


STEM = 32  # filters, which alpha widens and does not narrow
LARGE_STEM = 24
LAST = 960  # filters of the convolution ahead of the pool
TOP = 1280  # of the one behind it, at every alpha
# The row number, from 0, is that of the blocks in the layers' names.
SMALL = (
    _plain(3, 32, stride=2),
    _plain(1, 32),
    _plain(3, 96, stride=2),
    _plain(1, 64),
    universal(5, 5, 96, 3, stride=2),
    *[universal(0, 3, 96, 2)] * 4,
    universal(3, 0, 96),
    universal(3, 3, 128, 6, stride=2),
    universal(5, 5, 128),
    universal(0, 5, 128),
    universal(0, 5, 128, 3),
    *[universal(0, 3, 128)] * 2,
)
MEDIUM = (
    Block(48, stride=2, fused=True),
    universal(3, 5, 80, stride=2),
    universal(3, 3, 80, 2),
    universal(3, 5, 160, 6, stride=2),
    *[universal(3, 3, 160)] * 2,
    universal(3, 5, 160),
    universal(3, 3, 160),
    universal(3, 0, 160),
    universal(0, 0, 160, 2),
    universal(3, 0, 160),
    universal(5, 5, 256, 6, stride=2),
    universal(5, 5, 256),
    *[universal(3, 5, 256)] * 2,
    universal(0, 0, 256),
    universal(3, 0, 256),
    universal(3, 5, 256, 2),
    universal(5, 5, 256),
    *[universal(0, 0, 256)] * 2,
    universal(5, 0, 256, 2),
)
LARGE = (
    Block(48, stride=2, fused=True),
    universal(3, 5, 96, stride=2),
    universal(3, 3, 96),
    universal(3, 5, 192, stride=2),
    *[universal(3, 3, 192)] * 3,
    universal(3, 5, 192),
    *[universal(5, 3, 192)] * 5,
    universal(3, 0, 192),
    universal(5, 5, 512, stride=2),
    *[universal(5, 5, 512)] * 3,
    universal(5, 0, 512),
    universal(5, 3, 512),
    *[universal(5, 0, 512)] * 2,
    universal(5, 3, 512),
    universal(5, 5, 512),
    *[universal(5, 0, 512)] * 3,
)
_NUMBER = r"(?:0|[1-9]\d{0,2})"
_CONVOLUTION = (
    rf"(?:full|pointwise)_{_NUMBER}|fused_{_NUMBER}_(?:expand|project)"
    rf"|universal_{_NUMBER}_(?:start|expand|depthwise|project)"
    rf"|attention_{_NUMBER}_(?:query|(?:key|value)(?:_reduce)?|project)"
)
_OF_BLOCK = re.compile(
    rf"(full|pointwise|fused|universal|attention)_({_NUMBER})"
    r"(?:_(?:start|expand|depthwise|project|pad|bn|relu|add|query|key|value|attend)\w*)?"
)


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
    stem_filters: int,
    activation: str = "relu",
) -> Net:
    """Return the net, from its input to its last layer. Its own padding is the symmetric one.

    Raises:
        ValueError: the net has attention, and another output stride than its own.
    """
    own: Padding = "same" if padding == "same" else "symmetric"
    _check_stride(blocks, output_stride)
    layers = [*image(channels, include_preprocessing)]
    layers += stem(channels, only_widened(stem_filters, alpha), own, activation)
    moves = steps([(b.moved, b.stride) for b in blocks], own, output_stride, size, zeros)
    for number, (block, step) in enumerate(zip(blocks, moves, strict=True)):
        place = _Place(number, step, own, activation)
        layers += _block(place, block, width(block.filters, alpha), layers[-1])
    layers += _head(layers[-1].channels, width(LAST, alpha), activation)
    if include_top:
        layers += _top(layers[-1].channels, TOP, classes, activation)
    elif pooling:
        layers.append(_pool(pooling, layers[-1].channels))
    return Net(tuple(layers)).prefixed(name_prefix)


def _check_stride(blocks: Sequence[Block], output_stride: int) -> None:
    if output_stride != max(OUTPUT_STRIDES) and any(block.heads for block in blocks):
        raise ValueError(
            f"`output_stride` must be {max(OUTPUT_STRIDES)} of a net with attention, which weighs "
            "pixels against all others: among four times as many it computes something else. Pass "
            f"a larger image, or take a convolutional net. Received: output_stride={output_stride}"
        )


def top(channels: int, classes: int, pooling: Pooling = "avg") -> tuple[Layer, ...]:
    """Return a classifier that stands on the pool, without the convolution between the two."""
    return _pool(pooling, channels, keepdims=True), *_classifier(channels, classes)


def zeros(padding: Padding, window: Window, length: Length) -> Zeros | None:
    """Return the zeros before and after that V4 pads to an axis ahead of a stride.

    None is SAME where the length is unknown. Its own are PyTorch's.
    """
    if padding == "same":
        return v2.zeros(padding, window, length)
    return centred_zeros(window.kernel)


def describe(names: Collection[str]) -> Net:
    """Return a net that has layers of these names; its channels and strides mean nothing.

    Names tell which blocks there are, what they are, and which of them add. Names that are none of
    V4's are passed over.
    """
    kinds = {int(match[2]): match[1] for match in map(_OF_BLOCK.fullmatch, names) if match}
    activation = "gelu" if any(name.endswith("_gelu") for name in names) else "relu"
    layers = stem(1, 1, "symmetric", activation)  # this padding has every layer
    for number, kind in sorted(kinds.items()):
        before, block = layers[-1], _described(kind, number, names)
        place = _Place(number, Step(2, 1, NO_ZEROS), "symmetric", activation)
        layers += _block(place, block, 1 + bool(block.heads), before)
        add = f"{_prefix(block, number)}_add"
        if add in names:
            layers.append(skip(add, before, layers[-1]))
    layers += _head(1, 1, activation)
    if "conv_2" in names or "logits" not in names:
        return Net((*layers, *_top(1, 1, 1, activation)))
    return Net((*layers, *top(1, 1)))


def _described(kind: str, number: int, names: Collection[str]) -> Block:
    if kind in ("full", "pointwise"):
        return _plain(3 if kind == "full" else 1, 1, stride=2)
    if kind == "fused":
        return Block(1, 2, fused=True)
    if kind == "attention":
        reduces = not {f"attention_{number}_{x}_reduce" for x in ("key", "value")}.isdisjoint(names)
        return Block(1, kernel=3 * reduces, heads=1, depth=1)
    start, kernel = (3 * (f"universal_{number}_{role}" in names) for role in ("start", "depthwise"))
    return universal(start, kernel, 1, stride=2)


def recognise(
    shapes: Mapping[str, Shape], *, net: str, blocks: Sequence[Block], stem_filters: int
) -> Origin | None:
    """Return the arguments that lead to arrays of these shapes, None if they are no such net's."""
    first, last = shapes.get("conv/kernel", ()), shapes.get("conv_1/kernel", ())
    layers = {name.rpartition("/")[0] for name in shapes}
    numbers = {int(match[2]) for match in map(_OF_BLOCK.fullmatch, layers) if match}
    if not len(first) == len(last) == 4 or numbers != set(range(len(blocks))):
        return None
    build = functools.partial(network, blocks=blocks, stem_filters=stem_filters)
    return first_origin(shapes, net, v2.alphas_of(LAST, last[3], width), build, top, {})


def _prefix(block: Block, number: int) -> str:
    if block.heads:
        return f"attention_{number}"
    if block.fused:
        return f"fused_{number}"
    if block.expansion is not None:
        return f"universal_{number}"
    return f"full_{number}" if block.kernel > 1 else f"pointwise_{number}"


@dataclass(frozen=True)
class _Convolution:
    """One convolution of a block, with the batch norm behind it."""

    name: str
    role: Role
    kernel: Shape
    activation: str
    strides: bool = False  # whether the block's stride is its own


@dataclass(frozen=True)
class _Place:
    """Where a block stands, and what it has from the net around it."""

    number: int
    step: Step
    padding: Padding
    activation: str


def _convolutions(
    block: Block, prefix: str, channels: int, filters: int, activation: str
) -> Iterator[_Convolution]:
    window = (block.kernel, block.kernel)
    if block.expansion is None:
        role: Role = "full" if block.kernel > 1 else "pointwise"
        yield _Convolution(prefix, role, (*window, channels, filters), activation, strides=True)
        return
    wide, start = width(channels, block.expansion), (block.start, block.start, channels, 1)
    if block.start:
        alone = not block.kernel
        yield _Convolution(f"{prefix}_start", "start", start, "", strides=alone)
    square = window if block.fused else (1, 1)
    expand = (*square, channels, wide)
    yield _Convolution(f"{prefix}_expand", "expand", expand, activation, strides=block.fused)
    if block.kernel and not block.fused:
        moves = (*window, wide, 1)
        yield _Convolution(f"{prefix}_depthwise", "depthwise", moves, activation, strides=True)
    yield _Convolution(f"{prefix}_project", "project", (1, 1, wide, filters), "")


def _block(place: _Place, block: Block, filters: int, before: Layer) -> list[Layer]:
    part, prefix, step = block_name(place.number), _prefix(block, place.number), place.step
    if block.heads:
        sizes = block.heads, block.depth, block.kernel
        return attention(Attention(prefix, part, filters, *sizes, place.padding), before)
    channels = before.channels
    layers: list[Layer] = []
    for row in _convolutions(block, prefix, channels, filters, place.activation):
        pad = step.pad if row.strides else None
        if pad:
            taken = row.kernel[2]
            layers.append(Layer(f"{row.name}_pad", "ZeroPadding2D", part, taken, pad=pad))
        layers += normalised(
            row.name, part, row.role, row.kernel, row.activation,
            stride=step.stride if row.strides else 1,
            dilation=step.dilation if row.kernel[0] > 1 else 1,
            padding="valid" if pad else "same",
        )  # fmt: skip
    if block.expansion is not None and block.stride == 1 and channels == filters:
        layers.append(skip(f"{prefix}_add", before, layers[-1]))
    return layers


def _head(channels: int, filters: int, activation: str) -> list[Layer]:
    return [*normalised("conv_1", "head", "head", (1, 1, channels, filters), activation)]


def _top(channels: int, wide: int, classes: int, activation: str) -> list[Layer]:
    return [
        _pool("avg", channels, keepdims=True),
        *normalised("conv_2", "top", "head", (1, 1, channels, wide), activation),
        *_classifier(wide, classes),
    ]


def _pool(pooling: Pooling, channels: int, keepdims: bool = False) -> Layer:
    return replace(pool(pooling, channels, keepdims), name=f"{pooling}_pool", counted=False)


def _classifier(channels: int, classes: int) -> Iterator[Layer]:
    """Yield V3's, under names that no counter of Keras' makes."""
    for layer in classifier(channels, classes):
        yield replace(layer, name=f"logits_{layer.name}", counted=False) if layer.counted else layer


def family_of(
    kind: str,
    blocks: tuple[Block, ...],
    stem_filters: int,
    size: int,
    *,
    blocks_name: str,
    activation: str = "relu",
) -> Family:
    """Return a family of V4, of a kind such as `"conv_small"`."""
    name = f"MobileNetV4{kind.title().replace('_', '')}"
    return Family(
        name=name,
        key=f"mobilenet_v4_{kind}",
        network=functools.partial(
            network, blocks=blocks, stem_filters=stem_filters, activation=activation
        ),
        top=top,
        convolutions=re.compile(rf"(.*?)({_CONVOLUTION})"),
        describe=describe,
        recognise=functools.partial(recognise, net=name, blocks=blocks, stem_filters=stem_filters),
        zeros=zeros,
        blocks=blocks,
        blocks_name=blocks_name,
        stem=stem_filters,
        width=width,
        model_name=lambda alpha, height: f"mobilenetv4_{kind}_{alpha:0.2f}_{height}",
        publisher="timm",
        conventions=Conventions(epsilon=1e-5),
        default_size=size,
        bn_momentum=0.9,  # as PyTorch's 0.1, with which timm trains
        dropout_rate=0.2,
    )


# The sizes are those of the weights that timm lists first of each net.
SMALL_FAMILY = family_of("conv_small", SMALL, STEM, 224, blocks_name=f"{__name__}.SMALL")
MEDIUM_FAMILY = family_of("conv_medium", MEDIUM, STEM, 256, blocks_name=f"{__name__}.MEDIUM")
LARGE_FAMILY = family_of("conv_large", LARGE, LARGE_STEM, 384, blocks_name=f"{__name__}.LARGE")
