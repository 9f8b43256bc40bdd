"""Which padding an ONNX graph was exported with, from the numbers that it left.

An exporter writes pads as numbers that hold for the size at which it traced the net. Each of our
three paddings is walked at that size; those that give the graph's numbers remain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.runtimes.known_nets import Candidate
from keras_mobilenet.formats.runtimes.onnx.onnx_graph import Operation
from keras_mobilenet.formats.runtimes.onnx.onnx_walk import Pad
from keras_mobilenet.nets.conventions import Padding, same_zeros
from keras_mobilenet.nets.net import Layer

Amount = tuple[int, int] | Literal["same"]  # zeros before and after, or as many as SAME takes
KnownSize = tuple[int | None, int | None]
_PADDED = 8  # an amount before and after each of four axes
_UPPER, _LOWER, _VALID = b"SAME_UPPER", b"SAME_LOWER", b"VALID"


@dataclass(frozen=True)
class Pads:
    """What is padded ahead of one convolution, on either axis."""

    height: Amount
    width: Amount
    by_node: bool = False  # whether a node of its own pads, not the convolution

    def check_none(self, name: str) -> None:
        """Raise if anything is padded."""
        if {self.height, self.width} - {(0, 0), "same"}:
            raise CheckpointError(f"{name} pads its input, no MobileNet's does")


def size(shape: tuple[int, ...], *, channels_last: bool) -> KnownSize:
    """Return the (height, width) of an input of this shape, None where unknown."""
    if len(shape) != 4:
        raise CheckpointError(f"the graph's input has the shape {shape}, not that of images")
    height, width = shape[1:3] if channels_last else shape[2:]
    return height or None, width or None


def pads_of(name: str, node: Operation, pad: Pad | None) -> Pads:
    """Return what a convolution and the node ahead of it pad together."""
    kind = node.attributes.get("auto_pad", b"NOTSET")
    before = _padded(name, pad) if pad else (0, 0, 0, 0)
    if kind in (_UPPER, _LOWER):
        if any(before) or (kind == _LOWER and node.attributes.get("strides") != (1, 1)):
            raise CheckpointError(f"{name} is padded in a way that no MobileNet is")
        return Pads("same", "same")
    own = (0, 0, 0, 0) if kind == _VALID else node.integers("pads", (0, 0, 0, 0))
    if len(own) != 4:
        raise CheckpointError(f"{name} has the pads {own}")
    top, left, bottom, right = (a + b for a, b in zip(before, own, strict=True))
    return Pads((top, bottom), (left, right), by_node=any(before) and not any(own))


def _padded(name: str, pad: Pad) -> tuple[int, ...]:
    """Return the zeros at the top, left, bottom and right that a node adds."""
    node, first = pad.node, 1 if pad.channels_last else 2
    amounts, value = node.numbers(1, "pads"), node.numbers(2, "value")
    constant = node.attributes.get("mode", b"constant") == b"constant" and not node.has(3)
    zeros = constant and value in (None, [0.0])
    if not zeros or amounts is None or len(amounts) != _PADDED or not _counts(amounts):
        raise CheckpointError(f"the Pad node ahead of {name} does not simply add zeros")
    sides = (first, first + 1, first + 4, first + 5)
    if any(amount for i, amount in enumerate(amounts) if i not in sides):
        raise CheckpointError(f"the Pad node ahead of {name} pads the channels")
    return tuple(int(amounts[i]) for i in sides)


def _counts(amounts: Sequence[float]) -> bool:
    return all(amount >= 0 and float(amount).is_integer() for amount in amounts)


def decide(
    known: KnownSize, found: Sequence[Pads], candidate: Candidate
) -> tuple[Padding, tuple[str, ...]]:
    """Return the padding of a graph that pads its convolutions like this, and a note if unsure.

    Raises:
        CheckpointError: it is none of ours, or one that another size would tell apart.
    """
    by_axis = ([p.height for p in found], [p.width for p in found])
    fitting: list[Padding] = [
        padding
        for padding in get_args(Padding)
        if _fits(replace(candidate, padding=padding, size=known), by_axis)
    ]
    at = " x ".join(str(n) if n else "any" for n in known)
    if _is_symmetric(candidate):
        fitting = [padding for padding in fitting if padding != "keras"]
    if not fitting:
        raise CheckpointError(f"at {at} pixels the graph pads as no known {candidate.name} does")
    if len(fitting) == 1:
        return fitting[0], ()
    if "symmetric" in fitting:
        raise CheckpointError(
            f"the net was exported for {at} pixels, where the paddings {' and '.join(fitting)} are "
            "one, and elsewhere they differ: export it for 224 x 224 pixels"
        )
    # Keras' own graph: the stem pads by itself, and a node ahead of each strided depthwise.
    keras = not found[0].by_node and all(
        pads.by_node
        for layer, pads in zip(_convolutions(candidate), found, strict=True)
        if layer.stride > 1 and layer.role == "depthwise"
    )
    padding: Padding = "keras" if keras else "same"
    return padding, (f"the graph tells its padding at {at} pixels only: took {padding!r}",)


def _is_symmetric(candidate: Candidate) -> bool:
    """Return whether the padding of a net's builder is the symmetric one."""
    paddings: tuple[Padding, ...] = ("keras", "symmetric")
    own, symmetric = (replace(candidate, padding=p, size=(None, None)).net for p in paddings)
    return own == symmetric


def _convolutions(candidate: Candidate) -> list[Layer]:
    """Return the convolutions that move over an image."""
    pooled = ("squeeze", "excite")
    return [
        layer
        for layer in candidate.net.convolutions
        if layer.part != "top" and layer.role not in pooled
    ]


def _fits(candidate: Candidate, found: Sequence[Sequence[Amount]]) -> bool:
    return all(
        theirs == ours or (theirs == "same" and ours == _same(length, layer))
        for axis, amounts in enumerate(found)
        for theirs, (layer, length, ours) in zip(amounts, _amounts(candidate, axis), strict=True)
    )


def _amounts(candidate: Candidate, axis: int) -> Iterator[tuple[Layer, int | None, Amount]]:
    """Yield each convolution with the length that it meets and what is padded there."""
    n = candidate.size[axis]
    for layer in _convolutions(candidate):
        pads = candidate.zeros.get(layer.name)
        amount = _same(n, layer) if pads is None else pads[axis]
        yield layer, n, amount
        if n is not None and layer.stride > 1:
            pad = amount if amount != "same" else (0, 0)
            n = (n + sum(pad) - layer.kernel[0]) // layer.stride + 1


def _same(n: int | None, layer: Layer) -> Amount:
    """Return what SAME pads ahead of a convolution of a length; itself where that is unknown."""
    kernel = layer.kernel[0]
    if n is None and kernel > 1 and layer.stride > 1:
        return "same"
    return same_zeros(n or 1, kernel, layer.stride)
