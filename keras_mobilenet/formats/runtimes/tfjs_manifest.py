"""The manifest of a TensorFlow.js model: which arrays there are, and how their bytes are stored.

Source: TensorFlow.js, `io_utils.decodeWeights` and the `weightsManifest` of its converter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_mobilenet.errors import CheckpointError

KEY = b'"weightsManifest"'
MAX_BYTES = 16 << 20  # of the JSON; that of a MobileNet with its topology has 70,000
_MAX_AXES = 8
_MAX_AXIS = 1 << 48  # a product of such lengths still has few digits
_DTYPES = {"float32": "<f4", "float16": "<f2"}
_QUANTISED = {"uint8": "<u1", "uint16": "<u2", "float16": "<f2"}


@dataclass(frozen=True)
class Weight:
    """One array: its name, its shape, and how its values are stored."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]  # of the values, once dequantised
    stored: np.dtype[Any]
    scale: float | None = None  # value = stored x scale + min
    min: float = 0.0

    @property
    def stored_bytes(self) -> int:
        """The number of bytes in the shards."""
        return math.prod(self.shape) * self.stored.itemsize

    @property
    def bytes_in_memory(self) -> int:
        """The number of bytes once dequantised."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def quantised_to(self) -> str:
        """The type that the values were quantised to; empty if they were not."""
        return "" if self.stored == self.dtype else self.stored.name

    def values(self, content: bytes) -> np.ndarray[Any, Any]:
        """Return the values in the array's bytes."""
        values = np.frombuffer(content, self.stored).reshape(self.shape)
        if self.scale is not None:
            # In double precision, then rounded once: as JavaScript and TF.js' own Python do.
            with np.errstate(over="ignore", invalid="ignore"):
                values = values.astype(np.float64) * self.scale + self.min
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused as such
            return np.asarray(values, dtype=self.dtype)


@dataclass(frozen=True)
class Group:
    """Arrays whose bytes lie in a row in these files."""

    paths: tuple[str, ...]
    weights: tuple[Weight, ...]


def parsed(content: bytes) -> tuple[Group, ...]:
    """Return the groups in a model's JSON.

    Raises:
        CheckpointError: the JSON or its manifest is damaged, or is a graph model's.
    """
    if len(content) > MAX_BYTES:
        raise CheckpointError(f"the JSON has more than {MAX_BYTES:,} bytes")
    try:
        model = json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"the JSON is truncated or damaged ({error})") from error
    if not isinstance(model, dict) or "weightsManifest" not in model:
        raise CheckpointError("the JSON has no `weightsManifest`")
    if model.get("format") == "graph-model":
        raise CheckpointError(
            "this is a TensorFlow.js graph model, in which the batch norms may be folded; "
            "only layers models are read"
        )
    return tuple(_group(entry) for entry in _list(model["weightsManifest"], "weightsManifest"))


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise CheckpointError("the JSON names a property twice")
    return names


def _no_constant(name: str) -> float:
    raise CheckpointError(f"the JSON holds {name}, which is no JSON")


def _group(entry: Any) -> Group:
    paths = _list(_property(entry, "paths", "a group"), "paths")
    weights = _list(_property(entry, "weights", "a group"), "weights")
    return Group(
        tuple(_text(path, "a shard's path") for path in paths),
        tuple(_weight(weight) for weight in weights),
    )


def _weight(entry: Any) -> Weight:
    name = _text(_property(entry, "name", "an array"), "an array's name")
    shape = _list(_property(entry, "shape", name), f"the shape of {name}")
    if len(shape) > _MAX_AXES or not all(type(n) is int and 0 <= n < _MAX_AXIS for n in shape):
        raise CheckpointError(f"the shape of {name} is not one of an array: {str(shape)[:80]}")
    dtype = _property(entry, "dtype", name)
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise CheckpointError(f"{name} holds {str(dtype)[:80]}, not floats")
    stored = np.dtype(_DTYPES[dtype])
    if entry.get("quantization") is None:
        return Weight(name, tuple(shape), stored, stored)
    return _quantised(name, tuple(shape), stored, entry["quantization"])


def _quantised(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], entry: dict[str, Any]
) -> Weight:
    kind = _property(entry, "dtype", f"the quantization of {name}")
    if not isinstance(kind, str) or kind not in _QUANTISED:
        raise CheckpointError(f"{name} is quantised in an unknown way, {str(kind)[:80]}")
    stored = np.dtype(_QUANTISED[kind])
    if kind == "float16":
        return Weight(name, shape, dtype, stored)
    scale, least = (_number(_property(entry, k, name), k, name) for k in ("scale", "min"))
    return Weight(name, shape, dtype, stored, scale, least)


def _property(entry: Any, name: str, where: str) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        raise CheckpointError(f"{where} has no {name!r} in the manifest")
    return entry[name]


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise CheckpointError(f"{where} is not a list in the manifest")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise CheckpointError(f"{where} is not a text in the manifest")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # halves of surrogates, which JSON can write
        raise CheckpointError(f"{where} is not UTF-8 in the manifest") from error
    return value


def _number(value: Any, what: str, where: str) -> float:
    """Return a finite number; JSON's whole ones may be too large for a float."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, str) or not math.isfinite(number):
        raise CheckpointError(f"{where} has a {what!r} that is not a number: {str(value)[:80]}")
    return number
