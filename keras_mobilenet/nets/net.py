"""What a net is: layers with their shapes and strides, and what a source of weights did.

Imports neither Keras nor NumPy.
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
        reduction: int | None,
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


def strides_evenly(stem_size: tuple[int | None, int | None], reduction: int) -> bool:
    """Return whether every strided depthwise convolution meets an even length.

    There `"same"` and `"keras"` padding are one. `stem_size` is the (height, width) that the stem
    puts out, None where unknown; `reduction` is what the blocks divide it by.
    """
    return all(n is not None and n % reduction == 0 for n in stem_size)


def kernel_layers(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers that have a kernel: 27 convolutions, and `conv_preds` with a top."""
    return tuple(layer for layer in layers if layer.kernel)


def arrays_of(layers: Sequence[Layer]) -> dict[str, Shape]:
    """Return every array name of a net with its shape, in graph order."""
    return {name: shape for layer in layers for name, shape in layer.arrays().items()}


def output_shapes(layers: Sequence[Layer], size: Size) -> Iterator[tuple[Layer, Shape]]:
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
    return sum(prod(shape) for shape in arrays_of(layers).values())
