"""What a net needs of a device: memory for its activations while it runs, and room for its weights.

Batch norms are folded, and ReLUs, reshapes and what only trains cost nothing, as in every runtime.
A padding costs nothing either where the convolution behind it does the same by itself, which is
what LiteRT's converter puts in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from keras_mobilenet.nets.costs.layers import LayerCost

DType = Literal["float32", "int8"]
Runtime = Literal["litert", "minimal"]
WeightFormat = Literal["float32", "float16", "int8"]
BYTES: dict[DType, int] = {"float32": 4, "int8": 1}
# Of a kernel's value, and of each channel: its bias, float32, float16 or int32; in an int8 net also
# the kernel's and the bias' scale and zero point.
_WEIGHTS: dict[WeightFormat, tuple[int, int]] = {
    "float32": (4, 4),
    "float16": (2, 2),
    "int8": (1, 4 + 2 * (4 + 8)),
}
_ALIGNMENT = 64  # bytes that each buffer in LiteRT's arena begins on a multiple of
_FREE = ("BatchNormalization", "ReLU", "Dropout", "Reshape")


@dataclass(frozen=True)
class PeakMemory:
    """The most memory that a net's activations take at once."""

    bytes: int
    layer: str  # that runs then
    live: dict[str, int]  # bytes of each buffer there is then, by what it holds


def peak_memory(
    layers: Sequence[LayerCost],
    dtype: DType = "float32",
    *,
    runtime: Runtime = "litert",
    in_place: bool = False,
) -> PeakMemory:
    """Return the most memory that the activations of one picture take, layer after layer.

    Args:
        layers: What `layer_costs` returned, in graph order.
        dtype: That of the activations.
        runtime: `"litert"` counts what LiteRT's own kernels have in their arena on one thread,
            without a delegate: input and output of the running layer, the picture, which is never
            given up, and the patches that a full convolution copies its windows into. Gaps that
            its arena has where these do not fit together are not counted. `"minimal"` counts the
            running layer's input and output and nothing else.
        in_place: Whether a depthwise convolution that keeps the shape writes over its input, but
            for one channel, as in MCUNet's TinyEngine; with `"minimal"` only.

    Raises:
        ValueError: an argument has a wrong value, or there are no layers.
    """
    _check(layers, dtype, runtime, in_place)
    size = BYTES[dtype]
    best = PeakMemory(0, layers[0].name, {})
    for step in _steps(layers):
        values = _live(step, layers[0], runtime, in_place)
        live = {what: _aligned(count * size, runtime) for what, count in values.items() if count}
        if sum(live.values()) > best.bytes:
            best = PeakMemory(sum(live.values()), step.layer.name, live)
    return best


def weight_bytes(layers: Sequence[LayerCost], dtype: WeightFormat = "float32") -> int:
    """Return the bytes of a net's weights with its batch norms folded, one bias a channel.

    `dtype` is `"float32"`, `"float16"` or `"int8"`, which has a scale for each channel. A file of
    LiteRT's holds its graph too.

    Raises:
        ValueError: `dtype` is unknown, or there are no layers.
    """
    if dtype not in _WEIGHTS:
        known = ", ".join(_WEIGHTS)
        raise ValueError(f"`dtype` must be one of {known}. Received: dtype={dtype!r}")
    _check(layers, "float32", "minimal", in_place=False)
    kernels = [layer for layer in layers if layer.kernel]
    channels = sum(layer.output_shape[-1] for layer in kernels)
    per_value, per_channel = _WEIGHTS[dtype]
    return sum(prod(k.kernel) for k in kernels) * per_value + channels * per_channel


def _aligned(length: int, runtime: Runtime) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT if runtime == "litert" else length


def _check(layers: Sequence[LayerCost], dtype: str, runtime: str, in_place: bool) -> None:
    if dtype not in BYTES:
        raise ValueError(f"`dtype` must be one of {', '.join(BYTES)}. Received: dtype={dtype!r}")
    if runtime not in get_args(Runtime):
        known = ", ".join(get_args(Runtime))
        raise ValueError(f"`runtime` must be one of {known}. Received: runtime={runtime!r}")
    if in_place and runtime != "minimal":
        raise ValueError(
            "`in_place` must be False with runtime='litert', whose kernels never write over their "
            f"input. Pass runtime='minimal'. Received: in_place={in_place!r}"
        )
    if not layers:
        raise ValueError("`layers` must be what layer_costs returned. Received: nothing")


@dataclass(frozen=True)
class _Step:
    """One operation of the running net."""

    layer: LayerCost
    before: tuple[int, ...]  # the shape that goes in


def _steps(layers: Sequence[LayerCost]) -> Iterator[_Step]:
    """Yield what runs: a layer whose work is done by another one is no step of its own."""
    shape = layers[0].output_shape
    for i, layer in enumerate(layers):
        fused = layer.kind in _FREE or (any(layer.pad) and _pads_alike(layer, layers[i + 1], shape))
        if not fused and layer.kind != "InputLayer":
            yield _Step(layer, shape)
        if not fused or layer.kind == "Reshape":
            shape = layer.output_shape


def _pads_alike(pad: LayerCost, convolution: LayerCost, shape: tuple[int, ...]) -> bool:
    """Return whether the convolution's own SAME padding is what the layer ahead of it does."""
    for n in shape[:-1]:
        steps = -(-n // convolution.stride)
        reach = (convolution.kernel[0] - 1) * convolution.dilation
        total = max((steps - 1) * convolution.stride + reach + 1 - n, 0)
        if pad.pad != (total // 2, total - total // 2):
            return False
    return True


def _live(step: _Step, picture: LayerCost, runtime: Runtime, in_place: bool) -> dict[str, int]:
    """Return the values in each buffer while a step runs."""
    layer, before = step.layer, step.before
    if in_place and layer.kind == "DepthwiseConv2D" and before == layer.output_shape:
        return {"input": prod(before), "one channel": prod(before[:-1])}
    live = {"input": prod(before), "output": prod(layer.output_shape)}
    if runtime == "litert":
        # The picture stays in its place for the caller, who may run the net on it again.
        live["picture"] = prod(picture.output_shape) if before != picture.output_shape else 0
        # Float and int8 kernels alike multiply matrices, of which a row is the window of a pixel.
        if layer.kind == "Conv2D" and (prod(layer.kernel[:2]) > 1 or layer.stride > 1):
            live["patches"] = prod(layer.output_shape[:-1]) * prod(layer.kernel[:-1])
    return live
