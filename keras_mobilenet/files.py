"""Files as such: their first bytes, and writing them so that a reader sees all or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[str]:
    """Yield a temporary path in the folder of `path`; on success it takes the place of `path`.

    On any error the temporary file is removed and `path` is as it was.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1]
    handle, temporary = tempfile.mkstemp(
        dir=os.path.dirname(path) or ".", prefix=f".{os.path.basename(path)}.", suffix=suffix
    )
    os.close(handle)
    try:
        yield temporary
        _flush_to_disk(temporary)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are private
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _flush_to_disk(path: str) -> None:
    with open(path, "rb+") as file:  # Windows flushes only what is open for writing
        os.fsync(file.fileno())


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
