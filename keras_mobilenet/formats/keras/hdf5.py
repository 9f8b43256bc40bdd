"""HDF5 files, opened with care: what both Keras H5 layouts share.

An HDF5 file can point at other files, at itself, and at terabytes that it does not hold. Only plain
groups and plain float data sets behind hard links are let through. Names and headers are read at
once, values when they are asked for, and only if they unpack to no more than they declare.
"""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

import h5py
import numpy as np

from keras_mobilenet.errors import CheckpointError, damage_as_error
from keras_mobilenet.formats.arrays import Lazy, is_float
from keras_mobilenet.formats.checkpoint import INFO
from keras_mobilenet.formats.checkpoint import conventions as _conventions
from keras_mobilenet.nets.conventions import Conventions

MAX_OBJECTS = 20_000  # a MobileNet with optimizer has under 1,000
MAX_DEPTH = 16
_LINKS = {
    h5py.h5l.TYPE_HARD: "HardLink",
    h5py.h5l.TYPE_SOFT: "SoftLink",
    h5py.h5l.TYPE_EXTERNAL: "ExternalLink",
}
METADATA = "keras_mobilenet"  # the attribute in which our files tell their conventions
_ATTRIBUTE = 60_000  # characters, in ASCII; HDF5 holds 64 KiB at most
MAX_CHUNK_BYTES = 64 << 20  # a chunk is unpacked whole, however few of its values are asked for
GZIP, FLETCHER32 = 1, 3  # codes of HDF5's filters
FILTERS = {GZIP, 2, FLETCHER32}  # 2: shuffle; others may take memory without bound
# What h5py raises on damaged files; TypeError and ValueError on types that NumPy does not have.
_FAULTS = (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError, zlib.error)


@contextmanager
def opened(path: str | IO[bytes]) -> Iterator[h5py.File]:
    """Yield an HDF5 file, open for reading; h5py's errors come out as `CheckpointError`."""
    # locking=False: reading works on read-only and network file systems too
    with (
        damage_as_error("the HDF5 file", _FAULTS),
        h5py.File(path, "r", locking=False) as file,
    ):
        yield file


def group(parent: h5py.Group, name: str) -> h5py.Group:
    """Return the group at `name` below `parent`, a path of hard links."""
    return _child(parent, name, h5py.Group)


def values(parent: h5py.Group, name: str) -> Lazy:
    """Return the values at `name` below `parent`, if they lie in this file as numbers.

    Whole numbers are a user's: a `Normalization` layer counts what it has seen.
    """
    dataset = _child(parent, name, h5py.Dataset)
    where = f"{parent.name}/{name}".replace("//", "/")
    _check_inside(dataset, where)
    is_whole = dataset.dtype.kind in "iu" and dataset.shape is not None and not _is_hollow(dataset)
    if not is_float(dataset.dtype) and not is_whole:
        raise CheckpointError(f"{where} holds {dataset.dtype}, not floats")
    if dataset.shape is None:
        raise CheckpointError(f"{where} holds no values")
    _check_stored(dataset, where)
    return Lazy(tuple(dataset.shape), dataset.dtype, partial(_read, dataset, where))


def _check_inside(dataset: h5py.Dataset, where: str) -> None:
    if dataset.is_virtual or dataset.external:
        raise CheckpointError(f"{where} takes its values from another file")


def _check_stored(dataset: h5py.Dataset, where: str) -> None:
    """Raise unless the values that are declared are there, packed as Keras may pack them."""
    if _is_hollow(dataset):
        raise CheckpointError(f"{where} declares values that the file does not hold")
    if unknown := sorted(set(_filters(dataset)) - FILTERS):
        numbers = ", ".join(map(str, unknown))
        raise CheckpointError(f"{where} is packed with an unknown HDF5 filter, {numbers}")


def _read(dataset: h5py.Dataset, where: str) -> np.ndarray[Any, Any]:
    _refuse_bombs(dataset, where)
    return np.asarray(dataset)


def held_values(root: h5py.Group) -> int:
    """Return how many values a file holds; whatever HDF5 would follow elsewhere is refused.

    What others read without looking is held to the same rules as what is read here.
    """
    count, seen, waiting = 0, set(), [root]
    while waiting:
        parent = waiting.pop()
        for name in names(parent):
            child = _child(parent, name, h5py.HLObject)
            if (place := h5py.h5o.get_info(child.id).addr) in seen:
                continue
            seen.add(place)
            if isinstance(child, h5py.Group):
                waiting.append(child)
            elif isinstance(child, h5py.Dataset) and child.shape:
                _check_inside(child, child.name)
                _check_stored(child, child.name)
                _refuse_bombs(child, child.name)
                count += child.size
        if len(seen) > MAX_OBJECTS:
            raise CheckpointError(f"more than {MAX_OBJECTS:,} objects, which no MobileNet has")
    return count


def write_metadata(file: h5py.File, metadata: Mapping[str, str]) -> None:
    """Record what a file of ours says of itself; Keras passes over it."""
    text = json.dumps(dict(metadata))
    parts = [text[i : i + _ATTRIBUTE] for i in range(0, len(text), _ATTRIBUTE)]
    names = [METADATA] if len(parts) == 1 else [f"{METADATA}{i}" for i in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        file.attrs[name] = part


def read_metadata(file: h5py.File) -> tuple[Conventions | None, str | None]:
    """Return the conventions and the info that a file of ours tells; None for Keras' own."""
    parts = text_list(file, METADATA)
    if parts is None:
        return None, None
    record = json.loads("".join(parts))
    if not isinstance(record, dict):
        raise CheckpointError("the metadata's conventions are damaged")
    info = record.get(INFO)
    return _conventions(record), info if isinstance(info, str) else None


def names(parent: h5py.Group) -> list[str]:
    """Return the names right below `parent`."""
    if len(parent) > MAX_OBJECTS:
        raise CheckpointError(f"{len(parent)} objects in one group, which no MobileNet has")
    names = list(parent)
    if not all(isinstance(name, str) for name in names):  # h5py leaves what is not UTF-8 as bytes
        raise CheckpointError(f"{parent.name} holds a name that is not UTF-8")
    return names


def groups(parent: h5py.Group, path: str = "", depth: int = 0) -> Iterator[tuple[str, h5py.Group]]:
    """Yield each group below `parent`, with its path from there."""
    if depth > MAX_DEPTH:
        raise CheckpointError(f"groups are nested more than {MAX_DEPTH} deep")
    for name in names(parent):
        if isinstance(parent.get(name, getlink=True), h5py.HardLink):
            child, child_path = parent[name], f"{path}/{name}"
            if isinstance(child, h5py.Group):
                yield child_path, child
                yield from groups(child, child_path, depth + 1)


def text_list(parent: h5py.Group, attribute: str) -> list[str] | None:
    """Return an attribute that is a list of names, or None if there is none.

    Keras splits a long list into `attribute0`, `attribute1`, ...
    """
    if attribute in parent.attrs:
        return _texts(parent.attrs[attribute], attribute)
    chunks: list[str] = []
    while (name := f"{attribute}{len(chunks)}") in parent.attrs:
        chunks.append(name)
    return [text for name in chunks for text in _texts(parent.attrs[name], name)] or None


def _texts(values: Any, attribute: str) -> list[str]:
    flat = np.ravel(values)
    texts = [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for v in flat]
    if not all(isinstance(text, str) for text in texts):
        raise CheckpointError(f"the attribute {attribute!r} holds something else than names")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:  # surrogates, which h5py makes as well
        raise CheckpointError(f"{attribute!r} holds a name that is not UTF-8") from error
    return texts


def _child(parent: h5py.Group, path: str, kind: type) -> Any:
    """Return what lies at `path`; links out of the file, and other kinds, are refused."""
    current: Any = parent
    for name in path.split("/"):
        if not isinstance(current, h5py.Group) or not (link := _link_type(current, name)):
            raise CheckpointError(f"{current.name} has no entry {name!r}")
        if link != "HardLink":
            raise CheckpointError(f"{name!r} in {current.name} is no hard link ({link})")
        current = current[name]
    if not isinstance(current, kind):
        raise CheckpointError(f"{current.name} is not a {kind.__name__.lower()}")
    return current


def _link_type(group: h5py.Group, name: str) -> str:
    """Return h5py's name for the kind of link, "" where there is none.

    `Group.get(name, getlink=True)` says the same, at three times the price.
    """
    try:
        link = group.id.links.get_info(name.encode("utf-8"))
    except (KeyError, RuntimeError, ValueError):  # ValueError: a null character, or no name
        return ""
    return _LINKS.get(link.type, "unknown")


def _is_hollow(dataset: h5py.Dataset) -> bool:
    """Return whether values are declared that were never written; HDF5 would fill in zeros."""
    if dataset.chunks is None:
        return bool(dataset.size and not dataset.id.get_storage_size())
    chunks = (math.ceil(n / chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    return bool(dataset.id.get_num_chunks() < math.prod(chunks))


def _filters(dataset: h5py.Dataset) -> list[int]:
    """Return the codes of the filters that the values were packed with, in order."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


def _refuse_bombs(dataset: h5py.Dataset, where: str) -> None:
    """Refuse chunks that are large, or unpack to more than they declare: HDF5 would follow them."""
    if dataset.chunks is None:
        return
    chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if chunk_bytes > MAX_CHUNK_BYTES:
        raise CheckpointError(f"{where} is stored in chunks of {chunk_bytes:,} bytes")
    filters = _filters(dataset)
    if GZIP not in filters:
        return
    if filters[filters.index(GZIP) + 1 :] not in ([], [FLETCHER32]):
        raise CheckpointError(f"{where} is packed with HDF5 filters in an unknown order, {filters}")
    starts = (range(0, n, chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    for offset in itertools.product(*starts):
        skipped, packed = dataset.id.read_direct_chunk(offset)
        if skipped >> filters.index(GZIP) & 1:
            continue
        if len(zlib.decompressobj().decompress(packed, chunk_bytes + 1)) > chunk_bytes:
            raise CheckpointError(f"{where} unpacks to more bytes than it declares")
