"""Locks between processes, which the system frees however a process ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

fcntl: Any = None
with suppress(ImportError):  # Windows has none
    import fcntl

Path = str | os.PathLike[str]


@contextmanager
def locked(lock: Path, busy: str, *, timeout: float = 0) -> Iterator[None]:
    """Hold a lock, which is a file that stays: who removes one may remove another's.

    Raises:
        ValueError: another process held it for `timeout` seconds; `busy` is the message.
        OSError: its folder cannot be written to.
    """
    import filelock  # noqa: PLC0415 - takes longer to load than light commands may

    try:
        held = filelock.FileLock(lock).acquire(timeout=timeout)
    except filelock.Timeout as error:
        raise ValueError(busy) from error
    with held:
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
