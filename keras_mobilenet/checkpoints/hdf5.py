"""HDF5 files, opened with care: what both Keras H5 layouts share.

An HDF5 file can point at other files, at itself, and at terabytes that it does not hold. Only plain
groups and plain float data sets behind hard links are let through; nothing is read here but names
and headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import h5py
import numpy as np

from keras_mobilenet.arrays import is_float
from keras_mobilenet.errors import CheckpointError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 20_000  # a MobileNet with optimizer has under 1,000
MAX_DEPTH = 16
FILTERS = {1, 2, 3, 32000}  # gzip, shuffle, fletcher32, lzf: codes of those h5py always has


@contextmanager
def opened(path: str | IO[bytes]) -> Iterator[h5py.File]:
    """Yield an HDF5 file, open for reading; h5py's errors come out as `CheckpointError`."""
    try:
        # locking=False: reading works on read-only and network file systems too
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
        raise CheckpointError(f"the HDF5 file is truncated or damaged ({error})") from error


def group(parent: h5py.Group, name: str) -> h5py.Group:
    """Return the group at `name` below `parent`, a path of hard links."""
    return _child(parent, name, h5py.Group)


def dataset(parent: h5py.Group, name: str) -> h5py.Dataset:
    """Return the data set at `name` below `parent`, if its values lie in this file as floats."""
    found = _child(parent, name, h5py.Dataset)
    where = f"{parent.name}/{name}".replace("//", "/")
    if found.is_virtual or found.external:
        raise CheckpointError(f"{where} takes its values from another file")
    if found.shape is None or not is_float(found.dtype):
        raise CheckpointError(f"{where} holds {found.dtype}, not floats")
    _refuse_unknown_filters(found, where)
    return found


def children(parent: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """Yield the names and groups right below `parent`."""
    for name in parent:
        if isinstance(parent.get(name, getlink=True), h5py.HardLink):
            child = parent[name]
            if isinstance(child, h5py.Group):
                yield name, child


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
    texts = [v.decode("utf-8") if isinstance(v, bytes) else v for v in np.ravel(values)]
    if not all(isinstance(text, str) for text in texts):
        raise CheckpointError(f"the attribute {attribute!r} is not a list of names")
    return texts


def _child(parent: h5py.Group, path: str, kind: type) -> Any:
    """Return what lies at `path`; links out of the file, and other kinds, are refused."""
    current: Any = parent
    for name in path.split("/"):
        link = current.get(name, getlink=True) if isinstance(current, h5py.Group) else None
        if link is None:
            raise CheckpointError(f"{current.name} has no entry {name!r}")
        if not isinstance(link, h5py.HardLink):
            raise CheckpointError(f"{current.name} holds a {type(link).__name__}, {name!r}")
        current = current[name]
    if not isinstance(current, kind):
        raise CheckpointError(f"{current.name} is not a {kind.__name__.lower()}")
    return current


def _refuse_unknown_filters(found: h5py.Dataset, where: str) -> None:
    properties = found.id.get_create_plist()
    codes = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if codes - FILTERS:
        numbers = ", ".join(map(str, sorted(codes - FILTERS)))
        raise CheckpointError(f"{where} is packed with an unknown HDF5 filter, {numbers}")
