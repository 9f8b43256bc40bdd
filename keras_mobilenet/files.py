"""Files as such: written whole or not at all, locked between processes, and what goes wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from os import PathLike
from typing import Any

from keras_mobilenet.errors import CheckpointError, DownloadError, fault

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MODELS = ("model.keras", "model.tflite")  # in the folder of a run, and in that of a page


def integrity(content: bytes, algorithm: str) -> str:
    """Return a content's hash as browsers take it, in base 64 behind the algorithm's name."""
    digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm}-{b64encode(digest).decode('ascii')}"


def check_file(path: str | PathLike[str], remedy: str) -> int:
    """Return the size in bytes of a regular file that can be read.

    Whoever opens a file that a user names asks here first: a pipe or a device in its place would
    block for ever, or never end.

    Raises:
        CheckpointError: it is something else; `remedy` says what to pass instead.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise CheckpointError(fault(path, "this is a folder.", model_within(path) or remedy))
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(fault(path, "this is not a file.", remedy))
        with open(path, "rb"):
            return status.st_size
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        remedy = "Check the path and its permissions."
        raise CheckpointError(fault(path, f"the file cannot be read ({error}).", remedy)) from error


def model_within(folder: str | PathLike[str]) -> str | None:
    """Return which file to pass in the place of a run's or a page's folder; None for others."""
    paths = (os.path.join(folder, name) for name in _MODELS)
    return next((f"Pass the model in it, {path}." for path in paths if os.path.isfile(path)), None)


def bounded_content(path: str, max_bytes: int) -> bytes:
    """Return what is in a file of `max_bytes` at most.

    Raises:
        CheckpointError: it has more.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > max_bytes:
            raise CheckpointError(f"a file of {size:,} bytes, far more than the model needs")
        return file.read(size)


def check_around(path: str) -> None:
    """Raise OSError unless the folder that a file is to be written into is there."""
    if not os.path.isdir(around := os.path.dirname(path) or "."):
        code = errno.ENOTDIR if os.path.lexists(around) else errno.ENOENT
        raise OSError(code, f"{around} is not a folder. Make it, or name another path", path)


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
        check_around(path)
        for leftover in left_by_killed(path):
            with suppress(OSError):
                os.unlink(leftover)
        temporary = temporary_name(path, os.path.splitext(path)[1])
        try:
            # The system takes the umask off; reading it would change it for a moment.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            mode = os.stat(temporary).st_mode  # safetensors makes a file anew, for its owner alone
            with faults_of_writing(path):  # while the disk is as full as it was
                yield temporary
            _flush_to_disk(temporary)
            with suppress(FileNotFoundError):
                mode = os.stat(path).st_mode
            os.chmod(temporary, stat.S_IMODE(mode))
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


@contextmanager
def filling(folder: str | PathLike[str]) -> Iterator[str]:
    """Yield a temporary folder, whose files take their places in `folder` once all are there.

    On any error none does. A folder that is there keeps its other files; those that it is to be
    in are made, as a run's are.

    Raises:
        OSError: the files cannot be written; it names `folder` and the reason.
    """
    path = os.path.normpath(folder)
    with faults_of_writing(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        for leftover in left_by_killed(path):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = temporary_name(path)
        os.mkdir(temporary)
        try:
            yield temporary
            for name in os.listdir(temporary):
                _flush_to_disk(os.path.join(temporary, name))
            if not os.path.exists(path):
                os.rename(temporary, path)
                return
            for name in os.listdir(temporary):
                os.replace(os.path.join(temporary, name), os.path.join(path, name))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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
            left = memoryview(bytes(_PROBE))
            while left:  # what still has room is written without an error
                left = left[file.write(left) :]
    except OSError as error:
        return error.errno if error.errno in _REASONS else None
    return None


def temporary_name(path: str, suffix: str = "") -> str:
    """Return the path of a hidden file or folder beside `path`, to be made by this process."""
    folder, name = os.path.split(path)
    mark = f"~{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return os.path.join(folder, f".{name[:_LONGEST]}{mark}{suffix}")


def left_by_killed(path: str) -> list[str]:
    """Return what processes that are no more have left beside `path` under a `temporary_name`."""
    folder, name = os.path.split(path)
    leftovers = []
    with suppress(OSError):
        for other in os.listdir(folder or "."):
            if other.startswith(f".{name[:_LONGEST]}~"):
                owner = _OURS.search(other)
                if owner and owner[1] == _machine() and not _is_running(int(owner[2])):
                    leftovers.append(os.path.join(folder, other))
    return leftovers


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


fcntl: Any = None
with suppress(ImportError):  # Windows has none
    import fcntl
Path = str | os.PathLike[str]


@contextmanager
def locked(
    lock: Path, busy: str, *, timeout: float = 0, error: type[Exception] = ValueError
) -> Iterator[None]:
    """Hold a lock, which is a file that stays: who removes one may remove another's.

    The system frees the lock of a process that ends, however it ends.

    Raises:
        ValueError: another process held it for `timeout` seconds; `busy` is the message, and
            `error` the exception.
        OSError: its folder cannot be written to.
    """
    import filelock  # noqa: PLC0415 - takes longer to load than light commands may

    try:
        acquired = filelock.FileLock(lock).acquire(timeout=timeout)
    except filelock.Timeout as timed_out:
        raise error(busy) from timed_out
    with acquired:
        yield


@contextmanager
def briefly_locked(lock: Path, busy: str) -> Iterator[None]:
    """Hold a lock, which is a file that is there meanwhile only.

    Raises:
        ValueError: another process holds it; `busy` is the message.
        OSError: its folder cannot be written to.
    """
    if fcntl is None:
        with locked(lock, busy):
            yield
        return
    handle = _handle(lock, busy)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(lock)  # while it is held: whoever opened it before tries again
        os.close(handle)


def _handle(lock: Path, busy: str) -> int:
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                return handle
        except FileNotFoundError:  # removed by who had it
            pass
        except BlockingIOError as error:
            os.close(handle)
            raise ValueError(busy) from error
        os.close(handle)
