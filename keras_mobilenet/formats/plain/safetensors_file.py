"""safetensors: the format in which this package writes weights, and in which others publish them.

Ours hold arrays under our names in Keras' axis order, and the metadata tells the conventions; those
of other libraries are told by their array names. The format cannot hold code, and its header cannot
declare more than the file holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike, Lazy
from keras_mobilenet.formats.checkpoint import INFO, Checkpoint, conventions, is_ours
from keras_mobilenet.formats.plain import third_party

NAME = "safetensors"
_MAX_HEADER_BYTES = 4 << 20  # that of a MobileNet has 12,000, and the names of its classes
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
_DTYPES |= {"I64": np.int64}  # PyTorch's counters; a weight of this type is refused when read


def recognises(path: str, head: bytes) -> bool:
    """Return whether a file that begins with `head` is of this format.

    Eight bytes are the header's length, of which no file has use for the last three.
    """
    return head[5:9] == b"\0\0\0{"


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the file at `path`; a header cannot exceed the file's own bytes."""
    try:
        _check_header(path)
        with safe_open(path, framework="numpy") as file:
            yield _checkpoint(path, _arrays(file), file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"the safetensors file is truncated or damaged ({error})") from error


def _check_header(path: str) -> None:
    """Refuse a header that is large, or names a thing twice: safetensors takes the last."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            raise CheckpointError(f"the header declares {length:,} bytes, which no MobileNet needs")
        header = file.read(length)
    try:
        json.loads(header, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"the safetensors file is truncated or damaged ({error})") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise CheckpointError("the header names an array or a property twice")
    return names


def _checkpoint(path: str, arrays: dict[str, ArrayLike], metadata: Mapping[str, str]) -> Checkpoint:
    """Return our own file's arrays as they are, and another source's under our names."""
    info = metadata.get(INFO)
    if is_ours(metadata):
        return Checkpoint(NAME, arrays, conventions(metadata), info=info)
    found = third_party.from_third_party(path, arrays, NAME)
    if not {"epsilon", "padding"} <= metadata.keys():
        return found
    # Written here for another library, whose names do not tell these.
    return replace(found, conventions=conventions(metadata), candidates={}, info=info)


def _arrays(file: Any) -> dict[str, ArrayLike]:
    arrays: dict[str, ArrayLike] = {}
    for name in file.keys():  # noqa: SIM118 - not a dict
        header = file.get_slice(name)
        dtype = header.get_dtype()
        if dtype not in _DTYPES:
            raise CheckpointError(f"{name} holds {dtype}, not floats")
        shape = tuple(header.get_shape())
        arrays[name] = Lazy(shape, np.dtype(_DTYPES[dtype]), partial(file.get_tensor, name))
    return arrays
