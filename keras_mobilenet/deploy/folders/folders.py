"""Whole folders of images: classes or features of each, while the next are being decoded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.folders.classification import (
    Classified,
    classify_pixels,
    pixels_or_fault,
)
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.images.listing import list_images
from keras_mobilenet.images.prefetch import BATCH, Prefetcher

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Embedded:
    """What became of one image: its features, or what is wrong with it."""

    path: str
    features: npt.NDArray[np.float32] | None
    fault: str | None = None


def classify_folder(
    predictor: Predictor,
    source: Path | Iterable[Path],
    *,
    top: int = 5,
    workers: int | None = None,
) -> Iterator[Classified]:
    """Yield the `top` classes of each image in a folder, in the order of `list_images`.

    Threads decode while the predictor computes, never more than a few batches ahead, so that
    memory does not grow with the folder. Large JPEG files are decoded at a fraction of their size.
    A file that cannot be read is yielded with its fault, and the rest goes on.

    Args:
        predictor: A classifier whose classes have names.
        source: A folder, a `.txt` or `.lst` file of paths, or an iterable of paths.
        top: How many classes an image.
        workers: Threads that decode; None for one a processor.

    Raises:
        ValueError: the model has no names for its classes, or `top` is not positive.
        OSError: a folder or a list cannot be read.
    """
    return classify_paths(predictor, list_images(source), top=top, workers=workers)


def classify_paths(
    predictor: Predictor, paths: Iterable[str], *, top: int = 5, workers: int | None = None
) -> Iterator[Classified]:
    """Yield what `classify_folder` does, of image files only, and for each of them."""
    labels = predictor.labels()
    read = partial(predictor.read_image, scaled=True)

    def results() -> Iterator[Classified]:  # so that a wrong call raises before the first item
        with Prefetcher(paths, read, workers=workers) as ahead:
            yield from classify_pixels(
                predictor.predict, ahead, read=ahead.read, top=top, labels=labels
            )

    return results()


def embed_folder(
    predictor: Predictor, source: Path | Iterable[Path], *, workers: int | None = None
) -> Iterator[Embedded]:
    """Yield the features of each image in a folder, as `classify_folder` does classes.

    Args:
        predictor: Of a `features_model`, or of any other model with one row of outputs an image.
        source: A folder, a `.txt` or `.lst` file of paths, or an iterable of paths.
        workers: Threads that decode; None for one a processor.

    Raises:
        OSError: a folder or a list cannot be read.
    """
    return embed_paths(predictor, list_images(source), workers=workers)


def embed_paths(
    predictor: Predictor, paths: Iterable[str], *, workers: int | None = None
) -> Iterator[Embedded]:
    """Yield what `embed_folder` does, of image files only, and for each of them."""
    read = partial(predictor.read_image, scaled=True)
    with Prefetcher(paths, read, workers=workers) as ahead:
        remaining = iter(ahead)
        while chunk := list(islice(remaining, BATCH)):
            yield from _embedded(predictor, chunk, ahead)


def _embedded(
    predictor: Predictor, chunk: list[str], ahead: Prefetcher[str, npt.NDArray[np.uint8]]
) -> Iterator[Embedded]:
    reads = [pixels_or_fault(path, ahead.read) for path in chunk]
    pixels = [pixels for pixels, _ in reads if pixels is not None]
    rows: Any = iter(predictor.predict(np.stack(pixels)) if pixels else ())
    for path, (_, fault) in zip(chunk, reads, strict=True):
        yield Embedded(path, None if fault else next(rows).reshape(-1), fault)
