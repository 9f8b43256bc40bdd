"""Keras 3's `.keras`: a zip archive, read for its weights only.

Nothing in it is ever deserialised: `config.json`, which can name code, is not opened.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from keras_mobilenet.checkpoints import keras_h5
from keras_mobilenet.checkpoints.checkpoint import Checkpoint
from keras_mobilenet.errors import CheckpointError

NAME = ".keras"
SIGNATURE = b"PK\x03\x04"
MEMBER = "model.weights.h5"
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


def recognises(path: str, head: bytes) -> bool:
    """Return whether the file is a zip archive with Keras' file of weights in it."""
    if not head.startswith(SIGNATURE):
        return False
    with _opened(path) as archive:
        return MEMBER in archive.namelist()


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the archive at `path`, if it unpacks to `max_bytes` at most."""
    with keras_h5.opened(io.BytesIO(_member(path, max_bytes)), "Keras 3 archive") as checkpoint:
        yield checkpoint


@contextmanager
def _opened(path: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except CheckpointError:
        raise
    except _FAULTS as error:
        raise CheckpointError(f"the archive is truncated or damaged ({error})") from error


def _member(path: str, max_bytes: int) -> bytes:
    with _opened(path) as archive:
        if archive.getinfo(MEMBER).compress_type not in _METHODS:
            raise CheckpointError(f"{MEMBER} is packed in a way that Keras does not use")
        with archive.open(MEMBER) as member:
            # One byte more than is allowed: the declared size may be a lie.
            content = member.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise CheckpointError(
            f"{MEMBER} unpacks to more than {max_bytes:,} bytes, far more than the model needs"
        )
    return content
