"""Image files in, class names out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from keras_mobilenet.errors import ImageError
from keras_mobilenet.images.labels import decoded
from keras_mobilenet.images.model_info import Label
from keras_mobilenet.images.prefetch import BATCH


@dataclass(frozen=True)
class Classified:
    """What became of one image: its predictions, or what is wrong with it."""

    path: str
    predictions: list[tuple[str, str, float]]  # (identifier, name, score), the best first
    fault: str | None = None


def classify_pixels(
    predict: Callable[[np.ndarray[Any, Any]], Any],
    paths: Iterable[str],
    *,
    read: Callable[[str], np.ndarray[Any, Any]],
    top: int = 5,
    labels: Sequence[Label],
) -> Iterator[Classified]:
    """Yield the classes that `predict` gives each image, in the order of `paths`.

    Args:
        predict: From pixels, `uint8`, of shape `(count, height, width, channels)` to scores of
            shape `(count, classes)`.
        paths: Image files.
        read: From a path to the pixels of one image.
        top: How many classes an image.
        labels: The classes' names.
    """
    remaining = iter(paths)
    while chunk := list(islice(remaining, BATCH)):
        reads = [pixels_or_fault(path, read) for path in chunk]
        pixels = [pixels for pixels, _ in reads if pixels is not None]
        rows = iter(decoded(predict(np.stack(pixels)), top, labels=labels) if pixels else ())
        for path, (_, fault) in zip(chunk, reads, strict=True):
            yield Classified(path, [] if fault else _plain(next(rows)), fault)


def pixels_or_fault(
    path: str, read: Callable[[str], np.ndarray[Any, Any]]
) -> tuple[np.ndarray[Any, Any] | None, str | None]:
    """Return what `read` makes of an image file, or None and what is wrong with it."""
    try:
        return read(path), None
    except ImageError as error:
        return None, str(error)


def _plain(row: Sequence[tuple[str, str, Any]]) -> list[tuple[str, str, float]]:
    return [(key, name, float(score)) for key, name, score in row]
