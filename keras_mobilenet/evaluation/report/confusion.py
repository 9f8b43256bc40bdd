"""Which classes are predicted as which: a table of a few classes, an image of many."""

from __future__ import annotations

import math

from keras_mobilenet.evaluation.metrics import Metrics
from keras_mobilenet.evaluation.report.charts import count_ticks
from keras_mobilenet.evaluation.report.markup import Html, element
from keras_mobilenet.evaluation.report.tables import percent, table

TABLE_UP_TO = 24  # classes, of which the counts can be read in a row
_FEW = 6  # classes, whose cells may be large
_SHOWN = 12  # of the most frequent mistakes
_SIDE, _EDGE = 400, 30  # of the image, and of its margin for the classes' numbers
_SEEN = 1.5  # pixels that a cell has at least, however many there are


def confusion_shown(metrics: Metrics) -> Html:
    """Return the confusion matrix and the most frequent mistakes."""
    if len(metrics.labels) <= TABLE_UP_TO:
        matrix = element("div", _table(metrics), class_="scroll", tabindex="0")
    else:
        matrix = _image(metrics)
    return element("div", matrix, _most_frequent(metrics), class_="beside")


def _table(metrics: Metrics) -> Html:
    predicted = [
        element("th", element("span", label), scope="col", class_="turned")
        for label in metrics.labels
    ]
    count = str(len(metrics.labels))
    head = [
        element(
            "tr", element("td"), element("th", "predicted as", scope="colgroup", colspan=count)
        ),
        element("tr", element("th", "true class", scope="col"), predicted),
    ]
    rows = [
        element(
            "tr",
            element("th", label, scope="row"),
            (_cell(metrics, i, j) for j in range(len(metrics.labels))),
        )
        for i, label in enumerate(metrics.labels)
    ]
    caption = element(
        "caption",
        "Examples of each true class (row) by the predicted class (column). The colour "
        "is the share of the row.",
    )
    kind = "confusion few" if len(metrics.labels) <= _FEW else "confusion"
    return element("table", caption, element("thead", head), element("tbody", rows), class_=kind)


def _cell(metrics: Metrics, i: int, j: int) -> Html:
    count = metrics.confusion[i][j]
    return element("td", str(count), class_=_heat(metrics, i, j), title=_told(metrics, i, j))


def _heat(metrics: Metrics, i: int, j: int) -> str:
    """Return a cell's classes in the style sheet: right or wrong, and its share in tenths."""
    share = metrics.confusion[i][j] / max(1, metrics.classes[i].support)
    return f"{'hit' if i == j else 'miss'} h{math.ceil(10 * share - 1e-9)}"


def _told(metrics: Metrics, i: int, j: int) -> str:
    count, support = metrics.confusion[i][j], metrics.classes[i].support
    share = percent(count / support) if support else "none"
    what = "right" if i == j else f"predicted as {metrics.labels[j]}"
    return f"{metrics.labels[i]}, {what}: {count} of {support} ({share})"


def _image(metrics: Metrics) -> Html:
    count = len(metrics.labels)
    cell = (_SIDE - _EDGE) / count
    box = f"0 0 {_SIDE} {_SIDE}"
    frame = element("rect", x=_EDGE, y=_EDGE, width=cell * count, height=cell * count,
                    class_="frame")  # fmt: skip
    cells = (
        _square(metrics, i, j, cell)
        for i in range(count)
        for j in range(count)
        if metrics.confusion[i][j]
    )
    title = "Confusion matrix: true classes from top to bottom, predicted ones from left to right"
    svg = element(
        "svg",
        (_number(i, cell) for i in count_ticks(count, 6)),
        frame,
        cells,
        class_="grid",
        viewBox=box,
        role="img",
        aria_label=title,
    )
    words = (
        "Each row is a true class, each column a predicted one, by their numbers in the "
        "table of classes. The colour is the share of the row: what is right lies on the diagonal."
    )
    return element("figure", svg, element("figcaption", words), class_="matrix")


def _square(metrics: Metrics, i: int, j: int, cell: float) -> Html:
    side = max(cell, _SEEN)
    told = element("title", _told(metrics, i, j))
    x, y = _EDGE + j * cell, _EDGE + i * cell
    return element("rect", told, x=x, y=y, width=side, height=side, class_=_heat(metrics, i, j))


def _number(class_number: int, cell: float) -> list[Html]:
    """Return a class' number beside its row and its column."""
    place = _EDGE + (class_number - 0.5) * cell
    text = str(class_number)
    return [
        element("text", text, x=_EDGE - 5, y=place + 3, class_="end"),
        element("text", text, x=place, y=_EDGE - 6),
    ]


def _most_frequent(metrics: Metrics) -> Html | None:
    wrong = [
        (count, i, j)
        for i, row in enumerate(metrics.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    wrong.sort(key=lambda case: (-case[0], case[1:]))
    if not wrong:
        return None
    heads = ("True class", "Predicted as", "Examples", "Of the class")
    rows = [_row(metrics, *case) for case in wrong[:_SHOWN]]
    shown = f", the first {_SHOWN} of {len(wrong)}" if len(wrong) > _SHOWN else ""
    return table(f"The most frequent mistakes{shown}", heads, rows, numbers=2)


def _row(metrics: Metrics, count: int, i: int, j: int) -> tuple[str, ...]:
    share = percent(count / metrics.classes[i].support)
    return metrics.labels[i], metrics.labels[j], str(count), share
