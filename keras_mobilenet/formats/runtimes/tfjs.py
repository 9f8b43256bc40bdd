"""TensorFlow.js layers models: a `model.json` and, beside it, its files of bytes, the shards.

`weightsManifest` lists groups of arrays; the bytes of a group are those of its shards in a row.
The model's own description, `modelTopology`, is never looked into. All sizes are held against the
files' before any value is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike, Lazy
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.keras_names import from_tfjs
from keras_mobilenet.formats.runtimes import tfjs_manifest
from keras_mobilenet.formats.runtimes.tfjs_manifest import Group, Weight

NAME = "TensorFlow.js layers model"
MODEL = "model.json"


def recognises(path: str, head: bytes) -> bool:
    """Return whether `path` is a model's JSON, or a folder that holds one."""
    if not head:
        return os.path.isdir(path) and os.path.isfile(os.path.join(path, MODEL))
    return head.lstrip().startswith(b"{") and tfjs_manifest.KEY in _content(path)


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint at `path`, if its values take no more than `max_bytes` in memory."""
    json_path = os.path.join(path, MODEL) if os.path.isdir(path) else path
    groups = tfjs_manifest.parsed(_content(json_path))
    needed = sum(weight.bytes_in_memory for group in groups for weight in group.weights)
    if needed > max_bytes:
        raise CheckpointError(f"it unpacks to {needed:,} bytes, far more than the model needs")
    arrays = _arrays(os.path.dirname(json_path) or os.curdir, groups)
    yield Checkpoint(NAME, arrays, notes=_notes(groups))


def _content(path: str) -> bytes:
    """Return the bytes of a model's JSON; of one that is too large, enough to tell it is."""
    try:
        with open(path, "rb") as file:
            return file.read(tfjs_manifest.MAX_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{os.path.basename(path)} cannot be read ({error})") from error


@dataclass(frozen=True)
class _Shard:
    """A file of bytes: its name in the manifest, where it lies, its size."""

    name: str
    path: str
    size: int

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, cut to those that the file has."""
        start, stop = max(start, 0), min(stop, self.size)
        if start >= stop:
            return b""
        try:
            with open(self.path, "rb") as file:
                file.seek(start)
                content = file.read(stop - start)
        except OSError as error:
            raise CheckpointError(f"shard {self.name!r} cannot be read ({error})") from error
        if len(content) < stop - start:
            raise CheckpointError(f"shard {self.name!r} became shorter while it was read")
        return content


def _values(weight: Weight, shards: Sequence[_Shard], start: int) -> np.ndarray[Any, Any]:
    """Return an array's values; `start` is its place in the bytes of the shards in a row."""
    stop, before, pieces = start + weight.stored_bytes, 0, []
    for shard in shards:
        pieces.append(shard.read(start - before, stop - before))
        before += shard.size
    return weight.values(b"".join(pieces))


def _arrays(folder: str, groups: Sequence[Group]) -> dict[str, ArrayLike]:
    arrays: dict[str, ArrayLike] = {}
    places: set[str] = set()
    names = iter(from_tfjs([weight.name for group in groups for weight in group.weights]))
    for group in groups:
        shards = [_shard(folder, name, places) for name in group.paths]
        _check_size(group, shards)
        starts = accumulate((weight.stored_bytes for weight in group.weights), initial=0)
        for weight, start in zip(group.weights, starts, strict=False):
            name = next(names)
            if name in arrays:
                raise CheckpointError(f"{name} is in the file twice")
            make = partial(_values, weight, shards, start)
            arrays[name] = Lazy(weight.shape, weight.dtype, make)
    return arrays


def _shard(folder: str, name: str, places: set[str]) -> _Shard:
    """Return a shard that lies in `folder`, as a plain file, and was not among `places` yet."""
    if os.path.isabs(name) or any(mark in name for mark in ("\\", ":", "\0")):
        raise CheckpointError(f"shard {name!r} is not a path inside the model's folder")
    path, root = os.path.realpath(os.path.join(folder, name)), os.path.realpath(folder)
    if ".." in name.split("/") or os.path.commonpath([path, root]) != root:
        raise CheckpointError(f"shard {name!r} lies outside the model's folder")
    if path in places:
        raise CheckpointError(f"shard {name!r} is listed twice")
    places.add(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a name that no file system takes
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"shard {name!r} cannot be read ({reason})") from error
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"shard {name!r} is not a file")
    return _Shard(name, path, status.st_size)


def _check_size(group: Group, shards: Sequence[_Shard]) -> None:
    needed = sum(weight.stored_bytes for weight in group.weights)
    stored = sum(shard.size for shard in shards)
    if needed == stored:
        return
    names = ", ".join(repr(shard.name) for shard in shards[-2:])
    listed = f"shard {names}" if len(shards) == 1 else f"the {len(shards)} shards to {names}"
    what = "truncated" if stored < needed else "too long"
    raise CheckpointError(
        f"{listed} is {what}: {stored:,} bytes, where the manifest lists {needed:,}"
    )


def _notes(groups: Sequence[Group]) -> tuple[str, ...]:
    kinds = [w.quantised_to for group in groups for w in group.weights if w.quantised_to]
    return tuple(
        f"dequantised {kinds.count(kind)} arrays from {kind}" for kind in dict.fromkeys(kinds)
    )
