"""Whatever a user trains with, as one thing: pictures that can be read, hashed and named."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.hashes import sha256_of
from keras_mobilenet.images import read_picture
from keras_mobilenet.transfer.datasets import Dataset, Example, read_dataset
from keras_mobilenet.transfer.splits import split

Pixels = npt.NDArray[np.uint8]
_INFINITE = -1  # tf.data's cardinality of a data set without an end


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture with its class: a file, or pixels that are at hand."""

    class_index: int
    path: str | None = None
    pixels: Pixels | None = None

    def read(self) -> Pixels:
        """Return the pixels, `(height, width, 3)` of the picture's own size.

        Raises:
            PictureError: the file is no picture, or a damaged one.
        """
        return read_picture(self.path or "") if self.pixels is None else self.pixels

    def content(self) -> str:
        """Return the SHA-256 of what the picture is made of.

        Raises:
            OSError: the file cannot be read.
        """
        if self.pixels is None:
            return sha256_of(self.path or "")
        shape = str(self.pixels.shape).encode()
        return hashlib.sha256(shape + self.pixels.tobytes()).hexdigest()


@dataclass(frozen=True)
class Source:
    """Pictures to train and to validate with, and the names of their classes."""

    labels: tuple[str, ...]
    train: tuple[Picture, ...]
    validation: tuple[Picture, ...]  # may be empty
    problems: tuple[str, ...] = ()


def read_source(
    data: Any, *, validation: Any, seed: int, labels: Sequence[str] | None = None
) -> Source:
    """Return the pictures of `data` and of `validation`, or a share of those of `data`.

    Args:
        data: What `read_dataset` takes; a pair of arrays, pictures and class numbers; or a
            `tf.data.Dataset` of such pairs, batched or not.
        validation: A share above 0 and below 1, pictures of the kind of `data`, or None.
        seed: Another one gives another split.
        labels: The names of the class numbers; folders and CSV files have their own.

    Raises:
        ValueError: the data are of another kind, or do not fit each other.
    """
    if not _is_array_pair(data):
        if labels is not None:
            raise ValueError("`labels` names class numbers; pictures in files have names already.")
        return _from_dataset(read_dataset(data, validation=validation, seed=seed))
    x, y = _arrays(data, "data")
    own = None if validation is None or isinstance(validation, (int, float)) else validation
    held = None if own is None else _arrays(own, "validation")
    names = _names(labels, [y] if held is None else [y, held[1]])
    pictures = _pictures(x, y)
    if held is not None:
        return Source(names, pictures, _pictures(*held))
    if validation is None:
        return Source(names, pictures, ())
    return Source(names, *_divided(pictures, names, float(validation), seed))


def _from_dataset(dataset: Dataset) -> Source:
    train, held = map(_files, (dataset.train, dataset.validation))
    return Source(dataset.labels, train, held, dataset.problems)


def _files(examples: Iterable[Example]) -> tuple[Picture, ...]:
    return tuple(Picture(index, path) for path, index in examples)


def _is_array_pair(data: Any) -> bool:
    pair = isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "shape")
    return pair or hasattr(data, "as_numpy_iterator")


def _arrays(data: Any, argument: str) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Return pixels `(count, height, width, 3)` and class numbers.

    Raises:
        ValueError: they are of other shapes, types or lengths.
    """
    if hasattr(data, "as_numpy_iterator"):
        data = _collected(data, argument)
    if not (isinstance(data, tuple) and len(data) == 2):
        raise ValueError(f"`{argument}` must be a pair of arrays, as the other data are.")
    x, y = np.asarray(data[0]), np.asarray(data[1])
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or y.shape != (len(x),) or not len(x):
        raise ValueError(
            f"`{argument}` must be pictures of shape (count, height, width, 3 or 1) and as many "
            f"class numbers. Received: shapes {x.shape} and {y.shape}"
        )
    if y.dtype.kind not in "iu" or y.min() < 0:
        raise ValueError(
            f"The classes of `{argument}` must be whole numbers from 0. Received: {y.dtype}"
            + (f" from {y.min()}" if y.dtype.kind in "iuf" else "")
        )
    return np.repeat(_pixels(x, argument), 3 // x.shape[-1], axis=-1), y.astype(np.int64)


def _pixels(x: npt.NDArray[Any], argument: str) -> Pixels:
    """Return pictures as `uint8`; floats are those that the net takes, rounded to 8 bits."""
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind != "f" or not np.abs(x).max() <= 1:
        raise ValueError(
            f"The pictures of `{argument}` must be uint8, 0 to 255, or floats from -1 to 1 as the "
            f"net takes them. Received: {x.dtype} from {x.min():g} to {x.max():g}"
        )
    pixels: Pixels = np.rint((x + 1) * 127.5).astype(np.uint8)
    return pixels


def _collected(data: Any, argument: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return a `tf.data.Dataset` as two arrays."""
    if int(data.cardinality()) == _INFINITE:
        raise ValueError(f"`{argument}` never ends. Pass it without `repeat()`.")
    pairs = list(data.as_numpy_iterator())
    if not pairs or len(pairs[0]) != 2:
        raise ValueError(f"`{argument}` must hold pairs of pictures and class numbers.")
    batched = np.ndim(pairs[0][0]) == 4
    joined = np.concatenate if batched else np.stack
    return joined([x for x, _ in pairs]), joined([np.asarray(y) for _, y in pairs])


def _names(labels: Sequence[str] | None, numbers: Sequence[npt.NDArray[Any]]) -> tuple[str, ...]:
    count = 1 + max(int(y.max()) for y in numbers)
    names = tuple(map(str, range(count))) if labels is None else tuple(labels)
    if len(names) < max(count, 2):
        raise ValueError(
            f"There must be a label for each class, and two classes. Received: {len(names)} "
            f"labels, and class numbers up to {count - 1}"
        )
    return names


def _pictures(x: Pixels, y: npt.NDArray[np.int64]) -> tuple[Picture, ...]:
    return tuple(Picture(int(k), None, pixels) for pixels, k in zip(x, y, strict=True))


def _divided(
    pictures: Sequence[Picture], names: Sequence[str], share: float, seed: int
) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    """Return the pictures on two sides as `read_dataset` does, those of equal content on one."""
    if not 0 < share < 1:
        raise ValueError(
            f"`validation` must be a share above 0 and below 1. Received: validation={share!r}"
        )
    groups = defaultdict(list)
    for place, picture in enumerate(pictures):
        groups[picture.content()].append((f"{place:09}", names[picture.class_index]))
    sides = split(list(groups.values()), share, seed)
    train, held = (tuple(pictures[int(place)] for place, _ in side) for side in sides)
    return train, held
