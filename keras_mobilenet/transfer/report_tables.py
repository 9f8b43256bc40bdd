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
    rows = [_epoch_row(epoch, i) for i, epoch in enumerate(history, 1)]
    return table("Every epoch", _EPOCH_COLUMNS, rows, numbers=6)


def class_table(metrics: Metrics, *, numbered: bool) -> Html:
    """Return precision, recall and F1 of each class, with the counts that they are made of.

    With `numbered`, a picture of many classes can name them by their numbers, from 1.
    """
    heads = ["Class", "Examples", "Precision", "Recall", "F1"]
    rows = [_class_row(found) for found in metrics.classes]
    if numbered:
        heads = ["No.", *heads]
        rows = [[str(i), *row] for i, row in enumerate(rows, 1)]
    caption = (
        "Precision: how many of those taken for the class are of it. Recall: how many of the class "
        f"are found. F1: their harmonic mean. {NOTHING}: there is nothing to take a share of."
    )
    return table(caption, heads, rows, numbers=4, header=int(numbered))


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[Child]],
    *,
    numbers: int,
    header: int = 0,
) -> Html:
    """Return a table that scrolls within the page where it is too wide or too tall.

    Args:
        caption: What it is of.
        heads: The columns' names.
        rows: Their cells.
        numbers: How many of the last columns hold numbers.
        header: The column that names the row.
    """
    classes = [None] * (len(heads) - numbers) + ["number"] * numbers
    head = [
        element("th", name, scope="col", class_=class_)
        for name, class_ in zip(heads, classes, strict=True)
    ]
    body = [
        element("tr", (_cell(cell, classes[i], i == header) for i, cell in enumerate(row)))
        for row in rows
    ]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", head)),
        element("tbody", body),
    )
    # A keyboard scrolls only what can have the focus.
    return element("div", whole, class_="scroll tall", tabindex="0")


def _cell(content: Child, class_: str | None, is_header: bool) -> Html:
    if is_header:
        return element("th", content, scope="row")
    return element("td", content, class_=class_)


def _epoch_row(epoch: Epoch, position: int) -> list[Child]:
    rate, time = epoch.get("learning_rate"), epoch.get("seconds")
    return [
        str(position),
        str(epoch.get("stage", NOTHING)),
        number(epoch.get("loss")),
        percent(epoch.get("accuracy")),
        number(epoch.get("val_loss")),
        percent(epoch.get("val_accuracy")),
        NOTHING if rate is None else f"{rate:.3g}",
        NOTHING if time is None else seconds(time),
    ]


def _class_row(found: ClassMetrics) -> list[Child]:
    return [
        found.label,
        str(found.support),
        share(found.precision, found.correct, found.predicted),
        share(found.recall, found.correct, found.support),
        percent(found.f1),
    ]


def share(value: float | None, part: int, whole: int) -> Html:
    """Return a share in percent, with the counts that it is made of."""
    return joined(percent(value), element("small", f"{part} of {whole}"))
