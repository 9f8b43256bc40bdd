"""How good a classifier's probabilities are on examples whose classes are known.

What cannot be computed is None, never a 0 that looks like a measurement: a class that is never
predicted has no precision, and one without an example no recall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15  # as in Guo et al., 2017
METHOD = (
    f"{BINS} bins of equal width over the highest probability, weighted by their examples "
    "(Guo et al., 2017, arXiv 1706.04599)"
)
_TOP_2_FROM = 5  # classes: with fewer, one of two guesses is right too often to mean anything
_TOP_5_FROM = 10  # the same of five
_NORMAL_95 = 1.959963984540054  # 97.5 % of a normal distribution lie below
_FLOOR = float(np.finfo(np.float32).eps)  # a float32 softmax may give 0, whose log is infinite
_SUM_SLACK = 1e-2  # probabilities computed in bfloat16 sum to 1 no better than this
_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassMetrics:
    """How well one class is distinguished from all others."""

    label: str
    support: int  # examples of the class
    predicted: int  # examples predicted as it
    correct: int  # both at once
    precision: float | None  # correct / predicted, None where nothing is predicted
    recall: float | None  # correct / support, None where there is no example
    f1: float | None  # 2 correct / (support + predicted), None where both are 0


@dataclass(frozen=True)
class CalibrationBin:
    """The examples whose highest probability is above `low` and at most `high`."""

    low: float
    high: float
    count: int
    confidence: float | None  # their mean highest probability, None where there is no example
    accuracy: float | None  # the share of them that is right


@dataclass(frozen=True)
class Metrics:
    """What `evaluate` found. All shares are from 0 to 1."""

    labels: tuple[str, ...]
    count: int
    correct: int
    accuracy: float
    interval: tuple[float, float]  # Wilson's, 95 %, of the accuracy
    top_2: float | None  # None with fewer than 5 classes
    top_5: float | None  # None with fewer than 10 classes
    top_5_interval: tuple[float, float] | None  # Wilson's, 95 %
    log_loss: float  # mean of -ln(probability of the true class), in nats
    calibration_error: float
    calibration_method: str
    bins: tuple[CalibrationBin, ...]
    classes: tuple[ClassMetrics, ...]  # in the labels' order
    confusion: tuple[tuple[int, ...], ...]  # a row for each true class, a column a predicted one

    def to_json(self) -> dict[str, Any]:
        """Return the same as dictionaries, lists, texts and numbers, for `json.dumps`."""
        # Copied number by number, as asdict does, the confusion of 1000 classes takes two seconds.
        return {**asdict(replace(self, confusion=())), "confusion": self.confusion}


def evaluate(
    labels: Sequence[str], true: Sequence[int] | npt.NDArray[Any], probabilities: npt.ArrayLike
) -> Metrics:
    """Return how good probabilities are; the predicted class is the most probable one.

    Args:
        labels: The classes' names in order.
        true: The true class' index for each of `n` examples.
        probabilities: A row for each example, a column for each class: `(n, classes)`.

    Raises:
        ValueError: there is no example, the shapes do not fit each other, an index is no class',
            or the rows are no probabilities.
    """
    names = tuple(labels)
    indices, rows = _checked(names, true, probabilities)
    return metrics_of(names, outcomes_of(indices, rows))


@dataclass(frozen=True)
class Outcomes:
    """What the metrics ask of each example: arrays of one length, however many classes."""

    true: _Ints
    predicted: _Ints
    rank: _Ints  # of the true class, 0 for the most probable; of equal ones the first comes first
    confidence: _Floats  # probability of the predicted class
    given: _Floats  # probability of the true class


def outcomes_of(true: npt.NDArray[Any], rows: npt.NDArray[Any]) -> Outcomes:
    """Return the outcomes of scores, `(n, classes)`, for examples of known classes."""
    given = rows[np.arange(len(true)), true]
    before = np.arange(rows.shape[1]) < true[:, None]
    ahead = (rows > given[:, None]) | ((rows == given[:, None]) & before)
    return Outcomes(
        true.astype(np.int64),
        rows.argmax(axis=1),
        ahead.sum(axis=1),
        rows.max(axis=1).astype(np.float64),
        given.astype(np.float64),
    )


def metrics_of(labels: tuple[str, ...], outcomes: Outcomes, *, floor: float = _FLOOR) -> Metrics:
    """Return the metrics of examples, at least one.

    Args:
        labels: The classes' names in order.
        outcomes: What became of each example.
        floor: The least probability that the log loss knows: a softmax may give 0.
    """
    right = outcomes.rank == 0
    count, correct = len(right), int(right.sum())
    confusion = _confusion(len(labels), outcomes.true, outcomes.predicted)
    bins = binned(outcomes.confidence, right)
    among = int((outcomes.rank < 5).sum()) if len(labels) >= _TOP_5_FROM else None
    return Metrics(
        labels=labels,
        count=count,
        correct=correct,
        accuracy=correct / count,
        interval=wilson_interval(correct, count),
        top_2=float((outcomes.rank < 2).mean()) if len(labels) >= _TOP_2_FROM else None,
        top_5=None if among is None else among / count,
        top_5_interval=None if among is None else wilson_interval(among, count),
        log_loss=float(-np.log(np.clip(outcomes.given, floor, 1)).mean()),
        calibration_error=calibration_error(bins),
        calibration_method=METHOD,
        bins=bins,
        classes=tuple(_class(name, confusion, i) for i, name in enumerate(labels)),
        confusion=tuple(tuple(int(number) for number in row) for row in confusion),
    )


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of which `correct` of `count` were seen.

    Unlike the share plus or minus two standard errors it stays within 0 and 1, and has a width
    where all or none are correct. Source: Wilson, 1927, J. Am. Stat. Assoc. 22.

    Raises:
        ValueError: `count` is below 1, or `correct` is not in 0 to `count`.
    """
    if not 0 <= correct <= count or count < 1:
        raise ValueError(
            "`correct` must be in 0 to `count`, which must be 1 or more. "
            f"Received: correct={correct!r}, count={count!r}"
        )
    share, square = correct / count, _NORMAL_95**2 / count
    centre = share + square / 2
    spread = math.sqrt(square * (share * (1 - share) + square / 4))
    low, high = (centre - spread) / (1 + square), (centre + spread) / (1 + square)
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # rounding, at 0 and 1


def _checked(
    labels: tuple[str, ...], true: Sequence[int] | npt.NDArray[Any], probabilities: npt.ArrayLike
) -> tuple[_Ints, _Floats]:
    """Return the indices and the probabilities as arrays, each row with a sum of 1."""
    indices, rows = np.asarray(true), np.asarray(probabilities, dtype=np.float64)
    if indices.ndim != 1 or not len(indices) or rows.shape != (len(indices), len(labels)):
        raise ValueError(
            f"With {len(labels)} labels, `true` must be of shape (n,) and `probabilities` of shape "
            f"(n, {len(labels)}), n at least 1. Received: {indices.shape} and {rows.shape}"
        )
    whole = np.issubdtype(indices.dtype, np.integer)
    if not whole or indices.min() < 0 or indices.max() >= len(labels):
        raise ValueError(
            f"`true` must be the classes' indices, whole numbers from 0 to {len(labels) - 1}. "
            f"Received: {indices.dtype} from {indices.min()} to {indices.max()}"
        )
    sums = rows.sum(axis=1, keepdims=True)
    if not (rows.min() >= 0 and np.abs(sums - 1).max() <= _SUM_SLACK):  # false for NaN, too
        raise ValueError(
            "`probabilities` must be rows of numbers from 0, each with a sum of 1, as a softmax "
            f"gives them. Received: numbers from {rows.min():g} to {rows.max():g}, sums from "
            f"{sums.min():g} to {sums.max():g}"
        )
    return indices.astype(np.int64), rows / sums


def _confusion(classes: int, true: _Ints, predicted: _Ints) -> _Ints:
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (true, predicted), 1)
    return counts


def _class(label: str, confusion: _Ints, i: int) -> ClassMetrics:
    support, predicted = int(confusion[i].sum()), int(confusion[:, i].sum())
    correct = int(confusion[i, i])
    return ClassMetrics(
        label,
        support,
        predicted,
        correct,
        *precision_recall_f1(correct, predicted, support),
    )


def precision_recall_f1(
    correct: int, predicted: int, support: int
) -> tuple[float | None, float | None, float | None]:
    """Return the three shares; None for each that there is nothing to take a share of."""
    return (
        share_of(correct, predicted),
        share_of(correct, support),
        share_of(2 * correct, support + predicted),
    )


def share_of(part: int, whole: int) -> float | None:
    """Return a part's share, None where there is nothing to take one of."""
    return part / whole if whole else None


def binned(confidence: _Floats, right: npt.NDArray[np.bool_]) -> tuple[CalibrationBin, ...]:
    """Return the bins of some answers by their confidence."""
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.searchsorted(edges, confidence) - 1, 0, BINS - 1)
    return tuple(
        _bin(edges[i], edges[i + 1], confidence[place == i], right[place == i]) for i in range(BINS)
    )


def _bin(
    low: float, high: float, confidence: _Floats, right: npt.NDArray[np.bool_]
) -> CalibrationBin:
    if not len(right):
        return CalibrationBin(float(low), float(high), 0, None, None)
    means = float(confidence.mean()), float(right.mean())
    return CalibrationBin(float(low), float(high), len(right), *means)


def calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Return the mean distance of confidence and accuracy over all examples."""
    filled = [(b.count, b.confidence, b.accuracy) for b in bins]
    gaps = [n * abs(p - a) for n, p, a in filled if p is not None and a is not None]
    return sum(gaps) / sum(b.count for b in bins)
