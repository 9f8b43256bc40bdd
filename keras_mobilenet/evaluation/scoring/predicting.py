"""A model's answers for labelled images, into a file of rows that can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
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
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import unicode_text
from keras_mobilenet.evaluation.labelled.truth import Truth
from keras_mobilenet.evaluation.metrics import outcomes_of
from keras_mobilenet.evaluation.scoring.rows import Scored, ScoredLines
from keras_mobilenet.images.prefetch import BATCH, Prefetcher

_TOP = 5
_TRIALS = 8  # images that tell probabilities from logits
_Rows = npt.NDArray[Any]


def settings_of(predictor: Predictor) -> JobSettings:
    """Return what a model's answers depend on beside the images."""
    return {**job_file.settings_of(predictor, top=_TOP), "results": "evaluation"}


def score(
    predictor: Predictor,
    truth: Truth,
    out: str,
    made_with: JobSettings,
    probabilities: Callable[[_Rows], _Rows],
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
        probabilities: What makes them of its outputs: see `probabilities_of`.
        overwrite: Begin the file anew.
        progress: Called with the number of images done, after each batch.

    Raises:
        ValueError: the file was made otherwise.
        OSError: it cannot be written.
    """
    settings = {**made_with, "classes": _digest(truth)}
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


def _digest(truth: Truth) -> str:
    """Return a hash of the images' names and classes."""
    digest = hashlib.sha256()
    for path, i in truth.examples:
        digest.update(f"{unicode_text(path)}\t{i}\n".encode())
    return digest.hexdigest()


def _scored(
    rows: _Rows, true: npt.NDArray[np.int64]
) -> Iterator[tuple[int, float, tuple[tuple[int, float], ...]]]:
    found = outcomes_of(true, rows)
    best = np.argsort(-rows, axis=1, kind="stable")[:, :_TOP]
    for row, rank, given, places in zip(rows, found.rank, found.given, best, strict=True):
        yield int(rank), float(given), tuple((int(i), float(row[i])) for i in places)


def probabilities_of(predictor: Predictor) -> tuple[str, Callable[[_Rows], _Rows]]:
    """Return what a model's outputs are, and what makes probabilities of them.

    They are `"probabilities"`, or `"logits"`, of which a softmax is taken: which of the two shows
    in what the model puts out for a few generated images.

    Raises:
        ValueError: the outputs are no scores of one class an image.
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
    if not np.isfinite(rows).all():
        raise ValueError(
            f"{predictor.name} puts out infinite or NaN scores. Its weights are damaged, its "
            "training diverged, or float16 does not hold its values."
        )
    if rows.min() < 0 or rows.max() > 1.01:
        return "logits", _softmax
    if rows.sum(axis=1).max() > 1.1:
        raise ValueError(
            f"{predictor.name} gives each class a probability of its own, as a multi-label net "
            "does, and the images have one class each."
        )
    return "probabilities", lambda rows: rows  # in int8 they need not sum to 1


def _softmax(rows: _Rows) -> _Rows:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True).astype(np.float64))
    shares: _Rows = powers / powers.sum(axis=1, keepdims=True)
    return shares
