"""Epochs of training, whatever takes the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.training.runs import Scores

Array = npt.NDArray[Any]
_EVERY = 20  # steps after which the loss is looked at; each look waits for the device
# From the batches to a step's loss, its share of the whole batch's, and how many were right.
Step = Callable[[Iterator[Any]], tuple[Any, Any]]
AfterSteps = Callable[[int, float], None]  # steps done, mean loss


class Learner:
    """A net with its optimizer.

    Args:
        net: Puts out logits.
        optimizer: Its own.
        step: Trains on the next batch, as those of `training.steps` do.
        batch: Images a step of all workers together.
    """

    def __init__(self, net: Any, optimizer: Any, step: Step, *, batch: int) -> None:
        self.net, self.optimizer = net, optimizer
        self._step, self._batch = step, batch

    def variables(self) -> tuple[list[Array], list[Array]]:
        """Return the net's variables and the optimizer's."""
        return _values(self.net.variables), _values(self.optimizer.variables)

    def restore(self, net: Sequence[Array], optimizer: Sequence[Array]) -> None:
        """Set what `variables` returned."""
        _assign(self.net.variables, net)
        _assign(self.optimizer.variables, optimizer)

    def averaged_weights(self) -> list[Array]:
        """Return the weights with the averages in the place of those that train."""
        weights = _values(self.net.trainable_variables)
        self.optimizer.finalize_variable_values(self.net.trainable_variables)
        averaged: list[Array] = self.net.get_weights()
        _assign(self.net.trainable_variables, weights)
        return averaged

    def epoch(self, batches: Iterator[Any], steps: int, after_steps: AfterSteps) -> Scores:
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
            after_steps(step, loss / step)
        return Scores(loss / steps, correct / (steps * self._batch))


def _values(variables: Sequence[Any]) -> list[Array]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
