"""TensorFlow 1's checkpoints of TF-slim's MobileNets, in both of their layouts.

V2 is an index, `x.index`, beside files of values, `x.data-00000-of-00001`; the path may be that of
any of them, or `x`. V1 is one file. Both are sorted tables, read here without TensorFlow, whose own
reader ends the process on some bad files.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.files import bounded_content
from keras_mobilenet.formats.arrays import ArrayLike, Lazy
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.tensorflow import crc32c, slim_net, sstable, tf_values
from keras_mobilenet.formats.tensorflow import protobuf_wire as wire
from keras_mobilenet.formats.tensorflow.slim_net import ROOTS, from_slim, is_slim_array

NAME = "TF-slim checkpoint"
INDEX = ".index"
_DATA = re.compile(r"(.+)\.data-\d{5}-of-\d{5}", re.DOTALL)
_MAX_SHARDS = 1000
# BundleHeaderProto and BundleEntryProto, of V2
_SHARDS, _BIG_ENDIAN = 1, 2
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC, _SLICES = 1, 2, 3, 4, 5, 6, 7
# SavedTensorSlices with its SavedTensorSliceMeta, SavedSliceMeta and SavedSlice, of V1
_META, _DATA_OF_SLICE = 1, 2
_META_TENSOR, _META_NAME, _META_SHAPE, _META_TYPE = 1, 1, 2, 3
_SLICE_NAME, _SLICE_EXTENTS, _SLICE_TENSOR = 1, 2, 3
_EXTENT, _EXTENT_LENGTH = 1, 2


def recognises(path: str, head: bytes) -> bool:
    """Return whether `path` is a checkpoint, one of its files, or what their names begin with."""
    return _prefix(path) is not None or (bool(head) and _is_table(path))


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint at `path`; a table is read whole, values when they are asked for."""
    prefix = _prefix(path)
    try:
        if prefix is None:
            yield slim_net.checkpoint("TF-slim checkpoint (V1)", _read_v1(path, max_bytes))
        else:
            yield slim_net.checkpoint("TF-slim checkpoint (V2)", _read_v2(prefix, max_bytes))
    except OSError as error:
        raise CheckpointError(f"the checkpoint cannot be read ({error})") from error


def _prefix(path: str) -> str | None:
    """Return what the names of a V2 checkpoint's files begin with, None if it is not one.

    A file of values has nothing but its name to be known by, nor has an index that was cut.
    """
    if _is_file(path + INDEX):
        return path
    if match := _DATA.fullmatch(path):
        return match[1] if os.path.isfile(path) else None
    prefix = path.removesuffix(INDEX)
    if prefix == path or not _is_file(path):
        return None
    return prefix if _is_table(path) or glob.glob(f"{glob.escape(prefix)}.data-*") else None


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):  # ValueError: a null character in the path
        return False


def _is_table(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            file.seek(-len(sstable.MAGIC), os.SEEK_END)
            return file.read() == sstable.MAGIC
    except OSError:
        return False


def _table(path: str, max_bytes: int) -> memoryview:
    if not _is_file(path):
        raise CheckpointError(f"its file {os.path.basename(path)} is missing")
    return memoryview(bounded_content(path, max_bytes))


def _read_v2(prefix: str, max_bytes: int) -> dict[str, ArrayLike]:
    variables: dict[str, ArrayLike] = {}
    shards = None
    for key, entry in sstable.entries(_table(prefix + INDEX, max_bytes)):
        if not key:
            shards = _shards(prefix, entry)
        elif shards is None:
            raise CheckpointError("the index is damaged (it does not begin with a header)")
        else:
            name = _text(key)
            stored = _stored(shards, name, entry)
            if is_slim_array(name):
                variables |= _variable(stored, name, entry)
    return variables


def _shards(prefix: str, header: memoryview) -> list[str]:
    count = wire.integer(header, _SHARDS)
    if not 0 < count <= _MAX_SHARDS or wire.integer(header, _BIG_ENDIAN):
        raise CheckpointError(f"a checkpoint of {count} files or of big-endian values")
    return [f"{prefix}.data-{i:05}-of-{count:05}" for i in range(count)]


def _variable(stored: _Stored, name: str, entry: memoryview) -> dict[str, ArrayLike]:
    """Return a variable whose values are all in the file; nothing for one of training."""
    number = wire.integer(entry, _DTYPE)
    axes = tf_values.shape(wire.part(entry, _SHAPE), name)
    if not name.startswith(tuple(ROOTS.values())) and (number not in tf_values.FLOATS or not axes):
        return {}
    if any(True for _ in wire.parts(entry, _SLICES)):
        raise CheckpointError(f"{name} is stored in slices, which is not supported")
    dtype = tf_values.floats(number, name)
    tf_values.check_size(name, axes, dtype, stored.size)
    return {name: Lazy(axes, dtype, partial(_values, stored, dtype, axes))}


def _stored(shards: list[str], name: str, entry: memoryview) -> _Stored:
    """Return where values lie, if they lie in a file that is there."""
    offset, size = wire.integer(entry, _OFFSET), wire.integer(entry, _SIZE)
    shard = wire.integer(entry, _SHARD)
    if not 0 <= shard < len(shards):
        raise CheckpointError(f"{name} lies in file {shard} of {len(shards)}")
    file_name = os.path.basename(shards[shard])
    if not _is_file(shards[shard]):
        raise CheckpointError(f"{name} lies in {file_name}, a file that is missing")
    if offset < 0 or size < 0 or offset + size > os.path.getsize(shards[shard]):
        raise CheckpointError(f"{file_name} is truncated: {name} would end past its end")
    crc = int.from_bytes(wire.part(entry, _CRC), "little")
    return _Stored(shards[shard], name, offset, size, crc)


@dataclass(frozen=True)
class _Stored:
    """Where the values of a variable lie."""

    path: str
    name: str
    offset: int
    size: int
    crc: int


def _values(stored: _Stored, dtype: np.dtype[Any], axes: tuple[int, ...]) -> np.ndarray[Any, Any]:
    with open(stored.path, "rb") as file:
        file.seek(stored.offset)
        content = file.read(stored.size)
    if len(content) != stored.size or crc32c.masked(content) != stored.crc:
        raise CheckpointError(f"{stored.name} is damaged (its checksum is wrong)")
    return np.frombuffer(content, dtype).reshape(axes)


def _read_v1(path: str, max_bytes: int) -> dict[str, ArrayLike]:
    variables: dict[str, ArrayLike] = {}
    metas: dict[str, memoryview] | None = None
    for key, value in sstable.entries(_table(path, max_bytes)):
        if metas is None:
            metas = _metas(key, value)
            continue
        for saved in wire.parts(value, _DATA_OF_SLICE):
            name = wire.text(saved, _SLICE_NAME)
            if name in variables:
                raise CheckpointError(f"{name} is stored in slices, which is not supported")
            if is_slim_array(name):
                variables |= _saved(name, metas, saved)
    missing = [n for n in metas or {} if n in from_slim() and n not in variables]
    if missing:
        raise CheckpointError(f"the values of {missing[0]} are missing")
    return variables


def _metas(key: bytes, value: memoryview) -> dict[str, memoryview]:
    """Return each variable's type and shape, from the first entry of a V1 table."""
    metas = [content for number, content in wire.fields(value) if number == _META]
    if key or len(metas) != 1 or isinstance(metas[0], int):
        raise CheckpointError(
            "this is a sorted table, but no checkpoint in one file. If it is the index of one, "
            f"give it its name, with {INDEX} at the end, beside its .data file"
        )
    return {wire.text(meta, _META_NAME): meta for meta in wire.parts(metas[0], _META_TENSOR)}


def _saved(name: str, metas: dict[str, memoryview], saved: memoryview) -> dict[str, ArrayLike]:
    if name not in metas:
        raise CheckpointError(f"{name} has values, but no type and shape")
    number = wire.integer(metas[name], _META_TYPE)
    axes = tf_values.shape(wire.part(metas[name], _META_SHAPE), name)
    if not name.startswith(tuple(ROOTS.values())) and (number not in tf_values.FLOATS or not axes):
        return {}
    for extent in wire.parts(wire.part(saved, _SLICE_EXTENTS), _EXTENT):
        if any(field == _EXTENT_LENGTH for field, _ in wire.fields(extent)):
            raise CheckpointError(f"{name} is stored in slices, which is not supported")
    return {name: tf_values.from_tensor(wire.part(saved, _SLICE_TENSOR), number, axes, name)}


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError("a name is not UTF-8") from error
