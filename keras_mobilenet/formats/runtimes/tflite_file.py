"""TFLite files of MobileNets, float or quantised: parsed, never interpreted.

The convolutions are found by walking the operators from the input on; names are not needed. What
each of them takes, and what is behind it, tells which net it is. Each batch norm is folded into
the convolution before it; an equivalent one is made from what is left, its bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.files import bounded_content
from keras_mobilenet.formats.arrays import ArrayLike, Lazy, folded_batch_norm, shapes_of
from keras_mobilenet.formats.checkpoint import EXPORTED_MEMBER, INFO_BYTES, Checkpoint
from keras_mobilenet.formats.keras import zip_files
from keras_mobilenet.formats.runtimes.known_nets import (
    Candidate,
    activations_of,
    held_net,
    rounded_scaling,
    scaling_notes,
)
from keras_mobilenet.formats.runtimes.tflite_model import (
    Graph,
    Quantization,
    Tensor,
    faults,
    parse,
)
from keras_mobilenet.formats.runtimes.tflite_walk import (
    FULLY_CONNECTED,
    Step,
    Walk,
    walked,
)
from keras_mobilenet.formats.tensorflow.slim_net import BACKGROUND_CLASSES
from keras_mobilenet.nets.conventions import (
    NO_ZEROS,
    Activation,
    Conventions,
    Padding,
    Zeros,
    same_zeros,
)
from keras_mobilenet.nets.net import (
    HARD_SIGMOID,
    RELU_MAX,
    RELU_MAXIMA,
    Layer,
    Net,
    Shape,
)

NAME = "TFLite"
IDENTIFIER = b"TFL3"
_SAME = 0  # of the schema's Padding
_RELU, _RELU6 = 1, 3  # of its ActivationFunctionType
_CLIPPED_BY_RANGE = (0, 1, _RELU6)  # none and ReLU: the same where a quantised range ends at 6
_SIXTH = [f"MUL {1 / 6:.6f}"]
_TOP = {"SOFTMAX", "LOGISTIC"}
_FLOAT = np.dtype(np.float32)


def recognises(path: str, head: bytes) -> bool:
    """Return whether a file that begins with `head` is of this format."""
    return head[4:8] == IDENTIFIER


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the file at `path`, if it has `max_bytes` at most."""
    graph = parse(bounded_content(path, max_bytes))
    with faults():
        checkpoint = _checkpoint(graph)
    yield replace(checkpoint, info=zip_files.text_in(path, EXPORTED_MEMBER, INFO_BYTES))


def _checkpoint(graph: Graph) -> Checkpoint:
    walk = walked(graph)
    net, layers = _net(walk)
    arrays = _all_arrays(walk, net, layers)
    top = arrays.get(f"{layers[-1].name}/bias") if layers[-1].role == "classifier" else None
    return Checkpoint(
        NAME,
        arrays,
        Conventions(
            net.family.conventions.epsilon,  # folded: that of a net as its builder makes it
            padding=_padding(graph, net, layers, walk.steps),
            activation=_activation(graph, net.net, layers, walk.steps),
        ),
        background=top is not None and tuple(top.shape) == (BACKGROUND_CLASSES,),
        notes=(*_notes(walk), *scaling_notes(rounded_scaling(walk.scaling))),
        scaling=rounded_scaling(walk.scaling),
    )


def _net(walk: Walk) -> tuple[Candidate, tuple[Layer, ...]]:
    """Return the net that the file holds, and its layers that the file's convolutions are."""

    def shapes(candidate: Candidate, layers: Sequence[Layer]) -> Mapping[str, Shape]:
        return shapes_of(_all_arrays(walk, candidate, layers))

    return held_net(walk.steps, shapes)


def _padding(
    graph: Graph, candidate: Candidate, layers: Sequence[Layer], steps: Sequence[Step]
) -> Padding:
    """Return the convention that leads to the zeros that the file adds, at the file's own size.

    TFLite's converter turns a PAD into SAME where the two are one, so that a net may hold both.
    """
    names = [layer.name for layer in layers]
    sizes = [_size(graph, step) for step in steps]
    found = [_zeros(step, size) for step, size in zip(steps, sizes, strict=True)]
    # Where several fit, as on even lengths, the file is taken by its word.
    order: tuple[Padding, ...] = ("same", "keras", "symmetric")
    explicit = any(step.pads for step in steps)
    for padding in sorted(order, key=lambda p: explicit and p == "same"):
        padded = replace(candidate, padding=padding, size=sizes[0])
        pads = padded.zeros
        convolutions = [padded.net.by_name[name] for name in names]
        expected = [
            pads[layer.name]
            if layer.name in pads
            else tuple(same_zeros(n, (layer.window or (1,))[0], layer.stride) for n in size)
            for layer, size in zip(convolutions, sizes, strict=True)
        ]
        if found == expected:
            return padding
    raise CheckpointError(f"its convolutions pad in a way that no known {candidate.name} does")


def _size(graph: Graph, step: Step) -> tuple[int, int]:
    """Return the (height, width) that a convolution gets, without the zeros of a PAD."""
    if step.operator.name == FULLY_CONNECTED:
        return 1, 1
    _, height, width, _ = graph.tensors[step.operator.inputs[0]].shape
    on_height, on_width = step.pads or NO_ZEROS
    return height - sum(on_height), width - sum(on_width)


def _zeros(step: Step, size: tuple[int, int]) -> tuple[Zeros, ...]:
    """Return the zeros before and after that a convolution sees, on each axis."""
    options, pads = step.operator.options, step.pads or NO_ZEROS
    if step.operator.name == FULLY_CONNECTED or options["Padding"] != _SAME:
        return pads
    zeros = []
    for n, (before, after) in zip(size, pads, strict=True):
        first, last = same_zeros(n + before + after, step.kernel, options["StrideH"])
        zeros.append((first + before, last + after))
    return tuple(zeros)


def _activation(
    graph: Graph, net: Net, layers: Sequence[Layer], steps: Sequence[Step]
) -> Activation:
    """Return the activation that the net leaves to its caller, one for all convolutions."""
    fitting: set[Activation] = set(RELU_MAXIMA)
    wanted = activations_of(net)
    for layer, step in zip(layers, steps, strict=True):
        fused = step.operator.options["FusedActivationFunction"]
        own = wanted[layer.name]
        if layer.role == "classifier":
            sound = fused == 0 and _TOP.issuperset(step.behind)
        elif own is None:
            fitting &= _activations(graph, step, fused)
            sound = bool(fitting)
        else:
            sound = _has_activation(own, step, fused)
        if not sound:
            expected = "MobileNet's ReLU6, or by ReLU as all the others" if own is None else own
            raise CheckpointError(
                f"{layer.name} is followed by activation {fused} of TFLite's schema, not by "
                f"{expected or 'none'}"
            )
    return "relu6" if "relu6" in fitting else "relu"


def _has_activation(activation: str, step: Step, fused: int) -> bool:
    """Return whether a convolution has the activation that its net fixes; "" is none."""
    if activation == "relu":
        return (fused, step.behind) in ((_RELU, []), (0, ["RELU"]))
    if activation == HARD_SIGMOID:
        return (fused, step.behind) in ((_RELU6, _SIXTH), (0, ["RELU6", *_SIXTH]))
    return fused == 0 and step.behind == (["HARD_SWISH"] if activation else [])


def _activations(graph: Graph, step: Step, fused: int) -> set[Activation]:
    """Return what a convolution's activation is: a ReLU6, a ReLU, or both of them the same."""
    behind = step.behind[0] if step.behind else ""
    if len(step.behind) > 1 or behind not in ("", "RELU", "RELU6"):
        return set()
    if fused == _RELU6 or behind == "RELU6":
        return {"relu6"} if fused in _CLIPPED_BY_RANGE else set()
    relu = fused == _RELU or (fused == 0 and behind == "RELU")
    # A quantised range that ends at 6 clips as a ReLU6 does.
    clipped = fused in _CLIPPED_BY_RANGE and _ends_at_6(graph.tensors[step.operator.outputs[0]])
    found: dict[Activation, bool] = {"relu6": clipped, "relu": relu}
    return {name for name, is_so in found.items() if is_so}


def _ends_at_6(tensor: Tensor) -> bool:
    if tensor.quantization is None or tensor.type not in ("UINT8", "INT8"):
        return False
    ends = np.iinfo(np.uint8 if tensor.type == "UINT8" else np.int8)
    q = tensor.quantization
    low, high = ((end - int(q.zero_point[0])) * float(q.scale[0]) for end in (ends.min, ends.max))
    return low == 0 and abs(high - RELU_MAX) <= float(q.scale[0])


def _all_arrays(walk: Walk, candidate: Candidate, layers: Sequence[Layer]) -> dict[str, ArrayLike]:
    norms, epsilon = candidate.net.batch_norm_names(), candidate.family.conventions.epsilon
    arrays: dict[str, ArrayLike] = {}
    for layer, step in zip(layers, walk.steps, strict=True):
        arrays |= _arrays(walk, layer, step, norms.get(layer.name, ""), epsilon)
    return arrays


def _arrays(
    walk: Walk, layer: Layer, step: Step, batch_norm: str, epsilon: float
) -> dict[str, ArrayLike]:
    inputs = step.operator.inputs
    kernel = _kernel(layer, step, _constant(walk, layer.name, inputs[1]), f"{layer.name}/kernel")
    channels = kernel.shape[-1] * (kernel.shape[2] if layer.kind == "DepthwiseConv2D" else 1)
    bias: ArrayLike = np.zeros(channels, _FLOAT)
    if len(inputs) > 2 and inputs[2] >= 0:
        stored = _constant(walk, layer.name, inputs[2])
        if stored.shape != (channels,):
            raise CheckpointError(f"{layer.name} has {channels} filters and bias {stored.shape}")
        bias = Lazy(stored.shape, _FLOAT, partial(_values, stored, f"{layer.name}/bias"))
    if layer.role == "excite":
        bias = Lazy((channels,), _FLOAT, partial(_less_3, bias))
    if layer.bias:
        return {f"{layer.name}/kernel": kernel, f"{layer.name}/bias": bias}
    return {f"{layer.name}/kernel": kernel} | folded_batch_norm(batch_norm, bias, epsilon)


def _less_3(bias: ArrayLike) -> np.ndarray[Any, Any]:
    """Return a gate's own bias: converters add the 3 of its `relu6(x + 3) / 6` to it."""
    return np.asarray(np.asarray(bias, _FLOAT) - np.float32(3))


def _constant(walk: Walk, layer: str, number: int) -> Tensor:
    tensor = walk.tensor(number)
    if number < 0 or tensor.values is None:
        raise CheckpointError(f"the kernel or bias of {layer} is no constant of known type")
    if tensor.values.dtype.kind in "iu":
        _check_quantization(layer, tensor)
    return tensor


def _check_quantization(layer: str, tensor: Tensor) -> None:
    q = tensor.quantization
    if q is None:
        raise CheckpointError(f"{layer} holds {tensor.type} without a scale")
    counts = {len(q.scale), len(q.zero_point)} - {1}
    along = 0 <= q.axis < len(tensor.shape) and tensor.shape[q.axis]
    if counts and counts != {along}:
        raise CheckpointError(
            f"{layer} has {len(q.scale)} scales and {len(q.zero_point)} zero points for the axis "
            f"{q.axis} of the shape {tensor.shape}"
        )
    if not (np.isfinite(q.scale) & (q.scale > 0)).all():
        raise CheckpointError(f"{layer} has a scale that is not a positive number")


def _kernel(layer: Layer, step: Step, tensor: Tensor, name: str) -> Lazy:
    """Return a kernel in Keras' axis order: TFLite's is OHWI, or (1, h, w, C * m) depthwise."""
    shape = tensor.shape if len(tensor.shape) != 2 else (tensor.shape[0], 1, 1, tensor.shape[1])
    if layer.kind == "DepthwiseConv2D":
        multiplier = step.operator.options["DepthMultiplier"]
        if len(shape) == 4 and shape[0] == 1 and multiplier > 0 and shape[3] % multiplier == 0:
            ours = (*shape[1:3], shape[3] // multiplier, multiplier)
            return Lazy(ours, _FLOAT, lambda: _values(tensor, name).reshape(ours))
    elif layer.kind == "Dense" and len(shape) == 4 and shape[1:3] == (1, 1):
        rows, columns = shape[0], shape[3]
        return Lazy((columns, rows), _FLOAT, lambda: _values(tensor, name).reshape(rows, columns).T)
    elif len(shape) == 4:
        ours = (*shape[1:3], shape[3], shape[0])
        return Lazy(
            ours, _FLOAT, lambda: _values(tensor, name).reshape(shape).transpose(1, 2, 3, 0)
        )
    raise CheckpointError(f"{name} has the impossible shape {tensor.shape}")


def _values(tensor: Tensor, name: str) -> np.ndarray[Any, Any]:
    """Return a constant's real values in float32."""
    stored, q = tensor.values, tensor.quantization
    if stored is None:
        raise CheckpointError(f"{name} has no values")
    if stored.dtype.kind == "f" or q is None:
        return stored.astype(_FLOAT)
    return _dequantized(stored, q).astype(_FLOAT)


def _dequantized(stored: np.ndarray[Any, Any], q: Quantization) -> np.ndarray[Any, Any]:
    axes = [1] * stored.ndim
    axes[q.axis] = -1
    scale = q.scale if len(q.scale) == 1 else q.scale.reshape(axes)
    zero = q.zero_point if len(q.zero_point) == 1 else q.zero_point.reshape(axes)
    return np.asarray((stored.astype(np.float64) - zero) * scale.astype(np.float64))


def _notes(walk: Walk) -> tuple[str, ...]:
    kernels = [_constant(walk, "", step.operator.inputs[1]) for step in walk.steps]
    quantized = [k for k in kernels if k.values is not None and k.values.dtype.kind in "iu"]
    if not quantized:
        return ("its batch norms were folded; made equivalent ones",)
    several = any(k.quantization and len(k.quantization.scale) > 1 for k in quantized)
    per = "channel" if several else "tensor"
    return (
        f"dequantised from {quantized[0].type.lower()} per {per}: a float reference of the "
        "quantised net; its batch norms were folded, made equivalent ones",
    )
