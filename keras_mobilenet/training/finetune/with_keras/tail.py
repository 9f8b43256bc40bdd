"""The second stage: the net's last blocks with the classifier, from the freeze boundary on.

Each epoch shows every image once, in one of its views. Order and views follow from the seed and
the epoch's number alone, so that a training that goes on where it was killed is the same one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.training.finetune.features import Features
from keras_mobilenet.training.finetune.top import scores
from keras_mobilenet.training.finetune.with_keras.steps import (
    Examples,
    Objective,
    OwnSteps,
    SharedSteps,
)
from keras_mobilenet.training.run_state import State
from keras_mobilenet.training.runs import Scores, history_row
from keras_mobilenet.training.workers import SINGLE, Workers

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
    class_weights: tuple[float, ...]  # of multi-label images: how much the ones count
    seed: int
    scaled: Scaled = field(compare=False)  # from a batch of rows to what the net takes

    def steps(self, images: int) -> int:
        """Return the steps of one epoch."""
        return math.ceil(images / self.batch_size)


class UnfrozenTraining:
    """Trains the part of a net behind the boundary, epoch by epoch.

    Args:
        model: From the boundary to the logits. It is compiled here; its layers are shared.
        train: The rows at the boundary, all views.
        validation: The first view of other images; None for none.
        plan: How.
        workers: Those that train together. All have the same images and rows.
    """

    def __init__(
        self, model: Any, train: Features, validation: Features | None, plan: Plan,
        workers: Workers = SINGLE,
    ) -> None:  # fmt: skip
        self.model, self._train, self._validation, self._plan = model, train, validation, plan
        self._workers = workers
        new_optimizer = partial(_optimizer, plan, len(train))
        multi_label = train.columns is not None
        objective = Objective(plan.label_smoothing, plan.class_weights if multi_label else None)
        self._steps = (
            OwnSteps(model, objective, new_optimizer)
            if workers.count == 1
            else SharedSteps(
                workers, model, objective, new_optimizer,
                batch=min(plan.batch_size, len(train)),
            )
        )  # fmt: skip

    @property
    def trained(self) -> Any:
        """The model that a step changes: `model`, or a copy of it."""
        return self._steps.model

    def begin(self, state: State) -> None:
        """Take up a state; a new one is given the weights as they are as the best so far."""
        if state.epochs:
            self.model.set_weights(state.weights)
            if self.trained is not self.model:
                self.trained.set_weights(state.weights)
            for variable, value in zip(
                self._steps.optimizer.variables, state.optimizer, strict=True
            ):
                variable.assign(value)
            return
        state.best = self.model.get_weights()
        validated = self._validate()
        state.best_loss = validated.loss if validated else None

    def epoch(self, state: State, after_batch: Callable[[int, dict[str, Any]], None]) -> None:
        """Train for one epoch and write it into the state, its row of the history too."""
        started = time.perf_counter()
        seen, sums = 0, np.zeros(2)
        for batch, (count, examples) in enumerate(self._batches(state.epochs)):
            seen, sums = seen + count, sums + count * np.array(self._steps.step(count, examples))
            loss, accuracy = map(float, sums / seen)
            after_batch(batch, {"loss": loss, "accuracy": accuracy})
        state.weights = self.trained.get_weights()
        if self.trained is not self.model:
            self.model.set_weights(state.weights)
        validated = self._validate()
        state.epochs += 1
        state.optimizer = list(map(keras.ops.convert_to_numpy, self._steps.optimizer.variables))
        self._judge(state, validated)
        rate = float(self._steps.optimizer.learning_rate)
        trained, seconds = Scores(loss, accuracy), time.perf_counter() - started
        state.history.append(history_row("tail", state.epochs, trained, validated, rate, seconds))

    def finish(self, state: State) -> None:
        """Give the layers the best weights."""
        self.model.set_weights(state.best)

    def _logits(self, features: Features, places: Array) -> Array:
        """Return the outputs for the first view of some images."""
        size = self._plan.batch_size
        parts = [
            self.model.predict_on_batch(self._plan.scaled(features.take(rows)))
            for rows in np.split(places, range(size, len(places), size))
        ]
        return np.concatenate(parts)

    def _batches(self, epoch: int) -> Iterator[tuple[int, Examples]]:
        """Yield each batch's length, and what gives its examples at some of its places."""
        plan, count = self._plan, len(self._train)
        rng = np.random.default_rng([plan.seed, epoch])
        order, views = rng.permutation(count), rng.integers(len(self._train.rows), size=count)
        truth = self._train.truth
        if truth.ndim == 2:
            targets, weights = truth, np.ones(count, np.float32)  # the objective has them
        else:
            targets = np.eye(len(plan.class_weights), dtype=np.float32)[truth]
            weights = np.asarray(plan.class_weights, np.float32)[truth]

        def examples(batch: Array, places: Array) -> tuple[Array, Array, Array]:
            rows = batch[places]
            x = plan.scaled(self._train.take(rows, views[rows]))
            return x, targets[rows], weights[rows]

        for batch in np.split(order, range(plan.batch_size, count, plan.batch_size)):
            yield len(batch), partial(examples, batch)

    def _validate(self) -> Scores | None:
        """Return how good the model is now; each worker looks at its share."""
        images, workers = self._validation, self._workers
        if not images:
            return None
        places = np.arange(workers.number, len(images), workers.count)
        sums = np.zeros(2)
        # The loss that is trained, as Keras reports it: the other one would prefer the top alone,
        # whose labels were not smoothed.
        smoothing = self._plan.label_smoothing
        if len(places):
            share = scores(self._logits(images, places), images.truth[places], smoothing)
            if workers.count == 1:
                return share
            sums += len(places) * np.array([share.loss, share.accuracy])
        loss, accuracy = map(float, workers.total(sums) / len(images))
        return Scores(loss, accuracy)

    def _judge(self, state: State, validated: Scores | None) -> None:
        """Keep the weights if they are the best; without validation the last ones are."""
        state.waited += 1
        if validated is None or state.best_loss is None or validated.loss < state.best_loss:
            state.best, state.waited = state.weights, 0
            state.best_loss = validated.loss if validated else None
        state.stopped = state.waited >= self._plan.patience


def _optimizer(plan: Plan, images: int) -> Any:
    """Return AdamW with a rate that rises for a while and then falls along a cosine."""
    steps = plan.steps(images) * plan.epochs
    warm_up = round(WARM_UP * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=plan.learning_rate, warmup_steps=warm_up
    )
    return keras.optimizers.AdamW(rate, weight_decay=plan.weight_decay)
