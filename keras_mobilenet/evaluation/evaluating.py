"""evaluate(): how good any model is on labelled images, alone or against another."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt

from keras_mobilenet.deploy.engines.choice import AUTO
from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.deploy.folders.folder_job import check_consent
from keras_mobilenet.deploy.folders.job_file import JobSettings
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.evaluation.labelled.image_lists import Data, Listing
from keras_mobilenet.evaluation.labelled.truth import Truth, list_labelled, truth_of
from keras_mobilenet.evaluation.metrics import Metrics, metrics_of
from keras_mobilenet.evaluation.paired import Paired
from keras_mobilenet.evaluation.scoring.asked import Asked
from keras_mobilenet.evaluation.scoring.predicting import probabilities_of, score, settings_of
from keras_mobilenet.evaluation.scoring.provenance import hashes_of, versions_of
from keras_mobilenet.evaluation.scoring.rows import Scored, read_scored
from keras_mobilenet.evaluation.scoring.tally import Pair, Tally, compared
from keras_mobilenet.files import replacing, temporary_folder
from keras_mobilenet.images.model_info import Label, words_of
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.nets.net import Size
from keras_mobilenet.nets.published.rows import CropEdges, Interpolation

METRICS, REPORT = "metrics.json", "report.html"
_PREDICTIONS = ("predictions.jsonl", "predictions_against.jsonl")
_MANY = 100  # classes, whose confusion a line a number would make a file of a million lines
_INT8_FLOOR = 1 / 512  # half a step of a softmax in 8 bits
Progress = Callable[[str, int, int], None]  # the model, images done, all of them


@dataclass(frozen=True)
class ModelScore:
    """How good one model is on the images, and how they became its input."""

    model: str
    metrics: Metrics
    settings: dict[str, Any]
    files: dict[str, str]  # the model's, by name, with their SHA-256
    versions: dict[str, str]  # of what computed
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

    @property
    def names(self) -> tuple[str, ...]:
        """The models' names, with engine and precision where both have the same."""
        scores = [x for x in (self.first, self.second) if x is not None]
        if len({x.model for x in scores}) == len(scores):
            return tuple(x.model for x in scores)
        how = (f"{x.settings['engine']}, {x.settings['precision']}" for x in scores)
        return tuple(f"{x.model} ({words})" for x, words in zip(scores, how, strict=True))

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
    crop_edges: CropEdges | None = None,
    size: int | Size | None = None,
    interpolation: Interpolation | None = None,
    preprocessing: Preprocessing | str | None = None,
    labels: Sequence[Label] | None = None,
    engine: str = AUTO,
    precision: Precision | None = None,
    calibration: Any = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Return how good a model is on labelled images, and how it compares with another.

    Images are decoded at their full size, cropped and resized as is recorded with the model.
    Outputs that are no probabilities are taken for logits, and go through a softmax. Neither Keras
    nor TensorFlow is imported for files of weights and exported files.

    Args:
        model: What `Predictor` takes, a `Predictor`, or the name of published weights.
        data: A folder of class folders, named by the classes, synset ids or numbers from 0; a
            CSV file with the columns `path` and `label`; pairs of these; a run's folder, for the
            images that it was validated with; with `ground_truth` a flat folder.
        against: Another model, for the same images. It runs as it comes, in an engine of its own:
            pass a `Predictor` to choose.
        out: A folder for `metrics.json`, `report.html` and what the model says of each image.
        ground_truth: A file with the classes of a flat folder's images, such as ImageNet's.
        crop: Share of each side that a central crop keeps; None for what the model says.
        crop_edges: `"whole"` pixels, or `"fractional"` ones as with Pillow's `resize(box=)`, with
            which some figures were measured; None for what the model says.
        size: `(height, width)` in pixels; None for the model's.
        interpolation: `"bilinear"` or `"bicubic"`; None for what the model says.
        preprocessing: How pixels become the model's input, as for `Predictor`; for `against` where
            it does not say so itself.
        labels: The names of the model's classes, where it does not name them.
        engine: What the model runs in, as for `Predictor`.
        precision: What it computes in, as for `Predictor`.
        calibration: Images for int8, as for `Predictor`.
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
    asked = Asked(pair, crop, crop_edges, interpolation, preprocessing, labels)
    options = {"precision": precision, "calibration": calibration}
    given = {name: value for name, value in options.items() if value is not None}
    if engine != AUTO:
        given["engine"] = engine
    listing = list_labelled(data, None if ground_truth is None else os.fspath(ground_truth))
    with _place(folder) as place, ExitStack() as opened:
        # All that can be wrong with either model shows before the first image.
        jobs = [_Job.of(model, opened.enter_context(asked.predictor(model, given)), listing)]
        if against is not None:
            jobs.append(_Job.of(against, opened.enter_context(asked.other(against)), listing))
        paths = [os.path.join(place, name) for name in _PREDICTIONS]
        scores = [
            _score(job, path, overwrite=overwrite, progress=progress)
            for job, path in zip(jobs, paths, strict=False)
        ]
        first, *others = scores
        found = Evaluation(first)
        for second in others:
            rows = read_scored(paths[0], first.metrics.labels)
            found = Evaluation(
                first, second, *compared(rows, read_scored(paths[1], second.metrics.labels))
            )
    if folder is not None:
        _write(folder, found)
    return found


def _folder(out: str | PathLike[str], *, resume: bool, overwrite: bool) -> Path:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    names = (name for name in (METRICS, REPORT, *_PREDICTIONS) if (folder / name).exists())
    there = next((f"{folder} has {name}" for name in names), None)
    check_consent("`out`", there, resume=resume, overwrite=overwrite)
    return folder


def _place(folder: Path | None) -> AbstractContextManager[str]:
    return temporary_folder() if folder is None else nullcontext(os.fspath(folder))


@dataclass(frozen=True)
class _Job:
    """One model, ready to be asked."""

    predictor: Predictor
    truth: Truth
    made_with: JobSettings
    probabilities: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    settings: dict[str, Any]
    files: dict[str, str]

    @classmethod
    def of(cls, model: Any, predictor: Predictor, listing: Listing) -> Self:
        """Return the job of a model that was opened."""
        outputs, probabilities = probabilities_of(predictor)  # whether it is a classifier at all
        made_with, info = settings_of(predictor), predictor.info
        truth = truth_of(listing, made_with["width"], info.labels)
        settings = {
            "model": predictor.name, "source": info.source, "engine": predictor.engine,
            "precision": predictor.precision, "outputs": outputs, "size": info.size,
            "crop": info.crop, "crop_edges": info.crop_edges,
            "interpolation": info.interpolation, "keep_aspect": info.keep_aspect,
            "preprocessing": str(info.preprocessing),
        }  # fmt: skip
        return cls(predictor, truth, made_with, probabilities, settings, hashes_of(model))


def _score(job: _Job, path: str, *, overwrite: bool, progress: Progress | None) -> ModelScore:
    predictor, truth = job.predictor, job.truth
    total, begun = len(truth.examples), time.perf_counter()
    show = None if progress is None else lambda done: progress(predictor.name, done, total)
    report = score(
        predictor, truth, path, job.made_with, job.probabilities,
        overwrite=overwrite, progress=show,
    )  # fmt: skip
    seconds, new = time.perf_counter() - begun, report.done - report.resumed
    tally = Tally(read_scored(path, truth.labels))
    if len(tally.bad) == total:
        raise ValueError(f"None of the {total} images can be read. The first: {tally.bad[0]}")
    names = tuple(map(words_of, truth.labels))
    floor = {"floor": _INT8_FLOOR} if tally.in_8_bits else {}
    return ModelScore(
        model=predictor.name,
        metrics=metrics_of(names, tally.outcomes, **floor),
        settings=job.settings,
        files=job.files,
        versions=versions_of(predictor.engine),
        bad=tuple(tally.bad),
        problems=truth.problems,
        images_per_second=new / seconds if new else None,
        mistakes=tally.mistakes,
    )


def _write(folder: Path, found: Evaluation) -> None:
    from keras_mobilenet.evaluation.report.evaluated import write_evaluation  # noqa: PLC0415

    indent = 1 if len(found.metrics.labels) < _MANY else None
    with replacing(folder / METRICS) as temporary:
        text = json.dumps(found.to_json(), indent=indent)
        Path(temporary).write_text(text + "\n", encoding="utf-8")
    write_evaluation(folder / REPORT, found)


def _record(scored: ModelScore) -> dict[str, Any]:
    return {
        **scored.metrics.to_json(),
        "settings": scored.settings,
        "files": scored.files,
        "versions": scored.versions,
        "timings": {"images_per_second": scored.images_per_second},
        "bad_images": scored.bad,
        "problems": scored.problems,
    }
