"""LevelDB's sorted tables, in which TensorFlow writes its checkpoints: bytes in, entries out.

TensorFlow's own reader trusts what it has opened: a table whose checksums are right and whose
shapes are not ends the process. This one checks each step, and never holds more than the file.

Source: LevelDB's doc/table_format.md; tensorflow/core/lib/io/format.cc.
"""

from __future__ import annotations

from collections.abc import Iterator

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.tensorflow import crc32c
from keras_mobilenet.formats.tensorflow.protobuf_wire import varint

MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # a table's last bytes
MAX_ENTRIES = 20_000  # a MobileNet with optimizer has under 1,000
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # behind each block: how it is packed, and its checksum
_MAX_KEY_BYTES = 4096


def entries(table: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield each key of the table with its value, in the table's order.

    Raises:
        CheckpointError: the table is truncated or damaged, or packed.
    """
    if len(table) < _FOOTER_BYTES or bytes(table[-len(MAGIC) :]) != MAGIC:
        raise CheckpointError("the table is truncated or damaged (it does not end as tables do)")
    footer = table[-_FOOTER_BYTES:]
    _, behind = _place(footer, 0)
    index, _ = _place(footer, behind)
    end = count = 0
    for _, value in _entries(_block(table, *index)):
        place, _ = _place(value, 0)
        if place[0] < end:
            raise CheckpointError("the table is damaged (its blocks overlap)")
        end = sum(place)
        for entry in _entries(_block(table, *place)):
            count += 1
            if count > MAX_ENTRIES:
                raise CheckpointError(f"more than {MAX_ENTRIES:,} entries, which no MobileNet has")
            yield entry


def _place(data: memoryview, position: int) -> tuple[tuple[int, int], int]:
    """Return where a block lies, (offset, size), and the position behind that."""
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return (offset, size), position


def _block(table: memoryview, offset: int, size: int) -> memoryview:
    end = offset + size
    if end + _TRAILER_BYTES > len(table):
        raise CheckpointError("the table is truncated or damaged (a block ends past its end)")
    stored = int.from_bytes(table[end + 1 : end + _TRAILER_BYTES], "little")
    if crc32c.masked(table[offset : end + 1]) != stored:
        raise CheckpointError("the table is damaged (the checksum of a block is wrong)")
    if table[end]:
        raise CheckpointError("the table is packed, which TensorFlow's checkpoints are not")
    return table[offset:end]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    restarts = 4 * (int.from_bytes(block[-4:], "little") + 1)
    if not 4 < restarts <= len(block):
        raise CheckpointError("the table is damaged (a block's list of restarts)")
    entries, position, key = block[: len(block) - restarts], 0, b""
    while position < len(entries):
        shared, position = varint(entries, position)
        rest, position = varint(entries, position)
        size, position = varint(entries, position)
        middle, end = position + rest, position + rest + size
        if shared > len(key) or shared + rest > _MAX_KEY_BYTES or end > len(entries):
            raise CheckpointError("the table is damaged (an entry ends past its block)")
        key = key[:shared] + bytes(entries[position:middle])
        yield key, entries[middle:end]
        position = end
