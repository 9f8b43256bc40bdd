"""Keras 3's `.keras`: a zip archive, read for its weights only.

Nothing in it is ever deserialised: `config.json`, which can name code, is not opened.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from keras_mobilenet.checkpoints import keras_h5
from keras_mobilenet.checkpoints.checkpoint import Checkpoint
from keras_mobilenet.errors import CheckpointError

SIGNATURE = b"PK\x03\x04"
MEMBER = "model.weights.h5"
_ZIP_FAULTS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, KeyError)


def holds(names: list[str]) -> bool:
    """Return whether a zip archive with these members is a `.keras` file."""
    return MEMBER in names


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the archive at `path`, if it unpacks to `max_bytes` at most."""
    with keras_h5.opened(io.BytesIO(_member(path, max_bytes)), "Keras 3 archive") as checkpoint:
        yield checkpoint


def _member(path: str, max_bytes: int) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MEMBER) as member:
            # One byte more than is allowed: the declared size may be a lie.
            content = member.read(max_bytes + 1)
    except _ZIP_FAULTS as error:
        raise CheckpointError(f"the archive is truncated or damaged ({error})") from error
    if len(content) > max_bytes:
        raise CheckpointError(
            f"{MEMBER} unpacks to more than {max_bytes:,} bytes, far more than the model needs"
        )
    return content
