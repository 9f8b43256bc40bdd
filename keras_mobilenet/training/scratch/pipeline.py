"""`tf.data` over a `Reader`: batches for one worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_mobilenet.nets.net import Size
from keras_mobilenet.training.scratch.reading import Reader, order


def training_batches(
    reader: Reader,
    *,
    size: Size,
    seed: int,
    count: int,
    batch: int,
    epochs: range,
    context: Any,
) -> Any:
    """Return one worker's batches of some epochs, as a `tf.data.Dataset` of pairs.

    Args:
        reader: Of the `count` images to train with.
        size: That the reader gives them.
        seed: Fixes the order.
        count: Images there are.
        batch: Images a step of all workers together; a multiple of the replicas.
        epochs: The numbers of the epochs.
        context: A `tf.distribute.InputContext`: whose batches they are.
    """
    import tensorflow as tf  # noqa: PLC0415 - loads for seconds

    workers = {"worker": context.input_pipeline_id, "workers": context.num_input_pipelines}

    def rows(epoch: Any) -> Any:
        own = order(seed, int(epoch), count=count, batch=batch, **workers)
        return np.stack([np.full_like(own, epoch), own], axis=1)

    def of_epoch(epoch: Any) -> Any:
        return tf.data.Dataset.from_tensor_slices(tf.numpy_function(rows, [epoch], tf.int64))

    def read(pair: Any) -> tuple[Any, np.int64]:
        x, index = reader.part(int(pair[0]), int(pair[1]))
        return x, np.int64(index)

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(of_epoch)
    return _read(numbers, read, size, batch // context.num_replicas_in_sync, whole=True)


def validation_batches(
    reader: Reader, *, size: Size, count: int, batch: int, worker: int, workers: int
) -> Any:
    """Return one worker's share of the whole images, the last batch as long as it is."""
    import tensorflow as tf  # noqa: PLC0415

    def read(row: Any) -> tuple[Any, np.int64]:
        x, index = reader.whole(int(row))
        return x, np.int64(index)

    numbers = tf.data.Dataset.range(worker, count, workers)
    return _read(numbers, read, size, batch, whole=False)


def _read(numbers: Any, read: Callable[..., Any], size: Size, batch: int, *, whole: bool) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    def example(number: Any) -> tuple[Any, Any]:
        x, y = tf.numpy_function(read, [number], (tf.float32, tf.int64))
        return tf.ensure_shape(x, (*size, 3)), tf.ensure_shape(y, ())

    pairs = numbers.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return pairs.batch(batch, drop_remainder=whole).prefetch(tf.data.AUTOTUNE)
