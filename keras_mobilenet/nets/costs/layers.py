"""What the net costs, layer by layer, read off `spec` without Keras.

Conventions: one multiply-accumulate (MAC) is two FLOPs. Only kernels are counted as MACs, and the
two products of an attention; batch norm, activations and pooling are not, as in the paper.
Parameters are all values in the arrays, moving statistics included, as Keras' `count_params`
counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from keras_mobilenet.nets import arguments
from keras_mobilenet.nets.conventions import NO_ZEROS, Padding, Zeros
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.net import (
    ATTENDING,
    DEFAULT_SIZE,
    Kind,
    Layer,
    Net,
    OutputStride,
    Pooling,
    Role,
    Shape,
    Size,
)

KINDS = ("conv 1x1", "depthwise 3x3", "conv 3x3", "fully connected")
SQUEEZE_EXCITE = "squeeze-excite"  # its two convolutions, at one place each
ATTENTION = "attention"  # its two products, without the convolutions around it


@dataclass(frozen=True)
class LayerCost:
    """One layer's costs for one image."""

    name: str
    kind: Kind
    part: str  # "input", "stem", "block_1" ..., "head" or "top"
    output_shape: Shape  # (height, width, channels) or (channels,)
    kernel: Shape  # () where the layer has none
    params: int
    macs: int
    activation_bytes: int  # of the output
    stride: int = 1
    dilation: int = 1
    pad: tuple[Zeros, Zeros] = NO_ZEROS  # of a padding layer, along height and width
    role: Role = ""  # as in a net's `Layer`
    inputs: tuple[str, ...] = ()  # the layers that it takes


def layer_costs(
    alpha: float = 1.0,
    *,
    net: str = "mobilenet",
    depth_multiplier: int = 1,
    minimalistic: bool = False,
    size: int | tuple[int, int] = DEFAULT_SIZE,
    channels: int = 3,
    classes: int = 1000,
    include_top: bool = True,
    pooling: Pooling | None = None,
    padding: Padding = "keras",
    bytes_per_value: int = 4,
    output_stride: OutputStride = 32,
    blocks: Sequence[Any] | None = None,
) -> tuple[LayerCost, ...]:
    """Return the costs of each layer of a MobileNet, in graph order.

    Args:
        alpha: Width multiplier.
        net: Which MobileNet, as `"mobilenet"`, `"mobilenet_v3_small"` or
            `"mobilenet_v4_conv_medium"`; `nets.families.registry` lists them.
        depth_multiplier: Depthwise filters for each input channel, of V1 only.
        minimalistic: Whether V3 goes without squeeze-excite, 5 x 5 kernels and hard-swish.
        size: Height and width of the image in pixels; one number for a square.
        channels: Channels of the image.
        classes: Number of classes, with a top only.
        include_top: Whether the classifier is part of the net.
        pooling: `"avg"`, `"max"` or None, without a top only.
        padding: That of the strided convolutions, which at odd sizes changes the MACs.
        bytes_per_value: Size of one activation: 4 for float32, 2 for bfloat16, 1 for int8.
        output_stride: The input's size over that of the last block's output: 32, 16 or 8.
        blocks: The blocks, of the net's own kind; by default the paper's.

    Raises:
        ValueError: an argument has a wrong type or value.
    """
    bytes_per_value = arguments.positive_int(
        "bytes_per_value", bytes_per_value, "It is 4 for float32, 2 for bfloat16, 1 for int8."
    )
    height, width = size if isinstance(size, Sequence) and len(size) == 2 else (size, size)
    checked = arguments.check(
        family(net),
        input_shape=(height, width, channels),
        alpha=alpha,
        depth_multiplier=depth_multiplier,
        minimalistic=minimalistic,
        include_top=include_top,
        pooling=pooling,
        classes=classes,
        padding=padding,
        output_stride=output_stride,
        blocks=blocks,
    )
    if checked.known_size is None:
        raise ValueError(f"`size` must be known to count MACs. Received: size={size!r}")
    return net_costs(checked.network(padding), checked.known_size, bytes_per_value)


def net_costs(net: Net, size: Size, bytes_per_value: int = 4) -> tuple[LayerCost, ...]:
    """Return the costs of each layer of any net, in graph order, for an image of `size`."""
    shapes = net.shapes(size)
    return tuple(
        LayerCost(
            name=layer.name,
            kind=layer.kind,
            part=layer.part,
            role=layer.role,
            inputs=tuple(before.name for before in net.inputs[layer.name]),
            output_shape=shapes[layer.name],
            kernel=layer.kernel,
            params=layer.count_params(),
            macs=_macs(layer, shapes[layer.name], [shapes[x.name] for x in net.inputs[layer.name]]),
            activation_bytes=prod(shapes[layer.name]) * bytes_per_value,
            stride=layer.stride,
            dilation=layer.dilation,
            pad=layer.pad,
        )
        for layer in net
    )


def _macs(layer: Layer, shape: Shape, taken: Sequence[Shape]) -> int:
    if layer.kind == ATTENDING:
        queries, keys, _ = taken
        return attention_macs(queries, keys)
    return kernel_macs(layer.kernel, shape[:-1])


def attention_macs(queries: Shape, keys: Shape) -> int:
    """Return the MACs of an attention, of images: each query with each key, and with each value."""
    return 2 * prod(queries) * prod(keys[:-1])


def kernel_macs(kernel: Sequence[int], positions: Iterable[int]) -> int:
    """Return the MACs of a kernel that is applied at each of `positions`, such as 112 x 112.

    The product holds for full, pointwise and depthwise convolutions alike, in Keras' layouts.
    """
    return prod(kernel) * prod(positions) if kernel else 0


@dataclass(frozen=True)
class Share:
    """What one kind of layer takes of the whole, in percent."""

    kind: str
    macs: float
    params: float  # of kernels only, as in the paper: no biases, no batch norm


def cost_shares(costs: Sequence[LayerCost]) -> tuple[Share, ...]:
    """Return the shares by kind of layer, as in the paper's table 2."""
    with_macs = [cost for cost in costs if cost.macs]
    kinds = dict.fromkeys((*KINDS, *map(kind_of, with_macs)))
    macs, params = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0)
    for cost in with_macs:
        macs[kind_of(cost)] += cost.macs
        params[kind_of(cost)] += prod(cost.kernel) if cost.kernel else 0
    all_macs, all_params = sum(macs.values()), sum(params.values())
    return tuple(
        Share(kind, 100 * macs[kind] / all_macs, 100 * params[kind] / all_params) for kind in kinds
    )


def kind_of(cost: LayerCost) -> str:
    """Return what kind of convolution a layer with a kernel is, as in `KINDS`, or attention."""
    if cost.kind == ATTENDING:
        return ATTENTION
    if cost.role in ("squeeze", "excite"):
        return SQUEEZE_EXCITE
    if cost.role == "classifier":
        return "fully connected"
    what = "depthwise" if cost.kind == "DepthwiseConv2D" else "conv"
    return "{} {}x{}".format(what, *cost.kernel[:2])


# arXiv 1704.04861, table 2, for alpha 1.0 at 224. The third row's 1.19 is a slip of the paper's:
# its four figures sum to 99.29, and the net's is 1.91, the same digits in another order.
PAPER_TABLE_2 = (
    Share("conv 1x1", 94.86, 74.59),
    Share("depthwise 3x3", 3.06, 1.06),
    Share("conv 3x3", 1.19, 0.02),
    Share("fully connected", 0.18, 24.33),
)
PAPER_SLIP = (
    "The paper's table 2 prints 1.19 % of the mult-adds for conv 3x3. Its column then sums to "
    "99.29 %; the net's share is 1.91 %, the same digits in another order."
)
