"""TFLite files of MobileNet V1, float or quantised: parsed, never interpreted.

The convolutions are found by walking the operators from the input on; names are not needed. In
these nets each batch norm is folded into the convolution before it; an equivalent one is made from
what is left, its bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.files import bounded_content
from keras_mobilenet.formats.arrays import ArrayLike, Lazy, folded_batch_norm
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.runtimes.tflite_model import (
    Graph,
    Operator,
    Quantization,
    Tensor,
    faults,
    parse,
)
from keras_mobilenet.formats.tensorflow.slim_net import BACKGROUND_CLASSES
from keras_mobilenet.nets import v1
from keras_mobilenet.nets.net import (
    RELU_MAX,
    RELU_MAXIMA,
    Activation,
    Conventions,
    Layer,
    Padding,
    same_zeros,
)

NAME = "TFLite"
IDENTIFIER = b"TFL3"
_CONVOLUTIONS = {"Conv2D": "CONV_2D", "DepthwiseConv2D": "DEPTHWISE_CONV_2D"}
_FULLY_CONNECTED = "FULLY_CONNECTED"
_SAME = 0  # of the schema's Padding
_RELU, _RELU6 = 1, 3  # of its ActivationFunctionType
_CLIPPED_BY_RANGE = (0, 1, _RELU6)  # none and ReLU: the same where a quantised range ends at 6
# What moves values and changes none.
_PASSING = {"QUANTIZE", "DEQUANTIZE", "RELU", "RELU6", "PAD"}  # between the convolutions
_TOP = {"MEAN", "AVERAGE_POOL_2D", "RESHAPE", "SQUEEZE", "SOFTMAX", "LOGISTIC"}  # and behind them
_SHAPES = {"SHAPE", "STRIDED_SLICE", "PACK"}  # work out the shape of a RESHAPE
_WEIGHTED = {*_CONVOLUTIONS.values(), _FULLY_CONNECTED}
_NET = v1.network()
_BATCH_NORMS = _NET.batch_norm_names()
_BEFORE_TOP = len(_BATCH_NORMS)  # convolutions
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
    yield checkpoint


@dataclass
class _Step:
    """A convolution of the file, and what was found around it."""

    operator: Operator
    kernel: int  # its height, and width
    pads: tuple[int, int] | None  # before and after, of a PAD ahead of it
    behind: str = ""  # RELU or RELU6, an operator of its own


@dataclass
class _Walk:
    """The convolutions so far, and where the walk is."""

    graph: Graph
    current: int
    pads: tuple[int, int] | None = None
    steps: list[_Step] = field(default_factory=list)
    constants: dict[int, Tensor] = field(default_factory=dict)  # float16, behind a DEQUANTIZE


def _checkpoint(graph: Graph) -> Checkpoint:
    walk = _walked(graph)
    layers = _layers(walk.steps)
    arrays: dict[str, ArrayLike] = {}
    for layer, step in zip(layers, walk.steps, strict=True):
        arrays |= _arrays(walk, layer, step)
    top = arrays.get(f"{v1.FAMILY.classifier.name}/bias")
    return Checkpoint(
        NAME,
        arrays,
        Conventions(
            padding=_padding(graph, layers, walk.steps),
            activation=_activation(graph, layers, walk.steps),
        ),
        background=top is not None and tuple(top.shape) == (BACKGROUND_CLASSES,),
        notes=_notes(walk),
    )


def _walked(graph: Graph) -> _Walk:
    """Follow the operators from the input to the output, which in a MobileNet is a chain."""
    walk = _Walk(graph, graph.input)
    for operator in graph.operators:
        first = operator.inputs[0] if operator.inputs else -1
        if operator.name == "DEQUANTIZE" and graph.tensors[first].values is not None:
            walk.constants[operator.outputs[0]] = graph.tensors[first]
        elif operator.name not in _SHAPES:
            known = _PASSING | _WEIGHTED | (_TOP if len(walk.steps) >= _BEFORE_TOP else set())
            if first != walk.current or operator.name not in known:
                raise CheckpointError(f"{_place(walk)} is {operator.name}, so this is another net")
            _follow(walk, operator)
            walk.current = operator.outputs[0]
    return walk


def _place(walk: _Walk) -> str:
    return f"the operator behind {len(walk.steps)} convolutions"


def _follow(walk: _Walk, operator: Operator) -> None:
    if operator.name == "PAD":
        walk.pads = _pads(walk, operator)
    elif operator.name in ("RELU", "RELU6") and walk.steps:
        walk.steps[-1].behind = operator.name
    elif operator.name in _WEIGHTED:
        shape = _tensor(walk, operator.inputs[1]).shape
        walk.steps.append(_Step(operator, shape[1] if len(shape) == 4 else 1, walk.pads))
        walk.pads = None
    elif walk.pads:
        raise CheckpointError(f"{_place(walk)} is {operator.name} on a padded image")


def _tensor(walk: _Walk, number: int) -> Tensor:
    return walk.constants.get(number) or walk.graph.tensors[number]


def _pads(walk: _Walk, operator: Operator) -> tuple[int, int]:
    """Return the zeros before and after, if they are the same on both axes and there alone."""
    values = walk.graph.tensors[operator.inputs[1]].values
    rows = [] if values is None else values.tolist()
    if len(rows) != 4 or rows[0] != [0, 0] or rows[3] != [0, 0] or rows[1] != rows[2]:
        raise CheckpointError(f"{_place(walk)} pads by {rows}, which no MobileNet does")
    return rows[1][0], rows[1][1]


def _layers(steps: Sequence[_Step]) -> tuple[Layer, ...]:
    """Return the spec's layers that the file's convolutions are, in order."""
    layers = _NET.convolutions
    for number, (layer, step) in enumerate(zip(layers, steps, strict=False), start=1):
        found, options = step.operator.name, step.operator.options
        if layer.role == "classifier" and found == _FULLY_CONNECTED:
            continue
        strides = {options.get("StrideH"), options.get("StrideW")}
        dilations = {options.get("DilationHFactor"), options.get("DilationWFactor")}
        if found != _CONVOLUTIONS[layer.kind] or strides != {layer.stride} or dilations != {1}:
            wanted = f"{_CONVOLUTIONS[layer.kind]} with a stride of {layer.stride}"
            raise CheckpointError(
                f"convolution {number} is {found} with a stride of {options.get('StrideH')}, where "
                f"MobileNet V1 has {wanted}, so this is another net"
            )
    if len(steps) not in (len(layers), len(layers) - 1):
        raise CheckpointError(
            f"the net has {len(steps)} convolutions, MobileNet V1 {len(layers)} with its top, so "
            "this is another net"
        )
    return layers[: len(steps)]


def _padding(graph: Graph, layers: Sequence[Layer], steps: Sequence[_Step]) -> Padding:
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
        network = v1.network(padding=padding)
        pads = {x.name: before.pad for before, x in pairwise(network) if x.padding == "valid"}
        convolutions = [layer for layer in network if layer.name in names]
        expected = [
            pads[layer.name]
            if layer.name in pads
            else tuple(same_zeros(n, layer.kernel[0], layer.stride) for n in size)
            for layer, size in zip(convolutions, sizes, strict=True)
        ]
        if found == expected:
            return padding
    raise CheckpointError("its convolutions pad in a way that no known MobileNet V1 does")


def _size(graph: Graph, step: _Step) -> tuple[int, ...]:
    """Return the (height, width) that a convolution gets, without the zeros of a PAD."""
    if step.operator.name == _FULLY_CONNECTED:
        return (1, 1)
    shape = graph.tensors[step.operator.inputs[0]].shape
    return tuple(n - sum(step.pads or ()) for n in shape[1:3])


def _zeros(step: _Step, size: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return the zeros before and after that a convolution sees, on each axis."""
    options, (before, after) = step.operator.options, step.pads or (0, 0)
    if step.operator.name == _FULLY_CONNECTED or options["Padding"] != _SAME:
        return ((before, after),) * len(size)
    same = [same_zeros(n + before + after, step.kernel, options["StrideH"]) for n in size]
    return tuple((first + before, last + after) for first, last in same)


def _activation(graph: Graph, layers: Sequence[Layer], steps: Sequence[_Step]) -> Activation:
    """Return the activation behind the convolutions, one for all but the top's."""
    fitting: set[Activation] = set(RELU_MAXIMA)
    for layer, step in zip(layers, steps, strict=True):
        fused = step.operator.options["FusedActivationFunction"]
        if layer.role == "classifier":
            sound = fused == 0 and not step.behind
        else:
            fitting &= _activations(graph, step, fused)
            sound = bool(fitting)
        if not sound:
            raise CheckpointError(
                f"{layer.name} is followed by activation {fused} of TFLite's schema, not by "
                "MobileNet's ReLU6, or by ReLU as all the others"
            )
    return "relu6" if "relu6" in fitting else "relu"


def _activations(graph: Graph, step: _Step, fused: int) -> set[Activation]:
    """Return what a convolution's activation is: a ReLU6, a ReLU, or both of them the same."""
    if fused == _RELU6 or step.behind == "RELU6":
        return {"relu6"} if fused in _CLIPPED_BY_RANGE else set()
    relu = fused == _RELU or (fused == 0 and step.behind == "RELU")
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


def _arrays(walk: _Walk, layer: Layer, step: _Step) -> dict[str, ArrayLike]:
    inputs = step.operator.inputs
    kernel = _kernel(layer, step, _constant(walk, layer.name, inputs[1]), f"{layer.name}/kernel")
    channels = kernel.shape[3] * (kernel.shape[2] if layer.kind == "DepthwiseConv2D" else 1)
    bias: ArrayLike = np.zeros(channels, _FLOAT)
    if len(inputs) > 2 and inputs[2] >= 0:
        stored = _constant(walk, layer.name, inputs[2])
        if stored.shape != (channels,):
            raise CheckpointError(f"{layer.name} has {channels} filters and bias {stored.shape}")
        bias = Lazy(stored.shape, _FLOAT, partial(_values, stored, f"{layer.name}/bias"))
    if layer.bias:
        return {f"{layer.name}/kernel": kernel, f"{layer.name}/bias": bias}
    return {f"{layer.name}/kernel": kernel} | folded_batch_norm(_BATCH_NORMS[layer.name], bias)


def _constant(walk: _Walk, layer: str, number: int) -> Tensor:
    tensor = _tensor(walk, number)
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


def _kernel(layer: Layer, step: _Step, tensor: Tensor, name: str) -> Lazy:
    """Return a kernel in Keras' axis order: TFLite's is OHWI, or (1, h, w, C * m) depthwise."""
    shape = tensor.shape if len(tensor.shape) != 2 else (tensor.shape[0], 1, 1, tensor.shape[1])
    if layer.kind == "DepthwiseConv2D":
        multiplier = step.operator.options["DepthMultiplier"]
        if len(shape) == 4 and shape[0] == 1 and multiplier > 0 and shape[3] % multiplier == 0:
            ours = (*shape[1:3], shape[3] // multiplier, multiplier)
            return Lazy(ours, _FLOAT, lambda: _values(tensor, name).reshape(ours))
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


def _notes(walk: _Walk) -> tuple[str, ...]:
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
