"""The parts of PNG and JPEG files, counted: each costs Pillow time, however little is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

MOST_PARTS = 10_000  # some tenths of a second; cameras and editors write a few dozen at most
_PNG = b"\x89PNG\r\n\x1a\n"
_OF_PIXELS = (b"IDAT", b"fcTL", b"fdAT")
_JPEG, _SCAN = b"\xff\xd8", 0xDA


def has_too_many_parts(path: str) -> bool:
    """Return whether a PNG or JPEG file has more than `MOST_PARTS` texts and the like.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(len(_PNG))
        if head == _PNG:
            parts: Iterator[object] = _png_parts(file)
        elif head.startswith(_JPEG):
            file.seek(len(_JPEG))
            parts = _jpeg_parts(file)
        else:
            return False
        return any(count > MOST_PARTS for count, _ in enumerate(parts, 1))


def _png_parts(file: BinaryIO) -> Iterator[bytes]:
    """Yield the names of a PNG file's chunks, without those that hold pixels."""
    while len(head := file.read(8)) == 8:
        if head[4:] not in _OF_PIXELS:
            yield head[4:]
        file.seek(int.from_bytes(head[:4]) + 4, os.SEEK_CUR)  # and the checksum


def _jpeg_parts(file: BinaryIO) -> Iterator[int]:
    """Yield the markers of a JPEG file before its pixels."""
    while len(head := file.read(4)) == 4 and head[0] == 0xFF and head[1] != _SCAN:
        yield head[1]
        file.seek(int.from_bytes(head[2:]) - 2, os.SEEK_CUR)
