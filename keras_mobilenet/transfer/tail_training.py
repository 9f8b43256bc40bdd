"""The second stage: the net's last blocks with the classifier, from the freeze boundary on.

Each epoch shows every picture once, in one of its views. Order and views follow from the seed and
the epoch's number alone, so that a training that goes on where it was killed is the same one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.transfer.features import Features
from keras_mobilenet.transfer.run_state import State
from keras_mobilenet.transfer.top_training import Scores, scores

Array = npt.NDArray[Any]
Scaled = Callable[[Array], Array]
WARM_UP = 0.1  # share of the steps; at once, the full rate would shake what the top just learnt


@dataclass(frozen=True)
class Plan:
    """How the second stage is trained."""

    epochs: int
    batch_size: int
    learning_rate: float
    label_smoothing: float
    weight_decay: float
    patience: int  # epochs without a lower validation loss, after which it ends
    class_weights: tuple[float, ...]
    seed: int
    scaled: Scaled = field(compare=False)  # from a batch of rows to what the net takes

    def steps(self, pictures: int) -> int:
        """Return the steps of one epoch."""
        return math.ceil(pictures / self.batch_size)


class TailTraining:
    """Trains the part of a net behind the boundary, epoch by epoch.

    Args:
        model: From the boundary to the logits. It is compiled here; its layers are shared.
        train: The rows at the boundary, all views.
        validation: The first view of other pictures; None for none.
        plan: How.
    """

    def __init__(
        self, model: Any, train: Features, validation: Features | None, plan: Plan
    ) -> None:
        self.model, self._train, self._validation, self._plan = model, train, validation, plan
        model.compile(
            optimizer=_optimizer(plan, len(train)),
            loss=keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=plan.label_smoothing
            ),
            metrics=["accuracy"],
            jit_compile=False,  # XLA's depthwise gradients on processors take three times as long
        )
        model.optimizer.build(model.trainable_variables)

    def begin(self, state: State) -> None:
        """Take up a state; a new one is given the weights as they are as the best so far."""
        if state.epochs:
            self.model.set_weights(state.weights)
            for variable, value in zip(
                self.model.optimizer.variables, state.optimizer, strict=True
            ):
                variable.assign(value)
            return
        state.best = self.model.get_weights()
        held = self._validate()
        state.best_loss = held.loss if held else None

    def epoch(self, state: State, after_batch: Callable[[int, dict[str, Any]], None]) -> None:
        """Train for one epoch and write it into the state, its row of the history too."""
        started = time.perf_counter()
        self.model.reset_metrics()
        logs: dict[str, Any] = {}
        for batch, (x, y, weights) in enumerate(self._batches(state.epochs)):
            logs = self.model.train_on_batch(x, y, sample_weight=weights, return_dict=True)
            after_batch(batch, logs)
        held = self._validate()
        state.epochs += 1
        state.weights = self.model.get_weights()
        state.optimizer = [np.asarray(v) for v in self.model.optimizer.variables]
        self._judge(state, held)
        state.history.append(
            {
                "stage": "tail",
                "epoch": state.epochs,
                "loss": float(logs["loss"]),
                "accuracy": float(logs["accuracy"]),
                "val_loss": held.loss if held else None,
                "val_accuracy": held.accuracy if held else None,
                "learning_rate": float(self.model.optimizer.learning_rate),
                "seconds": time.perf_counter() - started,
            }
        )

    def finish(self, state: State) -> None:
        """Give the layers the best weights."""
        self.model.set_weights(state.best)

    def logits(self, features: Features) -> Array:
        """Return the outputs for the first view of pictures."""
        size = self._plan.batch_size
        parts = [
            self.model.predict_on_batch(self._plan.scaled(features.take(rows)))
            for rows in np.split(np.arange(len(features)), range(size, len(features), size))
        ]
        return np.concatenate(parts)

    def _batches(self, epoch: int) -> Iterator[tuple[Array, Array, Array]]:
        plan, count = self._plan, len(self._train)
        rng = np.random.default_rng([plan.seed, epoch])
        order, views = rng.permutation(count), rng.integers(len(self._train.rows), size=count)
        targets = np.eye(len(plan.class_weights), dtype=np.float32)[self._train.classes]
        weights = np.asarray(plan.class_weights, np.float32)[self._train.classes]
        for rows in np.split(order, range(plan.batch_size, count, plan.batch_size)):
            x = plan.scaled(self._train.take(rows, views[rows]))
            yield x, targets[rows], weights[rows]

    def _validate(self) -> Scores | None:
        held = self._validation
        # The loss that is trained, as Keras reports it: the other one would prefer the top alone,
        # whose labels were not smoothed.
        smoothing = self._plan.label_smoothing
        return scores(self.logits(held), held.classes, smoothing) if held else None

    def _judge(self, state: State, held: Scores | None) -> None:
        """Keep the weights if they are the best; without validation the last ones are."""
        state.waited += 1
        if held is None or state.best_loss is None or held.loss < state.best_loss:
            state.best, state.waited = state.weights, 0
            state.best_loss = held.loss if held else None
        state.stopped = state.waited >= self._plan.patience


def _optimizer(plan: Plan, pictures: int) -> Any:
    """Return AdamW with a rate that rises for a while and then falls along a cosine."""
    steps = plan.steps(pictures) * plan.epochs
    warm_up = round(WARM_UP * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=plan.learning_rate, warmup_steps=warm_up
    )
    return keras.optimizers.AdamW(rate, weight_decay=plan.weight_decay)
