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

from keras_mobilenet.nets.arguments import check_choice
from keras_mobilenet.nets.conventions import same_zeros
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
_FREE = ("Rescaling", "BatchNormalization", "ReLU", "Dropout", "Reshape", "Flatten")


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
    """Return the most memory that the activations of one image take, layer after layer.

    Args:
        layers: What `layer_costs` returned, in graph order.
        dtype: That of the activations.
        runtime: `"litert"` counts what LiteRT's own kernels have in their arena on one thread,
            without a delegate: input and output of the running layer, the image, which is never
            given up, the patches that a full convolution copies its windows into, and the sums of
            an average pooling. Gaps that
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
    check_choice("dtype", dtype, _WEIGHTS)
    _check(layers, "float32", "minimal", in_place=False)
    kernels = [layer for layer in layers if layer.kernel]
    channels = sum(layer.output_shape[-1] for layer in kernels)
    per_value, per_channel = _WEIGHTS[dtype]
    return sum(prod(k.kernel) for k in kernels) * per_value + channels * per_channel


def _aligned(length: int, runtime: Runtime) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT if runtime == "litert" else length


def _check(layers: Sequence[LayerCost], dtype: str, runtime: str, in_place: bool) -> None:
    check_choice("dtype", dtype, BYTES)
    check_choice("runtime", runtime, get_args(Runtime))
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
    taken: tuple[LayerCost, ...]  # whose outputs go in
    held: tuple[LayerCost, ...]  # whose outputs are needed later


def _steps(layers: Sequence[LayerCost]) -> Iterator[_Step]:
    """Yield what runs: a layer whose work is done by another one is no step of its own."""
    source: dict[str, LayerCost] = {}  # the operation that a layer's values come from
    taken: dict[str, tuple[LayerCost, ...]] = {}
    for i, layer in enumerate(layers):
        # What feeds the first layer of a part of a net is not known: as large as its output.
        before = tuple(source[name] for name in layer.inputs if name in source) or (layer,)
        fused = layer.kind in _FREE or (
            layer.kind == "ZeroPadding2D" and _pads_alike(layer, layers[i + 1], before)
        )
        source[layer.name] = before[0] if fused else layer
        if not fused and layer.kind != "InputLayer":
            taken[layer.name] = before
    operations = [layer for layer in layers if layer.name in taken]
    last_use = {x.name: i for i, step in enumerate(operations) for x in taken[step.name]}
    for i, layer in enumerate(operations):
        own = {x.name for x in taken[layer.name]}
        # A skip tensor is held from the operation that makes it to the one that adds it.
        held = (x for x in operations[:i] if last_use.get(x.name, 0) > i and x.name not in own)
        yield _Step(layer, tuple(dict.fromkeys(taken[layer.name])), tuple(held))


def _pads_alike(pad: LayerCost, convolution: LayerCost, before: tuple[LayerCost, ...]) -> bool:
    """Return whether the convolution's own SAME padding is what the layer ahead of it does."""
    kernel, stride, dilation = convolution.kernel[0], convolution.stride, convolution.dilation
    lengths = before[0].output_shape[:-1]
    same = (same_zeros(n, kernel, stride, dilation) for n in lengths)
    return pad.pad == tuple(same)


def _live(step: _Step, image: LayerCost, runtime: Runtime, in_place: bool) -> dict[str, int]:
    """Return the values in each buffer while a step runs."""
    layer = step.layer
    first, *others = (x.output_shape for x in step.taken)
    held = {f"held for {x.name}": prod(x.output_shape) for x in step.held}
    if in_place and layer.kind == "DepthwiseConv2D" and first == layer.output_shape:
        return {"input": prod(first), "one channel": prod(first[:-1])} | held
    live = {"input": prod(first), "output": prod(layer.output_shape)} | held
    live |= {f"input {i}": prod(shape) for i, shape in enumerate(others, start=2)}
    if runtime == "litert":
        # The image stays in its place for the caller, who may run the net on it again.
        live["image"] = prod(image.output_shape) if image not in (*step.taken, *step.held) else 0
        # Float and int8 kernels alike multiply matrices, of which a row is the window of a pixel.
        if layer.kind == "Conv2D" and (prod(layer.kernel[:2]) > 1 or layer.stride > 1):
            live["patches"] = prod(layer.output_shape[:-1]) * prod(layer.kernel[:-1])
        if layer.kind == "GlobalAveragePooling2D":
            live["sums"] = prod(layer.output_shape)
    return live
