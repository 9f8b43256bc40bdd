"""The MobileNet V1 architecture, written once, as data.

Everything else is read off `network()`: the Keras graph, the costs, the expected arrays, the
pictures and the names in every checkpoint. This file imports neither Keras nor NumPy.

Source: Howard et al., 2017, arXiv 1704.04861, table 1. Names, padding and the order of the top's
layers are those of `keras.applications.MobileNet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

Shape = tuple[int, ...]
Size = tuple[int, int]
Pooling = Literal["avg", "max"]
Kind = Literal[  # the Keras class that a layer is made of
    "InputLayer",
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
    """One row of the paper's table 1: a depthwise and a pointwise convolution."""

    filters: int
    stride: int = 1


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

MIN_SIZE = 32  # pixels: the net halves its input five times
DEFAULT_SIZE = 224
RELU_MAX = 6.0
BATCH_NORM_ARRAYS = ("gamma", "beta", "moving_mean", "moving_variance")
PAD = (0, 1)  # zeros before and after, on both axes, ahead of each strided depthwise conv


@dataclass(frozen=True)
class Layer:
    """One layer of the net: enough to build it, to count it and to name its arrays."""

    name: str
    kind: Kind
    part: str  # "input", "stem", "block_1" ... "block_13" or "top"
    channels: int  # of the output
    kernel: Shape = ()  # in Keras' layout; () where there is none
    stride: int = 1
    padding: Literal["same", "valid"] = "same"
    bias: bool = False
    keepdims: bool = False  # global pooling that keeps a 1 x 1 picture

    def arrays(self) -> dict[str, Shape]:
        """Return the layer's array names, as in `"conv1/kernel"`, with their shapes."""
        if self.kind == "BatchNormalization":
            shapes: dict[str, Shape] = dict.fromkeys(BATCH_NORM_ARRAYS, (self.channels,))
        else:
            shapes = {"kernel": self.kernel} if self.kernel else {}
            if self.bias:
                shapes["bias"] = (self.channels,)
        return {f"{self.name}/{name}": shape for name, shape in shapes.items()}

    def output_size(self, size: Size) -> Size:
        """Return the output's (height, width) for an input of `size`."""
        height, width = size
        return self._output_length(height), self._output_length(width)

    def _output_length(self, n: int) -> int:
        if self.kind == "ZeroPadding2D":
            return n + sum(PAD)
        if self.kind.startswith("Global"):
            return 1
        if not self.kernel:
            return n
        if self.padding == "same":
            return -(-n // self.stride)  # rounds up: 225 -> 113
        return (n - self.kernel[0]) // self.stride + 1  # with PAD rounds down: 113 -> 56


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
) -> tuple[Layer, ...]:
    """Return the net's layers in graph order, from the input to the last."""
    layers = [Layer("input_1", "InputLayer", "input", channels)]
    layers += _stem(channels, width(STEM.filters, alpha))
    for block_id, block in enumerate(BLOCKS, start=1):
        filters = width(block.filters, alpha)
        layers += _block(block_id, layers[-1].channels, filters, block.stride, depth_multiplier)
    if include_top:
        layers += _top(layers[-1].channels, classes)
    elif pooling:
        layers.append(_pool(pooling, layers[-1].channels))
    return tuple(layers)


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


def _stem(channels: int, filters: int) -> list[Layer]:
    kernel = (3, 3, channels, filters)
    conv = Layer("conv1", "Conv2D", "stem", filters, kernel, STEM.stride)
    return [conv, *_batch_norm_and_relu(conv)]


def _block(
    block_id: int, channels: int, filters: int, stride: int, depth_multiplier: int
) -> list[Layer]:
    part, strided = f"block_{block_id}", stride > 1
    pad = Layer(f"conv_pad_{block_id}", "ZeroPadding2D", part, channels)
    depthwise = Layer(
        f"conv_dw_{block_id}",
        "DepthwiseConv2D",
        part,
        channels * depth_multiplier,
        (3, 3, channels, depth_multiplier),
        stride,
        "valid" if strided else "same",
    )
    kernel = (1, 1, depthwise.channels, filters)
    pointwise = Layer(f"conv_pw_{block_id}", "Conv2D", part, filters, kernel)
    return [
        *([pad] if strided else []),
        *(depthwise, *_batch_norm_and_relu(depthwise)),
        *(pointwise, *_batch_norm_and_relu(pointwise)),
    ]


def _pool(pooling: Pooling, channels: int, keepdims: bool = False) -> Layer:
    return Layer(*_POOLS[pooling], "top", channels, keepdims=keepdims)


def _top(channels: int, classes: int) -> list[Layer]:
    return [
        _pool("avg", channels, keepdims=True),
        Layer("dropout", "Dropout", "top", channels),
        Layer("conv_preds", "Conv2D", "top", classes, (1, 1, channels, classes), bias=True),
        Layer("reshape_2", "Reshape", "top", classes),
        Layer("predictions", "Activation", "top", classes),
    ]
