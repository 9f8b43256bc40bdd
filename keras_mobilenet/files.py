"""Files as such: their first bytes, and writing them so that a reader sees all or nothing."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike

from keras_mobilenet.errors import CheckpointError, fault
from keras_mobilenet.write_faults import faults_of_writing, left_by_killed, temporary_name

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

    On any error the temporary file is removed and `path` is as it was. A link is followed, and the
    permissions of a file that was there are kept.

    Raises:
        OSError: the file cannot be written, whatever exception a library has for that; it names
            `path` and the reason.
    """
    path = os.path.realpath(path) if os.path.islink(path) else os.fspath(path)
    with faults_of_writing(path):
        for leftover in left_by_killed(path):
            with suppress(OSError):
                os.unlink(leftover)
        temporary = temporary_name(path, os.path.splitext(path)[1])
        try:
            # The system takes the umask off; reading it would change it for a moment.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            with faults_of_writing(path):  # while the disk is as full as it was
                yield temporary
            _flush_to_disk(temporary)
            with suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


@contextmanager
def temporary_folder() -> Iterator[str]:
    """Yield a folder in the system's place for them; what killed processes left there is removed.

    Raises:
        OSError: that place is full; the error names it.
    """
    path = os.path.join(tempfile.gettempdir(), "keras-mobilenet")
    with faults_of_writing(path):
        for leftover in left_by_killed(path):
            shutil.rmtree(leftover, ignore_errors=True)
        folder = temporary_name(path)
        os.mkdir(folder, 0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _flush_to_disk(path: str) -> None:
    with open(path, "rb+") as file:  # Windows flushes only what is open for writing
        os.fsync(file.fileno())
