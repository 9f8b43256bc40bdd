"""Arrays kept under the hash of what they were computed from, in memory and on disk.

A file holds what one `put` brought, and is written whole or not at all, so that a process may be
killed at any time. Each row carries its key and a checksum: what the disk has spoilt is found when
the file is opened, counts as not there, and is made again. Nothing in it is ever executed.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.files import replacing

logger = logging.getLogger(__name__)

KEY_BYTES = 32  # of a SHA-256
_SUFFIX = ".features.npy"
Array = npt.NDArray[Any]


class FeatureCache:
    """Rows by key; those of a folder are mapped into memory, and read when they are used.

    Args:
        folder: Where rows are kept, made if it is missing; None keeps them in memory only.

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(self, folder: str | PathLike[str] | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.damaged = 0  # rows that were found spoilt
        self._rows: dict[bytes, Array] = {}
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.read()

    def read(self) -> None:
        """Read what is in the folder now, other processes' rows too; equal keys, the same for all.

        Raises:
            OSError: the folder cannot be read.
        """
        if self.folder is None:
            return
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            self._add(path)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def __getitem__(self, key: bytes) -> Array:
        return self._rows[key]

    def put(self, rows: Mapping[bytes, Array]) -> None:
        """Keep rows of one shape and type under their keys, each the 32 bytes of a SHA-256.

        Raises:
            OSError: they cannot be written, as on a full disk. What was kept before is as it was.
        """
        if not rows:
            return
        if self.folder is None:
            self._rows.update(rows)
            return
        path = self.folder / f"{_name(list(rows))}{_SUFFIX}"
        with replacing(path) as temporary:
            np.save(temporary, _table(rows), allow_pickle=False)
        self._add(path)

    def _add(self, path: Path) -> None:
        """Add a file's sound rows; a file with others is replaced, one with none removed."""
        try:
            table = np.load(path, mmap_mode="r", allow_pickle=False)
            keys, sums, values = table["key"], table["sum"], table["values"]
        except (OSError, ValueError, IndexError, TypeError, EOFError) as error:
            logger.warning("%s is damaged (%s) and is made again", path, error)
            self.damaged += 1
            path.unlink(missing_ok=True)
            return
        sound = [_checksum(*row) == total for *row, total in zip(keys, values, sums, strict=True)]
        rows = {keys[i].tobytes(): values[i] for i in np.flatnonzero(sound)}
        self._rows.update(rows)
        if not all(sound):
            spoilt = sound.count(False)
            logger.warning("%s: %d of %d rows are damaged and made again", path, spoilt, len(sound))
            self.damaged += spoilt
            self.put(rows)  # in a file of their own, so that the damage is not found each time
            path.unlink(missing_ok=True)


def _table(rows: Mapping[bytes, Array]) -> Array:
    first = next(iter(rows.values()))
    kind = np.dtype(
        [("key", "u1", (KEY_BYTES,)), ("sum", "<u4"), ("values", first.dtype, first.shape)]
    )
    table = np.empty(len(rows), kind)
    for record, (key, values) in zip(table, rows.items(), strict=True):
        record["key"] = np.frombuffer(key, np.uint8)
        record["values"] = values
        record["sum"] = _checksum(record["key"], record["values"])
    return table


def _checksum(key: Array, values: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(values).data, zlib.crc32(key.tobytes()))


def _name(keys: Sequence[bytes]) -> str:
    """Return a name that no file of other rows has, nor one of the same rows that is damaged."""
    return f"{keys[0][:8].hex()}-{os.urandom(4).hex()}"
