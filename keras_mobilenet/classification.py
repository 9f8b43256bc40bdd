"""Picture files in, class names out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np

from keras_mobilenet.errors import PictureError
from keras_mobilenet.images import read_picture
from keras_mobilenet.preprocessing import decode_predictions, preprocess_input
from keras_mobilenet.recipes import Label

BATCH = 32  # pictures that go through the net at once


@dataclass(frozen=True)
class Classified:
    """What became of one picture: its predictions, or what is wrong with it."""

    path: str
    predictions: list[tuple[str, str, float]]  # (identifier, name, score), the best first
    fault: str | None = None


def classify_pictures(
    model: Any,
    paths: Iterable[str],
    *,
    size: tuple[int, int],
    crop: float | None = None,
    top: int = 5,
    labels: Sequence[Label] | None = None,
) -> Iterator[Classified]:
    """Yield what `model` takes each picture for, in the order of `paths`.

    A picture that cannot be read is yielded with its fault, and the rest goes on.

    Args:
        model: A classifier of shape `(batch, height, width, 3)` to `(batch, classes)`.
        paths: Picture files.
        size: (height, width) in pixels that pictures are resized to.
        crop: Share of each side that a central crop keeps before the resizing.
        top: How many classes a picture.
        labels: The classes' names; None stands for the ImageNet classes.
    """
    remaining = iter(paths)
    while chunk := list(islice(remaining, BATCH)):
        read = [_read(path, size, crop) for path in chunk]
        pixels = [pixels for pixels, _ in read if pixels is not None]
        decoded = iter(_predict(model, pixels, top, labels) if pixels else ())
        for path, (_, fault) in zip(chunk, read, strict=True):
            yield Classified(path, [] if fault else next(decoded), fault)


def _read(
    path: str, size: tuple[int, int], crop: float | None
) -> tuple[np.ndarray[Any, Any] | None, str | None]:
    try:
        return read_picture(path, size=size, crop=crop), None
    except PictureError as error:
        return None, str(error)


def _predict(
    model: Any,
    pixels: Sequence[np.ndarray[Any, Any]],
    top: int,
    labels: Sequence[Label] | None,
) -> list[list[tuple[str, str, float]]]:
    # A plain call, not predict(): that would compile first, which takes longer than a few pictures.
    scores = model(preprocess_input(np.stack(pixels)), training=False)
    rows = decode_predictions(keras.ops.convert_to_numpy(scores), top, labels=labels)
    return [[(key, name, float(score)) for key, name, score in row] for row in rows]
