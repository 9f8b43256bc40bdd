"""How good a classifier is whose images may be of several classes, or of none.

Each class is a question of its own: is the image of it? As in `metrics`, what cannot be computed is
None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.evaluation.metrics import (
    METHOD,
    CalibrationBin,
    ClassMetrics,
    binned,
    calibration_error,
    precision_recall_f1,
    wilson_interval,
)

THRESHOLD = 0.5  # probability from which on a class is predicted for an image
_FLOOR = float(np.finfo(np.float32).eps)
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LabelMetrics(ClassMetrics):
    """How well one class is recognised."""

    average_precision: float | None  # over all thresholds; None without an example of the class


@dataclass(frozen=True)
class MultiLabelMetrics:
    """What `evaluate_multi_label` found. All shares are from 0 to 1."""

    multi_label: bool  # True
    threshold: float
    labels: tuple[str, ...]
    count: int
    correct: int  # examples for which all classes are predicted, and no other
    accuracy: float  # their share, the subset accuracy
    interval: tuple[float, float]  # Wilson's, 95 %, of the accuracy
    precision: float | None  # of all answers together, as recall
    recall: float | None
    micro_f1: float | None  # of all answers together
    macro_f1: float | None  # mean over the classes that have one
    mean_average_precision: float | None  # mean over the classes that have one
    log_loss: float  # mean over examples and classes, in nats
    calibration_error: float
    calibration_method: str
    bins: tuple[CalibrationBin, ...]  # of the probability of each class of each example
    classes: tuple[LabelMetrics, ...]  # in the labels' order

    def to_json(self) -> dict[str, Any]:
        """Return the same as dictionaries, lists, texts and numbers, for `json.dumps`."""
        return asdict(self)


def evaluate_multi_label(
    labels: Sequence[str], true: npt.ArrayLike, probabilities: npt.ArrayLike
) -> MultiLabelMetrics:
    """Return how good probabilities are, each of a class by itself.

    Args:
        labels: The classes' names in order.
        true: A row for each example, a 0 or 1 for each class: `(n, classes)`.
        probabilities: Of the same shape, each from 0 to 1, as a sigmoid gives them.

    Raises:
        ValueError: there is no example, the shapes do not fit each other, or a value is none.
    """
    names = tuple(labels)
    truth, rows = _checked(names, true, probabilities)
    predicted = rows >= THRESHOLD
    correct = int((predicted == truth).all(axis=1).sum())
    classes = tuple(
        _class(name, truth[:, i], predicted[:, i], rows[:, i]) for i, name in enumerate(names)
    )
    hits, said, there = (int(x.sum()) for x in (predicted & truth, predicted, truth))
    precision, recall, f1 = precision_recall_f1(hits, said, there)
    bins = binned(rows.ravel(), truth.ravel())
    return MultiLabelMetrics(
        multi_label=True,
        threshold=THRESHOLD,
        labels=names,
        count=len(truth),
        correct=correct,
        accuracy=correct / len(truth),
        interval=wilson_interval(correct, len(truth)),
        precision=precision,
        recall=recall,
        micro_f1=f1,
        macro_f1=_mean([each.f1 for each in classes]),
        mean_average_precision=_mean([each.average_precision for each in classes]),
        log_loss=_log_loss(rows, truth),
        calibration_error=calibration_error(bins),
        calibration_method=METHOD.replace("the highest probability", "each class' probability"),
        bins=bins,
        classes=classes,
    )


def _checked(
    labels: tuple[str, ...], true: npt.ArrayLike, probabilities: npt.ArrayLike
) -> tuple[_Bools, _Floats]:
    truth, rows = np.asarray(true), np.asarray(probabilities, dtype=np.float64)
    shape = (len(truth) if truth.ndim else 0, len(labels))
    if truth.shape != shape or rows.shape != shape or not len(truth):
        raise ValueError(
            f"With {len(labels)} labels, `true` and `probabilities` must be of shape "
            f"(n, {len(labels)}), n at least 1. Received: {truth.shape} and {rows.shape}"
        )
    if not np.isin(truth, (0, 1)).all() or not (rows.min() >= 0 and rows.max() <= 1):
        raise ValueError(
            "`true` must be 0 or 1 for each class, and `probabilities` from 0 to 1, as a sigmoid "
            f"gives them. Received: {truth.min()} to {truth.max()}, and {rows.min():g} to "
            f"{rows.max():g}"
        )
    return truth.astype(bool), rows


def _class(label: str, truth: _Bools, predicted: _Bools, scores: _Floats) -> LabelMetrics:
    support, said, hits = int(truth.sum()), int(predicted.sum()), int((truth & predicted).sum())
    average = _average_precision(truth, scores) if support else None
    shares = precision_recall_f1(hits, said, support)
    return LabelMetrics(label, support, said, hits, *shares, average)


def _average_precision(truth: _Bools, scores: _Floats) -> float:
    """Return the sum of precisions, each times the recall it adds, the most confident first.

    Examples of equal scores count at once, as no threshold can part them.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision, recall = hits[last] / (last + 1), hits[last] / truth.sum()
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _log_loss(rows: _Floats, truth: _Bools) -> float:
    given = np.where(truth, rows, 1 - rows)
    return float(-np.log(np.clip(given, _FLOOR, 1)).mean())
