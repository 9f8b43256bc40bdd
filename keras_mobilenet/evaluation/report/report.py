"""A training's report: one HTML file that opens anywhere, offline, and says all there is to say.

Nothing is fetched, and the page's own policy forbids the browser to; nothing in it is a script.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import resources
from os import PathLike
from string import Template
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from keras_mobilenet.evaluation.metrics import Metrics
from keras_mobilenet.evaluation.multi_label_metrics import MultiLabelMetrics
from keras_mobilenet.evaluation.report import multi_label
from keras_mobilenet.evaluation.report.confusion import TABLE_UP_TO, confusion_shown
from keras_mobilenet.evaluation.report.markup import Html, element, joined
from keras_mobilenet.evaluation.report.mistakes import find_mistakes, mistakes_shown
from keras_mobilenet.evaluation.report.sections import (
    calibration,
    contents,
    curves,
    key_numbers,
    made_with,
    mistakes_heading,
    problem_list,
)
from keras_mobilenet.evaluation.report.tables import class_table, listed, plural
from keras_mobilenet.files import replacing

_LABELS_SHOWN = 8  # under the title


class TrainedRun(Protocol):
    """What a report tells of: a trained model, and how it came about."""

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
        """What the model says of them, `(examples, classes)`."""

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
    def model(self) -> Any:
        """The trained `keras.Model`."""

    @property
    def problems(self) -> Sequence[str]:
        """What is wrong with the data."""


def write_report(
    path: str | PathLike[str], run: TrainedRun, metrics: Metrics | MultiLabelMetrics | None
) -> None:
    """Write what was trained and how good it is as one HTML file.

    The file needs no network, no script and no other file. The images of at most 24 mistakes are
    in it, made small; of their paths it has the file's name and its folder's. Problems and settings
    stand there as they are.

    Args:
        path: The file to write.
        run: The trained model, and how it came about.
        metrics: What `evaluate` found on the run's validation examples; None where there are none.

    Raises:
        ValueError: `metrics` are not those of the run.
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    _check(run, metrics)
    text = _page(run, metrics)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _check(run: TrainedRun, metrics: Metrics | MultiLabelMetrics | None) -> None:
    shapes = len(run.validation), len(run.labels)
    found = (metrics.count, len(metrics.labels)) if metrics else (0, len(run.labels))
    same = found == shapes and (not metrics or metrics.labels == tuple(run.labels))
    if not same or (metrics and run.probabilities.shape != shapes):
        raise ValueError(
            "`metrics` must be what evaluate() found on the run's validation examples. The run has "
            f"{shapes[0]} of {shapes[1]} classes, the metrics are of {found[0]} of {found[1]}."
        )


def _page(run: TrainedRun, metrics: Metrics | MultiLabelMetrics | None) -> str:
    folder = resources.files(__package__)
    style = folder.joinpath("report.css").read_text(encoding="utf-8")
    template = Template(folder.joinpath("report.html").read_text(encoding="utf-8"))
    sections = _sections(run, metrics)
    return template.substitute(
        title=joined(_title(run)),
        style=style,
        # The page's policy lets this style in and no other, whatever a name may smuggle in.
        style_hash=f"sha256-{b64encode(sha256(style.encode()).digest()).decode('ascii')}",
        body=joined(
            _head(run, metrics, list(sections)),
            element("main", (_section(id_, *section) for id_, section in sections.items())),
        ),
    )


def _head(run: TrainedRun, metrics: Metrics | MultiLabelMetrics | None, ids: Sequence[str]) -> Html:
    return element(
        "header",
        element("h1", _title(run)),
        element("p", listed(run.labels, _LABELS_SHOWN), class_="labels"),
        multi_label.key_numbers(metrics)
        if isinstance(metrics, MultiLabelMetrics)
        else key_numbers(metrics),
        contents(ids),
        made_with(run.settings, run.timings, run.versions, run.weights_hash),
    )


def _title(run: TrainedRun) -> str:
    return f"MobileNet, trained on {plural(len(run.labels), 'class')}"


def _sections(
    run: TrainedRun, metrics: Metrics | MultiLabelMetrics | None
) -> dict[str, tuple[str, Html]]:
    """Return the titles and contents of the page's parts by their ids."""
    shown: dict[str, tuple[str, Html]] = {}
    if run.problems:
        shown["problems"] = "Problems in the data", problem_list(run.problems)
    if run.history:
        shown["training"] = "Training", curves(run.history)
    if isinstance(metrics, MultiLabelMetrics):
        shown["classes"] = "Class by class", multi_label.class_table(metrics)
        wrong = multi_label.mistakes(run.validation, run.probabilities, run.labels)
        shown["mistakes"] = "Most confident mistakes", wrong
        shown["calibration"] = "Calibration", calibration(metrics)
    elif metrics is not None:
        shown["confusion"] = "Confusion matrix", confusion_shown(metrics)
        shown["classes"] = (
            "Class by class",
            class_table(metrics, numbered=len(metrics.labels) > TABLE_UP_TO),
        )
        shown["mistakes"] = "Most confident mistakes", _mistakes(run, metrics)
        shown["calibration"] = "Calibration", calibration(metrics)
    return shown


def _section(id_: str, title: str, content: Html) -> Html:
    return element("section", element("h2", title), content, id=id_)


def _mistakes(run: TrainedRun, metrics: Metrics) -> Html:
    mistakes = find_mistakes(run.validation, run.probabilities)
    heading = mistakes_heading(len(mistakes), metrics.count - metrics.correct)
    return joined(heading, mistakes_shown(mistakes, run.labels, run.model))
