"""A linear layer on fixed features, softmax or sigmoids, trained to the optimum in a second.

The problem is convex: a quasi-Newton method on all pictures at once finds the one best layer in
some dozens of steps, whatever it starts from, with no learning rate to choose.

Source: Liu and Nocedal, 1989, On the limited memory BFGS method for large scale optimization.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating]

_MEMORY = 10  # steps that the curvature is read off
_SUFFICIENT = 1e-4  # share of the predicted descent that a step must bring (Armijo)
_SHORTEST = 1e-6  # step below which there is nothing to gain in the direction
_CONVERGED = 1e-4  # gradient's largest value, of features of variance 1


@dataclass(frozen=True)
class Problem:
    """What a layer is trained on.

    Features are standardised within: channels that differ a thousandfold in scale would otherwise
    take thousands of steps.
    """

    features: Features  # (pictures, features)
    targets: Features  # (pictures, classes), each row a distribution, or multi-hot
    weights: Features  # (pictures,), how much each counts; or of each class of each
    l2: float  # of the standardised features' kernel, against the mean loss of a picture
    multi_label: bool = False  # whether each class is a sigmoid of its own, not all one softmax
    mean: Array = field(init=False)
    scale: Array = field(init=False)

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
    memory: deque[tuple[Array, Array]] = deque(maxlen=_MEMORY)
    for _ in range(steps):
        found = _descend(problem, x, point, loss, slope, _direction(slope, memory))
        if found is None:
            return
        before = point, slope
        point, loss, slope = found
        difference = point - before[0], slope - before[1]
        if np.vdot(*difference) > 0:
            memory.append(difference)
        yield _unstandardised(problem, point, loss)
        if np.abs(slope).max() < _CONVERGED:
            return


def _loss(problem: Problem, x: Features, point: Array) -> tuple[float, Array]:
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


def _one_of_all(logits: Array, targets: Features) -> tuple[Array, Array]:
    """Return the softmax cross-entropy's terms, and its gradient by the logits."""
    logits = logits - logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -targets * logs, np.exp(logs) - targets


def _each_alone(logits: Array, targets: Features) -> tuple[Array, Array]:
    """Return each class' sigmoid cross-entropy, a problem by itself, and its gradient."""
    logs = np.logaddexp(0, logits)  # -log(1 - p)
    return logs - targets * logits, np.exp(logits - logs) - targets


def _direction(slope: Array, memory: deque[tuple[Array, Array]]) -> Array:
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
    problem: Problem, x: Features, point: Array, loss: float, slope: Array, direction: Array
) -> tuple[Array, float, Array] | None:
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


def _unstandardised(problem: Problem, point: Array, loss: float) -> Step:
    kernel = point[:-1] / problem.scale[:, None]
    bias = point[-1] - problem.mean @ kernel
    return Step(kernel.astype(np.float32), bias.astype(np.float32), loss)
