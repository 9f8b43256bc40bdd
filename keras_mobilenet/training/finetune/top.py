"""The first stage: the classifier alone, on pooled features, to its optimum in a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.training.finetune.features import Features
from keras_mobilenet.training.runs import Scores, history_row

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]
_MEMORY = 10  # steps that the curvature is read off
_SUFFICIENT = 1e-4  # share of the predicted descent that a step must bring (Armijo)
_SHORTEST = 1e-6  # step below which there is nothing to gain in the direction
_CONVERGED = 1e-4  # gradient's largest value, of features of variance 1


@dataclass(frozen=True)
class Problem:
    """What a layer is trained on.

    Floats are standardised within: channels that differ a thousandfold in scale would otherwise
    take thousands of steps.
    """

    features: Floats  # (images, features)
    targets: Floats  # (images, classes), each row a distribution, or multi-hot
    weights: Floats  # (images,), how much each counts; or of each class of each
    l2: float  # of the standardised features' kernel, against the mean loss of an image
    multi_label: bool = False  # whether each class is a sigmoid of its own, not all one softmax
    mean: Doubles = field(init=False)
    scale: Doubles = field(init=False)

    def __post_init__(self) -> None:
        mean = self.features.mean(axis=0, dtype=np.float64)
        scale = self.features.std(axis=0, dtype=np.float64)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "scale", np.where(scale > 0, scale, 1.0))  # a dead channel


@dataclass(frozen=True)
class Step:
    """The layer after one step."""

    kernel: npt.NDArray[np.float32]  # (features, classes), for features as they are
    bias: npt.NDArray[np.float32]  # (classes,)
    loss: float  # the penalty included


def solve(problem: Problem, steps: int) -> Iterator[Step]:
    """Yield the layer after each step, at most `steps`, until it no longer changes."""
    x = ((problem.features - problem.mean) / problem.scale).astype(np.float32)
    point = np.zeros((x.shape[1] + 1, problem.targets.shape[1]))
    loss, slope = _loss(problem, x, point)
    memory: deque[tuple[Doubles, Doubles]] = deque(maxlen=_MEMORY)
    for _ in range(steps):
        descended = _descend(problem, x, point, loss, slope, _direction(slope, memory))
        if descended is None:
            return
        before = point, slope
        point, loss, slope = descended
        difference = point - before[0], slope - before[1]
        if np.vdot(*difference) > 0:
            memory.append(difference)
        yield _unstandardised(problem, point, loss)
        if np.abs(slope).max() < _CONVERGED:
            return


def _loss(problem: Problem, x: Floats, point: Doubles) -> tuple[float, Doubles]:
    """Return the mean cross-entropy with the penalty, and its gradient."""
    kernel, bias = point[:-1], point[-1]
    logits = (x @ kernel.astype(np.float32)).astype(np.float64) + bias
    weights = problem.weights if problem.weights.ndim == 2 else problem.weights[:, None]
    share = weights / weights.sum(axis=0)
    losses, errors = (_each_alone if problem.multi_label else _one_of_all)(logits, problem.targets)
    loss, errors = (share * losses).sum(), share * errors
    slope = np.empty_like(point)
    slope[:-1] = x.T @ errors.astype(np.float32) + problem.l2 * kernel
    slope[-1] = errors.sum(axis=0)
    return float(loss + 0.5 * problem.l2 * np.vdot(kernel, kernel)), slope


def _one_of_all(logits: Doubles, targets: Floats) -> tuple[Doubles, Doubles]:
    """Return the softmax cross-entropy's terms, and its gradient by the logits."""
    logits = logits - logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -targets * logs, np.exp(logs) - targets


def _each_alone(logits: Doubles, targets: Floats) -> tuple[Doubles, Doubles]:
    """Return each class' sigmoid cross-entropy, a problem by itself, and its gradient."""
    logs = np.logaddexp(0, logits)  # -log(1 - p)
    return logs - targets * logits, np.exp(logits - logs) - targets


def _direction(slope: Doubles, memory: deque[tuple[Doubles, Doubles]]) -> Doubles:
    """Return the quasi-Newton direction of descent: the two loops of L-BFGS."""
    direction = -slope
    factors = []
    for step, change in reversed(memory):
        factor = np.vdot(step, direction) / np.vdot(step, change)
        factors.append(factor)
        direction -= factor * change
    if memory:
        step, change = memory[-1]
        direction *= np.vdot(step, change) / np.vdot(change, change)
    for (step, change), factor in zip(memory, reversed(factors), strict=True):
        direction += (factor - np.vdot(change, direction) / np.vdot(step, change)) * step
    return direction


def _descend(
    problem: Problem, x: Floats, point: Doubles, loss: float, slope: Doubles, direction: Doubles
) -> tuple[Doubles, float, Doubles] | None:
    """Return the next point with its loss and gradient; None where nothing lies lower."""
    descent = float(np.vdot(slope, direction))
    length = 1.0
    while length > _SHORTEST and descent < 0:
        candidate = point + length * direction
        its_loss, its_slope = _loss(problem, x, candidate)
        if its_loss <= loss + _SUFFICIENT * length * descent:
            return candidate, its_loss, its_slope
        length /= 2
    return None


def _unstandardised(problem: Problem, point: Doubles, loss: float) -> Step:
    kernel = point[:-1] / problem.scale[:, None]
    bias = point[-1] - problem.mean @ kernel
    return Step(kernel.astype(np.float32), bias.astype(np.float32), loss)


STAGE = "top"
STEPS = 100  # some 30 are enough for pooled features; it ends where nothing improves
# Of standardised features. From 0.01 to 0.1 the flowers' validation accuracy is the same.
L2 = 0.03
Array = npt.NDArray[Any]


def scores(logits: Array, truth: Array, label_smoothing: float = 0.0) -> Scores:
    """Return the mean cross-entropy, with smoothed labels, and the share that is right.

    Args:
        logits: `(images, classes)`.
        truth: As `Features.truth`; a multi-label image is right if all its classes are.
        label_smoothing: Share of each target that is spread over all its values.
    """
    logits = logits.astype(np.float64)
    if truth.ndim == 2:
        targets = (1 - label_smoothing) * truth + 0.5 * label_smoothing
        losses = _each_alone(logits, targets)[0].mean(axis=1)
        right = ((logits > 0) == (truth > 0)).all(axis=1)
    else:
        classes = logits.shape[1]
        targets = (1 - label_smoothing) * np.eye(classes)[truth] + label_smoothing / classes
        losses = _one_of_all(logits, targets)[0].sum(axis=1)
        right = logits.argmax(axis=1) == truth
    return Scores(float(losses.mean()), float(right.mean()))


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
        train: The images' features, every view of which is an example of its own.
        validation: Those of other images, for the history; None for none.
        classes: How many there are.
        weights: How much each class' images count, against others' or those without the class.
        steps: The most steps.
        l2: The penalty on the kernel.
        each: Called with each step and its row of the history; returns whether to stop.
    """
    truth, views = train.truth, len(train.rows)
    multi_label = truth.ndim == 2
    targets = truth if multi_label else np.eye(classes)[truth]
    each_weight = (
        1 + truth * (np.asarray(weights) - 1) if multi_label else np.asarray(weights)[truth]
    )
    problem = Problem(
        np.concatenate([np.stack(rows) for rows in train.rows]),
        np.tile(targets, (views, 1)),
        np.tile(each_weight, (views, 1) if multi_label else views),
        l2,
        multi_label,
    )
    last = None
    started = time.perf_counter()
    for epoch, step in enumerate(solve(problem, steps), start=1):
        last = step
        validated = _scores(step, validation) if validation else None
        seconds = time.perf_counter() - started
        row = history_row(STAGE, epoch, _scores(step, train), validated, None, seconds)
        if each(step, row):
            break
        started = time.perf_counter()
    if last is None:  # features that say nothing: the best is to know the classes' shares
        features = problem.features.shape[1]
        last = Step(np.zeros((features, classes), np.float32), np.zeros(classes, np.float32), 0.0)
    return last


def _scores(step: Step, features: Features) -> Scores:
    """Return the scores on the images as a whole, the first view."""
    return scores(np.stack(features.rows[0]) @ step.kernel + step.bias, features.truth)
