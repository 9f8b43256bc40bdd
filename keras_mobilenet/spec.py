"""The MobileNet V1 architecture, written once, as data.

Everything else is read off `network()`: the Keras graph, the costs, the expected arrays, the
pictures and the names in every checkpoint. This file imports neither Keras nor NumPy.

Source: Howard et al., 2017, arXiv 1704.04861, table 1. Names, padding and the order of the top's
layers are those of `keras.applications.MobileNet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isclose, prod
from typing import Literal, get_args

Shape = tuple[int, ...]
Size = tuple[int, int]
Pooling = Literal["avg", "max"]
Padding = Literal["keras", "same", "symmetric"]
Activation = Literal["relu6", "relu"]
ConvPadding = Literal["same", "valid"]
OutputStride = Literal[8, 16, 32]
Kind = Literal[  # the Keras class that a layer is made of
    "InputLayer",
    "Rescaling",
    "Conv2D",
    "DepthwiseConv2D",
    "ZeroPadding2D",
    "BatchNormalization",
    "ReLU",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Dropout",
    "Reshape",
    "Activation",
]


@dataclass(frozen=True)
class Block:
    """One row of the paper's table 1: a depthwise and a pointwise convolution.

    A block that is not `separable` is one full 3 x 3 convolution: of 13 such is the paper's "Conv
    MobileNet" of table 4.
    """

    filters: int
    stride: int = 1
    separable: bool = True


STEM = Block(32, stride=2)

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

REDUCTION = prod(block.stride for block in BLOCKS)  # of the stem's output, by the blocks
MIN_SIZE = 32  # pixels: the net halves its input five times
DEFAULT_SIZE = 224
OUTPUT_STRIDES: tuple[OutputStride, ...] = get_args(OutputStride)
INPUT = "input"  # and a number
RESCALING = "rescaling"
RELU_MAX = 6.0
RELU_MAXIMA: dict[Activation, float | None] = {"relu6": RELU_MAX, "relu": None}
BATCH_NORM_ARRAYS = ("gamma", "beta", "moving_mean", "moving_variance")

# Zeros before and after, on both axes, ahead of a strided convolution. "same" leaves them to the
# convolution itself, which pads one zero at the end of an even length and one at both of an odd.
PADS: dict[Padding, tuple[int, int]] = {"keras": (0, 1), "symmetric": (1, 1)}


@dataclass(frozen=True)
class Layer:
    """One layer of the net: enough to build it, to count it and to name its arrays."""

    name: str
    kind: Kind
    part: str  # "input", "stem", "block_1" ... "block_13" or "top"
    channels: int  # of the output
    kernel: Shape = ()  # in Keras' layout; () where there is none
    stride: int = 1
    padding: ConvPadding = "same"
    bias: bool = False
    pad: tuple[int, int] = (0, 0)  # zeros that a ZeroPadding2D adds on both axes
    keepdims: bool = False  # global pooling that keeps a 1 x 1 picture
    dilation: int = 1  # steps between the kernel's taps
    counted: bool = False  # the name is that of a first one; a later one's is Keras' next

    def arrays(self) -> dict[str, Shape]:
        """Return the layer's array names, as in `"conv1/kernel"`, with their shapes."""
        if self.kind == "BatchNormalization":
            shapes: dict[str, Shape] = dict.fromkeys(BATCH_NORM_ARRAYS, (self.channels,))
        else:
            shapes = {"kernel": self.kernel} if self.kernel else {}
            if self.bias:
                shapes["bias"] = (self.channels,)
        return {f"{self.name}/{name}": shape for name, shape in shapes.items()}

    def prefixed(self, name_prefix: str) -> Layer:
        """Return the layer with a prefix, under which every name is fixed."""
        return replace(self, name=name_prefix + self.name, counted=self.counted and not name_prefix)

    def output_size(self, size: Size) -> Size:
        """Return the output's (height, width) for an input of `size`."""
        height, width = size
        return self._output_length(height), self._output_length(width)

    def _output_length(self, n: int) -> int:
        if self.kind == "ZeroPadding2D":
            return n + sum(self.pad)
        if self.kind.startswith("Global"):
            return 1
        if not self.kernel:
            return n
        if self.padding == "same":
            return -(-n // self.stride)  # rounds up: 225 -> 113
        reach = (self.kernel[0] - 1) * self.dilation
        return (n - reach - 1) // self.stride + 1  # Keras' (0, 1) rounds down: 113 -> 56


@dataclass(frozen=True)
class Conventions:
    """What a source of weights did and shapes cannot show. The defaults are those of Keras.

    `padding` is that of the strided convolutions: `"keras"` pads a depthwise one at the end,
    `"same"` is TF-slim's and Hugging Face's, `"symmetric"` is PyTorch's, for `conv1` too. An
    `activation` of `"relu"` has no limit: MLPerf Tiny's visual wake words net is such.
    """

    epsilon: float = 1e-3  # of every batch norm
    padding: Padding = "keras"
    activation: Activation = "relu6"  # behind every batch norm

    def fits(
        self,
        other: Conventions,
        stem_size: tuple[int | None, int | None],
        reduction: int | None = REDUCTION,
    ) -> bool:
        """Return whether the two are one function for a net whose stem puts out `stem_size`.

        `reduction` is what its blocks divide that by; None where one of their strides was left
        out, as no two paddings are one function there.
        """
        if not isclose(
            self.epsilon, other.epsilon, rel_tol=1e-6
        ):  # stored in float32 here or there
            return False
        if self.activation != other.activation:
            return False
        if self.padding == other.padding:
            return True
        either = {self.padding, other.padding} == {"keras", "same"}
        return either and reduction is not None and strides_evenly(stem_size, reduction)


def strides_evenly(stem_size: tuple[int | None, int | None], reduction: int = REDUCTION) -> bool:
    """Return whether every strided depthwise convolution meets an even length.

    There `"same"` and `"keras"` padding are one. `stem_size` is the (height, width) that the stem
    puts out, None where unknown; `reduction` is what the blocks divide it by.
    """
    return all(n is not None and n % reduction == 0 for n in stem_size)


def reduction(layers: Sequence[Layer]) -> int | None:
    """Return what a net's blocks divide the stem's output by; None where a stride was left out.

    The net is one of Keras' padding, under which a padding of its own tells each stride there was.
    """
    blocks = [layer for layer in layers if layer.part.startswith("block_")]
    if any(layer.stride == 1 and layer.padding == "valid" for layer in blocks):
        return None
    return prod(layer.stride for layer in blocks)


def halved(n: int | None) -> int | None:
    """Return the length that the stem makes of `n`, under every padding; None if unknown."""
    return None if n is None else -(-n // STEM.stride)


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
    output_stride: OutputStride = 32,
    blocks: Sequence[Block] = BLOCKS,
    include_preprocessing: bool = False,
    name_prefix: str = "",
) -> tuple[Layer, ...]:
    """Return the net's layers in graph order, from the input to the last."""
    layers = [Layer(f"{INPUT}_1", "InputLayer", "input", channels, counted=True)]
    if include_preprocessing:
        layers.append(Layer(RESCALING, "Rescaling", "input", channels, counted=True))
    layers += _stem(channels, width(STEM.filters, alpha), padding)
    for block_id, (block, window) in enumerate(_windows(blocks, padding, output_stride), start=1):
        scaled = replace(block, filters=width(block.filters, alpha))
        layers += _block(block_id, scaled, window, layers[-1].channels, depth_multiplier)
    if include_top:
        layers += top(layers[-1].channels, classes)
    elif pooling:
        layers.append(_pool(pooling, layers[-1].channels))
    return tuple(layer.prefixed(name_prefix) for layer in layers)


def top(channels: int, classes: int, pooling: Pooling = "avg") -> tuple[Layer, ...]:
    """Return the classifier's layers, from the pool to the last."""
    return (
        _pool(pooling, channels, keepdims=True),
        Layer("dropout", "Dropout", "top", channels),
        Layer("conv_preds", "Conv2D", "top", classes, (1, 1, channels, classes), bias=True),
        Layer("reshape_2", "Reshape", "top", classes),
        Layer("predictions", "Activation", "top", classes),
    )


def layers_of_block(block_id: int, *, separable: bool) -> tuple[Layer, ...]:
    """Return the layers of a block of that number, a padding's among them.

    Their names, kinds and order are those in any net; their channels and strides mean nothing.
    """
    block = Block(1, stride=2, separable=separable)
    return tuple(_block(block_id, block, _Window(2, 1, PADS["symmetric"]), 1, 1))


def convolutions(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers that have a kernel: 27 convolutions, and `conv_preds` with a top."""
    return tuple(layer for layer in layers if layer.kernel)


def arrays(layers: Sequence[Layer]) -> dict[str, Shape]:
    """Return every array name of a net with its shape, in graph order."""
    return {name: shape for layer in layers for name, shape in layer.arrays().items()}


def shapes(layers: Sequence[Layer], size: Size) -> Iterator[tuple[Layer, Shape]]:
    """Yield each layer with its output shape, `(height, width, channels)` or `(channels,)`."""
    flat = False
    for layer in layers:
        size = layer.output_size(size)
        flat = (
            flat
            or layer.kind == "Reshape"
            or (layer.kind.startswith("Global") and not layer.keepdims)
        )
        yield layer, (layer.channels,) if flat else (*size, layer.channels)


def count_params(layers: Sequence[Layer]) -> int:
    """Return the number of values in all arrays, moving statistics included, as Keras counts."""
    return sum(prod(shape) for shape in arrays(layers).values())


_POOLS: dict[Pooling, tuple[str, Kind]] = {
    "avg": ("global_average_pooling2d", "GlobalAveragePooling2D"),
    "max": ("global_max_pooling2d", "GlobalMaxPooling2D"),
}


def _batch_norm_and_relu(conv: Layer) -> list[Layer]:
    return [
        Layer(f"{conv.name}_bn", "BatchNormalization", conv.part, conv.channels),
        Layer(f"{conv.name}_relu", "ReLU", conv.part, conv.channels),
    ]


def _stem(channels: int, filters: int, padding: Padding) -> list[Layer]:
    kernel = (3, 3, channels, filters)
    pad: list[Layer] = []
    if padding == "symmetric":  # Keras' own stem is SAME: only the depthwise ones pad at the end
        pad = [Layer("conv1_pad", "ZeroPadding2D", "stem", channels, pad=PADS[padding])]
    own_padding: ConvPadding = "valid" if pad else "same"
    conv = Layer("conv1", "Conv2D", "stem", filters, kernel, STEM.stride, own_padding)
    return [*pad, conv, *_batch_norm_and_relu(conv)]


@dataclass(frozen=True)
class _Window:
    """How a block's 3 x 3 convolution moves over its input."""

    stride: int
    dilation: int
    pad: tuple[int, int] | None  # of a layer ahead of the convolution; None where that pads itself


def _windows(
    blocks: Sequence[Block], padding: Padding, output_stride: int
) -> Iterator[tuple[Block, _Window]]:
    """Yield each block with its window; past `output_stride` strides become dilations.

    A stride that is left out dilates what follows it by as much, as in TF-slim's
    `mobilenet_v1_base`: every later kernel then sees the inputs that it was trained on.
    """
    stride, dilation = STEM.stride, 1
    for block in blocks:
        if stride * block.stride <= output_stride:
            pad = PADS.get(padding) if block.stride > 1 else None
            yield block, _Window(block.stride, dilation, pad)
            stride *= block.stride
        else:
            yield block, _Window(1, dilation, _dense_pad(padding, dilation))
            dilation *= block.stride


def _dense_pad(padding: Padding, dilation: int) -> tuple[int, int] | None:
    """Return the padding under which leaving out a stride keeps every output there was.

    The window of output i of the strided convolution begins at input `2 i` under `"keras"` and at
    `2 i - 1` under `"symmetric"`; its dense outputs `2 i` begin there too. `"same"` is slim's: the
    convolution pads itself and centres its windows. The strided ones are centred on `2 i` of an
    odd length, but on `2 i + 1` of an even one.
    """
    if padding == "same":
        return None
    before, _ = PADS[padding]
    return before * dilation, (2 - before) * dilation


def _block(
    block_id: int, block: Block, window: _Window, channels: int, depth_multiplier: int
) -> list[Layer]:
    part, layers = f"block_{block_id}", []
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
    )
    layers += [first, *_batch_norm_and_relu(first)]
    if block.separable:
        kernel = (1, 1, first.channels, block.filters)
        pointwise = Layer(f"conv_pw_{block_id}", "Conv2D", part, block.filters, kernel)
        layers += [pointwise, *_batch_norm_and_relu(pointwise)]
    return layers


def _pool(pooling: Pooling, channels: int, keepdims: bool = False) -> Layer:
    return Layer(*_POOLS[pooling], "top", channels, keepdims=keepdims, counted=True)
