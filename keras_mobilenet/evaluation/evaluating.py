"""evaluate(): how good any model is on labelled images, alone or against another."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from keras_mobilenet.checkpoints.net_weights import builder_of, published_builder
from keras_mobilenet.checkpoints.published.names import is_name
from keras_mobilenet.deploy.folders.folder_job import check_consent
from keras_mobilenet.deploy.folders.job_file import JobSettings
from keras_mobilenet.deploy.opened import is_exported
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.evaluation.labelled.image_lists import Data
from keras_mobilenet.evaluation.labelled.truth import Truth, list_labelled, truth_of
from keras_mobilenet.evaluation.metrics import Metrics, metrics_of
from keras_mobilenet.evaluation.paired import Paired
from keras_mobilenet.evaluation.scoring.predicting import score, settings_of
from keras_mobilenet.evaluation.scoring.rows import Scored, read_scored
from keras_mobilenet.evaluation.scoring.tally import Pair, Tally, compared
from keras_mobilenet.files import replacing, temporary_folder
from keras_mobilenet.images.model_info import Label, words_of
from keras_mobilenet.nets.net import Size
from keras_mobilenet.nets.published.rows import Interpolation

METRICS, REPORT = "metrics.json", "report.html"
_PREDICTIONS = ("predictions.jsonl", "predictions_against.jsonl")
_INT8_FLOOR = 1 / 512  # half a step of a softmax in 8 bits
Progress = Callable[[str, int, int], None]  # the model, images done, all of them


@dataclass(frozen=True)
class ModelScore:
    """How good one model is on the images, and how they became its input."""

    model: str
    metrics: Metrics
    settings: dict[str, Any]
    bad: tuple[str, ...]  # images that could not be read, each with its fault
    problems: tuple[str, ...]  # of the listing
    images_per_second: float | None  # decoding included; None where all was there before
    mistakes: tuple[Scored, ...]  # the surest, those first


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found."""

    first: ModelScore
    second: ModelScore | None = None
    comparison: Paired | None = None
    differences: tuple[Pair, ...] = ()  # what both say of images that one alone gets right

    @property
    def metrics(self) -> Metrics:
        """Those of the model."""
        return self.first.metrics

    def to_json(self) -> dict[str, Any]:
        """Return the same as dictionaries, lists, texts and numbers, for `json.dumps`."""
        record = _record(self.first)
        if self.second is not None and self.comparison is not None:
            record["against"] = _record(self.second)
            record["comparison"] = self.comparison.to_json()
        return record


def evaluate(
    model: Any,
    data: Data,
    *,
    against: Any = None,
    out: str | PathLike[str] | None = None,
    ground_truth: str | PathLike[str] | None = None,
    crop: float | None = None,
    size: int | Size | None = None,
    interpolation: Interpolation | None = None,
    labels: Sequence[Label] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Return how good a model is on labelled images, and how it compares with another.

    Images are decoded at their full size, cropped and resized as is recorded with the model.
    Neither Keras nor TensorFlow is imported for files of weights and exported files.

    Args:
        model: What `Predictor` takes, a `Predictor`, or the name of published weights.
        data: A folder of class folders, named by the classes, synset ids or numbers from 0; a
            CSV file with the columns `path` and `label`; pairs of these; a run's folder, for the
            images that it was validated with; with `ground_truth` a flat folder.
        against: Another model, for the same images.
        out: A folder for `metrics.json`, `report.html` and what the model says of each image.
        ground_truth: A file with the classes of a flat folder's images, such as ImageNet's.
        crop: Share of each side that a central crop keeps; None for what the model says.
        size: `(height, width)` in pixels; None for the model's.
        interpolation: `"bilinear"` or `"bicubic"`; None for what the model says.
        labels: The names of the model's classes, where it does not name them.
        resume: Resume what an earlier call left in `out`.
        overwrite: Begin `out` anew.
        progress: Called with a model's name, the images done and all of them.

    Raises:
        ValueError: an argument is wrong, no image can be read, the images' classes are not the
            model's, or `out` holds another evaluation.
        OSError: something cannot be written.
    """
    folder = None if out is None else _folder(out, resume=resume, overwrite=overwrite)
    pair = (size, size) if isinstance(size, int) else size and (size[0], size[1])
    listing = list_labelled(data, None if ground_truth is None else os.fspath(ground_truth))
    options = {"crop": crop, "interpolation": interpolation}

    def scored(model: Any, path: str) -> ModelScore:
        own = not isinstance(model, Predictor)
        predictor = Predictor(_sized(model, pair), labels=labels) if own else model
        before = predictor.info
        given = {name: value for name, value in options.items() if value is not None}
        predictor.info = _with_size(predictor, pair, given)
        try:
            known = labels if labels is not None else predictor.info.labels
            made_with = settings_of(predictor)
            truth = truth_of(listing, made_with["width"], known)
            return _score(predictor, truth, path, made_with, overwrite=overwrite, progress=progress)
        finally:
            predictor.info = before
            if own:
                predictor.close()

    with temporary_folder() if folder is None else nullcontext(os.fspath(folder)) as place:
        paths = [os.path.join(place, name) for name in _PREDICTIONS]
        first = scored(model, paths[0])
        found = Evaluation(first)
        if against is not None:
            second = scored(against, paths[1])
            found = Evaluation(first, second, *_compared(paths, (first, second)))
    if folder is not None:
        with replacing(folder / METRICS) as temporary:
            text = json.dumps(
                found.to_json(), indent=1 if len(first.metrics.labels) < 100 else None
            )
            Path(temporary).write_text(text + "\n", encoding="utf-8")
        from keras_mobilenet.evaluation.report.evaluated import write_evaluation  # noqa: PLC0415

        write_evaluation(folder / REPORT, found)
    return found


def _folder(out: str | PathLike[str], *, resume: bool, overwrite: bool) -> Path:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    names = (name for name in (METRICS, REPORT, *_PREDICTIONS) if (folder / name).exists())
    there = next((f"{folder} has {name}" for name in names), None)
    check_consent("`out`", there, resume=resume, overwrite=overwrite)
    return folder


def _sized(model: Any, size: Size | None) -> Any:
    """Return a model, or what builds it from weights at a size."""
    if size is None or not isinstance(model, (str, PathLike)):
        return model
    path = os.fspath(model)
    if is_exported(path) or path.endswith(".keras"):
        return path
    builder = published_builder(path, {}) if is_name(path) else builder_of(path)
    shape = {"input_shape": (*size, builder.arguments["input_shape"][2])}
    return replace(builder, arguments={**builder.arguments, **shape})


def _with_size(predictor: Predictor, size: Size | None, given: dict[str, Any]) -> Any:
    """Return a predictor's info with what was asked for in it.

    Raises:
        ValueError: the model takes images of another size.
    """
    if size is None:
        return replace(predictor.info, **given)
    takes = predictor.input_shape[:2]
    if any(n not in (None, m) for n, m in zip(takes, size, strict=True)):
        raise ValueError(
            f"{predictor.name} takes images of {takes[0]} x {takes[1]}. Received: "
            f"size={size!r}. Leave it out, or pass a file of weights."
        )
    return replace(predictor.info, size=size, **given)


def _score(
    predictor: Predictor,
    truth: Truth,
    path: str,
    made_with: JobSettings,
    *,
    overwrite: bool,
    progress: Progress | None,
) -> ModelScore:
    total, begun = len(truth.examples), time.perf_counter()
    show = None if progress is None else lambda done: progress(predictor.name, done, total)
    report = score(predictor, truth, path, made_with, overwrite=overwrite, progress=show)
    seconds, new = time.perf_counter() - begun, report.done - report.resumed
    tally = Tally(read_scored(path, truth.labels))
    if len(tally.bad) == total:
        raise ValueError(f"None of the {total} images can be read. The first: {tally.bad[0]}")
    names = tuple(map(words_of, truth.labels))
    floor = {"floor": _INT8_FLOOR} if tally.in_8_bits else {}
    metrics = metrics_of(names, tally.outcomes, **floor)
    info = predictor.info
    settings = {
        "model": predictor.name, "engine": predictor.engine, "precision": predictor.precision,
        "size": info.size, "crop": info.crop, "interpolation": info.interpolation,
        "keep_aspect": info.keep_aspect, "preprocessing": str(info.preprocessing),
    }  # fmt: skip
    rate = new / seconds if new else None
    bad, mistakes = tuple(tally.bad), tally.mistakes
    return ModelScore(predictor.name, metrics, settings, bad, truth.problems, rate, mistakes)


def _compared(
    paths: Sequence[str], scores: tuple[ModelScore, ModelScore]
) -> tuple[Paired, tuple[Pair, ...]]:
    rows = (read_scored(path, x.metrics.labels) for path, x in zip(paths, scores, strict=True))
    return compared(*rows)


def _record(scored: ModelScore) -> dict[str, Any]:
    return {
        **scored.metrics.to_json(),
        "settings": scored.settings,
        "timings": {"images_per_second": scored.images_per_second},
        "bad_images": scored.bad,
        "problems": scored.problems,
    }
