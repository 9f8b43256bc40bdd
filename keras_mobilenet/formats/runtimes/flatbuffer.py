"""Flatbuffers, read where they lie: every place is held against the file's end before it is read.

The classes that flatbuffers' compiler makes check nothing, and native code follows whatever a
damaged file says, out of the file's memory.

Source: flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from typing import Any

from keras_mobilenet.errors import CheckpointError

MAX_ITEMS = 10_000  # of a vector of tables; a MobileNet has under 200
_WIDTHS = {"b": 1, "B": 1, "?": 1, "h": 2, "H": 2, "i": 4, "I": 4, "f": 4, "q": 8, "Q": 8}


class Table:
    """A table of a flatbuffer; its fields are known by their slots, in the schema's order."""

    def __init__(self, content: bytes, position: int) -> None:
        self.content, self._position = content, position
        vtable = position - _number(content, position, "i")
        size, self._size = (_number(content, vtable + n, "H") for n in (0, 2))
        if size < 4 or size % 2 or self._size < 4 or position + self._size > len(content):
            raise _damaged("a table ends past the file's end")
        slots = (size - 4) // 2
        _check_range(content, vtable + 4, 2 * slots)
        self._offsets: tuple[int, ...] = struct.unpack_from(f"<{slots}H", content, vtable + 4)
        if any(offset and not 4 <= offset < self._size for offset in self._offsets):
            raise _damaged("a field lies outside of its table")

    def number(self, slot: int, kind: str = "i", default: int = 0) -> Any:
        """Return a field that is a number, of a kind as `struct` names it."""
        place = self._place(slot, _WIDTHS[kind])
        return default if place is None else _number(self.content, place, kind)

    def numbers(self, slot: int, kind: str = "i") -> tuple[Any, ...]:
        """Return a field that is a vector of numbers."""
        start, count = self.vector(slot, _WIDTHS[kind])
        return struct.unpack_from(f"<{count}{kind}", self.content, start)

    def vector(self, slot: int, width: int = 1) -> tuple[int, int]:
        """Return where a vector's items begin, and how many there are; none where it is not set."""
        place = self._reference(slot)
        if place is None:
            return 0, 0
        count = _number(self.content, place, "I")
        _check_range(self.content, place + 4, count * width)
        return place + 4, count

    def table(self, slot: int) -> Table | None:
        """Return a field that is a table, a union's too."""
        place = self._reference(slot)
        return None if place is None else Table(self.content, place)

    def tables(self, slot: int) -> list[Table]:
        """Return a field that is a vector of tables."""
        start, count = self.vector(slot, 4)
        if count > MAX_ITEMS:
            raise CheckpointError(f"the file declares {count:,} tables, which no MobileNet has")
        places = range(start, start + 4 * count, 4)
        return [Table(self.content, p + _number(self.content, p, "I")) for p in places]

    def text(self, slot: int) -> str:
        """Return a field that is a text, as far as a message shows it."""
        start, count = self.vector(slot)
        if start and (start + count >= len(self.content) or self.content[start + count]):
            raise _damaged("a text has no end")
        return self.content[start : start + min(count, 200)].decode("utf-8", "replace")

    def _reference(self, slot: int) -> int | None:
        place = self._place(slot, 4)
        return None if place is None else place + int(_number(self.content, place, "I"))

    def _place(self, slot: int, width: int) -> int | None:
        offset = self._offsets[slot] if slot < len(self._offsets) else 0
        if offset and offset + width > self._size:
            raise _damaged("a field ends past its table")
        return self._position + offset if offset else None


def root(content: bytes) -> Table:
    """Return the table that a flatbuffer begins with."""
    return Table(content, _number(content, 0, "I"))


def _number(content: bytes, place: int, kind: str) -> Any:
    _check_range(content, place, _WIDTHS[kind])
    return struct.unpack_from(f"<{kind}", content, place)[0]


def _check_range(content: bytes, start: int, size: int) -> None:
    if not 0 <= start <= len(content) - size:
        raise _damaged("it points past its end")


def _damaged(found: str) -> CheckpointError:
    return CheckpointError(f"the TFLite file is truncated or damaged ({found})")
