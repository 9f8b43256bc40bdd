"""The parts of a report that are neither a table nor a chart alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_mobilenet.evaluation.metrics import Metrics
from keras_mobilenet.evaluation.multi_label_metrics import MultiLabelMetrics
from keras_mobilenet.evaluation.report.charts import (
    Line,
    Stage,
    line_chart,
    reliability_diagram,
    stages_of,
)
from keras_mobilenet.evaluation.report.markup import Html, element, joined
from keras_mobilenet.evaluation.report.tables import (
    Epoch,
    epoch_table,
    in_time,
    in_words,
    named_values,
    number,
    percent,
    plural,
)

_PROBLEMS_SHOWN = 200
_WORDS = {"problems": "Problems", "training": "Training", "confusion": "Confusion",
          "classes": "Classes", "mistakes": "Mistakes", "calibration": "Calibration"}  # fmt: skip


def contents(ids: Sequence[str]) -> Html:
    """Return links to the page's parts."""
    links = (element("a", _WORDS[id_], href=f"#{id_}") for id_ in ids)
    return element("nav", links, aria_label="Contents")


def key_numbers(metrics: Metrics | None) -> Html:
    """Return what a reader looks for first: how good the model is, and how sure that is."""
    if metrics is None:
        return element("p", "Nothing was validated, so that nobody knows how good the model is.",
                       class_="note")  # fmt: skip
    tiles = [
        accuracy_tile("Accuracy", metrics),
        tile("Log loss", number(metrics.log_loss), "nats an example; 0 is perfect"),
        tile("Calibration error", percent(metrics.calibration_error),
              "by which it is surer, or less sure, than right"),
    ]  # fmt: skip
    if metrics.top_2 is not None:
        words = "the true class is one of the two most probable"
        tiles.insert(1, tile("Top-2 accuracy", percent(metrics.top_2), words))
    return element("div", tiles, class_="tiles")


def made_with(
    settings: Mapping[str, Any],
    timings: Mapping[str, float],
    versions: Mapping[str, str],
    weights_hash: str,
) -> Html:
    """Return what it takes to train the same model again."""
    return element(
        "div",
        named_values("Settings", in_words(settings)),
        named_values("Time", in_time(timings)),
        named_values("Versions", versions.items()),
        named_values("Weights", [("SHA-256", element("code", weights_hash))]),
        class_="made",
    )


def curves(history: Sequence[Epoch]) -> Html:
    """Return loss and accuracy by epoch, and the numbers that they are drawn from."""
    stages = stages_of([str(epoch.get("stage", "")) for epoch in history])
    validated = any(epoch.get("val_loss") is not None for epoch in history)
    key = [element("span", "training", class_="key train")]
    if validated:
        key.append(element("span", "validation", class_="key validation"))
    return joined(
        element("p", key, class_="keys"),
        element(
            "div",
            _chart("Loss", history, "loss", stages),
            _chart("Accuracy", history, "accuracy", stages),
            class_="charts",
        ),
        element("p", _stage_words(stages), class_="note"),
        element("details", element("summary", "The numbers of every epoch"), epoch_table(history)),
    )


def mistakes_heading(shown: int, mistakes: int) -> Html:
    """Return what the mistakes are of, and how the maps over them are to be read."""
    if not mistakes:
        words = "There is none: every validation example is recognised."
    else:
        some = f"{shown} of {plural(mistakes, 'mistake')}" if shown < mistakes else "All of them"
        words = (
            f"{some}, the surest first. Beside an image, as the model saw it, is where it saw the "
            "class that it wrongly named: bright places speak for that class, dark ones do not."
        )
    return element("p", words, class_="note")


def calibration(metrics: Metrics | MultiLabelMetrics) -> Html:
    """Return the reliability diagram and how to read it."""
    words = (
        "Each bar is how often the model is right when it is as sure as its place on the axis "
        "says; the outlined gap is how far off that is, and the dashed line is no gap at all. The "
        "small bars below count the examples. The calibration error, "
        f"{percent(metrics.calibration_error)}, is the mean gap: {metrics.calibration_method}."
    )
    diagram = reliability_diagram(metrics.bins)
    return element("figure", diagram, element("figcaption", words), class_="wide")


def problem_list(problems: Sequence[str]) -> Html:
    """Return what is wrong with the data."""
    rest = len(problems) - _PROBLEMS_SHOWN
    items = [element("li", problem) for problem in problems[:_PROBLEMS_SHOWN]]
    more = element("p", f"and {rest} more", class_="note") if rest > 0 else None
    return element("div", element("ul", items), more, class_="scroll tall", tabindex="0")


def accuracy_tile(name: str, metrics: Metrics | MultiLabelMetrics) -> Html:
    """Return the share of examples that are right, with its interval."""
    low, high = metrics.interval
    return tile(
        name,
        percent(metrics.accuracy),
        f"95 % interval {percent(low)} to {percent(high)}",
        _interval_bar(metrics),
        element("p", f"{metrics.correct:,} of {plural(metrics.count, 'example')}", class_="note"),
    )


def tile(name: str, value: str, words: str, *more: Html) -> Html:
    """Return one number with its name and what it means."""
    return element(
        "div", element("h2", name), element("p", value, class_="value"), more,
        element("p", words, class_="note"), class_="tile",
    )  # fmt: skip


def _interval_bar(metrics: Metrics | MultiLabelMetrics) -> Html:
    """Return the interval on a line from 0 to 100 %, the accuracy marked; the words say it too."""
    low, high = (100 * share for share in metrics.interval)
    at = 100 * metrics.accuracy
    return element(
        "svg",
        element("rect", x=0, y=3, width=100, height=2, class_="all"),
        element("rect", x=low, y=2, width=high - low, height=4, class_="within"),
        element("rect", x=min(max(at - 0.4, 0), 99.2), y=0, width=0.8, height=8, class_="at"),
        class_="interval",
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _chart(title: str, history: Sequence[Epoch], name: str, stages: Sequence[Stage]) -> Html:
    lines = [
        Line("train", [epoch.get(name) for epoch in history]),
        Line("validation", [epoch.get(f"val_{name}") for epoch in history]),
    ]
    chart = line_chart(f"{title} by epoch", lines, stages, share=name == "accuracy")
    return element("figure", element("h3", title), chart)


def _stage_words(stages: Sequence[Stage]) -> str:
    if len(stages) == 1:
        return f"One stage: {_span(stages[0])}."
    told = (f"{i} {_span(stage)}" for i, stage in enumerate(stages, 1))
    return f"Stages: {'; '.join(told)}."


def _span(stage: Stage) -> str:
    if stage.first == stage.last:
        return f"{stage.name} (epoch {stage.first})"
    return f"{stage.name} (epochs {stage.first} to {stage.last})"
