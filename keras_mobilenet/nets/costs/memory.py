"""What a net needs of a device: memory while it runs, and room for its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from keras_mobilenet.nets.arguments import check_choice
from keras_mobilenet.nets.costs import micro
from keras_mobilenet.nets.costs.layers import LayerCost
from keras_mobilenet.nets.costs.operations import Step, aligned, steps
from keras_mobilenet.nets.net import ATTENDING, Shape

DType = Literal["float32", "int8"]
Runtime = Literal["litert", "tflite-micro", "minimal"]
WeightFormat = Literal["float32", "float16", "int8"]
BYTES: dict[DType, int] = {"float32": 4, "int8": 1}
# Of a kernel's value, and of each channel: its bias, float32, float16 or int32; in an int8 net also
# the kernel's and the bias' scale and zero point.
_WEIGHTS: dict[WeightFormat, tuple[int, int]] = {
    "float32": (4, 4),
    "float16": (2, 2),
    "int8": (1, 4 + 2 * (4 + 8)),
}
# Bytes that each buffer begins on a multiple of.
_ALIGNMENT: dict[Runtime, int] = {"litert": 64, "tflite-micro": micro.ALIGNMENT, "minimal": 1}


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
            an average pooling. Gaps where these do not fit together are not counted.
            `"tflite-micro"` counts all that TFLite Micro's arena must have room for: the tensors,
            the gaps that its planner leaves between them, and its tables. `"minimal"` counts the
            running layer's input and output and nothing else.
        in_place: Whether a depthwise convolution that keeps the shape writes over its input, but
            for one channel, as in MCUNet's TinyEngine; with `"minimal"` only.

    Raises:
        ValueError: an argument has a wrong value, or there are no layers.
    """
    _check(layers, dtype, runtime, in_place)
    sequence = tuple(steps(layers))
    if runtime == "tflite-micro":
        return _micro(sequence, layers[0], dtype)
    best = PeakMemory(0, layers[0].name, {})
    for step in sequence:
        live = _live(step, layers[0], dtype, runtime, in_place)
        if sum(live.values()) > best.bytes:
            best = PeakMemory(sum(live.values()), step.layer.name, live)
    return best


def _micro(sequence: Sequence[Step], image: LayerCost, dtype: DType) -> PeakMemory:
    """Return TFLite Micro's arena, whose planner leaves gaps and whose tables lie behind."""
    if not sequence:
        return PeakMemory(0, image.name, {})
    length, step = micro.top(sequence, BYTES[dtype])
    live = _live(step, image, dtype, "tflite-micro", in_place=False)
    if gaps := length - sum(live.values()):
        live["gaps"] = gaps
    live["tables"] = micro.tables(sequence)
    return PeakMemory(sum(live.values()), step.layer.name, live)


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


def _check(layers: Sequence[LayerCost], dtype: str, runtime: str, in_place: bool) -> None:
    check_choice("dtype", dtype, BYTES)
    check_choice("runtime", runtime, get_args(Runtime))
    if in_place and runtime != "minimal":
        raise ValueError(
            f"`in_place` must be False with runtime={runtime!r}, whose kernels never write over "
            f"their input. Pass runtime='minimal'. Received: in_place={in_place!r}"
        )
    if runtime == "tflite-micro" and any(layer.kind == ATTENDING for layer in layers):
        raise ValueError(
            "`runtime` must be 'litert' or 'minimal' of a net with attention, whose memory in "
            "TFLite Micro is not known here. Received: runtime='tflite-micro'"
        )
    if not layers:
        raise ValueError("`layers` must be what layer_costs returned. Received: nothing")


def _live(
    step: Step, image: LayerCost, dtype: DType, runtime: Runtime, in_place: bool
) -> dict[str, int]:
    """Return the bytes of each buffer while a step runs."""
    values = _values(step, image, runtime, in_place)
    alignment = _ALIGNMENT[runtime]
    return {what: aligned(n * BYTES[dtype], alignment) for what, n in values.items() if n}


def _values(step: Step, image: LayerCost, runtime: Runtime, in_place: bool) -> dict[str, int]:
    """Return the values in each buffer while a step runs."""
    layer = step.layer
    first, *others = (x.output_shape for x in step.taken)
    held = {f"held for {x.name}": prod(x.output_shape) for x in step.held}
    if in_place and layer.kind == "DepthwiseConv2D" and first == layer.output_shape:
        return {"input": prod(first), "one channel": prod(first[:-1])} | held
    if layer.kind == ATTENDING and runtime == "litert":
        return _attention(first, others[0], image, step) | held
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


def _attention(queries: Shape, keys: Shape, image: LayerCost, step: Step) -> dict[str, int]:
    """Return the values in each buffer of an attention when it has the most.

    That is where the shares are multiplied by the values, or the queries by the keys before: the
    kernel of both copies what it multiplies.
    """
    products = prod(queries) // keys[-1] * prod(keys[:-1])
    copied = max(products, prod(queries))
    live = {"shares": products, "copy": copied, "values": prod(keys), "answers": prod(queries)}
    return live | {"image": 0 if image in (*step.taken, *step.held) else prod(image.output_shape)}
