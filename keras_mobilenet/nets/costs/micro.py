"""The arena of TFLite Micro: where its planner puts each tensor, and the tables behind them.

The planner places the largest buffer first, each at the lowest address that is free for as long as
it lives, so that gaps stay: V1 of alpha 0.25 at 96 pixels takes a third more than its largest input
and output. The tables stay for good, and are half as large again in so small a net.

Counted is what the package `tflite-micro` takes with its reference kernels for a file whose input
and output have the activations' type, or that of pixels. Left out is what its kernels keep only
while they run, a few bytes of the average pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from keras_mobilenet.nets.costs.layers import LayerCost
from keras_mobilenet.nets.costs.operations import Step, aligned

ALIGNMENT = 16  # bytes that each buffer begins on a multiple of
# Bytes of tables, as measured where a pointer has eight: what the interpreter has but once; an
# operation with its node, its output and its settings; a convolution, with its weights and biases.
# A convolution has an int32 multiplier and a shift for each channel too, in float32 as well.
_ONCE, _OPERATION, _CONVOLUTION = 900, 184, 248


@dataclass(frozen=True)
class Buffer:
    """Bytes that are needed from one step to another, both included."""

    size: int
    first: int
    last: int


def plan(buffers: Sequence[Buffer]) -> list[int]:
    """Return the address of each buffer, as TFLite Micro's greedy planner chooses them."""
    placed: list[tuple[int, Buffer]] = []
    addresses: dict[int, int] = {}
    # The largest first, and of two of a size the later one.
    for i in sorted(range(len(buffers)), key=lambda i: (buffers[i].size, i), reverse=True):
        buffer, address = buffers[i], 0
        for start, other in sorted(placed, key=lambda place: place[0]):
            if other.first > buffer.last or buffer.first > other.last:
                continue
            if start - address >= buffer.size:
                break
            address = max(address, start + other.size)
        placed.append((address, buffer))
        addresses[i] = address
    return [addresses[i] for i in range(len(buffers))]


def tensors(steps: Sequence[Step], bytes_per_value: int) -> list[Buffer]:
    """Return the buffer of the image, and of what each step puts out, in the file's order."""
    buffers: list[Buffer] = []
    places: dict[str, int] = {}

    def add(layer: LayerCost, step: int) -> None:
        places[layer.name] = len(buffers)
        size = aligned(prod(layer.output_shape) * bytes_per_value, ALIGNMENT)
        buffers.append(Buffer(size, step, step))

    for i, step in enumerate(steps):
        for taken in step.taken:
            if taken.name not in places:
                add(taken, i)
            place = places[taken.name]
            buffers[place] = replace(buffers[place], last=i)
        add(step.layer, i)
    return buffers


def top(steps: Sequence[Step], bytes_per_value: int) -> tuple[int, Step]:
    """Return the bytes of the part that the tensors share, and a step that needs its last one."""
    buffers = tensors(steps, bytes_per_value)
    ends = [start + b.size for start, b in zip(plan(buffers), buffers, strict=True)]
    length = max(ends)
    return length, steps[buffers[ends.index(length)].first]


def tables(steps: Sequence[Step]) -> int:
    """Return the bytes of what the interpreter knows of the tensors and operations."""
    channels = [step.layer.output_shape[-1] for step in steps if step.layer.kernel]
    of_each = _CONVOLUTION * len(channels) + _OPERATION * (len(steps) - len(channels))
    return _ONCE + of_each + sum(2 * aligned(4 * count, ALIGNMENT) for count in channels)
