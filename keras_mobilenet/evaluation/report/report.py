"""A report: one HTML file that opens anywhere, offline, of all that is known of a run.

Nothing is fetched, and the page's own policy forbids the browser to; nothing in it is a script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from os import PathLike
from typing import Any, Protocol

import jinja2
import numpy as np
import numpy.typing as npt

from keras_mobilenet.errors import plain
from keras_mobilenet.evaluation.metrics import Metrics
from keras_mobilenet.evaluation.multi_label_metrics import MultiLabelMetrics
from keras_mobilenet.evaluation.report import charts
from keras_mobilenet.evaluation.report.confusion import confusion
from keras_mobilenet.evaluation.report.contents import Contents
from keras_mobilenet.evaluation.report.filters import FILTERS, NOTHING, plural
from keras_mobilenet.evaluation.report.mistakes import (
    TrainedModel,
    find_mistakes,
    find_wrong_answers,
    mistake_cards,
)
from keras_mobilenet.files import integrity, replacing


class TrainedRun(Protocol):
    """What a report is about: a trained model, and how it came about."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names in order."""

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """An epoch each: stage, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds."""

    @property
    def validation(self) -> Sequence[tuple[Any, Any]]:
        """Each example's path, None for an array, and its true class, or a tuple of them."""

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """The model's outputs for them, `(examples, classes)`."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """JSON values by name."""

    @property
    def timings(self) -> Mapping[str, float]:
        """Seconds by name."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions by package."""

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weights."""

    @property
    def trained(self) -> TrainedModel:
        """The trained model."""

    @property
    def problems(self) -> Sequence[str]:
        """What is wrong with the data."""


def write_report(
    path: str | PathLike[str], run: TrainedRun, metrics: Metrics | MultiLabelMetrics | None
) -> None:
    """Write what was trained and how good it is as one HTML file.

    The file needs no network, no script and no other file. The images of at most 24 mistakes are
    in it, made small; of their paths it has the file's name and its folder's. Problems and settings
    are shown as they are.

    Args:
        path: The file to write.
        run: The trained model, and how it came about.
        metrics: What `evaluate` found on the run's validation examples; None where there are none.

    Raises:
        ValueError: `metrics` are not those of the run.
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    _check(run, metrics)
    write_page(path, _contents(run, metrics), metrics)


def write_page(
    path: str | PathLike[str], contents: Contents, metrics: Metrics | MultiLabelMetrics | None
) -> None:
    """Write a report's page, of a training or of an evaluation.

    Raises:
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    text = _page(contents, metrics)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _check(run: TrainedRun, metrics: Metrics | MultiLabelMetrics | None) -> None:
    shapes = len(run.validation), len(run.labels)
    measured = (metrics.count, len(metrics.labels)) if metrics else (0, len(run.labels))
    same = measured == shapes and (not metrics or metrics.labels == tuple(run.labels))
    if not same or (metrics and run.probabilities.shape != shapes):
        raise ValueError(
            "`metrics` must be what evaluate() found on the run's validation examples. The run has "
            f"{shapes[0]} of {shapes[1]} classes, the metrics are of "
            f"{measured[0]} of {measured[1]}."
        )


def _contents(run: TrainedRun, metrics: Metrics | MultiLabelMetrics | None) -> Contents:
    shown: dict[str, Any] = {}
    if isinstance(metrics, MultiLabelMetrics):
        answers, count = find_wrong_answers(run.validation, run.probabilities)
        shown = {"wrong_answers": answers, "wrong_count": count}
    elif metrics is not None:
        mistakes = find_mistakes(run.validation, run.probabilities)
        cards, unshown = mistake_cards(mistakes, run.labels, run.trained)
        shown = {"cards": cards, "unshown": unshown}
    return Contents(
        title=f"MobileNet, trained on {plural(len(run.labels), 'class')}",
        labels=run.labels,
        settings=run.settings,
        example="validation example",
        problems=run.problems,
        history=run.history,
        timings=run.timings,
        versions=run.versions,
        hashes={"SHA-256": run.weights_hash},
        **shown,
    )


def _page(contents: Contents, metrics: Metrics | MultiLabelMetrics | None) -> str:
    templates = _environment()
    style = _style()
    text = templates.get_template("page.html").render(
        contents=contents,
        metrics=metrics,
        multi_label=isinstance(metrics, MultiLabelMetrics),
        confusion=confusion(metrics) if isinstance(metrics, Metrics) else None,
        sections=_sections(contents, metrics),
        style=style,
        # The page's policy lets this style in and no other, whatever a name may smuggle in.
        style_hash=integrity(style.encode(), "sha256"),
    )
    return plain(text)


def _environment() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,  # of every name, whatever the template's ending
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    templates.filters |= FILTERS
    templates.globals |= {
        "none_shown": NOTHING,
        "training_curves": charts.training_curves,
        "reliability": charts.reliability,
    }
    return templates


def _style() -> str:
    folder = resources.files(__package__)
    return folder.joinpath("templates", "page.css").read_text(encoding="utf-8")


def _sections(contents: Contents, metrics: Metrics | MultiLabelMetrics | None) -> dict[str, str]:
    """Return the titles of the page's sections by their templates' names."""
    titles = {
        "problems": ("Problems in the data", bool(contents.problems)),
        "comparison": ("The two models", contents.comparison is not None),
        "training": ("Training", bool(contents.history)),
        "confusion": ("Confusion matrix", isinstance(metrics, Metrics)),
        "classes": ("Class by class", metrics is not None),
        "mistakes": ("Most confident mistakes", metrics is not None),
        "calibration": ("Calibration", metrics is not None),
    }
    return {name: title for name, (title, shown) in titles.items() if shown}
