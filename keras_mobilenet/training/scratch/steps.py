"""One step of training: TensorFlow's, which workers may share, or Keras' own on another backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_mobilenet.training.workers import Workers


class StrategySteps:
    """Steps under TensorFlow, on one process or on several that share every batch.

    Args:
        workers: Those that train together.
        net: Puts out logits; made within the strategy's scope.
        optimizer: New; made there, too.
        batch: Images a step of all workers together.
        label_smoothing: Share of each target that is spread over all classes.
    """

    def __init__(
        self, workers: Workers, net: Any, optimizer: Any, *, batch: int, label_smoothing: float
    ) -> None:
        import tensorflow as tf  # noqa: PLC0415 - loads for seconds

        self._workers, self._net, self._optimizer = workers, net, optimizer
        net.optimizer = optimizer  # where callbacks look for it, as in a compiled model
        self._batch, self._classes = batch, net.outputs[0].shape[-1]
        self._loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing, reduction=None
        )
        with workers.strategy.scope():
            optimizer.build(net.trainable_variables)
        self._step = tf.function(self._step_of_all)

    def __call__(self, batches: Iterator[Any]) -> tuple[Any, Any]:
        """Train on the next batch; return its mean loss, and how many were right."""
        loss, right = self._step(batches)
        return loss, right

    def _step_of_all(self, batches: Iterator[Any]) -> Any:
        return self._workers.sums(self._step_of_one, next(batches))

    def _step_of_one(self, x: Any, y: Any) -> Any:
        """Train on one replica's part; return its share of the loss, and how many were right."""
        import tensorflow as tf  # noqa: PLC0415

        floats = keras.config.floatx()
        targets = tf.one_hot(y, self._classes, dtype=floats)
        with tf.GradientTape() as tape:
            logits = self._net(x, training=True)
            loss = tf.reduce_sum(self._loss(targets, logits)) / self._batch
            # Gradients are added up over the replicas; what does not depend on the batch is, too.
            decay = tf.add_n([tf.zeros((), floats), *self._net.losses]) / self._workers.replicas
            total = loss + tf.cast(decay, loss.dtype)
        weights = self._net.trainable_variables
        self._optimizer.apply_gradients(zip(tape.gradient(total, weights), weights, strict=True))
        right = tf.argmax(logits, axis=-1) == y
        return loss, tf.reduce_sum(tf.cast(right, floats))


class KerasSteps:
    """Keras' own steps, on one process under any backend.

    Args:
        net: Puts out logits. It is compiled here.
        optimizer: New.
        label_smoothing: Share of each target that is spread over all classes.
    """

    def __init__(self, net: Any, optimizer: Any, *, label_smoothing: float) -> None:
        self._net, self._classes = net, net.outputs[0].shape[-1]
        entropy = {"from_logits": True, "label_smoothing": label_smoothing}
        net.compile(
            optimizer,
            keras.losses.CategoricalCrossentropy(**entropy),
            # Keras' loss has the weights' decay in it.
            metrics=["accuracy", keras.metrics.CategoricalCrossentropy("entropy", **entropy)],
        )
        optimizer.build(net.trainable_variables)

    def __call__(self, batches: Iterator[Any]) -> tuple[float, float]:
        """Train on the next batch; return its mean loss, and how many were right."""
        x, y = next(batches)
        self._net.reset_metrics()
        logs = self._net.train_on_batch(x, np.eye(self._classes)[y], return_dict=True)
        return float(logs["entropy"]), float(logs["accuracy"]) * len(y)
