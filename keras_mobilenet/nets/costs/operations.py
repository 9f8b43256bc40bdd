"""What of a net runs as an operation of its own, and whose outputs are held meanwhile.

Batch norms behind convolutions are folded, and ReLUs, reshapes and what only trains cost nothing,
as in every runtime. A padding costs nothing either where the convolution behind it does the same by
itself, which is what LiteRT's converter puts in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from keras_mobilenet.nets.conventions import same_zeros
from keras_mobilenet.nets.costs.layers import LayerCost

_FREE = ("Rescaling", "BatchNormalization", "ReLU", "Dropout", "Reshape", "Flatten")


@dataclass(frozen=True)
class Step:
    """One operation of the running net."""

    layer: LayerCost
    taken: tuple[LayerCost, ...]  # whose outputs go in
    held: tuple[LayerCost, ...]  # whose outputs are needed later


def steps(layers: Sequence[LayerCost]) -> Iterator[Step]:
    """Yield what runs: a layer whose work is done by another one is no step of its own."""
    source: dict[str, LayerCost] = {}  # the operation that a layer's values come from
    taken: dict[str, tuple[LayerCost, ...]] = {}
    by_name = {layer.name: layer for layer in layers}
    takers = {name: layer for layer in layers for name in layer.inputs}
    for layer in layers:
        # What feeds the first layer of a part of a net is not known: as large as its output.
        before = tuple(source[name] for name in layer.inputs if name in source) or (layer,)
        fused = (layer.kind in _FREE and not _stands_alone(layer, by_name)) or (
            layer.kind == "ZeroPadding2D" and _pads_alike(layer, takers[layer.name], before)
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
        yield Step(layer, tuple(dict.fromkeys(taken[layer.name])), tuple(held))


def _stands_alone(layer: LayerCost, by_name: Mapping[str, LayerCost]) -> bool:
    """Return whether a layer is a batch norm that no convolution before it takes in."""
    before = [by_name[name] for name in layer.inputs if name in by_name]
    return layer.kind == "BatchNormalization" and any(not x.kernel for x in before)


def _pads_alike(pad: LayerCost, convolution: LayerCost, before: tuple[LayerCost, ...]) -> bool:
    """Return whether the convolution's own SAME padding is what the layer ahead of it does."""
    kernel, stride, dilation = convolution.kernel[0], convolution.stride, convolution.dilation
    lengths = before[0].output_shape[:-1]
    same = (same_zeros(n, kernel, stride, dilation) for n in lengths)
    return pad.pad == tuple(same)


def aligned(length: int, alignment: int) -> int:
    """Return a length up to the next multiple of an alignment."""
    return -(-length // alignment) * alignment
