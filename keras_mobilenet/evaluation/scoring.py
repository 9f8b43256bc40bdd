"""A model's answers for labelled images, a line each in a file, from which the metrics are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import generated_images
from keras_mobilenet.deploy.folders import job_file
from keras_mobilenet.deploy.folders.classification import pixels_or_fault
from keras_mobilenet.deploy.folders.folder_job import FolderReport, run_job
from keras_mobilenet.deploy.folders.job_file import JobSettings
from keras_mobilenet.deploy.folders.outputs import Output
from keras_mobilenet.deploy.folders.records import error_of, shortest
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import unicode_text
from keras_mobilenet.evaluation.labelled.truth import Truth
from keras_mobilenet.evaluation.metrics import Outcomes, outcomes_of
from keras_mobilenet.images.model_info import Label, words_of
from keras_mobilenet.images.prefetch import BATCH, Prefetcher

_TOP = 5
_TRIALS = 8  # images that tell probabilities from logits
_Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Scored:
    """What a model says of one image, or what is wrong with the image."""

    path: str
    true: int
    rank: int = 0  # of the true class, 0 for the most probable
    given: float = 0.0  # probability of the true class
    classes: tuple[tuple[int, float], ...] = ()  # the most probable and their probabilities
    fault: str | None = None


class ScoredLines:
    """A JSON object an image: its class, the five most probable ones, or an error."""

    header = b""
    quoted = False

    def __init__(self, labels: Sequence[Label]) -> None:
        self._labels = labels

    def encode(self, result: Any) -> bytes:
        """Return the record of a `Scored`, with the line feed at its end."""
        record: dict[str, Any] = {"path": self.named(result.path), **self._class(result.true)}
        if result.fault:
            record["error"] = error_of(result)
        else:
            record |= {"rank": result.rank, "score": shortest(result.given)}
            record["predicted"] = [
                {**self._class(i), "score": shortest(score)} for i, score in result.classes
            ]
        return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8")

    def decode(self, record: bytes) -> tuple[str, str | None]:
        """Return path and fault in a record."""
        scored = self.scored(record)
        return scored.path, scored.fault

    def named(self, path: str) -> str:
        """Return a path as a record has it."""
        return unicode_text(path)

    def scored(self, record: bytes) -> Scored:
        """Return the result that a record tells.

        Raises:
            ValueError: it is no such record.
        """
        try:
            row = json.loads(record)
            classes = tuple((c["class"], c["score"]) for c in row.get("predicted", ()))
            return Scored(
                row["path"], row["class"], row.get("rank", 0), row.get("score", 0.0), classes,
                row.get("error"),
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(f"no object of an image ({error})") from error

    def _class(self, index: int) -> dict[str, Any]:
        return {"class": index, "name": unicode_text(words_of(self._labels[index]))}


def settings_of(predictor: Predictor) -> JobSettings:
    """Return what a model's answers depend on beside the images."""
    return {**job_file.settings_of(predictor, top=_TOP), "results": "evaluation"}


def score(
    predictor: Predictor,
    truth: Truth,
    out: str,
    made_with: JobSettings,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> FolderReport:
    """Write what a model says of each image to a `.jsonl` file, after what is there already.

    Args:
        predictor: The model.
        truth: The images and their classes.
        out: The file.
        made_with: The model's `settings_of`.
        overwrite: Begin the file anew.
        progress: Called with the number of images done, after each batch.

    Raises:
        ValueError: the file was made otherwise, or the outputs are no scores of one class an image.
        OSError: it cannot be written.
    """
    probabilities = _as_probabilities(predictor)
    classes = "\n".join(f"{unicode_text(path)}\t{i}" for path, i in truth.examples)
    settings = {
        **made_with,
        "classes": hashlib.sha256(classes.encode()).hexdigest(),
    }
    true = dict(truth.examples)

    def results(rest: Iterator[str]) -> Iterator[Scored]:
        with Prefetcher(rest, predictor.read_image) as ahead:
            remaining = iter(ahead)
            while chunk := list(islice(remaining, BATCH)):
                reads = [pixels_or_fault(path, ahead.read) for path in chunk]
                good = [true[p] for p, (x, _) in zip(chunk, reads, strict=True) if x is not None]
                pixels = [x for x, _ in reads if x is not None]
                rows = probabilities(predictor.predict(np.stack(pixels))) if pixels else None
                scored = iter(_scored(rows, np.array(good)) if rows is not None else ())
                for path, (_, fault) in zip(chunk, reads, strict=True):
                    if fault:
                        yield Scored(path, true[path], fault=fault)
                    else:
                        rank, given, best = next(scored)
                        yield Scored(path, true[path], rank, given, best)

    output = Output(out, ScoredLines(truth.labels))
    paths = iter([path for path, _ in truth.examples])
    return run_job(output, settings, paths, results, overwrite=overwrite, progress=progress)


def read_scored(out: str, labels: Sequence[Label]) -> Iterator[Scored]:
    """Yield what `score` wrote, in its order."""
    lines = ScoredLines(labels)
    return (lines.scored(record) for record, _ in Output(out, lines).log.records())


def outcomes(results: Sequence[Scored]) -> Outcomes:
    """Return what the metrics ask of images without a fault."""
    return Outcomes(
        np.array([x.true for x in results], np.int64),
        np.array([x.classes[0][0] for x in results], np.int64),
        np.array([x.rank for x in results], np.int64),
        np.array([x.classes[0][1] for x in results]),
        np.array([x.given for x in results]),
    )


def _scored(
    rows: _Rows, true: npt.NDArray[np.int64]
) -> Iterator[tuple[int, float, tuple[tuple[int, float], ...]]]:
    found = outcomes_of(true, rows)
    best = np.argsort(-rows, axis=1, kind="stable")[:, :_TOP]
    for row, rank, given, places in zip(rows, found.rank, found.given, best, strict=True):
        yield int(rank), float(given), tuple((int(i), float(row[i])) for i in places)


def _as_probabilities(predictor: Predictor) -> Callable[[_Rows], _Rows]:
    """Return what makes probabilities of a model's outputs: nothing, or a softmax of logits.

    Raises:
        ValueError: the outputs are each a probability of its own.
    """
    size = predictor.info.size or (224, 224)
    height, width, channels = predictor.input_shape
    shape = (_TRIALS, height or size[0], width or size[1], channels or 3)
    rows = predictor.predict(generated_images(shape).astype(np.uint8))
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise ValueError(
            f"A model with a score for each of two or more classes is needed. {predictor.name} "
            f"has outputs of shape {rows.shape[1:]}."
        )
    if rows.min() < 0 or rows.max() > 1.01:
        return _softmax
    if rows.sum(axis=1).max() > 1.1:
        raise ValueError(
            f"{predictor.name} gives each class a probability of its own, as a multi-label net "
            "does, and the images have one class each."
        )
    return lambda rows: rows  # in int8 they need not sum to 1


def _softmax(rows: _Rows) -> _Rows:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True).astype(np.float64))
    shares: _Rows = powers / powers.sum(axis=1, keepdims=True)
    return shares
