"""The folder of a run: what is in it, how it is written, and how it leaves for the hub."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from keras_mobilenet.checkpoints.net_weights import (
    Builder,
    NetWeights,
    builder_of,
    net_weights,
)
from keras_mobilenet.deploy.graphs.keras_file import graph_in_keras_file
from keras_mobilenet.deploy.graphs.keras_graph import UnknownLayerError
from keras_mobilenet.deploy.graphs.net_graph import graph_of_net
from keras_mobilenet.deploy.graphs.operations import simplified
from keras_mobilenet.errors import AccuracyError, CheckpointError, about_file, unicode_text
from keras_mobilenet.evaluation.metrics import Metrics, evaluate
from keras_mobilenet.evaluation.multi_label_metrics import MultiLabelMetrics, evaluate_multi_label
from keras_mobilenet.evaluation.report.report import write_report
from keras_mobilenet.files import bounded_content, check_file, replacing
from keras_mobilenet.files import locked as files_locked
from keras_mobilenet.nets.arguments import IMAGENET
from keras_mobilenet.nets.pretrained import LICENCE
from keras_mobilenet.training.run_state import NAME as STATE
from keras_mobilenet.training.runs import Run

MODEL, HISTORY, METRICS, CACHE = "model.keras", "history.csv", "metrics.json", "cache"
REPORT, _LOCK = "report.html", ".lock"
VALIDATION = "validation.csv"  # what `evaluate` validates another model with
_METRICS_BYTES = 64 << 20  # a confusion matrix of 1000 classes takes a tenth
_OF_ACCURACY = {"interval", "correct", "count"}
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


def write_hub_folder_of_run(
    run: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    name: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a run's model as a folder for the hub, whose card says how good the run was.

    Args:
        run: The folder of a finished run of `finetune` or `train`.
        folder: As for `save_weights`.
        name: What opens it once it is on the hub, for the card's code; None for the folder.
        overwrite: Whether to replace what the folder has of such files.

    Raises:
        ValueError: the first is no finished run's, the second has such files, or the model has
            layers of a user's own.
        CheckpointError: the run's files are damaged.
        OSError: the files cannot be written.
    """
    from keras_mobilenet.checkpoints.writing import hub_folder  # noqa: PLC0415 - for cards alone

    record, path = _read_metrics(Path(run)), os.fspath(Path(run, MODEL))
    hub_folder.check_new(folder, overwrite=overwrite)
    known = _net_of_run(path)
    if known is not None:
        builder, weights, source = known
        background = _background(record, source)
        hub_folder.write_hub_folder_of_net(
            builder, weights, folder, background, name=name, overwrite=overwrite
        )
        return
    from keras_mobilenet.models.model_files import info_of, load_model  # noqa: PLC0415 - Keras

    model = load_model(path)
    background = _background(record, info_of(model).source)
    hub_folder.write_hub_folder(model, folder, background, name=name, overwrite=overwrite)


def _net_of_run(path: str) -> tuple[Builder, NetWeights, str | None] | None:
    """Return a run's net as its arrays tell it, and the source of what it was trained from.

    None where that net does not compute what the model does, as one with `blocks` of its own, and
    where the file is damaged: Keras tells the rest.
    """
    try:
        graph, info = graph_in_keras_file(path)
        builder = builder_of(path)
        weights = net_weights(builder)
        model, net = (simplified(x).fingerprint() for x in (graph, graph_of_net(weights)))
    except (AccuracyError, CheckpointError, UnknownLayerError):
        return None
    return (builder, weights, info.source) if model == net and weights.saved else None


def check_run(run: str | PathLike[str]) -> None:
    """Raise unless a folder is that of a finished run, as `write_hub_folder_of_run` takes it.

    Raises:
        ValueError: it is no run, or has not ended.
        CheckpointError: its metrics are damaged.
    """
    _read_metrics(Path(run))


def _read_metrics(run: Path) -> dict[str, Any]:
    """Return what a finished run's metrics say.

    Raises:
        ValueError: it is no run, or has not ended.
        CheckpointError: they are damaged.
    """
    missing = [name for name in (MODEL, METRICS) if not (run / name).exists()]
    if missing and (run / STATE).exists():
        raise ValueError(f"The run in {run} has not ended. Resume it with --resume first.")
    if missing:
        raise ValueError(
            f"{run} is no run: it has no {' and no '.join(missing)}. Pass the folder that "
            "`finetune` or `train` wrote with --out; other models go by save_weights(model, "
            '"folder/").'
        )
    path = run / METRICS
    check_file(path, "Pass the folder of another run.")
    with about_file(path, "Restore it, or train again."):
        try:
            record = json.loads(bounded_content(os.fspath(path), _METRICS_BYTES))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"it is no JSON ({error})") from error
        if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
            raise CheckpointError("it does not hold a run's settings")
        if "accuracy" in record and not record.keys() >= _OF_ACCURACY:
            raise CheckpointError("its accuracy has no interval")
    return record


def _background(record: dict[str, Any], source: str | None) -> Any:
    """Return what a run's card says of its base and its metrics.

    Published weights of the hub are known by the model; of a user's own file only its name is.
    """
    from keras_mobilenet.checkpoints.writing.model_card import Background  # noqa: PLC0415

    weights = record["settings"].get("weights")
    if source is not None or not weights:
        return replace(Background.of_source(source), metrics=record)
    if weights == IMAGENET:
        return Background("Keras' ImageNet weights", licence=LICENCE, metrics=record)
    return Background(os.path.basename(os.path.normpath(weights)), metrics=record)
