"""Which of our nets a runtime's graph holds: told by its convolutions and by what each one takes.

Names tell nothing there, for converters make their own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.nets.conventions import Padding, Zeros
from keras_mobilenet.nets.families import v1
from keras_mobilenet.nets.families.registry import FAMILIES
from keras_mobilenet.nets.net import Family, Layer, Net, Shape

INPUT = "input"
# An image as what it is made of: the input, a convolution's number, or a pair of such, joined.
Value = Hashable
ADDED, MULTIPLIED = "ADD", "MUL"
_JOINING = {"Add": ADDED, "Multiply": MULTIPLIED}
DENSE = "Dense"
Scaling = tuple[Any, Any]  # what an input is multiplied by, and what is added then
_TO_MINUS_ONE: Scaling = (1 / 127.5, -1.0)  # of pixels
RESCALED = "its graph scales pixels to -1 to 1 itself: its weights take what that makes"

HAS_ATTENTION = (
    "its graph has attention, as MobileNetV4's hybrid nets have it, whose weights are read from "
    "files of weights and of Keras alone, not from a runtime's: it runs in `Predictor`"
)


def rounded_scaling(scaling: Scaling | None) -> Scaling | None:
    """Return the scaling to -1 to 1 in place of one that is it but for rounding; others as is."""
    if scaling is None:
        return None
    near = (np.allclose(x, y, rtol=1e-5) for x, y in zip(scaling, _TO_MINUS_ONE, strict=True))
    return _TO_MINUS_ONE if all(near) else scaling


def scaling_notes(scaling: Scaling | None) -> tuple[str, ...]:
    """Return what there is to say of a graph that scales its input itself."""
    if scaling is None:
        return ()
    if scaling is _TO_MINUS_ONE:
        return (RESCALED,)
    by, and_adds = (", ".join(f"{n:g}" for n in np.atleast_1d(x)) for x in scaling)
    return (
        f"its graph multiplies the input by {by} and adds {and_adds} itself: its weights take "
        "what that makes",
    )


class Step(Protocol):
    """A convolution of a graph, or a dense layer."""

    @property
    def kind(self) -> str:
        """The Keras class."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Along height and width; () of a dense layer."""

    @property
    def dilations(self) -> tuple[int, ...]:
        """Along height and width; () of a dense layer."""

    @property
    def kernel(self) -> int:
        """Its height, and width."""

    @property
    def takes(self) -> Value:
        """The image that goes in, before pools."""

    @property
    def pooled(self) -> bool:
        """Whether that is of 1 x 1."""


@dataclass(frozen=True)
class Candidate:
    """A net that a file may hold."""

    family: Family
    options: Mapping[str, Any]
    padding: Padding = "same"
    size: tuple[int | None, int | None] = (None, None)
    retopped: bool = False  # a classifier stands on the pool, without a convolution between

    @cached_property
    def net(self) -> Net:
        """The net."""
        net = self.family.network(padding=self.padding, size=self.size, **self.options)
        return self.family.on_pool(net, 1) if self.retopped else net

    @property
    def name(self) -> str:
        """What errors call it."""
        return "MobileNet V1" if self.family is v1.FAMILY else self.family.name

    @cached_property
    def zeros(self) -> Mapping[str, tuple[Zeros, Zeros]]:
        """What layers of their own pad, by the name of the convolution behind; others pad SAME."""
        valid = (layer.name for layer in self.net if layer.padding == "valid")
        return {name: self.net.inputs[name][0].pad for name in valid}


def _candidates() -> Iterator[Candidate]:
    for family in FAMILIES:
        yield Candidate(family, {})
        if "minimalistic" in family.options:
            yield Candidate(family, {"minimalistic": True})


def held_net(
    steps: Sequence[Step],
    shapes: Callable[[Candidate, Sequence[Layer]], Mapping[str, Shape]],
) -> tuple[Candidate, tuple[Layer, ...]]:
    """Return the net that has these steps, and its layers that they are.

    Args:
        steps: The graph's convolutions in the order in which they run.
        shapes: Makes the shapes of the arrays, under the names of a net whose layers these are.

    Raises:
        CheckpointError: there is none; the error says what differs from the one most alike.
    """
    reasons = []
    for candidate in _candidates():
        layers = candidate.net.convolutions[: len(steps)]
        reason = _difference(candidate, steps)
        if reason is None:
            exact = _of_widths(candidate, layers[-1], shapes(candidate, layers))
            _check_wiring(exact, steps)
            return exact, exact.net.convolutions[: len(steps)]
        reasons.append(reason)
    # The net that is alike the longest says best what differs.
    raise CheckpointError(max(reasons, key=lambda reason: reason[0])[1])


def _of_widths(candidate: Candidate, last: Layer, shapes: Mapping[str, Shape]) -> Candidate:
    """Return the net that has arrays of these shapes: which blocks add depends on their widths.

    So does what stands on the pool as the last convolution: a net's own is of one width, and where
    it is of another, it is a classifier in the place of the whole top.
    """
    origin = candidate.family.recognise(shapes)
    if origin is None:
        return candidate
    exact = replace(candidate, options={**candidate.options, "alpha": origin.alpha})
    own = exact.net.by_name[last.name].channels == shapes[f"{last.name}/kernel"][-1]
    return replace(exact, retopped=last.part == "top" and last.role == "head" and not own)


def _difference(candidate: Candidate, steps: Sequence[Step]) -> tuple[int, str] | None:
    """Return how many convolutions are alike, and what differs then; None where nothing does."""
    layers = candidate.net.convolutions
    for number, (layer, step) in enumerate(zip(layers, steps, strict=False), start=1):
        if layer.part == "top" and step.kind == DENSE:
            continue
        kind = "Conv2D" if layer.kind == DENSE else layer.kind
        width = (layer.window or (1,))[0]
        same = {*step.strides} == {layer.stride} and {*step.dilations} == {1}
        if step.kind != kind or not same or step.kernel != width:
            sizes = (f" and a kernel of {n} x {n}" for n in (step.kernel, width))
            own, net = ("", "") if step.kernel == width else sizes
            dilated = f", dilated by {step.dilations[0]}" if {*step.dilations} - {1} else ""
            return number, (
                f"convolution {number} is {step.kind} with a stride of "
                f"{(step.strides or ('none',))[0]}{own}{dilated}, where {candidate.name} has "
                f"{kind} with a stride of {layer.stride}{net}, so this is another net"
            )
    tops = sum(layer.part == "top" for layer in layers)
    if not len(layers) - tops <= len(steps) <= len(layers):
        return len(steps), (
            f"the net has {len(steps)} convolutions, {candidate.name} {len(layers)} with its top, "
            "so this is another net"
        )
    return None


def _check_wiring(candidate: Candidate, steps: Sequence[Step]) -> None:
    """Raise unless each convolution takes what it takes in the net: sums, and weighed images."""
    taken = _taken_by(candidate.net)
    for layer, step, value in zip(candidate.net.convolutions, steps, taken, strict=False):
        pools = layer.role in ("squeeze", "excite") or layer.part == "top"
        if step.takes != value or (pools and not step.pooled):
            raise CheckpointError(
                f"{layer.name} takes another image than in {candidate.name}, so this is another net"
            )


def _taken_by(net: Net) -> list[Value]:
    """Return what each convolution of a net takes, as `Step.takes` is."""
    numbers = {layer.name: number for number, layer in enumerate(net.convolutions)}
    values: dict[str, Value] = {}
    found: list[Value] = []
    for layer in net:
        inputs = [values[before.name] for before in net.inputs[layer.name]] or [INPUT]
        if layer.kernel:
            found.append(inputs[0])
        joined = _JOINING.get(layer.kind)
        values[layer.name] = (joined, frozenset(inputs)) if joined else inputs[0]
        values[layer.name] = numbers.get(layer.name, values[layer.name])
    return found


def activations_of(net: Net) -> dict[str, str | None]:
    """Return the activation behind each convolution, by its name.

    "" where there is none, None where a net leaves it to its caller.
    """
    found: dict[str, str | None] = {layer.name: "" for layer in net.convolutions}
    behind: dict[str, str] = {}  # layers on the way to an activation
    for layer in net:
        before = net.inputs[layer.name]
        if layer.kernel:
            behind[layer.name] = layer.name
        elif layer.kind == "BatchNormalization" and before[0].name in behind:
            behind[layer.name] = behind[before[0].name]
        elif layer.kind in ("ReLU", "Activation") and before[0].name in behind:
            found[behind[before[0].name]] = layer.activation
    return found
