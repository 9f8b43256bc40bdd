"""The folder of a run: what is in it, and how it is written."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from keras_mobilenet.errors import unicode_text
from keras_mobilenet.evaluation.metrics import Metrics, evaluate
from keras_mobilenet.evaluation.multi_label_metrics import MultiLabelMetrics, evaluate_multi_label
from keras_mobilenet.evaluation.report.report import write_report
from keras_mobilenet.files import locked as files_locked
from keras_mobilenet.files import replacing
from keras_mobilenet.training.run_state import NAME as STATE
from keras_mobilenet.training.runs import Run

MODEL, HISTORY, METRICS, CACHE = "model.keras", "history.csv", "metrics.json", "cache"
REPORT, _LOCK = "report.html", ".lock"
VALIDATION = "validation.csv"  # what `evaluate` validates another model with
COLUMNS = ("stage", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate",
           "seconds")  # fmt: skip


def open_folder(out: str | PathLike[str], *, resume: bool) -> Path:
    """Return the folder of a run, made if it is missing.

    Raises:
        ValueError: a run is in it that is not to be resumed.
        OSError: it cannot be made.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    existing = next((name for name in (MODEL, STATE) if (folder / name).exists()), None)
    if existing and not resume:
        raise ValueError(
            f"{folder} holds a run already: {existing}. Pass resume=True (--resume), or another "
            "folder."
        )
    return folder


@contextmanager
def locked(folder: Path | None, chief: bool) -> Iterator[None]:
    """Keep other trainings out of a run's folder; the lock of a killed one is none any more.

    Args:
        folder: None where the run has none.
        chief: Whether this process is the one of its training that writes.

    Raises:
        ValueError: another training has it.
    """
    if folder is None or not chief:
        yield
        return
    busy = f"{folder} is in use by another training. Wait for its end, or pass another folder."
    with files_locked(folder / _LOCK, busy):
        yield


def write_run(folder: Path, run: Run) -> None:
    """Write a finished run's files, each as a whole.

    Raises:
        OSError: one cannot be written, as on a full disk; what was there is as it was.
    """
    run.trained.save(folder / MODEL)
    _write_history(folder / HISTORY, run)
    _write_validation(folder / VALIDATION, run)
    metrics = metrics_of(run)
    _write_metrics(folder / METRICS, run, metrics)
    write_report(folder / REPORT, run, metrics)


def metrics_of(run: Run) -> Metrics | MultiLabelMetrics | None:
    """Return how a run did on what it was validated with, or None if that is nothing."""
    if run.multi_label and run.validation:
        return evaluate_multi_label(run.labels, run.truth(), run.probabilities)
    truth = [index for _, index in run.validation]
    return evaluate(run.labels, truth, run.probabilities) if truth else None  # type: ignore[arg-type]


def _write_metrics(path: Path, run: Run, metrics: Metrics | MultiLabelMetrics | None) -> None:
    record = {} if metrics is None else metrics.to_json()
    record |= {
        "settings": run.settings,
        "timings": run.timings,
        "versions": run.versions,
        "weights_hash": run.weights_hash,
        "problems": run.problems,
    }
    with replacing(path) as temporary:
        Path(temporary).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _write_history(path: Path, run: Run) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(run.history)


def _write_validation(path: Path, run: Run) -> None:
    """Write the files that a run was validated with and their classes, if it was with files."""
    rows = [(x, run.labels[i]) for x, i in run.validation if x is not None and isinstance(i, int)]
    if run.multi_label or not rows:
        return
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label"))
        writer.writerows((unicode_text(os.path.abspath(x)), label) for x, label in rows)
