"""Protocol-buffer messages, read field by field where they lie: nothing is built from them.

A parsed message can take fifty times its bytes; here a field is a view of the file's own bytes. The
few messages that are read (GraphDef, BundleEntryProto, SavedTensorSlices) are written out where
they are used, with their fields' numbers.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

from keras_mobilenet.errors import CheckpointError

MAX_FIELDS = 100_000  # of one message; that of a training graph has 20,000
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED_64: 8, _FIXED_32: 4}
_MAX_VARINT_BYTES = 10


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field's number and its value: an int, or the bytes of any other kind."""
    position = 0
    for _ in range(MAX_FIELDS):
        if position == len(message):
            return
        tag, position = varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = varint(message, position)
            yield number, value
            continue
        if kind == _LENGTH:
            size, position = varint(message, position)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise CheckpointError(f"a message is truncated or damaged (field of kind {kind})")
        if size > len(message) - position:
            raise CheckpointError("a message is truncated or damaged (a field ends past its end)")
        yield number, message[position : position + size]
        position += size
    raise CheckpointError(f"a message of more than {MAX_FIELDS:,} fields, which no MobileNet has")


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return the number of variable length at `position`, and the position behind it."""
    value = 0
    for shift in range(_MAX_VARINT_BYTES):
        if position >= len(data):
            raise CheckpointError("the file is truncated or damaged (a number has no end)")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value & (1 << 64) - 1, position
    raise CheckpointError("the file is truncated or damaged (a number of more than 64 bits)")


def integer(message: memoryview, number: int) -> int:
    """Return a field that is a signed integer; 0, as everywhere in protobuf, if it is not set."""
    value = 0
    for field, content in fields(message):
        if field == number:
            if not isinstance(content, int):
                raise CheckpointError(f"field {number} of a message is not an integer")
            value = content
    return value - (1 << 64) if value >> 63 else value


def parts(message: memoryview, number: int) -> Iterator[memoryview]:
    """Yield each value of a field that holds messages, text or bytes."""
    for field, content in fields(message):
        if field == number:
            if isinstance(content, int):
                raise CheckpointError(f"field {number} of a message is an integer")
            yield content


def part(message: memoryview, number: int) -> memoryview:
    """Return the last value of such a field; an empty one if it is not set."""
    last = memoryview(b"")
    for content in parts(message, number):
        last = content
    return last


def text(message: memoryview, number: int) -> str:
    """Return a field that is a text."""
    try:
        return str(part(message, number), "utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError("a name is not UTF-8") from error
