"""The first stage: the classifier alone, on pooled features, to its optimum."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.transfer import softmax_regression
from keras_mobilenet.transfer.features import Features
from keras_mobilenet.transfer.softmax_regression import Step

STAGE = "top"
STEPS = 100  # some 30 are enough for pooled features; it ends where nothing improves
# Of standardised features. From 0.01 to 0.1 the flowers' validation accuracy is the same.
L2 = 0.03
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Scores:
    """How a classifier does on some pictures."""

    loss: float
    accuracy: float


def scores(logits: Array, truth: Array, label_smoothing: float = 0.0) -> Scores:
    """Return the mean cross-entropy, with smoothed labels, and the share that is right.

    Args:
        logits: `(pictures, classes)`.
        truth: As `Features.truth`; a multi-label picture is right if all its classes are.
        label_smoothing: Share of each target that is spread over all its values.
    """
    logits = logits.astype(np.float64)
    if truth.ndim == 2:
        targets = (1 - label_smoothing) * truth + 0.5 * label_smoothing
        losses = np.logaddexp(0, logits) - targets * logits
        right = ((logits > 0) == (truth > 0)).all(axis=1)
        return Scores(float(losses.mean()), float(right.mean()))
    classes = truth
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(classes)), classes]
    targets = (1 - label_smoothing) * own + label_smoothing * logits.mean(axis=1)
    losses = np.log(np.exp(logits).sum(axis=1)) - targets
    return Scores(float(losses.mean()), float((logits.argmax(axis=1) == classes).mean()))


def train_top(
    train: Features,
    validation: Features | None,
    *,
    classes: int,
    weights: Sequence[float],
    steps: int,
    l2: float = L2,
    each: Callable[[Step, dict[str, Any]], bool],
) -> Step:
    """Return the best linear classifier of flat features.

    Args:
        train: The pictures' features, every view of which is an example of its own.
        validation: Those of other pictures, for the history; None for none.
        classes: How many there are.
        weights: How much each class' pictures count, against others' or those without the class.
        steps: The most steps.
        l2: The penalty on the kernel.
        each: Is told of each step and its row of the history; says whether to stop.
    """
    truth, views = train.truth, len(train.rows)
    multi_label = truth.ndim == 2
    targets = truth if multi_label else np.eye(classes)[truth]
    each_weight = (
        1 + truth * (np.asarray(weights) - 1) if multi_label else np.asarray(weights)[truth]
    )
    problem = softmax_regression.Problem(
        np.concatenate([np.stack(rows) for rows in train.rows]),
        np.tile(targets, (views, 1)),
        np.tile(each_weight, (views, 1) if multi_label else views),
        l2,
        multi_label,
    )
    last = None
    started = time.perf_counter()
    for epoch, step in enumerate(softmax_regression.solve(problem, steps), start=1):
        last = step
        row = _row(epoch, step, train, validation)
        row["seconds"] = time.perf_counter() - started
        if each(step, row):
            break
        started = time.perf_counter()
    if last is None:  # features that say nothing: the best is to know the classes' shares
        features = problem.features.shape[1]
        last = Step(np.zeros((features, classes), np.float32), np.zeros(classes, np.float32), 0.0)
    return last


def _row(epoch: int, step: Step, train: Features, validation: Features | None) -> dict[str, Any]:
    own = _scores(step, train)
    held = _scores(step, validation) if validation else None
    return {
        "stage": STAGE,
        "epoch": epoch,
        "loss": own.loss,
        "accuracy": own.accuracy,
        "val_loss": held.loss if held else None,
        "val_accuracy": held.accuracy if held else None,
        "learning_rate": None,
    }


def _scores(step: Step, features: Features) -> Scores:
    """Return the scores on the pictures as a whole, the first view."""
    return scores(np.stack(features.rows[0]) @ step.kernel + step.bias, features.truth)
