"""One training from the images to the run: features, then what trains on them."""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.engines.choice import engine_for
from keras_mobilenet.training import run_files
from keras_mobilenet.training.data.sources import LabelledImages
from keras_mobilenet.training.data.views import views
from keras_mobilenet.training.finetune.feature_cache import FeatureCache
from keras_mobilenet.training.finetune.features import Extractor
from keras_mobilenet.training.finetune.settings import (
    FinetuneSettings,
    class_weights,
    positive_weights,
)
from keras_mobilenet.training.run_state import State, load_state, save_state
from keras_mobilenet.training.runs import Progress, ProgressCallback, Run, TrainedModel, versions
from keras_mobilenet.training.workers import SINGLE, Workers


@dataclass
class Training(ABC):
    """One training. `run` does it; the other methods stand in the order of the work."""

    settings: FinetuneSettings
    source: LabelledImages
    folder: Path | None  # where the run's files go, and its state after each epoch
    report: ProgressCallback
    engine: str
    workers: Workers = SINGLE  # all have the same images
    timings: dict[str, float] = field(default_factory=dict)
    weights_hash: str = ""  # of what it begins with

    def run(self, cache: FeatureCache) -> Run:
        """Return the finished run, and write its files where it has a folder.

        Raises:
            ValueError: too few images can be read, or the folder's state is of another run.
            OSError: a file cannot be written.
        """
        with self._timed("total"):
            with self._timed("model"):
                self._build()
            with self._timed("features"):
                self._extract(cache)
            state = self._state()
            self._learn(state)
            run = self._result(state)
        if self.folder is not None and self.workers.chief:
            run_files.write_run(self.folder, run)
        self.workers.total([0])  # a worker that ended first would be missed
        return run

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.timings[name] = time.perf_counter() - started

    @abstractmethod
    def _build(self) -> None:
        """Make what is trained, and the hash of what it begins with."""

    @abstractmethod
    def _beneath(self) -> Any:
        """Return what lies under the part that trains, as a `Predictor` takes it; None: pixels."""

    def _extract(self, cache: FeatureCache) -> None:
        """Compute what lies under the boundary: with everything training, the pixels."""
        extractor = Extractor(
            self._beneath(),
            size=self.settings.size,
            channels=self.settings.channels,
            cache=cache,
            engine=self.engine,
            workers=self.workers,
        )
        try:
            self.train = extractor.extract(
                self.source.train,
                views(self.settings.views, self.settings.seed),
                "features to train with",
                self.report,
            )
            self.validation = extractor.extract(
                self.source.validation, views(1, 0), "features to validate with", self.report
            )
        finally:
            extractor.close()
        labels, asked = self.source.labels, self.settings.class_weight
        if self.source.multi_label:
            self.train, self.validation = (
                replace(features, columns=len(labels)) for features in (self.train, self.validation)
            )
        self._check_classes()
        self.class_weights = (
            positive_weights(asked, labels, self.train.truth)
            if self.source.multi_label
            else class_weights(asked, labels, list(self.train.classes))
        )

    def _check_classes(self) -> None:
        if len({image.classes for image in self.train.images}) < 2:
            shown = "".join(f"\n  {problem}" for problem in self.train.problems[:3])
            raise ValueError(
                "Images of at least two classes must be readable. Received: "
                f"{len(self.train)} images of {min(1, len(self.train))}{shown}"
            )

    def _identity(self) -> str:
        """Return a hash of all that the result depends on."""
        settings = self.settings.to_json()
        for name in ("weights", "validation"):  # of which the contents count, not the paths
            del settings[name]
        parts = [settings, self.source.labels, self.weights_hash]
        parts += [
            self.train.digest,
            self.validation.digest,
            *["multi-label"] * self.source.multi_label,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _state(self) -> State:
        """Return where the training stands, the same for all workers.

        Raises:
            ValueError: it is not the same for all, or the folder's is damaged or of another run.
        """
        identity = self._identity()
        state = load_state(self.folder, identity) if self.folder else None
        if state is None or not state.epochs:  # the top takes a second: it is trained again
            state = State()
        if self.workers.count > 1:
            rows = (self.train.checksum() ^ self.validation.checksum()) >> 8
            facts = [int(identity[:6], 16), rows, state.epochs]  # exact in the sums of all workers
            self.workers.check_alike(facts, f"images, features, settings or {self.folder}")
        return state

    @abstractmethod
    def _learn(self, state: State) -> None:
        """Train on the features, from where the state is."""

    def _save(self, state: State) -> None:
        if self.folder is not None and self.workers.chief:
            save_state(self.folder, self._identity(), state)

    def _tell(self, values: dict[str, Any], done: int, total: int, unit: str) -> None:
        stage = "training the top" if unit == "steps" else f"training {self.settings.train_from}"
        self.report(Progress(stage, done, total, unit, logs(values)))

    def _result(self, state: State) -> Run:
        multi_label = self.source.multi_label
        pairs = tuple(
            (image.path, image.classes if multi_label else image.class_index)
            for image in self.validation.images
        )
        settings = self.settings.to_json() | {"engine": engine_for(self.engine, "float32")}
        settings["multi_label"] = multi_label
        if self.source.values is not None:
            settings["value_range"] = self.source.values
        problems = (*self.source.problems, *self.train.problems, *self.validation.problems)
        return Run(
            labels=self.source.labels, history=state.history, validation=pairs,
            probabilities=self._probabilities(), settings=settings,
            timings=self.timings, versions=versions(), weights_hash=self.weights_hash,
            trained=self._trained(), problems=problems, multi_label=multi_label,
        )  # fmt: skip

    @abstractmethod
    def _probabilities(self) -> npt.NDArray[np.float32]:
        """Return what the finished model puts out for the validation images."""

    @abstractmethod
    def _trained(self) -> TrainedModel:
        """Return the finished model."""


def logs(row: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a row of the history, under Keras' names."""
    names = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
    return {name: float(row[name]) for name in names if row.get(name) is not None}
