"""ONNX: the weights of an exported MobileNet, read off its graph; nothing is executed.

Array names tell nothing here, for exporters fold the batch norms into the convolutions and keep the
names. What counts is the graph: the net's convolutions in their order, what each of them takes, and
what is behind it. Strides, kernels and activations must be a MobileNet's; pads and epsilon become
the checkpoint's conventions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from keras_mobilenet.errors import CheckpointError, MissingExtraError
from keras_mobilenet.files import bounded_content
from keras_mobilenet.formats.arrays import (
    ArrayLike,
    Lazy,
    Rearranged,
    folded_batch_norm,
    shapes_of,
)
from keras_mobilenet.formats.checkpoint import EXPORTED_INFO, Checkpoint
from keras_mobilenet.formats.plain.pytorch_names import axes
from keras_mobilenet.formats.runtimes.known_nets import (
    DENSE,
    Candidate,
    activations_of,
    held_net,
    scaling_notes,
)
from keras_mobilenet.formats.runtimes.onnx import onnx_padding
from keras_mobilenet.formats.runtimes.onnx.curves import GATE_OF_SUM, SIGMOID
from keras_mobilenet.formats.runtimes.onnx.onnx_graph import Graph, Operation, parsed
from keras_mobilenet.formats.runtimes.onnx.onnx_walk import Step, Walk
from keras_mobilenet.formats.tensorflow.slim_net import BACKGROUND_CLASSES
from keras_mobilenet.nets.conventions import Activation, Conventions
from keras_mobilenet.nets.net import BATCH_NORM_ARRAYS, Layer, Net, Shape

_PYTORCH = "pytorch"  # the producer that it writes into a file
NAME = "ONNX"
EXTRA = "onnx"
# A ModelProto begins with field 1, the version of the format, and goes on with another field.
_IR_VERSION, _NEXT_FIELDS = 0x08, b"\x12\x1a\x22\x28\x32\x3a\x42"
_MAX_VERSION = 99


def recognises(path: str, head: bytes) -> bool:
    """Return whether a file that begins with `head` has the beginning of an ONNX model."""
    if len(head) < 3 or head[0] != _IR_VERSION:
        return False
    return 1 <= head[1] <= _MAX_VERSION and head[2] in _NEXT_FIELDS


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the file at `path`, which may have `max_bytes` at most."""
    model = _model(path, max_bytes)
    graph = parsed(model.graph)
    walk = Walk(graph)
    foreign = model.producer_name == _PYTORCH and walk.scaling is None
    info = next((x.value for x in model.metadata_props if x.key == EXPORTED_INFO), None)
    yield replace(_checkpoint(graph, walk), foreign=foreign, info=info)


def _model(path: str, max_bytes: int) -> Any:
    try:
        import onnx  # noqa: PLC0415 - an optional package
        from google.protobuf.message import DecodeError  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("Reading ONNX", EXTRA) from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(bounded_content(path, max_bytes))
    except (DecodeError, OSError) as error:
        raise CheckpointError(f"the ONNX file is truncated or damaged ({error})") from error
    return model


def _checkpoint(graph: Graph, walk: Walk) -> Checkpoint:
    def shapes(candidate: Candidate, layers: Sequence[Layer]) -> Mapping[str, Shape]:
        return shapes_of(_arrays(walk, candidate, layers))

    candidate, layers = held_net(walk.steps, shapes)
    _check_groups(layers, walk.steps)
    activation = _activation(walk, candidate.net, layers)
    epsilon, folded = _batch_norms(walk, candidate, layers)
    arrays = _arrays(walk, candidate, layers)
    size = onnx_padding.size(graph.shape, channels_last=walk.channels_last)
    padding, notes = onnx_padding.decide(size, _pads(layers, walk.steps), candidate)
    if folded:
        notes = (*notes, "the batch norms were folded into the convolutions: each has become 1")
    top = arrays.get(f"{layers[-1].name}/bias") if layers[-1].role == "classifier" else None
    background = top is not None and tuple(top.shape) == (BACKGROUND_CLASSES,)
    return Checkpoint(
        NAME,
        arrays,
        Conventions(epsilon, padding, activation),
        background,
        (*notes, *scaling_notes(walk.scaling)),
        scaling=walk.scaling,
    )


def _check_groups(layers: Sequence[Layer], steps: Sequence[Step]) -> None:
    for layer, step in zip(layers, steps, strict=True):
        if step.kind == DENSE:
            scales = [step.node.number(key, 1.0) for key in ("alpha", "beta")]
            if scales != [1.0, 1.0] or step.node.attributes.get("transA"):
                raise CheckpointError(f"{layer.name} scales its inputs, which no MobileNet does")
            continue
        groups, depthwise = step.node.attributes.get("group", 1), step.kind == "DepthwiseConv2D"
        if groups != (step.shape[0] if depthwise else 1) or (depthwise and step.shape[1] != 1):
            raise CheckpointError(f"{layer.name} has {groups} groups of channels")


def _batch_norms(walk: Walk, candidate: Candidate, layers: Sequence[Layer]) -> tuple[float, bool]:
    """Return the epsilon of all batch norms, and whether they were folded."""
    norms = candidate.net.batch_norm_names()
    steps = [step for layer, step in zip(layers, walk.steps, strict=True) if layer.name in norms]
    nodes = [step.norm for step in steps if step.norm]
    epsilons = {_epsilon(node) for node in nodes} or {candidate.family.conventions.epsilon}
    if len(epsilons) > 1 or len(nodes) not in (0, len(steps)):
        raise CheckpointError("the batch norms differ: in epsilon, or only some are folded")
    return epsilons.pop(), not nodes


def _epsilon(node: Operation) -> float:
    if node.attributes.get("training_mode"):
        raise CheckpointError("a batch norm is in training mode: export the net after net.eval()")
    # Stored in float32: the shortest decimal that gives it is what was meant.
    return float(str(np.float32(node.number("epsilon", 1e-5))))


def _activation(walk: Walk, net: Net, layers: Sequence[Layer]) -> Activation:
    """Return the activation that the net leaves to its caller, one for all convolutions."""
    wanted, left_open = activations_of(net), set()
    for number, layer in enumerate(layers):
        found, own = walk.activations.get(number, {""}), wanted[layer.name]
        if layer.role == "classifier":
            sound = found <= {"", SIGMOID}
        elif own is None:
            sound = found in ({"relu6"}, {"relu"})
            left_open |= found
        else:
            sound = found == {own} or (layer.role == "excite" and found == {GATE_OF_SUM})
        if not sound or len(left_open) > 1:
            expected = "ReLU6, or by ReLU as all the others" if own is None else own or "none"
            names = " and ".join(sorted(_word(name) for name in found))
            raise CheckpointError(
                f"{layer.name} is followed by {names}, not by MobileNet's {expected}"
            )
    return "relu" if left_open == {"relu"} else "relu6"


def _word(activation: str | None) -> str:
    return "another activation" if activation is None else activation or "no activation"


def _pads(layers: Sequence[Layer], steps: Sequence[Step]) -> list[onnx_padding.Pads]:
    """Return what is padded ahead of the convolutions that move over an image."""
    found = []
    for layer, step in zip(layers, steps, strict=True):
        if step.kind == DENSE:
            continue
        pads = onnx_padding.pads_of(layer.name, step.node, step.pad)
        if step.pooled:
            pads.check_none(layer.name)
        else:
            found.append(pads)
    return found


def _arrays(walk: Walk, candidate: Candidate, layers: Sequence[Layer]) -> dict[str, ArrayLike]:
    norms, epsilon = candidate.net.batch_norm_names(), candidate.family.conventions.epsilon
    arrays: dict[str, ArrayLike] = {}
    for number, (layer, step) in enumerate(zip(layers, walk.steps, strict=True)):
        arrays[f"{layer.name}/kernel"] = _kernel(layer, step)
        if layer.name in norms:
            arrays |= _batch_norm(layer.name, norms[layer.name], step, epsilon)
        else:
            shifted = walk.activations.get(number) == {GATE_OF_SUM}
            arrays[f"{layer.name}/bias"] = _bias(layer, step, shifted=shifted)
    return arrays


def _kernel(layer: Layer, step: Step) -> ArrayLike:
    """Return a kernel in Keras' axis order."""
    if step.kind != DENSE:
        order = axes(layer) if layer.kind != DENSE else (1, 0)
        kernel = _without_window(step) if layer.kind == DENSE else step.node.array(1)
    else:
        kernel = step.node.array(1)
        turned = (1, 0) if step.node.attributes.get("transB") else (0, 1)
        order = turned if layer.kind == DENSE else (None, None, *turned)
    if len(kernel.shape) != sum(axis is not None for axis in order):
        raise CheckpointError(f"the kernel of {layer.name} has the shape {step.shape}")
    return Rearranged(kernel, order)


def _without_window(step: Step) -> ArrayLike:
    """Return the kernel of a 1 x 1 convolution as a matrix."""
    kernel = step.node.array(1)
    return Lazy(step.shape[:2], kernel.dtype, lambda: np.asarray(kernel).reshape(step.shape[:2]))


def _batch_norm(name: str, batch_norm: str, step: Step, epsilon: float) -> dict[str, ArrayLike]:
    """Return a batch norm: its own arrays, or those of one that does what folding left."""
    parts = (step.bias, step.norm, step.scale, step.shift)
    if step.norm is None and all(part is None for part in parts):
        raise CheckpointError(f"{name} has neither a bias nor a batch norm")
    if step.norm is not None:
        if step.bias is not None:
            raise CheckpointError(f"{name} has both a bias and a batch norm")
        norm = step.norm
        return {
            f"{batch_norm}/{variable}": norm.array(index)
            for index, variable in enumerate(BATCH_NORM_ARRAYS, start=1)
        }
    if step.scale is None and step.shift is None and step.bias is not None:
        return folded_batch_norm(batch_norm, step.bias, epsilon)
    zeros = np.zeros(step.channels, np.float32)
    shift = zeros if step.shift is None else _flat(step.shift)
    arrays = folded_batch_norm(batch_norm, shift, epsilon)
    if step.scale is not None:
        arrays[f"{batch_norm}/gamma"] = _flat(step.scale)
    if step.bias is not None:
        bias = step.bias
        arrays[f"{batch_norm}/moving_mean"] = Lazy(
            tuple(bias.shape), bias.dtype, lambda: -np.asarray(bias)
        )
    return arrays


def _flat(constant: ArrayLike) -> ArrayLike:
    """Return a value a channel, without axes of length 1."""
    count = prod(constant.shape)
    return Lazy((count,), constant.dtype, lambda: np.asarray(constant).reshape(count))


def _bias(layer: Layer, step: Step, *, shifted: bool) -> ArrayLike:
    """Return a layer's own bias; `shifted` is one that has a gate's 3 in it."""
    if step.norm is not None or step.scale is not None:
        raise CheckpointError(f"{layer.name} has a batch norm, which no MobileNet's has")
    found = [_flat(x) for x in (step.bias, step.shift) if x is not None]
    if len(found) > 1:
        raise CheckpointError(f"{layer.name} has two biases")
    bias = found[0] if found else np.zeros(step.channels, np.float32)
    if not shifted:
        return bias
    return Lazy(tuple(bias.shape), np.dtype(np.float32), lambda: np.asarray(bias) - np.float32(3))
