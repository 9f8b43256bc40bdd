"""Which classes are predicted as which."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_mobilenet.evaluation.metrics import Metrics
from keras_mobilenet.evaluation.report.charts import count_ticks

_TABLE_UP_TO = 24  # classes, of which the counts can be read in a row


@dataclass(frozen=True)
class Cell:
    """How many examples of a true class are predicted as a class."""

    true: int
    predicted: int
    count: int
    support: int  # examples of the true class

    @property
    def right(self) -> bool:
        """Whether it lies on the diagonal."""
        return self.true == self.predicted

    @property
    def share(self) -> float:
        """The share of the true class."""
        return self.count / max(1, self.support)

    @property
    def heat(self) -> str:
        """Its classes in the style sheet: right or wrong, and its share in tenths."""
        return f"{'hit' if self.right else 'miss'} h{math.ceil(10 * self.share - 1e-9)}"


def confusion(metrics: Metrics) -> dict[str, Any]:
    """Return a table's rows where the classes are few; else the cells of an image, the filled ones.

    In both cases the mistakes, too, the most frequent first.
    """

    def cell(i: int, j: int) -> Cell:
        return Cell(i, j, metrics.confusion[i][j], metrics.classes[i].support)

    classes = range(len(metrics.labels))
    filled = [cell(int(i), int(j)) for i, j in np.argwhere(np.array(metrics.confusion))]
    wrong = [each for each in filled if not each.right]
    few = len(classes) <= _TABLE_UP_TO
    return {
        "rows": [[cell(i, j) for j in classes] for i in classes] if few else [],
        "filled": filled,
        "numbers": count_ticks(len(classes), 6),
        "wrong": sorted(wrong, key=lambda each: -each.count),
    }
