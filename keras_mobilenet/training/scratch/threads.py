"""Batches read by threads, for backends that need no TensorFlow: `pipeline` without `tf.data`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.images.prefetch import Prefetcher
from keras_mobilenet.training.scratch.reading import Reader, order

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def training_batches(
    reader: Reader, *, seed: int, count: int, batch: int, epochs: range
) -> Iterator[Batch]:
    """Yield the batches of some epochs, as `pipeline.training_batches` does for one worker."""
    pairs = (
        (epoch, int(row))
        for epoch in epochs
        for row in order(seed, epoch, count=count, batch=batch)
    )
    return _batches(lambda pair: reader.part(*pair), pairs, batch)


def validation_batches(reader: Reader, *, count: int, batch: int) -> Iterator[Batch]:
    """Yield the whole images, the last batch as long as it is."""
    return _batches(reader.whole, range(count), batch)


def _batches(
    read: Callable[[Any], tuple[Any, int]], places: Iterable[Any], batch: int
) -> Iterator[Batch]:
    with Prefetcher(places, read) as ahead:
        examples = (ahead.read(place) for place in ahead)
        while rows := list(islice(examples, batch)):
            x, y = zip(*rows, strict=True)
            yield np.stack(x), np.array(y, np.int64)
