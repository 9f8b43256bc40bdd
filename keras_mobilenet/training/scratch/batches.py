"""Batches for one worker, read by threads; `tf.data` hands them on where TensorFlow computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.images.prefetch import Prefetcher
from keras_mobilenet.nets.net import Size
from keras_mobilenet.training.scratch.reading import Reader, order

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def training_batches(
    reader: Reader,
    *,
    seed: int,
    count: int,
    batch: int,
    epochs: range,
    worker: int = 0,
    workers: int = 1,
    parts: int = 1,
) -> Iterator[Batch]:
    """Yield one worker's batches of some epochs.

    Args:
        reader: Of the `count` images to train with.
        seed: Fixes the order.
        count: Images there are.
        batch: Images a step of all workers together; a multiple of `parts`.
        epochs: The numbers of the epochs.
        worker: This one's number, from 0.
        workers: How many there are.
        parts: How many replicas all workers have together; each gets a batch of its own.
    """
    share = {"worker": worker, "workers": workers}
    pairs = (
        (epoch, int(row))
        for epoch in epochs
        for row in order(seed, epoch, count=count, batch=batch, **share)
    )
    return _batches(lambda pair: reader.part(*pair), pairs, batch // parts)


def training_dataset(reader: Reader, *, size: Size, batch: int, context: Any, **others: Any) -> Any:
    """Return the same as a `tf.data.Dataset`, for the worker of a `tf.distribute.InputContext`."""
    import tensorflow as tf  # noqa: PLC0415 - loads for seconds

    worker, workers = context.input_pipeline_id, context.num_input_pipelines
    parts = context.num_replicas_in_sync

    def batches() -> Iterator[Batch]:
        return training_batches(
            reader, batch=batch, worker=worker, workers=workers, parts=parts, **others
        )

    images = tf.TensorSpec((batch // parts, *size, 3), tf.float32)
    classes = tf.TensorSpec((batch // parts,), tf.int64)
    return tf.data.Dataset.from_generator(batches, output_signature=(images, classes)).prefetch(1)


def validation_batches(
    reader: Reader, *, count: int, batch: int, worker: int = 0, workers: int = 1
) -> Iterator[Batch]:
    """Yield one worker's share of the whole images, the last batch as long as it is."""
    return _batches(reader.whole, range(worker, count, workers), batch)


def _batches(
    read: Callable[[Any], tuple[Any, int]], places: Iterable[Any], batch: int
) -> Iterator[Batch]:
    with Prefetcher(places, read) as ahead:
        examples = (ahead.read(place) for place in ahead)
        while rows := list(islice(examples, batch)):
            x, y = zip(*rows, strict=True)
            yield np.stack(x), np.array(y, np.int64)
