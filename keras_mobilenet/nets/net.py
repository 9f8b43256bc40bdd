"""What a net is: a graph of named layers; and what a family of them is.

Imports neither Keras nor NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from numbers import Integral
from typing import Any, Literal, cast, get_args

from keras_mobilenet.nets.conventions import (
    NO_ZEROS,
    Activation,
    Conventions,
    Length,
    Window,
    Zeros,
    ZerosOf,
)

Shape = tuple[int, ...]
Size = tuple[int, int]
Pooling = Literal["avg", "max"]
ConvPadding = Literal["same", "valid"]
OutputStride = Literal[8, 16, 32]
Kind = Literal[  # the Keras class that a layer is made of
    "InputLayer",
    "Rescaling",
    "Conv2D",
    "DepthwiseConv2D",
    "Dense",
    "ZeroPadding2D",
    "BatchNormalization",
    "ReLU",
    "Add",
    "Multiply",
    "MultiQueryAttention",  # of this package
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Dropout",
    "Reshape",
    "Flatten",
    "Activation",
]
Role = Literal[  # what a layer with a kernel does in its part; "" of the others
    "",
    "stem",
    "start",
    "expand",
    "depthwise",
    "pointwise",
    "project",
    "full",
    "query",
    "reduce",
    "key",
    "value",
    "squeeze",
    "excite",
    "head",
    "classifier",
]
OUTPUT_STRIDES: tuple[OutputStride, ...] = get_args(OutputStride)
INPUT = "input"  # and a number
RESCALING = "rescaling"
KERAS = "Keras"  # the publisher of V1 to V3
RELU_MAX = 6.0
RELU_MAXIMA: dict[Activation, float | None] = {"relu6": RELU_MAX, "relu": None}
BATCH_NORM_ARRAYS = ("gamma", "beta", "moving_mean", "moving_variance")
MIN_SIZE = 32  # pixels: every MobileNet halves its input five times
DEFAULT_SIZE = 224
HARD_SWISH: Literal["hard_swish"] = "hard_swish"
HARD_SIGMOID = "hard_sigmoid"  # of a ReLU: relu6(x + 3) / 6
# The kind of layer that is this package's, what Keras' files call it, and where it is.
ATTENDING: Kind = "MultiQueryAttention"
REGISTERED_ATTENTION = "keras_mobilenet>MultiQueryAttention"
ATTENTION_MODULE = "keras_mobilenet.models.layers.attention"
REDUCE: Role = "reduce"  # of a convolution that strides for keys or values alone
_BLOCK = "block_"
_NOT_A_BLOCK = {"input": -2, "stem": -1, "head": 10_000, "top": 10_001}  # numbers in their order


def relu_max(activation: str | None) -> float | None:
    """Return where the ReLU of an activation ends: a hard sigmoid has one, too. None: nowhere."""
    return RELU_MAX if activation == HARD_SIGMOID else RELU_MAXIMA[cast(Activation, activation)]


@dataclass(frozen=True)
class Layer:
    """One layer of the net: enough to build it, to count it and to name its arrays."""

    name: str
    kind: Kind
    part: str  # "input", "stem", "block_0", "block_1" ..., "head" or "top"
    channels: int  # of the output
    kernel: Shape = ()  # in Keras' layout; () where there is none
    stride: int = 1
    padding: ConvPadding = "same"
    bias: bool = False
    pad: tuple[Zeros, Zeros] = NO_ZEROS  # of a ZeroPadding2D, along height and width
    keepdims: bool = False  # global pooling that keeps a 1 x 1 image
    dilation: int = 1  # steps between the kernel's taps
    optional: bool = False  # a dropout that is there only where something is dropped
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
        return self._output_length(height, 0), self._output_length(width, 1)

    def _output_length(self, n: int, axis: int) -> int:
        if self.kind == "ZeroPadding2D":
            return n + sum(self.pad[axis])
        if self.kind.startswith("Global"):
            return 1
        if not self.window:
            return n
        if self.padding == "same":
            return -(-n // self.stride)  # rounds up: 225 -> 113
        reach = (self.kernel[0] - 1) * self.dilation
        return (n - reach - 1) // self.stride + 1  # Keras' (0, 1) rounds down: 113 -> 56

    def reached(self, size: tuple[Length, Length]) -> tuple[Length, Length]:
        """Return the output's (height, width) for an input of `size`; None where unknown."""
        height, width = (
            None if n is None else self._output_length(n, axis) for axis, n in enumerate(size)
        )
        return height, width

    @property
    def window(self) -> Shape:
        """The kernel's (height, width), as in `(3, 3)`; () of a dense layer, and without one."""
        return self.kernel[:2] if len(self.kernel) == 4 else ()

    @property
    def image_stride(self) -> int:
        """How many times smaller the image is behind it: keys and values are beside the image."""
        return 1 if self.role == REDUCE else self.stride

    @property
    def flattens(self) -> bool:
        """Whether the output is of shape `(channels,)`, without height and width."""
        pools = self.kind.startswith("Global") and not self.keepdims
        return pools or self.kind in ("Reshape", "Flatten", "Dense")


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

    def lone_norms(self) -> set[str]:
        """Return the names of the batch norms that no convolution stands before to take them in."""
        norms = (layer.name for layer in self if layer.kind == "BatchNormalization")
        return {name for name in norms if not self.inputs[name][0].kernel}

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

    def sizes(self, size: tuple[Length, Length]) -> dict[str, tuple[Length, Length]]:
        """Return each layer's output (height, width) by name, None where it is unknown."""
        sizes: dict[str, tuple[Length, Length]] = {}
        for layer in self:
            before = self.inputs[layer.name]
            taken = sizes[before[0].name] if before else size
            sizes[layer.name] = layer.reached(taken)
        return sizes

    def windows(self, size: tuple[Length, Length]) -> list[Window] | None:
        """Return what each stride meets in an image of `size`; None where one was left out."""
        windows: list[Window] = []
        sizes = self.sizes(size)
        for layer in self.layers:
            dense = layer.stride == 1 and layer.padding == "valid" and prod(layer.window) > 1
            if layer.dilation > 1 or dense:
                return None
            if layer.stride > 1:
                before = self.inputs[layer.name]
                if before and before[0].kind == "ZeroPadding2D":
                    before = self.inputs[before[0].name]
                met = sizes[before[0].name] if before else size
                windows.append(Window(layer.window[0], layer.stride, met, layer.role == "stem"))
        return windows

    def prefixed(self, name_prefix: str) -> Net:
        """Return the net with a prefix before each name."""
        if not name_prefix:
            return self
        return Net(tuple(layer.prefixed(name_prefix) for layer in self))


def are_positive(*numbers: Any) -> bool:
    """Return whether all are integers of at least 1."""
    return all(isinstance(n, Integral) and not isinstance(n, bool) and int(n) > 0 for n in numbers)


def image(channels: int, include_preprocessing: bool) -> Iterator[Layer]:
    """Yield the layers ahead of a net's stem."""
    yield Layer(f"{INPUT}_1", "InputLayer", "input", channels, counted=True)
    if include_preprocessing:
        yield Layer(RESCALING, "Rescaling", "input", channels, counted=True)


def convolution(name: str, part: str, role: Role, kernel: Shape, **options: Any) -> Layer:
    """Return a convolution, whose kind and channels follow from its role and its kernel."""
    depthwise = role in ("start", "depthwise", REDUCE)
    kind: Kind = "DepthwiseConv2D" if depthwise else "Conv2D"
    channels = kernel[2] * kernel[3] if depthwise else kernel[3]
    return Layer(name, kind, part, channels, kernel, role=role, **options)


def skip(name: str, before: Layer, last: Layer) -> Layer:
    """Return the sum of what goes into a block and what its last layer puts out."""
    return Layer(name, "Add", last.part, last.channels, inputs=(before.name, last.name))


def only_widened(channels: int, alpha: float) -> int:
    """Return the channels of a last layer, which an alpha above 1 widens and none narrows."""
    return divisible_by_8(channels * alpha) if alpha > 1 else channels


_POOLS: dict[Pooling, tuple[str, Kind]] = {
    "avg": ("global_average_pooling2d", "GlobalAveragePooling2D"),
    "max": ("global_max_pooling2d", "GlobalMaxPooling2D"),
}


def pool(pooling: Pooling, channels: int, keepdims: bool = False) -> Layer:
    """Return the global pool behind a net's last image."""
    return Layer(*_POOLS[pooling], "top", channels, keepdims=keepdims, counted=True)


def part_number(part: str) -> int:
    """Return a number that orders parts as they stand in a net: a block's own, -1 for the stem."""
    return _NOT_A_BLOCK[part] if part in _NOT_A_BLOCK else int(part.removeprefix(_BLOCK))


def block_name(number: int) -> str:
    """Return the part that a block of a number is."""
    return f"{_BLOCK}{number}"


def is_block(part: str) -> bool:
    """Return whether a part is a block."""
    return part.startswith(_BLOCK)


def divisible_by_8(channels: float) -> int:
    """Return the nearest multiple of 8, or the next where that is under nine tenths of it.

    Source: `make_divisible` of TF-slim's MobileNet, and of all others since.
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


@dataclass(frozen=True)
class Origin:
    """The arguments of a builder that a file's array shapes tell."""

    net: str  # the builder
    alpha: float
    channels: int
    classes: int | None  # None without a top
    include_top: bool
    options: Mapping[str, Any] = field(default_factory=dict)  # what this builder alone takes
    on_pool: bool = False  # whether a top stands on the pool where the net's own has a convolution

    def __str__(self) -> str:
        options = "".join(f"{name}={value!r}, " for name, value in self.options.items())
        top = f"{self.classes} classes" if self.include_top else "no top"
        top += " right behind the pool" * self.on_pool
        return f"alpha={self.alpha:g}, {options}{top}"

    def arguments(self) -> dict[str, Any]:
        """Return what to pass to the builder for a net of these arrays, for any image size."""
        known = {"alpha": self.alpha, **self.options, "include_top": self.include_top}
        if self.include_top:
            known["classes"] = self.classes
        return {**known, "input_shape": (None, None, self.channels)}


@dataclass(frozen=True, eq=False)
class Family:
    """One kind of MobileNet: how a net of it is made, and how one is recognised."""

    name: str  # as its builder's
    key: str  # on the command line
    network: Callable[..., Net]  # without arguments: the net that the paper describes
    top: Callable[[int, int, Pooling], tuple[Layer, ...]]  # from channels, classes and pooling
    convolutions: re.Pattern[str]  # what may go before a convolution's name, and the name
    describe: Callable[[Collection[str]], Net]  # from some layers' names to a net that has them
    recognise: Callable[[Mapping[str, Shape]], Origin | None]  # from arrays' shapes
    zeros: ZerosOf  # around a strided convolution's input
    blocks: tuple[Any, ...]  # the paper's rows; a caller's own are of their class
    blocks_name: str  # where a caller finds them
    stem: int  # filters
    width: Callable[[int, float], int]  # from filters and alpha
    model_name: Callable[[float, Length], str | None]  # from alpha and the image's height
    publisher: str = KERAS  # whose net its builder's own is
    # Of Keras' published weights, from alpha, size and `include_top`; and where these lie.
    file_name: Callable[..., str] | None = None
    folder: str | None = None
    # Its builder's, which are those of a file that tells none.
    conventions: Conventions = field(default_factory=Conventions)
    default_size: Length = DEFAULT_SIZE  # pixels, with a top
    options: Mapping[str, Any] = field(default_factory=dict)  # what its builder alone takes
    bn_momentum: float = 0.999
    dropout: str = "dropout"  # what its builder calls the share of features dropped
    # From layers' names in a file of Keras' to today's names of those that older versions named.
    renamed: Callable[[Collection[str]], Mapping[str, str]] = lambda names: {}
    dropout_rate: float = 0.0  # that share, by default

    @property
    def classifier(self) -> Layer:
        """The layer of its top that tells the classes."""
        return next(layer for layer in self.top(1, 1, "avg") if layer.role == "classifier")

    @property
    def has_wide_top(self) -> bool:
        """Whether its own top has a convolution between pool and classifier."""
        return any(layer.role == "head" for layer in self.network().parts["top"])

    def on_pool(self, net: Net, classes: int, name_prefix: str = "") -> Net:
        """Return a net of the family under a classifier that stands on the pool itself."""
        below = tuple(layer for layer in net if layer.part != "top")
        top = self.top(below[-1].channels, classes, "avg")
        return Net((*below, *(layer.prefixed(name_prefix) for layer in top)))
