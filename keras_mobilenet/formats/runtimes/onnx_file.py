"""ONNX: the weights of an exported MobileNet V1, read off its graph; nothing is executed.

Array names tell nothing here, for exporters fold the batch norms into the convolutions and keep the
names. What counts is the graph: the net's convolutions in one line, each with a batch norm or a
bias and with ReLU6, then the top. Strides, kernels and activations must be MobileNet's; pads and
epsilon become the checkpoint's conventions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from keras_mobilenet.errors import CheckpointError, MissingExtraError
from keras_mobilenet.files import bounded_content
from keras_mobilenet.formats.arrays import ArrayLike, Rearranged, folded_batch_norm
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.plain.pytorch_names import axes
from keras_mobilenet.formats.runtimes import onnx_padding
from keras_mobilenet.formats.runtimes.onnx_graph import Operation, line
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import v1
from keras_mobilenet.nets.net import BATCH_NORM_ARRAYS, RELU_MAX, Layer

_BATCH_NORMS = v1.network().batch_norm_names()
NAME = "ONNX"
EXTRA = "onnx"
BACKGROUND_CLASSES = 1001  # of ImageNet in TF-slim and what was made from it
# A ModelProto begins with field 1, the version of the format, and goes on with another field.
_IR_VERSION, _NEXT_FIELDS = 0x08, b"\x12\x1a\x22\x28\x32\x3a\x42"
_MAX_VERSION = 99
_TO_CHANNELS_FIRST = (0, 3, 1, 2)
_SPATIAL = {2, 3}
_SHAPE_ONLY = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}


def recognises(path: str, head: bytes) -> bool:
    """Return whether a file that begins with `head` has the beginning of an ONNX model."""
    if len(head) < 3 or head[0] != _IR_VERSION:
        return False
    return 1 <= head[1] <= _MAX_VERSION and head[2] in _NEXT_FIELDS


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the file at `path`, which may have `max_bytes` at most."""
    shape, operations = line(_graph(path, max_bytes))
    yield _Reader(shape, operations).checkpoint()


def _graph(path: str, max_bytes: int) -> Any:
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
    return model.graph


class _Reader:
    """Takes the operations one by one, each where MobileNet has it."""

    def __init__(self, shape: tuple[int, ...], operations: list[Operation]) -> None:
        self.rest = operations[::-1]
        self.arrays: dict[str, ArrayLike] = {}
        self.epsilons: set[float] = set()
        self.folded: set[bool] = set()
        self.pads: list[onnx_padding.Pads] = []
        first = self.take("Transpose")
        if first and first.attributes.get("perm") != _TO_CHANNELS_FIRST:
            raise CheckpointError("the graph turns the input's axes in another way than expected")
        self.size = onnx_padding.size(shape, channels_last=first is not None)

    def checkpoint(self) -> Checkpoint:
        *convolutions, top = v1.network().convolutions
        for layer in convolutions:
            self.convolution(layer)
        if len(self.folded) > 1 or len(self.epsilons) > 1:
            raise CheckpointError("the batch norms differ: in epsilon, or only some are folded")
        self.top(top)
        padding, notes = onnx_padding.decide(self.size, self.pads)
        if self.folded == {True}:
            notes = (*notes, "the batch norms were folded into the convolutions: each has become 1")
        epsilon = self.epsilons.pop() if self.epsilons else Conventions().epsilon
        bias = self.arrays.get(f"{top.name}/bias")
        background = bias is not None and tuple(bias.shape) == (BACKGROUND_CLASSES,)
        return Checkpoint(NAME, self.arrays, Conventions(epsilon, padding), background, notes)

    def convolution(self, layer: Layer) -> None:
        """Take a convolution with its padding, its batch norm or bias, and its ReLU6."""
        pad = self.take("Pad")
        node = self.expect(layer.name, "Conv")
        kernel = node.array(1)
        _check_convolution(layer, node, kernel.shape)
        self.pads.append(onnx_padding.pads_of(layer.name, node, pad))
        self.arrays[f"{layer.name}/kernel"] = Rearranged(kernel, axes(layer))
        batch_norm = self.take("BatchNormalization")
        if node.has(2) == (batch_norm is not None):
            which = "both a bias and" if batch_norm else "neither a bias nor"
            raise CheckpointError(f"{layer.name} has {which} a batch norm")
        self.folded.add(batch_norm is None)
        if batch_norm is None:
            self.arrays |= folded_batch_norm(_BATCH_NORMS[layer.name], node.array(2))
        else:
            self.batch_norm(_BATCH_NORMS[layer.name], batch_norm)
        _check_relu6(layer.name, self.expect(f"the activation of {layer.name}", "Clip"))

    def batch_norm(self, name: str, node: Operation) -> None:
        if node.attributes.get("training_mode"):
            raise CheckpointError(f"{name} is in training mode: export the net after net.eval()")
        # Stored in float32: the shortest decimal that gives it is what was meant.
        self.epsilons.add(float(str(np.float32(node.number("epsilon", 1e-5)))))
        for index, variable in enumerate(BATCH_NORM_ARRAYS, start=1):
            self.arrays[f"{name}/{variable}"] = node.array(index)

    def top(self, layer: Layer) -> None:
        """Take the pool and the classifier, as far as they are there."""
        pool = self.take("GlobalAveragePool", "ReduceMean")
        over = pool.numbers(1, "axes") if pool and pool.type == "ReduceMean" else [2, 3]
        if {axis % 4 for axis in over or ()} != _SPATIAL:
            raise CheckpointError("the pool is not over the image's height and width")
        while self.take(*_SHAPE_ONLY):
            pass
        if not self.rest:
            return
        self.classifier(layer, self.expect("the classifier", "Gemm", "MatMul", "Conv"))
        while self.take(*_SHAPE_ONLY, "Softmax"):
            pass
        if self.rest:
            raise CheckpointError(f"after the classifier comes {self.rest[-1].type}")

    def classifier(self, layer: Layer, node: Operation) -> None:
        name, kernel, order = layer.name, node.array(1), axes(layer, linear=True)
        bias = node if node.type != "MatMul" else self.expect("the classifier's bias", "Add")
        if node.type == "Conv":
            order = (2, 3, 1, 0)
            _check_pointwise(name, node, kernel.shape)
        elif node.type == "MatMul" or not node.attributes.get("transB"):
            order = (None, None, 0, 1)
        scales = [node.number(key, 1.0) for key in ("alpha", "beta")]
        if scales != [1.0, 1.0] or node.attributes.get("transA"):
            raise CheckpointError("the classifier scales its inputs, which MobileNet's does not")
        if len(kernel.shape) != sum(axis is not None for axis in order):
            raise CheckpointError(f"the classifier's kernel has the shape {kernel.shape}")
        self.arrays[f"{name}/kernel"] = Rearranged(kernel, order)
        self.arrays[f"{name}/bias"] = bias.array(1 if node.type == "MatMul" else 2)

    def take(self, *types: str) -> Operation | None:
        """Return the next operation if it is of one of these types."""
        return self.rest.pop() if self.rest and self.rest[-1].type in types else None

    def expect(self, what: str, *types: str) -> Operation:
        node = self.take(*types)
        if node is None:
            found = f"a {self.rest[-1].type} node" if self.rest else "the graph's end"
            raise CheckpointError(
                f"where MobileNet V1 has {what}, {' or '.join(types)}, the graph has {found}"
            )
        return node


def _check_convolution(layer: Layer, node: Operation, shape: tuple[int, ...]) -> None:
    """Raise if a convolution's strides, groups or kernel are not the layer's."""
    stride, depthwise = (layer.stride, layer.stride), layer.kind == "DepthwiseConv2D"
    if len(shape) != 4 or shape[2:] != layer.kernel[:2]:
        raise CheckpointError(f"{layer.name} has a kernel of shape {shape}")
    if (found := node.integers("strides", (1, 1))) != stride:
        raise CheckpointError(f"{layer.name} has the strides {found}, MobileNet V1 {stride}")
    groups, of = node.attributes.get("group", 1), shape[0] if depthwise else 1
    if groups != of or (depthwise and shape[1] != 1):
        raise CheckpointError(f"{layer.name} has {groups} groups, MobileNet V1 {of}")
    if set(node.integers("dilations", ())) - {1}:
        raise CheckpointError(f"{layer.name} is dilated")


def _check_pointwise(name: str, node: Operation, shape: tuple[int, ...]) -> None:
    simple = Layer(name, "Conv2D", "top", 1, (1, 1, 1, 1))
    _check_convolution(simple, node, shape)
    onnx_padding.pads_of(name, node, None).check_none(name)


def _check_relu6(name: str, node: Operation) -> None:
    low, high = node.numbers(1, "min"), node.numbers(2, "max")
    if low != [0.0] or high != [RELU_MAX]:
        found = " to ".join("nothing" if v is None else f"{v[0]:g}" for v in (low, high) if v != [])
        raise CheckpointError(f"{name}'s activation clips at {found}, MobileNet's at 0 to 6")
