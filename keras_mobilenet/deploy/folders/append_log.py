"""A file that only grows, and of which a killed process leaves a usable beginning.

Results are appended a batch at a time. Whatever ends the process, what it leaves is whole records
and at most one that is cut, which `truncate` takes away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

_SYNC = 5.0  # seconds of work that a power failure may take at most


class AppendLog:
    """Records that end in a line feed, behind a header that may be empty.

    Args:
        path: The file; it is made by the first `append` or `truncate`.
        header: The file's first line.
        quoted: Whether a line feed between double quotes does not end a record, as in CSV.
    """

    def __init__(self, path: str, *, header: bytes = b"", quoted: bool = False) -> None:
        self.path = path
        self._header = header
        self._quoted = quoted
        self._file = -1
        self._synced = time.monotonic()

    def exists(self) -> bool:
        """Return whether the file is there."""
        return os.path.exists(self.path)

    def records(self) -> Iterator[tuple[bytes, int]]:
        """Yield each whole record, and the position where it ends.

        Raises:
            ValueError: the file begins with another header.
        """
        with open(self.path, "rb") as file:
            header = file.read(len(self._header))
            if not self._header.startswith(header):
                first_line = (header + file.readline()).splitlines()[0].decode("utf-8", "replace")
                expected = self._header.decode().strip()
                raise ValueError(
                    f"begins with {first_line[:200]!r}, where {expected[:200]!r} is due"
                )
            end, record = len(header), b""
            for line in file:
                record += line
                if line.endswith(b"\n") and not (self._quoted and record.count(b'"') % 2):
                    end += len(record)
                    yield record, end
                    record = b""

    def truncate(self, end: int) -> None:
        """Keep the file up to `end` (0: the header only), and be ready to append."""
        self.close()
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._file = os.open(self.path, flags, 0o666)
        os.ftruncate(self._file, end)
        os.lseek(self._file, 0, os.SEEK_END)
        if end < len(self._header):
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            self._write(self._header)

    def append(self, content: bytes) -> None:
        """Write whole records; they outlast the process, and soon after a power failure too."""
        self._write(content)
        if time.monotonic() - self._synced > _SYNC:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has everything."""
        if self._file >= 0:
            os.fsync(self._file)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Close the file, with everything on the disk."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
        self._file = -1

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)  # no buffer of Python's: a kill would take what is in it
        while rest:
            rest = rest[os.write(self._file, rest) :]
