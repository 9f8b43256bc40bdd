"""Zip archives, opened with care: what `.keras` and `.npz` share."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from keras_mobilenet.errors import CheckpointError, damage_as_error

SIGNATURE = b"PK\x03\x04"
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # others may take memory without bound
_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,  # encrypted, or a version of zip that Python does not know
    ValueError,  # names that are not UTF-8, places outside the file
)


@contextmanager
def opened(path: str) -> Iterator[zipfile.ZipFile]:
    """Yield the archive at `path`; the faults of damaged ones come out as `CheckpointError`."""
    with damage_as_error("the archive", _FAULTS), zipfile.ZipFile(path) as archive:
        yield archive


def content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int) -> bytes:
    """Return a member's bytes, `max_bytes` and one more at most, its checksum checked at its end.

    The size that the archive declares may be a lie; the byte more shows it.
    """
    if member.compress_type not in _METHODS:
        raise CheckpointError(f"{member.filename} is packed in a way that Keras does not use")
    with damage_as_error("the archive", _FAULTS), archive.open(member) as file:
        return file.read(max_bytes + 1)


def text_in(path: str, name: str, max_bytes: int) -> str | None:
    """Return the text of a member of the archive in a file, or behind what else the file holds.

    None where there is no archive, or no such member in it.

    Raises:
        CheckpointError: the archive is damaged, or the text has more than `max_bytes`.
    """
    if not zipfile.is_zipfile(path):
        return None
    with opened(path) as archive:
        there = name in archive.namelist()
        return text(archive, archive.getinfo(name), max_bytes) if there else None


def text(archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int) -> str:
    """Return a member's text, which may have `max_bytes` at most."""
    packed = content(archive, member, max_bytes)
    if len(packed) > max_bytes:
        raise CheckpointError(f"{member.filename} unpacks to more than {max_bytes:,} bytes")
    with damage_as_error("the archive", _FAULTS):
        return packed.decode("utf-8")
