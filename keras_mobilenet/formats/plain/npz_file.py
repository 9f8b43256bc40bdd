"""`.npz`: what `numpy.savez` writes of arrays under our names. Nothing in it is unpickled.

NumPy's own loader believes an array's header and allocates what that declares; here the header is
held against the archive's sizes first, and those against what the model needs.
"""

from __future__ import annotations

import io
import math
import tokenize
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike, Lazy, is_float
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.keras import zip_files

NAME = "NumPy .npz"
SUFFIX = ".npy"
_MAX_HEADER_BYTES = 16 << 10  # NumPy refuses those above 10,000
_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# What NumPy raises on damaged headers, which it parses as a Python literal.
_FAULTS = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)


def recognises(path: str, head: bytes) -> bool:
    """Return whether the file is a zip archive with NumPy arrays in it."""
    if not head.startswith(zip_files.SIGNATURE):
        return False
    with zip_files.opened(path) as archive:
        return any(name.endswith(SUFFIX) for name in archive.namelist())


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the archive at `path`, if it unpacks to `max_bytes` at most."""
    with zip_files.opened(path) as archive:
        yield Checkpoint(NAME, arrays(archive, max_bytes))


def arrays(
    archive: zipfile.ZipFile, max_bytes: int, *, floats: bool = True
) -> dict[str, ArrayLike]:
    """Return an archive's arrays by their names, unread, if it unpacks to `max_bytes` at most.

    With `floats`, arrays of anything else are refused; Python's objects always are.
    """
    members = archive.infolist()
    if (size := sum(member.file_size for member in members)) > max_bytes:
        raise CheckpointError(
            f"the archive unpacks to {size:,} bytes, far more than the model needs"
        )
    arrays: dict[str, ArrayLike] = {}
    for info in members:
        name = info.filename.removesuffix(SUFFIX)
        if name == info.filename:
            raise CheckpointError(f"{name!r} in the archive is no NumPy array")
        if name in arrays:
            raise CheckpointError(f"{name} is in the file twice")
        arrays[name] = _member(archive, info, name, floats)
    return arrays


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, floats: bool) -> Lazy:
    head = io.BytesIO(zip_files.content(archive, info, _MAX_HEADER_BYTES))
    shape, fortran, dtype = _header(name, head)
    if dtype.hasobject or (floats and not is_float(dtype)):
        raise CheckpointError(f"{name} holds {dtype}, not floats")
    stored = info.file_size - head.tell()
    if not all(0 <= n <= stored for n in shape) or math.prod(shape) * dtype.itemsize != stored:
        raise CheckpointError(
            f"{name} is truncated or damaged: its header declares another number of values than "
            f"the {stored:,} bytes that the archive holds"
        )

    def make() -> np.ndarray[Any, Any]:
        content = zip_files.content(archive, info, info.file_size)
        values = np.frombuffer(content, dtype, offset=start)
        return values.reshape(shape, order="F" if fortran else "C")

    start = head.tell()
    return Lazy(shape, dtype, make)


def _header(name: str, member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd literals, and of Python 2's
            version = npy.read_magic(member)
            if version not in _READ_HEADER:
                raise ValueError(f"version {version} of the format")
            shape, fortran, dtype = _READ_HEADER[version](member)
    except _FAULTS as error:
        raise CheckpointError(f"the header of {name} is truncated or damaged ({error})") from error
    return shape, fortran, dtype
