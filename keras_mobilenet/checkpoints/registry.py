"""The formats, recognised by a file's content and never by its name."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from os import PathLike

from keras_mobilenet.checkpoints import (
    hdf5,
    keras_archive,
    keras_h5,
    legacy_h5,
    safetensors_file,
)
from keras_mobilenet.checkpoints.checkpoint import Checkpoint
from keras_mobilenet.errors import CheckpointError, fault

Reader = Callable[[str, int], AbstractContextManager[Checkpoint]]

MAX_BYTES = 1 << 30  # the largest unpacked file when no model says what is expected
READABLE = "Keras legacy H5, Keras 3 .weights.h5, .keras, safetensors"
_ANOTHER_FILE = f"Pass a file in one of these formats: {READABLE}."
_HEAD_BYTES = 512
_STRANGERS = (  # first bytes, what they are, what to do
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"\x80", "a Python pickle, which can run code and is never opened", _ANOTHER_FILE),
    (b"<", "an HTML or XML page, most likely an error page in a file's place", "Fetch it again."),
)


@contextmanager
def open_checkpoint(path: str | PathLike[str], max_bytes: int = MAX_BYTES) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the file at `path`, whatever its format.

    Args:
        path: The file.
        max_bytes: The most that a packed file may unpack to in memory.

    Raises:
        CheckpointError: the file is not readable, not of a known format, or damaged.
    """
    path = os.fspath(path)
    try:
        with _recognise(path)(path, max_bytes) as checkpoint:
            yield checkpoint
    except CheckpointError as error:
        if str(error).startswith(path):
            raise
        remedy = "Fetch or export the file again, or pass another one."
        raise CheckpointError(fault(path, f"{error}.", remedy)) from error


def _recognise(path: str) -> Reader:
    head = _head(path)
    if head.startswith(hdf5.SIGNATURE):
        return _recognise_hdf5(path)
    if head.startswith(keras_archive.SIGNATURE):
        return _recognise_zip(path)
    if safetensors_file.holds(head):  # before the strangers: its first byte is a length's, any
        return safetensors_file.read
    for first_bytes, what, remedy in _STRANGERS:
        if head.lstrip().startswith(first_bytes):
            raise CheckpointError(fault(path, f"this is {what}.", remedy))
    raise CheckpointError(fault(path, "this is not a file of weights.", _ANOTHER_FILE))


def _head(path: str) -> bytes:
    """Return the first bytes of a regular file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or device could block for ever
            raise CheckpointError(fault(path, "this is not a file.", _ANOTHER_FILE))
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        remedy = "Check the path and its permissions."
        raise CheckpointError(fault(path, f"the file cannot be read ({error}).", remedy)) from error
    if not head:
        raise CheckpointError(fault(path, "the file is empty.", "Fetch or export it again."))
    return head


def _recognise_hdf5(path: str) -> Reader:
    with hdf5.opened(path) as file:
        if legacy_h5.holds(file):
            return legacy_h5.read
        if keras_h5.holds(file):
            return keras_h5.read
    raise CheckpointError("the HDF5 file has neither of Keras' layouts for weights")


def _recognise_zip(path: str) -> Reader:
    names = keras_archive.member_names(path)
    if keras_archive.holds(names):
        return keras_archive.read
    if any(name.endswith("data.pkl") for name in names):
        found = "this is a PyTorch pickle, which can run code and is never opened."
        raise CheckpointError(fault(path, found, _ANOTHER_FILE))
    raise CheckpointError("the zip archive is not a .keras file")
