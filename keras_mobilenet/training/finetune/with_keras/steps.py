"""The steps that train unfrozen blocks: what they minimise, and who takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.models.backends import is_tensorflow
from keras_mobilenet.training.workers import Workers

Array = npt.NDArray[Any]
Examples = Callable[[Array], tuple[Array, Array, Array]]  # of some places: x, targets, weights
NewOptimizer = Callable[[], Any]


class OwnSteps:
    """Keras' own steps.

    Args:
        model: Puts out logits. It is compiled here.
        objective: What is minimised, and what is right.
        new_optimizer: Makes one.
    """

    def __init__(self, model: Any, objective: Objective, new_optimizer: NewOptimizer) -> None:
        self.model, self.optimizer = model, new_optimizer()
        model.compile(
            optimizer=self.optimizer,
            loss=objective.loss(),
            metrics=[keras.metrics.MeanMetricWrapper(objective.right, name="accuracy")],
            # TensorFlow's XLA takes three times as long for depthwise gradients on processors;
            # JAX has nothing else.
            jit_compile=False if is_tensorflow() else "auto",
        )
        self.optimizer.build(model.trainable_variables)

    def step(self, count: int, examples: Examples) -> tuple[float, float]:
        """Train on the `count` places of a batch; return its loss and accuracy, two means."""
        x, y, weights = examples(np.arange(count))
        self.model.reset_metrics()  # as Keras 3.15 does by itself: the numbers are a batch's
        logs = self.model.train_on_batch(x, y, sample_weight=weights, return_dict=True)
        return float(logs["loss"]), float(logs["accuracy"])


class SharedSteps:
    """Steps of several workers, each of which computes its part of every batch.

    The gradients are those of the whole batch: sums over its parts, divided by its length. Batch
    norms are frozen, so that nothing else is to be exchanged. All parts are of one length, so that
    the step is traced once; what a part lacks is filled with examples that weigh nothing.

    Args:
        workers: Those that train together.
        model: Puts out logits. A copy of it trains, in the strategy's scope.
        objective: What is minimised, and what is right.
        new_optimizer: Makes one.
        batch: The most examples a step of all workers together.
    """

    def __init__(
        self, workers: Workers, model: Any, objective: Objective, new_optimizer: NewOptimizer,
        *, batch: int,
    ) -> None:  # fmt: skip
        import tensorflow as tf  # noqa: PLC0415 - loads for seconds

        self._workers, self._width = workers, -(-batch // workers.replicas)
        with workers.strategy.scope():
            self.model = keras.models.clone_model(model)
            self.optimizer = new_optimizer()
            self.optimizer.build(self.model.trainable_variables)
        self.model.optimizer = self.optimizer  # where callbacks look for it
        self.model.set_weights(model.get_weights())
        self._objective, self._loss = objective, objective.loss(reduction=None)
        self._step = tf.function(self._step_of_all)

    def step(self, count: int, examples: Examples) -> tuple[float, float]:
        """Train on the `count` places of a batch; return its loss and accuracy, two means."""
        import tensorflow as tf  # noqa: PLC0415

        floats = keras.config.floatx()
        parts = np.array_split(np.arange(count), self._workers.replicas)

        def part(context: Any) -> tuple[Any, ...]:
            places = parts[context.replica_id_in_sync_group]
            x, y, weights = examples(np.resize(places if len(places) else 0, self._width))
            real = np.arange(self._width) < len(places)
            return tuple(tf.constant(each, floats) for each in (x, y, weights * real, real))

        values = self._workers.strategy.experimental_distribute_values_from_function(part)
        loss, right = self._step(values, tf.constant(count, floats))
        return float(loss) / count, float(right) / count

    def _step_of_all(self, values: Sequence[Any], count: Any) -> Any:
        return self._workers.sums(self._step_of_one, (*values, count))

    def _step_of_one(self, x: Any, y: Any, weights: Any, real: Any, count: Any) -> Any:
        """Train on one replica's part; return its sums of losses and of right answers."""
        import tensorflow as tf  # noqa: PLC0415

        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(x, training=True)
            loss = tf.reduce_sum(self._loss(y, logits) * weights)
            mean = loss / count  # gradients are added up over the replicas
        gradients = tape.gradient(mean, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        right = tf.cast(self._objective.right(y, logits), real.dtype)
        return loss, tf.reduce_sum(right * real)


@dataclass(frozen=True)
class Objective:
    """Of images of one class each the softmax cross-entropy, of others that of each class alone."""

    label_smoothing: float = 0.0  # share of each target that is spread over all its values
    # How much the ones of each class count in multi-label images; None where each is of one class.
    positive_weights: tuple[float, ...] | None = None

    def loss(self, reduction: str | None = "sum_over_batch_size") -> Any:
        """Return the `keras.losses.Loss` of targets, `(batch, classes)`, and logits."""
        if self.positive_weights is not None:
            return _EachAlone(self.label_smoothing, self.positive_weights, reduction)
        return keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=self.label_smoothing, reduction=reduction
        )

    def right(self, y: Any, logits: Any) -> Any:
        """Return 1 for each image whose classes are predicted, all of them and no other, else 0."""
        if self.positive_weights is None:
            same = keras.ops.argmax(logits, axis=-1) == keras.ops.argmax(y, axis=-1)
        else:
            same = keras.ops.all((logits > 0) == (y > 0.5), axis=-1)
        return keras.ops.cast(same, logits.dtype)


class _EachAlone(keras.losses.Loss):  # type: ignore[misc]
    """The mean over the classes of the cross-entropy of each one's sigmoid."""

    def __init__(
        self, label_smoothing: float, positive_weights: tuple[float, ...], reduction: str | None
    ) -> None:
        super().__init__(name="binary_crossentropy", reduction=reduction)
        self._smoothing = label_smoothing
        self._weights = np.asarray(positive_weights, np.float32)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each example."""
        targets = y_true * (1 - self._smoothing) + 0.5 * self._smoothing
        losses = keras.ops.binary_crossentropy(targets, y_pred, from_logits=True)
        weights = keras.ops.convert_to_tensor(self._weights, y_pred.dtype)
        return keras.ops.mean(losses * (1 + y_true * (weights - 1)), axis=-1)
