"""A report's tables, and numbers as its reader wants them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_mobilenet.evaluation.metrics import ClassMetrics, Metrics
from keras_mobilenet.evaluation.report.markup import Child, Html, element, joined

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

    With `numbered`, an image of many classes can name them by their numbers, from 1.
    """
    heads = ["Class", "Examples", "Precision", "Recall", "F1"]
    rows = [class_row(found) for found in metrics.classes]
    if numbered:
        heads = ["No.", *heads]
        rows = [[str(i), *row] for i, row in enumerate(rows, 1)]
    caption = (
        "Precision: how many of those predicted as the class are of it. Recall: how many of it "
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


def class_row(found: ClassMetrics) -> list[Child]:
    """Return the cells of a class that every table of classes begins with."""
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


NOTHING = "\N{EN DASH}"
_THIN, _SPACE = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as `87.5 %`, a dash for None."""
    return NOTHING if share is None else f"{100 * share:.{digits}f}{_THIN}%"


def number(value: Any, digits: int = 3) -> str:
    """Return a number with some decimals, a dash for None; of one that is not finite its name."""
    if value is None:
        return NOTHING
    return f"{value:.{digits}f}" if math.isfinite(value) else str(float(value))


def seconds(value: float) -> str:
    """Return a time as `0.35 s`, `12.3 s`, `2 min 05 s` or `1 h 02 min`."""
    if not value < 59.95:  # not finite, too, which the last line would raise at
        return _minutes(value) if math.isfinite(value) else str(value)
    return f"{value:.{1 if value >= 9.995 else 2}f}{_THIN}s"


def _minutes(value: float) -> str:
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{_THIN}min{_SPACE}{rest:02}{_THIN}s"
    return f"{minutes // 60}{_THIN}h{_SPACE}{minutes % 60:02}{_THIN}min"


def plural(count: int, noun: str) -> str:
    """Return `1 example`, `2 examples`, `2 classes`."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,}{_SPACE}{noun}{ending}"


def listed(names: Sequence[str], most: int) -> str:
    """Return names with commas, and how many more there are than `most`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def setting(value: Any) -> str:
    """Return a JSON value as words."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case float():
            return f"{value:.6g}"
        case [*items] if all(not isinstance(item, (list, tuple, dict)) for item in items):
            return ", ".join(map(setting, items)) or "none"
    return json.dumps(value, ensure_ascii=False, default=str)
