"""TFLite files, verified before a native interpreter gets them, which checks next to nothing.

What points out of the file, or declares more memory than a net of images takes, is refused. Beyond
that, each operator is held against what its kernel does: where this module knows the kernel and
the shapes are those that it makes, the file cannot surprise; else somebody has to try it out.

Slots and codes are those of TFLite's schema.fbs.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from keras_mobilenet.deploy.engines.checks import tflite_kernels
from keras_mobilenet.deploy.engines.checks.tflite_kernels import BYTES, Step, Value
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.runtimes.flatbuffer import Table, root

MAX_TENSOR_BYTES = 1 << 30
MAX_ARENA_BYTES = 2 << 30  # of all tensors that a net computes; MobileNet's take 50 MB at 224
_MAX_AXES = 8
_MAX_GRAPHS = 64
_VERSION = 3
_SCALES = (1e-20, 1e20)  # beyond them the kernels' integer multipliers leave their range


@dataclass(frozen=True)
class _Buffer:
    start: int
    size: int


def check(content: bytes) -> bool:
    """Return whether a TFLite file is known to be harmless; False if it has to be tried out.

    Raises:
        CheckpointError: it is damaged, or declares more than any net of images takes.
    """
    try:
        return _check(content)
    except (struct.error, OverflowError) as error:
        raise CheckpointError(f"the TFLite file is truncated or damaged ({error})") from error


def _check(content: bytes) -> bool:
    model = root(content)
    if (version := model.number(0, "I")) != _VERSION:
        raise CheckpointError(f"the TFLite file is of version {version} of the format")
    codes = [_code(table) for table in model.tables(1)]
    buffers = [_buffer(table) for table in model.tables(4)]
    model.text(3)
    model.numbers(5)
    _check_metadata(model, len(buffers))
    graphs = model.tables(2)
    if not 1 <= len(graphs) <= _MAX_GRAPHS:
        raise CheckpointError(f"the TFLite file holds {len(graphs)} graphs")
    known = [_check_graph(graph, codes, buffers) for graph in graphs]
    return known == [True] and _check_signatures(model) and not model.tables(9)


def _code(table: Table) -> int:
    table.text(1)
    # Files of before 2020 have the first of the two only, a byte.
    return max(int(table.number(0, "b")), int(table.number(3, "i")))


def _buffer(table: Table) -> _Buffer:
    if table.number(1, "Q") > 1:
        raise CheckpointError("a tensor lies outside of the flatbuffer, which is not supported")
    return _Buffer(*table.vector(0))


def _check_metadata(model: Table, buffers: int) -> None:
    for table in model.tables(6):
        table.text(0)
        if table.number(1, "I") >= buffers:
            raise CheckpointError("the TFLite file is damaged (metadata in no buffer)")


def _check_signatures(model: Table) -> bool:
    """Check the texts and return whether all signatures are of the only graph."""
    count, one = len(model.tables(2)[0].tables(0)), True
    for signature in model.tables(7):
        signature.text(2)
        for slot in (0, 1):
            for entry in signature.tables(slot):
                entry.text(0)
                one &= entry.number(1, "I") < count
        one &= signature.number(4, "I") == 0
    return one


def _check_graph(graph: Table, codes: list[int], buffers: list[_Buffer]) -> bool:
    graph.text(4)
    tensors = [_tensor(table, buffers) for table in graph.tables(0)]
    _check_indices(graph.numbers(1) + graph.numbers(2), len(tensors))
    arena = sum(tensor.bytes for tensor in tensors if not tensor.stored)
    if arena > MAX_ARENA_BYTES:
        raise CheckpointError(f"its tensors take {arena:,} bytes, more than any net of images")
    steps = [_step(table, codes, len(tensors)) for table in graph.tables(3)]
    return tflite_kernels.are_known(graph.numbers(1), graph.numbers(2), tensors, steps)


def _tensor(table: Table, buffers: list[_Buffer]) -> Value:
    name, shape = table.text(3), table.numbers(0)
    kind, number, signature = table.number(1, "b"), table.number(2, "I"), table.numbers(7)
    if number >= len(buffers):
        raise CheckpointError(f"the tensor {name!r} lies in no buffer of the file")
    if len(shape) > _MAX_AXES or min(shape, default=0) < 0 or min(signature, default=0) < -1:
        raise CheckpointError(f"the tensor {name!r} has the impossible shape {shape[:9]}")
    size = math.prod(shape) * BYTES.get(kind, 8)
    if size > MAX_TENSOR_BYTES:
        raise CheckpointError(
            f"the tensor {name!r} of shape {shape} would take {size:,} bytes, more than any net of "
            "images needs"
        )
    buffer = buffers[number]
    if buffer.size and kind in BYTES and buffer.size != size:
        raise CheckpointError(
            f"the tensor {name!r} of shape {shape} takes {size:,} bytes, and the file holds "
            f"{buffer.size:,}"
        )
    content = memoryview(table.content)[buffer.start : buffer.start + buffer.size]
    plain = not (table.number(5, "?") or table.table(6) or table.tables(9) or table.number(10, "I"))
    scales, quantised = _quantization(table.table(4), shape)
    plain &= kind in BYTES and quantised and len(signature) in (0, len(shape))
    return Value(shape, kind, content, scales, plain)


def _quantization(table: Table | None, shape: tuple[int, ...]) -> tuple[int, bool]:
    """Return how many scales there are, and whether they are in order."""
    if table is None:
        return 0, True
    for slot in (0, 1):
        table.numbers(slot, "f")
    scales, zeros = table.numbers(2, "f"), table.numbers(3, "q")
    axis, fits = table.number(6), len(scales) in (0, 1)
    if len(scales) > 1:
        fits = 0 <= axis < len(shape) and shape[axis] == len(scales)
    sane = all(_SCALES[0] < scale < _SCALES[1] for scale in scales)
    return len(scales), fits and sane and len(zeros) == len(scales) and not table.number(4, "B")


def _step(table: Table, codes: list[int], tensors: int) -> Step:
    if (code := table.number(0, "I")) >= len(codes):
        raise CheckpointError("the TFLite file is damaged (an operator of no known kind)")
    inputs, outputs, between = (table.numbers(slot) for slot in (1, 2, 8))
    _check_indices((*(n for n in (*inputs, *between) if n != -1), *outputs), tensors)
    table.vector(5)
    plain = not (between or any(table.numbers(7, "?")) or table.table(12) or table.number(9, "Q"))
    return Step(codes[code], inputs, outputs, table.number(3, "B"), table.table(4), plain)


def _check_indices(indices: tuple[int, ...], count: int) -> None:
    if not all(0 <= index < count for index in indices):
        raise CheckpointError(
            "the TFLite file is damaged (an operator of tensors that are not there)"
        )
