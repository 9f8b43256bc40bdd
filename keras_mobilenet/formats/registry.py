"""The formats, recognised by a file's content and never by its name."""

from __future__ import annotations

import importlib
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from os import PathLike
from typing import Any, Protocol

from keras_mobilenet.errors import CheckpointError, about_file, fault, plain_line
from keras_mobilenet.files import HDF5_SIGNATURE, check_file
from keras_mobilenet.formats.arrays import ArrayLike, shortened
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.keras import zip_files
from keras_mobilenet.nets.families.registry import name_prefix, todays_names
from keras_mobilenet.nets.net import Shape


class Format(Protocol):
    """What a module of this folder offers."""

    NAME: str  # in words, as lists of formats show it

    def recognises(self, path: str, head: bytes) -> bool:
        """Return whether `path` is of this format.

        `head` are the file's first bytes; none where `path` is a folder or the beginning of
        several files' names.
        """

    def read(self, path: str, max_bytes: int) -> AbstractContextManager[Checkpoint]:
        """Yield the checkpoint at `path`; nothing in it may unpack to more than `max_bytes`."""


# A new format is one module here, and one row. Those behind the one that knows a file are not
# loaded.
FORMATS = (
    "keras.legacy_h5",
    "keras.keras_h5",
    "keras.keras_archive",
    "plain.safetensors_file",
    "plain.npz_file",
    "runtimes.tfjs",
    "runtimes.onnx.onnx_file",
    "runtimes.tflite_file",
    "tensorflow.slim_checkpoint",
    "tensorflow.frozen_graph",
)
MAX_BYTES = 1 << 30  # the largest unpacked file when no model says what is expected
# A compiled model's file holds two more values a weight for its optimizer, in up to 8 bytes each.
_MAX_FILE_BYTES_PER_VALUE = 3 * 8
_SPARE_BYTES = 16 << 20  # headers, and heads that the model does not have
_HEAD_BYTES = 512


def formats() -> Iterator[Format]:
    """Yield the formats, each of which is loaded when its turn comes."""
    for name in FORMATS:
        module: Any = importlib.import_module(f"{__package__}.{name}")
        yield module


def unpacked_limit(expected: Mapping[str, Shape]) -> int:
    """Return the most that a file of these arrays may unpack to."""
    values = sum(math.prod(shape) for shape in expected.values())
    return values * _MAX_FILE_BYTES_PER_VALUE + _SPARE_BYTES


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
    with (
        about_file(path, "Fetch or export the file again, or pass another one."),
        _recognised(path).read(path, max_bytes) as checkpoint,
    ):
        yield _plainly_named(_todays(checkpoint))


def _todays(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint under today's names of layers that older versions of Keras named."""
    names = todays_names({name.rpartition("/")[0] for name in checkpoint.arrays})
    if not names:
        return checkpoint
    arrays: dict[str, ArrayLike] = {}
    for name, array in checkpoint.arrays.items():
        layer, _, variable = name.rpartition("/")
        ours = f"{names[layer]}/{variable}" if layer in names else name
        if ours in arrays:
            raise CheckpointError(f"{ours} is in the file twice")
        arrays[ours] = array
    return replace(checkpoint, arrays=arrays)


def _plainly_named(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint without its net's `name_prefix`, which Keras' own files keep."""
    prefix = name_prefix({name.rpartition("/")[0] for name in checkpoint.arrays})
    plain = {name.removeprefix(prefix): array for name, array in checkpoint.arrays.items()}
    # Of two arrays of one plain name none may be lost: then the names stay as they are.
    one_to_one = prefix and len(plain) == len(checkpoint.arrays)
    return replace(checkpoint, arrays=plain) if one_to_one else checkpoint


def _recognised(path: str) -> Format:
    head = _head(path)
    for format_ in formats():
        if format_.recognises(path, head):
            return format_
    readable = ", ".join(format_.NAME for format_ in formats())
    another = f"Pass a file in one of these formats: {readable}."
    if not check_file(path, another):
        raise CheckpointError(fault(path, "the file is empty.", "Fetch or export it again."))
    what, remedy = describe(path, head, another)
    raise CheckpointError(fault(path, f"this is {what}.", remedy))


def _head(path: str) -> bytes:
    """Return the first bytes of a regular file; none of anything else, which could block."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return b""


_MODELS = (".h5", ".keras", ".safetensors", ".tflite", ".onnx", ".npz", ".pb", "model.json")
_PICKLE = "a {} pickle, which can run code and is never opened"
_TO_SAFETENSORS = """\
Turn it into safetensors where you trust it, with PyTorch:
    import torch; from safetensors.torch import save_file
    state = torch.load({path!r}, weights_only=True)
    save_file({{k: v.contiguous() for k, v in state.items()}}, "weights.safetensors")"""


def describe(path: str, head: bytes, another: str) -> tuple[str, str]:
    """Return what the file at `path` is, and the remedy; `another` names the readable formats."""
    if head.startswith(zip_files.SIGNATURE):
        if _holds_pickle(path):
            return _PICKLE.format("PyTorch"), _TO_SAFETENSORS.format(path=path)
        return _archive(path, another)
    if head.startswith(HDF5_SIGNATURE):
        return "an HDF5 file with neither of Keras' layouts for weights", another
    if head.startswith(b"\x80"):
        return _PICKLE.format("Python"), _TO_SAFETENSORS.format(path=path)
    if head.startswith(b"\x1f\x8b"):
        return "a gzip archive", "Unpack it first."
    if head.lstrip().startswith(b"<"):
        page = "an HTML or XML page, most likely an error page in a file's place"
        return page, "Fetch it again."
    return "not a file of weights", another


def _archive(path: str, another: str) -> tuple[str, str]:
    """Return what is in an archive without one file of weights, and which of it to pass."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    what = "a zip archive that holds no weights"
    if not names:
        return what, another
    what = f"{what} by itself; in it are {', '.join(shortened(map(plain_line, names)))}"
    readable = [name for name in names if name.endswith(_MODELS)]
    if not readable:
        return what, another
    return what, f"Unpack it and pass what is in it: {plain_line(readable[0])}."


def _holds_pickle(path: str) -> bool:
    with zipfile.ZipFile(path) as archive:  # opened once already by the reader of .keras files
        return any(name.endswith("data.pkl") for name in archive.namelist())
