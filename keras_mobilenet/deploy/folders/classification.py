"""Image files in, class names out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np

from keras_mobilenet.deploy.opened import open_model
from keras_mobilenet.errors import ImageError
from keras_mobilenet.images.images import read_image
from keras_mobilenet.images.model_info import Label
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.images.prefetch import BATCH
from keras_mobilenet.models.preprocessing import decode_predictions


@dataclass(frozen=True)
class Classified:
    """What became of one image: its predictions, or what is wrong with it."""

    path: str
    predictions: list[tuple[str, str, float]]  # (identifier, name, score), the best first
    fault: str | None = None


def classify_images(
    model: Any,
    paths: Iterable[str],
    *,
    size: tuple[int, int],
    crop: float | None = None,
    top: int = 5,
    labels: Sequence[Label] | None = None,
    preprocessing: Preprocessing | str | None = None,
) -> Iterator[Classified]:
    """Yield the classes that `model` predicts for each image, in the order of `paths`.

    An image that cannot be read is yielded with its fault, and the rest goes on.

    Args:
        model: A classifier of shape `(batch, height, width, 3)` to `(batch, classes)`.
        paths: Image files.
        size: (height, width) in pixels that images are resized to.
        crop: Share of each side that a central crop keeps before the resizing.
        top: How many classes an image.
        labels: The classes' names; None stands for those that go with the model.
        preprocessing: How pixels become the model's input; None stands for what is recorded with
            the model, or found in its graph.

    Raises:
        ValueError: that is not known, or the model has no names for its classes.
    """
    opened = open_model(model).given(preprocessing, labels)
    scaled, names = opened.info.known_preprocessing().scaled, opened.info.known_labels()

    # A plain call, not predict(): that would compile first, which takes longer than a few images.
    def predict(pixels: np.ndarray[Any, Any]) -> Any:
        return opened.model(scaled(pixels), training=False)

    def read(path: str) -> np.ndarray[Any, Any]:
        return read_image(path, size=size, crop=crop)

    return classify_pixels(predict, paths, read=read, top=top, labels=names)


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
        scores = keras.ops.convert_to_numpy(predict(np.stack(pixels))) if pixels else ()
        decoded = iter(decode_predictions(scores, top, labels=labels) if pixels else ())
        for path, (_, fault) in zip(chunk, reads, strict=True):
            yield Classified(path, [] if fault else _plain(next(decoded)), fault)


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
