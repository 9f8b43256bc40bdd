"""Epochs of training, on one process or on several that share every batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.workers import Workers

Array = npt.NDArray[Any]
_EVERY = 20  # steps after which the loss is looked at; each look waits for the device
Told = Callable[[int, float], None]  # steps done, mean loss


@dataclass(frozen=True)
class Scores:
    """How good a net is; the loss is the cross-entropy alone, in nats."""

    loss: float
    accuracy: float


class Learner:
    """A net with its optimizer.

    Args:
        workers: Those that train together.
        net: Puts out logits; made within the strategy's scope.
        optimizer: New; made there, too.
        batch: Pictures a step of all workers together.
        label_smoothing: Share of each target that is spread over all classes.
    """

    def __init__(
        self, workers: Workers, net: Any, optimizer: Any, *, batch: int, label_smoothing: float
    ) -> None:
        import tensorflow as tf  # noqa: PLC0415 - loads for seconds

        self.net, self.optimizer = net, optimizer
        net.optimizer = optimizer  # where callbacks look for it, as in a compiled model
        self._workers, self._batch, self._classes = workers, batch, net.outputs[0].shape[-1]
        self._loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing, reduction=None
        )
        with workers.strategy.scope():
            optimizer.build(net.trainable_variables)
        self._step = tf.function(self._step_of_all)

    def variables(self) -> tuple[list[Array], list[Array]]:
        """Return the net's variables and the optimizer's."""
        return _values(self.net.variables), _values(self.optimizer.variables)

    def restore(self, net: Sequence[Array], optimizer: Sequence[Array]) -> None:
        """Set what `variables` returned."""
        _assign(self.net.variables, net)
        _assign(self.optimizer.variables, optimizer)

    def averaged_weights(self) -> list[Array]:
        """Return the weights with the averages in the place of those that train."""
        own = _values(self.net.trainable_variables)
        self.optimizer.finalize_variable_values(self.net.trainable_variables)
        averaged: list[Array] = self.net.get_weights()
        _assign(self.net.trainable_variables, own)
        return averaged

    def epoch(self, batches: Iterator[Any], steps: int, told: Told) -> Scores:
        """Train for some steps, and return how good the net was meanwhile.

        Raises:
            FloatingPointError: the loss is not finite any more.
        """
        loss = correct = 0.0
        seen: list[tuple[Any, Any]] = []
        for step in range(1, steps + 1):
            seen.append(self._step(batches))
            if step % _EVERY and step < steps:
                continue
            loss += sum(float(a) for a, _ in seen)
            correct += sum(float(b) for _, b in seen)
            seen.clear()
            if not math.isfinite(loss):
                raise FloatingPointError(
                    "The loss is not a finite number any more. Take a lower learning rate, "
                    "or a warm-up."
                )
            told(step, loss / step)
        return Scores(loss / steps, correct / (steps * self._batch))

    def _step_of_all(self, batches: Iterator[Any]) -> Any:
        return self._workers.sums(self._step_of_one, next(batches))

    def _step_of_one(self, x: Any, y: Any) -> Any:
        """Train on one replica's part; return its share of the loss, and how many were right."""
        import tensorflow as tf  # noqa: PLC0415

        floats = keras.config.floatx()
        targets = tf.one_hot(y, self._classes, dtype=floats)
        with tf.GradientTape() as tape:
            logits = self.net(x, training=True)
            loss = tf.reduce_sum(self._loss(targets, logits)) / self._batch
            # Gradients are added up over the replicas; what does not depend on the batch is, too.
            decay = tf.add_n([tf.zeros((), floats), *self.net.losses]) / self._workers.replicas
            total = loss + tf.cast(decay, loss.dtype)
        weights = self.net.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(total, weights), weights, strict=True))
        right = tf.argmax(logits, axis=-1) == y
        return loss, tf.reduce_sum(tf.cast(right, floats))


def _values(variables: Sequence[Any]) -> list[Array]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
