"""Zip archives: Keras 3's `.keras`, and others with one H5 file in them, read for weights only.

Teachable Machine hands out the latter, `keras_model.h5` beside the labels. Nothing in it is ever
deserialised: `config.json`, which can name code, is not opened.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.checkpoint import INFO_BYTES, NET_MEMBER, Checkpoint
from keras_mobilenet.formats.keras import keras_h5, legacy_h5, zip_files

NAME = ".keras"
MEMBER = "model.weights.h5"
CONFIG, METADATA = "config.json", "metadata.json"
MAX_CONFIG_BYTES = 16 << 20  # that of a net of 1,000 layers has one million
SUFFIX = ".h5"


def recognises(path: str, head: bytes) -> bool:
    """Return whether the file is a zip archive with one file of weights by Keras in it."""
    if not head.startswith(zip_files.SIGNATURE):
        return False
    with zip_files.opened(path) as archive:
        return _member_of(archive) is not None


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the archive at `path`, if it unpacks to `max_bytes` at most."""
    name, content = _member(path, max_bytes)
    if name == MEMBER:
        info = zip_files.text_in(path, NET_MEMBER, INFO_BYTES)
        with keras_h5.opened(io.BytesIO(content), "Keras 3 archive") as checkpoint:
            yield replace(checkpoint, info=info)
        return
    reader = legacy_h5 if legacy_h5.is_layout(io.BytesIO(content)) else keras_h5
    with reader.read(io.BytesIO(content), max_bytes) as checkpoint:
        notes = (f"read {name}, which is in the archive", *checkpoint.notes)
        yield replace(checkpoint, notes=notes)


def _member_of(archive: zipfile.ZipFile) -> str | None:
    """Return the name of the file of weights in an archive; None without one, or of several."""
    names = archive.namelist()
    candidates = [name for name in names if name.endswith(SUFFIX) and "/" not in name]
    return MEMBER if MEMBER in names else candidates[0] if len(candidates) == 1 else None


def _member(path: str, max_bytes: int) -> tuple[str, bytes]:
    with zip_files.opened(path) as archive:
        name = _member_of(archive)
        if name is None:
            raise CheckpointError("the archive has changed while it was read")
        content = zip_files.content(archive, archive.getinfo(name), max_bytes)
    if len(content) > max_bytes:
        raise CheckpointError(
            f"{name} unpacks to more than {max_bytes:,} bytes, far more than the model needs"
        )
    return name, content
