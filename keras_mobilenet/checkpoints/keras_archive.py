"""Keras 3's `.keras`: a zip archive, read for its weights only.

Nothing in it is ever deserialised: `config.json`, which can name code, is not opened.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from keras_mobilenet.checkpoints import keras_h5, zip_files
from keras_mobilenet.checkpoints.checkpoint import Checkpoint
from keras_mobilenet.errors import CheckpointError

NAME = ".keras"
MEMBER = "model.weights.h5"


def recognises(path: str, head: bytes) -> bool:
    """Return whether the file is a zip archive with Keras' file of weights in it."""
    if not head.startswith(zip_files.SIGNATURE):
        return False
    with zip_files.opened(path) as archive:
        return MEMBER in archive.namelist()


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the archive at `path`, if it unpacks to `max_bytes` at most."""
    with keras_h5.opened(io.BytesIO(_member(path, max_bytes)), "Keras 3 archive") as checkpoint:
        yield checkpoint


def _member(path: str, max_bytes: int) -> bytes:
    with zip_files.opened(path) as archive:
        content = zip_files.content(archive, archive.getinfo(MEMBER), max_bytes)
    if len(content) > max_bytes:
        raise CheckpointError(
            f"{MEMBER} unpacks to more than {max_bytes:,} bytes, far more than the model needs"
        )
    return content
