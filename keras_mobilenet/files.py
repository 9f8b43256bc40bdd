"""Files as such: their first bytes, and writing them so that a reader sees all or nothing."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from keras_mobilenet.errors import CheckpointError, fault

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def check_file(path: str | PathLike[str], remedy: str) -> int:
    """Return the size in bytes of a regular file that can be read.

    Whoever opens a file that a user names asks here first: a pipe or a device in its place would
    block for ever, or never end.

    Raises:
        CheckpointError: it is something else; `remedy` says what to pass instead.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(fault(path, "this is not a file.", remedy))
        with open(path, "rb"):
            return status.st_size
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        remedy = "Check the path and its permissions."
        raise CheckpointError(fault(path, f"the file cannot be read ({error}).", remedy)) from error


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
