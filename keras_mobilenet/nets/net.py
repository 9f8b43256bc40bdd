"""What a net is: a graph of named layers, and what a source of weights did.

Imports neither Keras nor NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
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
    "Add",
    "Multiply",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Dropout",
    "Reshape",
    "Activation",
]
Role = Literal[  # what a layer with a kernel does in its part; "" of the others
    "",
    "stem",
    "expand",
    "depthwise",
    "pointwise",
    "project",
    "full",
    "squeeze",
    "excite",
    "head",
    "classifier",
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
_BLOCK = "block_"
_NOT_A_BLOCK = {"input": -1, "stem": 0, "head": 10_000, "top": 10_001}  # numbers in their order


@dataclass(frozen=True)
class Layer:
    """One layer of the net: enough to build it, to count it and to name its arrays."""

    name: str
    kind: Kind
    part: str  # "input", "stem", "block_1", "block_2" ..., "head" or "top"
    channels: int  # of the output
    kernel: Shape = ()  # in Keras' layout; () where there is none
    stride: int = 1
    padding: ConvPadding = "same"
    bias: bool = False
    pad: tuple[int, int] = (0, 0)  # zeros that a ZeroPadding2D adds on both axes
    keepdims: bool = False  # global pooling that keeps a 1 x 1 image
    dilation: int = 1  # steps between the kernel's taps
    counted: bool = False  # the name is that of a first one; a later one's is Keras' next
    role: Role = ""
    activation: str | None = None  # of a ReLU or an Activation; None: as the caller says
    inputs: tuple[str, ...] = ()  # the layers it takes; () stands for the one before it

    def arrays(self) -> dict[str, Shape]:
        """Return the layer's array names, as in `"conv1/kernel"`, with their shapes."""
        if self.kind == "BatchNormalization":
            shapes: dict[str, Shape] = dict.fromkeys(BATCH_NORM_ARRAYS, (self.channels,))
        else:
            shapes = {"kernel": self.kernel} if self.kernel else {}
            if self.bias:
                shapes["bias"] = (self.channels,)
        return {f"{self.name}/{name}": shape for name, shape in shapes.items()}

    def count_params(self) -> int:
        """Return the number of values in the layer's arrays, moving statistics included."""
        return sum(prod(shape) for shape in self.arrays().values())

    def prefixed(self, name_prefix: str) -> Layer:
        """Return the layer with a prefix, under which every name is fixed."""
        return replace(
            self,
            name=name_prefix + self.name,
            counted=self.counted and not name_prefix,
            inputs=tuple(name_prefix + name for name in self.inputs),
        )

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

    @property
    def flattens(self) -> bool:
        """Whether the output is of shape `(channels,)`, without height and width."""
        return self.kind == "Reshape" or (self.kind.startswith("Global") and not self.keepdims)


@dataclass(frozen=True)
class Net:
    """A net: its layers, each behind those that it takes."""

    layers: tuple[Layer, ...]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @cached_property
    def by_name(self) -> Mapping[str, Layer]:
        """The layers by name."""
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def inputs(self) -> Mapping[str, tuple[Layer, ...]]:
        """The layers that each one takes, by its name."""
        before: dict[str, tuple[Layer, ...]] = {}
        last: tuple[Layer, ...] = ()
        for layer in self.layers:
            named = tuple(self.by_name[name] for name in layer.inputs)
            before[layer.name] = named or last
            last = (layer,)
        return before

    @cached_property
    def parts(self) -> Mapping[str, tuple[Layer, ...]]:
        """The layers by part, in the order of the graph."""
        parts: dict[str, tuple[Layer, ...]] = {}
        for layer in self.layers:
            parts[layer.part] = (*parts.get(layer.part, ()), layer)
        return parts

    @property
    def blocks(self) -> tuple[str, ...]:
        """The parts that are blocks."""
        return tuple(part for part in self.parts if is_block(part))

    @property
    def convolutions(self) -> tuple[Layer, ...]:
        """The layers that have a kernel, the classifier's among them."""
        return tuple(layer for layer in self.layers if layer.kernel)

    @property
    def classifier(self) -> Layer | None:
        """The layer that tells the classes; None without a top."""
        return next((layer for layer in self.layers if layer.role == "classifier"), None)

    @property
    def stem(self) -> Layer:
        """The first convolution."""
        return self.convolutions[0]

    def batch_norm_names(self) -> dict[str, str]:
        """Return the name of each convolution's batch norm, by the convolution's."""
        norms = (layer for layer in self if layer.kind == "BatchNormalization")
        return {self.inputs[norm.name][0].name: norm.name for norm in norms}

    def arrays(self) -> dict[str, Shape]:
        """Return every array name of the net with its shape, in graph order."""
        return {name: shape for layer in self for name, shape in layer.arrays().items()}

    def count_params(self) -> int:
        """Return the number of values in all arrays, moving statistics included, as Keras does."""
        return sum(layer.count_params() for layer in self)

    def shapes(self, size: Size) -> dict[str, Shape]:
        """Return each layer's output shape by name: `(height, width, channels)`, `(channels,)`."""
        shapes: dict[str, Shape] = {}
        for layer in self:
            taken = [shapes[before.name] for before in self.inputs[layer.name]]
            # A gate is 1 x 1, or flat: the largest of the inputs is what comes out.
            known = max((shape[:-1] for shape in taken), key=prod, default=size)
            if layer.flattens or (taken and not known):
                shapes[layer.name] = (layer.channels,)
            else:
                height, width = known
                shapes[layer.name] = (*layer.output_size((height, width)), layer.channels)
        return shapes

    def reduction(self) -> int | None:
        """Return what the blocks divide the stem's output by; None where a stride was left out.

        The net is one of Keras' padding, under which a padding of its own tells each stride.
        """
        layers = [layer for part in self.blocks for layer in self.parts[part]]
        if any(layer.stride == 1 and layer.padding == "valid" for layer in layers):
            return None
        return prod(layer.stride for layer in layers)

    def prefixed(self, name_prefix: str) -> Net:
        """Return the net with a prefix before each name."""
        if not name_prefix:
            return self
        return Net(tuple(layer.prefixed(name_prefix) for layer in self))


def part_number(part: str) -> int:
    """Return a number that orders parts as they stand in a net: a block's own, 0 for the stem."""
    return _NOT_A_BLOCK[part] if part in _NOT_A_BLOCK else int(part.removeprefix(_BLOCK))


def block_name(number: int) -> str:
    """Return the part that a block of a number is."""
    return f"{_BLOCK}{number}"


def is_block(part: str) -> bool:
    """Return whether a part is a block."""
    return part.startswith(_BLOCK)


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
        # Stored in float32 here or there.
        if not isclose(self.epsilon, other.epsilon, rel_tol=1e-6):
            return False
        if self.activation != other.activation:
            return False
        if self.padding == other.padding:
            return True
        either = {self.padding, other.padding} == {"keras", "same"}
        return either and reduction is not None and strides_evenly(stem_size, reduction)


def same_zeros(length: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the zeros before and after that TensorFlow's SAME padding adds to an axis."""
    reach = (kernel - 1) * dilation + 1
    total = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return total // 2, total - total // 2


def strides_evenly(stem_size: tuple[int | None, int | None], reduction: int) -> bool:
    """Return whether every strided depthwise convolution meets an even length.

    There `"same"` and `"keras"` padding are one. `stem_size` is the (height, width) that the stem
    puts out, None where unknown; `reduction` is what the blocks divide it by.
    """
    return all(n is not None and n % reduction == 0 for n in stem_size)


@dataclass(frozen=True)
class Origin:
    """The arguments of a builder that a file's array shapes tell."""

    alpha: float
    depth_multiplier: int
    channels: int
    classes: int | None  # None without a top
    include_top: bool

    def __str__(self) -> str:
        top = f"{self.classes} classes" if self.include_top else "no top"
        return f"alpha={self.alpha:g}, depth_multiplier={self.depth_multiplier}, {top}"


@dataclass(frozen=True)
class Family:
    """One kind of MobileNet: how a net of it is made, and how one is recognised."""

    name: str  # as its builder's
    network: Callable[..., Net]  # without arguments: the net that the paper describes
    top: Callable[[int, int, Pooling], tuple[Layer, ...]]  # from channels, classes and pooling
    convolutions: re.Pattern[str]  # what may go before a convolution's name, and the name
    describe: Callable[[Collection[str]], Net]  # from some layers' names to a net that has them
    recognise: Callable[[Mapping[str, Shape]], Origin | None]  # from arrays' shapes

    @property
    def classifier(self) -> Layer:
        """The layer of its top that tells the classes."""
        return next(layer for layer in self.top(1, 1, "avg") if layer.role == "classifier")
