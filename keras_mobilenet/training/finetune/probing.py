"""probe(): which alpha and size suit some images, before anything is trained for long.

A linear classifier on the pooled features of the whole images is what `finetune` trains first.
Its accuracy by cross-validation ranks the nets in seconds, and no image is kept from training.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.checkpoints.published.local_files import copies, weights_folders
from keras_mobilenet.deploy.engines.choice import AUTO
from keras_mobilenet.errors import DownloadError
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.arguments import IMAGENET
from keras_mobilenet.nets.pretrained import Pretrained
from keras_mobilenet.training.base_nets import base_features, base_weights
from keras_mobilenet.training.checks import check_whole
from keras_mobilenet.training.data.sources import Image, LabelledImages, read_source
from keras_mobilenet.training.data.views import View
from keras_mobilenet.training.finetune.feature_cache import FeatureCache
from keras_mobilenet.training.finetune.features import Extractor, Features
from keras_mobilenet.training.finetune.top import L2, STEPS, Problem, scores, solve
from keras_mobilenet.training.runs import ProgressCallback, unreported


@dataclass(frozen=True)
class ProbeScore:
    """How well a linear classifier on one net's features does."""

    net: str  # its builder
    alpha: float
    size: int
    accuracy: float  # mean of the folds
    std: float  # between the folds: standard deviation
    images: int
    images_per_second: float  # read and put through the net; what the cache held counts too
    minimalistic: bool = False  # V3 only


def probe(
    data: Any,
    *,
    folds: int = 5,
    seed: int = 0,
    cache: str | PathLike[str] | None = None,
    progress: ProgressCallback = unreported,
    engine: str = AUTO,
) -> tuple[ProbeScore, ...]:
    """Return how well each net does on images, the best first, without training it.

    The nets are those whose published weights are at hand; nothing is fetched.

    Args:
        data: As for `finetune`, each image of one class.
        folds: Parts of the images; each is validated with by a classifier trained on the rest.
        seed: Another one gives other folds.
        cache: A folder for what was computed, or None.
        progress: Called with a `Progress` as the work goes on.
        engine: As for `Predictor`.

    Raises:
        ValueError: an argument is wrong, or a class has fewer images than there are folds.
        DownloadError: no published weights are at hand.
    """
    check_whole("folds", folds, 2)
    rows = _at_hand()
    source = read_source(data, validation=None, seed=seed, multi_label=False)
    kept = FeatureCache(cache)
    scored = [_score(row, source, folds, seed, kept, engine, progress) for row in rows]
    return tuple(sorted(scored, key=lambda score: -score.accuracy))


def _at_hand() -> list[Pretrained]:
    rows = [
        row
        for row in pretrained.PRETRAINED
        if any(next(copies(row.file_name(top)), None) for top in (False, True))
    ]
    if not rows:
        folders = ", ".join(map(str, weights_folders()))
        raise DownloadError(
            f"No published weights are at hand to probe with, in {folders}.\n"
            "Run: keras-mobilenet weights fetch"
        )
    return rows


def _score(
    row: Pretrained, source: LabelledImages, folds: int, seed: int, cache: FeatureCache,
    engine: str, progress: ProgressCallback,
) -> ProbeScore:  # fmt: skip
    started = time.perf_counter()
    features = _features(row, source, cache, engine, progress)
    seconds = time.perf_counter() - started
    part = _folds(features, folds, seed)
    accuracies = [_accuracy(features, part == fold, len(source.labels)) for fold in range(folds)]
    return ProbeScore(
        row.net,
        row.alpha,
        row.size,
        float(np.mean(accuracies)),
        float(np.std(accuracies)),
        len(features),
        len(features) / seconds,
        row.minimalistic,
    )


def _features(
    row: Pretrained,
    source: LabelledImages,
    cache: FeatureCache,
    engine: str,
    progress: ProgressCallback,
) -> Features:
    size = (row.size, row.size)
    weights = base_weights(
        net=row.net, alpha=row.alpha, weights=IMAGENET, size=size, channels=3, **row.options
    )
    model = base_features(weights, size)
    extractor = Extractor(model, size=size, channels=3, cache=cache, engine=engine)
    try:
        stage = f"{row}, size {row.size}"
        return extractor.extract(source.train, (View(0),), stage, progress).flat()
    finally:
        extractor.close()


def _folds(features: Features, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Return each image's fold: the classes spread evenly, equal images in one."""
    fold_of: dict[str, int] = {}
    rng = np.random.default_rng(seed)
    for index, contents in sorted(_contents(features.images).items()):
        fresh = [content for content in contents if content not in fold_of]
        if len(contents) < folds:
            raise ValueError(
                f"Each class must have as many images as there are folds, {folds}. "
                f"Received: {len(contents)} of class number {index}"
            )
        for place, i in enumerate(rng.permutation(len(fresh))):
            fold_of[fresh[i]] = place % folds
    return np.array([fold_of[image.content()] for image in features.images])


def _contents(images: tuple[Image, ...]) -> dict[int, list[str]]:
    """Return the contents of each class, each once."""
    of_class: dict[int, dict[str, None]] = defaultdict(dict)
    for image in images:
        of_class[image.class_index][image.content()] = None
    return {index: list(contents) for index, contents in of_class.items()}


def _accuracy(features: Features, fold: npt.NDArray[np.bool_], classes: int) -> float:
    x, y = np.stack(features.rows[0]), features.classes
    others = ~fold
    problem = Problem(x[others], np.eye(classes)[y[others]], np.ones(others.sum()), L2)
    *_, step = solve(problem, STEPS)
    return scores(x[fold] @ step.kernel + step.bias, y[fold]).accuracy
