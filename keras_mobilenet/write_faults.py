"""What goes wrong when files are written, and what killed processes leave."""

from __future__ import annotations

import errno
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from keras_mobilenet.errors import DownloadError

# Of the disk, not of what is written.
_REASONS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_PROBE = 1 << 20  # bytes
_LONGEST = 40  # characters of a file's name in that of its temporary file
_OURS = re.compile(r"~([0-9a-f]{8})-(\d+)-[0-9a-f]{8}")


@contextmanager
def faults_of_writing(path: str) -> Iterator[None]:
    """Raise an `OSError` with the user's path and the reason where the body cannot write.

    Libraries have a dozen exceptions for a full disk, and tell of the temporary file.
    """
    try:
        yield
    except DownloadError:  # says all of it
        raise
    except Exception as error:
        code = _code_of(error, path)
        if code is None:
            raise
        raise OSError(code, os.strerror(code), path) from error


def _code_of(error: BaseException, path: str) -> int | None:
    """Return the system's number for what keeps a file from being written, None for other errors.

    Args:
        error: What the writing ended in.
        path: The file that was to be written.
    """
    cause: BaseException | None = error
    while cause is not None:
        code: int | None = getattr(cause, "errno", None)
        if code in _REASONS or (code is not None and _is_temporary(cause)):
            return code
        for known in _REASONS:
            if os.strerror(known) in str(cause):
                return known
        cause = cause.__cause__ or cause.__context__
    return None if isinstance(error, OSError) else _code_of_probe(path)


def _is_temporary(error: BaseException) -> bool:
    name = getattr(error, "filename", None)
    return isinstance(name, (str, bytes)) and _OURS.search(os.fsdecode(name)) is not None


def _code_of_probe(path: str) -> int | None:
    """Return the number of the error that writing beside a file ends in: some libraries hide it."""
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(path) or ".", buffering=0) as file:
            file.write(bytes(_PROBE))
    except OSError as error:
        return error.errno if error.errno in _REASONS else None
    return None


def temporary_name(path: str, suffix: str = "") -> str:
    """Return the path of a hidden file or folder beside `path`, to be made by this process."""
    folder, name = os.path.split(path)
    own = f"~{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return os.path.join(folder, f".{name[:_LONGEST]}{own}{suffix}")


def left_by_killed(path: str) -> list[str]:
    """Return what processes that are no more have left beside `path` under a `temporary_name`."""
    folder, name = os.path.split(path)
    found = []
    with suppress(OSError):
        for other in os.listdir(folder or "."):
            if other.startswith(f".{name[:_LONGEST]}~"):
                told = _OURS.search(other)
                if told and told[1] == _machine() and not _is_running(int(told[2])):
                    found.append(os.path.join(folder, other))
    return found


def _is_running(process: int) -> bool:
    if os.name == "nt":  # where `kill` would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


@cache
def _machine() -> str:
    """Return what tells machines, and containers on one, apart: each counts its own processes."""
    import hashlib  # noqa: PLC0415 - not needed where nothing is written
    import platform  # noqa: PLC0415

    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]
