"""A report's parts for images that may be of several classes, or of none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.evaluation.multi_label_metrics import THRESHOLD, MultiLabelMetrics
from keras_mobilenet.evaluation.report.markup import Html, element, joined
from keras_mobilenet.evaluation.report.mistakes import MOST, name_of
from keras_mobilenet.evaluation.report.sections import accuracy_tile, tile
from keras_mobilenet.evaluation.report.tables import (
    NOTHING,
    class_row,
    number,
    percent,
    plural,
    table,
)


@dataclass(frozen=True)
class WrongAnswer:
    """An image that is taken to be of a class and is not, or the reverse."""

    index: int  # among all that were validated with
    name: str
    class_index: int
    is_of_it: bool
    probability: float


def key_numbers(metrics: MultiLabelMetrics) -> Html:
    """Return what a reader looks for first: how good the model is, and how sure that is."""
    tiles = [
        tile("Macro F1", percent(metrics.macro_f1), "mean over the classes"),
        tile("Micro F1", percent(metrics.micro_f1), "of all answers together"),
        tile("Mean average precision", percent(metrics.mean_average_precision),
             "over all thresholds, mean over the classes"),
        accuracy_tile("All classes right", metrics),
        tile("Log loss", number(metrics.log_loss), "nats an answer; 0 is perfect"),
    ]  # fmt: skip
    return element("div", tiles, class_="tiles")


def class_table(metrics: MultiLabelMetrics) -> Html:
    """Return precision, recall, F1 and average precision of each class."""
    heads = ("Class", "Examples", "Precision", "Recall", "F1", "Average precision")
    rows = [[*class_row(found), percent(found.average_precision)] for found in metrics.classes]
    caption = (
        f"An image is taken to be of each class whose probability is {THRESHOLD:g} or more. "
        "Precision: how many of those predicted as the class are of it. Recall: how many of it "
        "are found. F1: their harmonic mean. Average precision: the mean precision over all "
        f"thresholds, which says how well the class is ranked. {NOTHING}: there is nothing to take "
        "a share of."
    )
    return table(caption, heads, rows, numbers=5)


def find_wrong_answers(
    examples: Sequence[tuple[Any, Any]], probabilities: npt.NDArray[Any], most: int = MOST
) -> tuple[list[WrongAnswer], int]:
    """Return the surest wrong answers, at most `most`, and how many there are."""
    truth = np.zeros(probabilities.shape, bool)
    for row, (_, classes) in enumerate(examples):
        truth[row, list(classes)] = True
    rows, columns = np.nonzero((probabilities >= THRESHOLD) != truth)
    order = np.argsort(-np.abs(probabilities[rows, columns] - THRESHOLD), kind="stable")
    found = [
        WrongAnswer(
            int(i), name_of(int(i), examples[i][0]), int(k), bool(truth[i, k]),
            float(probabilities[i, k]),
        )
        for i, k in zip(rows[order[:most]], columns[order[:most]], strict=True)
    ]  # fmt: skip
    return found, len(rows)


def mistakes(
    examples: Sequence[tuple[Any, Any]], probabilities: npt.NDArray[Any], labels: Sequence[str]
) -> Html:
    """Return the surest wrong answers as a table."""
    found, count = find_wrong_answers(examples, probabilities)
    if not count:
        words = "There is none: of every validation example, each class is told."
        return element("p", words, class_="note")
    some = f"{len(found)} of {plural(count, 'wrong answer')}" if len(found) < count else "All"
    heads = ("Example", "Class", "Is of it", "Probability")
    rows = [
        (x.name, labels[x.class_index], "yes" if x.is_of_it else "no", percent(x.probability))
        for x in found
    ]
    return joined(
        element("p", f"{some}, the surest first.", class_="note"),
        table("Wrong answers", heads, rows, numbers=1),
    )
