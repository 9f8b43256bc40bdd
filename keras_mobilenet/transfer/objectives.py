"""What the second stage minimises, and what counts as right, under Keras' backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np


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
        """Return 1 for each image whose classes are told, all of them and no other, else 0."""
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
