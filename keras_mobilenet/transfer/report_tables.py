"""A report's tables: settings, epochs, classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_mobilenet.transfer.markup import Child, Html, element, joined
from keras_mobilenet.transfer.metrics import ClassMetrics, Metrics
from keras_mobilenet.transfer.report_words import NOTHING, number, percent, seconds, setting

Epoch = Mapping[str, Any]
_EPOCH_COLUMNS = ("Epoch", "Stage", "Loss", "Accuracy", "Validation loss", "Validation accuracy",
                  "Learning rate", "Time")  # fmt: skip


def named_values(title: str, values: Iterable[tuple[str, Child]]) -> Html:
    """Return names with their values, under a title."""
    pairs = [
        element("div", element("dt", name), element("dd", value), class_="named")
        for name, value in values
    ]
    return element("section", element("h3", title), element("dl", pairs), class_="facts")


def in_words(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return settings by name, both as words: `learning_rate` becomes `learning rate`."""
    return [(name.replace("_", " "), setting(value)) for name, value in values.items()]


def in_time(timings: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return durations by name, both as words."""
    return [(name.replace("_", " "), seconds(value)) for name, value in timings.items()]


def epoch_table(history: Sequence[Epoch]) -> Html:
    """Return the numbers of the training curves."""
    rows = [element("tr", _epoch_cells(epoch, i)) for i, epoch in enumerate(history, 1)]
    return _table("Every epoch", _EPOCH_COLUMNS, rows, numbers=6)


def class_table(metrics: Metrics, *, numbered: bool) -> Html:
    """Return precision, recall and F1 of each class, with the counts that they are made of.

    With `numbered`, a picture of many classes can name them by their numbers, from 1.
    """
    heads = ["Class", "Examples", "Precision", "Recall", "F1"]
    rows = [
        _class_row(found, i if numbered else None) for i, found in enumerate(metrics.classes, 1)
    ]
    caption = (
        "Precision: how many of those taken for the class are of it. Recall: how many of the class "
        f"are found. F1: their harmonic mean. {NOTHING}: there is nothing to take a share of."
    )
    return _table(caption, ["No.", *heads] if numbered else heads, rows, numbers=4)


def _epoch_cells(epoch: Epoch, position: int) -> Html:
    rate, time = epoch.get("learning_rate"), epoch.get("seconds")
    cells = [
        number(epoch.get("loss")),
        percent(epoch.get("accuracy")),
        number(epoch.get("val_loss")),
        percent(epoch.get("val_accuracy")),
        NOTHING if rate is None else f"{rate:.3g}",
        NOTHING if time is None else seconds(time),
    ]
    return joined(
        element("th", str(position), scope="row"),
        element("td", str(epoch.get("stage", NOTHING))),
        (element("td", cell, class_="number") for cell in cells),
    )


def _class_row(found: ClassMetrics, position: int | None) -> Html:
    return element(
        "tr",
        None if position is None else element("td", str(position)),
        element("th", found.label, scope="row"),
        element("td", str(found.support), class_="number"),
        _share(found.precision, f"{found.correct} of {found.predicted}"),
        _share(found.recall, f"{found.correct} of {found.support}"),
        _share(found.f1, None),
    )


def _share(share: float | None, counts: str | None) -> Html:
    told = element("small", counts) if counts is not None else None
    return element("td", percent(share), told, class_="number")


def _table(caption: str, heads: Sequence[str], rows: Sequence[Html], *, numbers: int) -> Html:
    """Return a table whose last `numbers` columns hold numbers."""
    words = len(heads) - numbers
    head = element(
        "tr",
        (
            element("th", name, scope="col", class_=None if i < words else "number")
            for i, name in enumerate(heads)
        ),
    )
    table = element(
        "table", element("caption", caption), element("thead", head), element("tbody", rows)
    )
    return element("div", table, class_="scroll tall", tabindex="0")
