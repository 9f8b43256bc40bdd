"""ONNX files, looked through before a native runtime gets them, which computes while it opens.

A runtime works out whatever does not depend on the input, so that a file of a few bytes can ask
for gigabytes, or for a loop without an end, before it has an input. The operators of nets of
images, with the lengths that these have, cannot; all else has to be tried out.

Numbers of fields are those of onnx.proto.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.tensorflow.protobuf_wire import (
    fields,
    integer,
    part,
    parts,
    text,
    varint,
)

_KNOWN = {
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv",
    "DequantizeLinear", "Div", "Dropout", "Flatten", "Gather", "Gemm", "GlobalAveragePool",
    "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MatMul", "Max", "MaxPool", "Min", "Mul",
    "Pad", "QuantizeLinear", "ReduceMean", "Relu", "Reshape", "Shape", "Sigmoid", "Slice",
    "Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip
_MANY = 4096  # pads, strides, pixels of a side and channels stay below
_LARGE = 1 << 24  # values of one constant
_INT64 = 7  # of TensorProto.DataType
_MAX_INTEGERS = 64  # in a constant of lengths, pads or axes


def _message(path: str) -> memoryview:
    try:
        return memoryview(Path(path).read_bytes())
    except OSError as error:
        raise CheckpointError(f"the ONNX file cannot be read ({error})") from error


def metadata(path: str, key: str, max_bytes: int) -> str | None:
    """Return a text of a model's own from the file's metadata.

    Raises:
        CheckpointError: the file is damaged, or the text has more than `max_bytes`.
    """
    for entry in parts(_message(path), 14):
        if text(entry, 1) == key:
            if len(entry) > max_bytes:
                raise CheckpointError(f"its metadata have more than {max_bytes:,} bytes")
            return text(entry, 2)
    return None


def check(path: str) -> bool:
    """Return whether an ONNX file is known to be harmless; False if it has to be tried out.

    Raises:
        CheckpointError: it is damaged.
    """
    model = _message(path)
    graph = part(model, 7)
    if any(parts(model, 25)) or any(parts(graph, 15)):  # functions, sparse constants
        return False
    nodes = all(_is_known(node) for node in parts(graph, 1))
    constants = all(_is_small(tensor) for tensor in parts(graph, 5))
    return nodes and constants and all(map(_is_image, parts(graph, 11)))


def _is_known(node: memoryview) -> bool:
    if text(node, 4) not in _KNOWN or text(node, 7) not in ("", "ai.onnx"):
        return False
    return all(_is_plain(attribute) for attribute in parts(node, 5))


def _is_plain(attribute: memoryview) -> bool:
    """Return whether an attribute holds no graph, and no number that no net has."""
    for number, value in fields(attribute):
        if number in (6, 9, 10, 11):  # graphs and tensors in lists
            return False
        if number == 5 and not (isinstance(value, memoryview) and _is_small(value)):
            return False
    return all(abs(n) <= _MANY for slot in (3, 8) for n in _integers(attribute, slot))


def _is_small(tensor: memoryview) -> bool:
    """Return whether a constant lies in the file, and holds no number that makes a large one."""
    lengths = list(_integers(tensor, 1))
    if any(parts(tensor, 13)) or integer(tensor, 14):  # in another file
        return False
    if min(lengths, default=0) < 0 or math.prod(lengths) > min(_LARGE, len(tensor)):
        return False
    if integer(tensor, 2) != _INT64:
        return True
    stored = part(tensor, 9)
    if len(stored) % 8 or len(stored) > 8 * _MAX_INTEGERS:
        return False
    values = [*struct.unpack(f"<{len(stored) // 8}q", stored), *_integers(tensor, 7)]
    return len(values) <= _MAX_INTEGERS and all(abs(n) <= _MANY for n in values)


def _is_image(value: memoryview) -> bool:
    """Return whether an input has the lengths of images, as far as it tells them."""
    shape = part(part(part(value, 2), 1), 2)
    return all(abs(integer(length, 1)) <= _MANY for length in parts(shape, 1))


def _integers(message: memoryview, number: int) -> Iterator[int]:
    """Yield a field's signed integers, one by one or packed."""
    for field, value in fields(message):
        if field == number:
            position, packed = 0, value if isinstance(value, memoryview) else b""
            if isinstance(value, int):
                yield _signed(value)
            while position < len(packed):
                one, position = varint(memoryview(packed), position)
                yield _signed(one)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
