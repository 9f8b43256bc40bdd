"""Locks between processes, which the system frees however a process ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def locked(lock: str | os.PathLike[str], busy: str, *, timeout: float = 0) -> Iterator[None]:
    """Hold a lock, which is a file that stays: who removed it could remove another's.

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
