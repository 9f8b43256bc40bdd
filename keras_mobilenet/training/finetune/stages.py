"""One training from the images to the run: features, then the top, then the tail."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.engines.choice import engine_for
from keras_mobilenet.deploy.engines.engine import chunks
from keras_mobilenet.models.model_files import info_of
from keras_mobilenet.training import run_files
from keras_mobilenet.training.base_nets import base_net
from keras_mobilenet.training.data.sources import LabelledImages
from keras_mobilenet.training.data.views import views
from keras_mobilenet.training.finetune.feature_cache import FeatureCache
from keras_mobilenet.training.finetune.features import Extractor, put_through
from keras_mobilenet.training.finetune.settings import (
    FinetuneSettings,
    class_weights,
    positive_weights,
)
from keras_mobilenet.training.finetune.tail import Plan, UnfrozenTraining
from keras_mobilenet.training.finetune.top import STEPS, Step, train_top
from keras_mobilenet.training.run_state import State, load_state, save_state
from keras_mobilenet.training.runs import Progress, ProgressCallback, Run, versions
from keras_mobilenet.training.workers import SINGLE, Workers
from keras_mobilenet.transfer import boundaries
from keras_mobilenet.transfer.freezing import freeze
from keras_mobilenet.transfer.trained_parts import TOP, frozen_until


@dataclass
class Training:
    """One training. `run` does it; the other methods stand in the order of the work."""

    settings: FinetuneSettings
    source: LabelledImages
    folder: Path | None  # where the run's files go, and its state after each epoch
    callbacks: Sequence[Any]
    report: ProgressCallback
    engine: str
    workers: Workers = SINGLE  # all have the same images
    timings: dict[str, float] = field(default_factory=dict)

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
            with boundaries.classifier_is_linear(self.model):
                if not state.epochs:
                    with self._timed("top"):
                        self._train_top(state)
                    self._save(state)
                if self.settings.train_from != TOP:
                    with self._timed("tail"):
                        self._train_tail(state)
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

    def _build(self) -> None:
        settings = self.settings
        self.model = base_net(
            net=settings.net, alpha=settings.alpha, weights=settings.weights, size=settings.size,
            channels=settings.channels, labels=self.source.labels, seed=settings.seed,
            blocks=settings.blocks,
            activation="sigmoid" if self.source.multi_label else "softmax",
        )  # fmt: skip
        until = frozen_until(settings.train_from, settings.network)
        freeze(self.model, until=until)
        self.boundary = boundaries.boundary(self.model, settings.train_from)
        self.tail = boundaries.submodel(self.model, self.boundary, boundaries.logits(self.model))
        net = boundaries.submodel(self.model, self.model.inputs[0], boundaries.pooled(self.model))
        self.weights_hash = boundaries.fingerprint(net)

    def _extract(self, cache: FeatureCache) -> None:
        """Compute what lies under the boundary: with everything training, the pixels."""
        pixels = self.model.inputs[0]
        extractor = Extractor(
            None
            if self.boundary is pixels
            else boundaries.submodel(self.model, pixels, self.boundary),
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
        self.weights = (
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

    def _train_top(self, state: State) -> None:
        """Train the classifier on pooled features, and write its history into the state."""
        train, validation = self.train, self.validation
        if self.settings.train_from != TOP:
            net = boundaries.submodel(self.model, self.boundary, boundaries.pooled(self.model))
            train, validation = put_through(net, (train, validation), self.engine)
        only = self.settings.train_from == TOP
        steps = self.settings.epochs if only else STEPS
        callbacks = self._callbacks(self.tail, steps, 1)

        def each(step: Step, row: dict[str, Any]) -> bool:
            self._set_top(step)
            state.history.append(row)
            self._tell(row, row["epoch"], steps, "steps")
            callbacks.on_epoch_end(row["epoch"] - 1, _logs(row))
            return bool(self.tail.stop_training)

        callbacks.on_train_begin()
        step = train_top(
            train.flat(), validation.flat() if validation else None,
            classes=len(self.source.labels), weights=self.weights, steps=steps, each=each,
        )  # fmt: skip
        kernel, bias = map(self.workers.broadcast, (step.kernel, step.bias))
        self._set_top(Step(kernel, bias, step.loss))
        callbacks.on_train_end()

    def _set_top(self, step: Step) -> None:
        classifier = boundaries.classifier(self.model)
        classifier.set_weights([step.kernel.reshape(classifier.kernel.shape), step.bias])

    def _train_tail(self, state: State) -> None:
        """Train from the boundary on, and leave the best weights in the model."""
        plan = self._plan()
        validation = self.validation if self.validation else None
        training = UnfrozenTraining(self.tail, self.train, validation, plan, self.workers)
        training.begin(state)
        callbacks = self._callbacks(training.trained, plan.epochs, plan.steps(len(self.train)))
        callbacks.on_train_begin()
        while state.epochs < plan.epochs and not state.stopped:
            self._epoch(training, state, callbacks)
        callbacks.on_train_end()
        training.finish(state)

    def _epoch(self, training: UnfrozenTraining, state: State, callbacks: Any) -> None:
        number, count = state.epochs, len(self.train)
        size, epochs = self.settings.batch_size, self.settings.epochs

        def after_batch(batch: int, logs: dict[str, Any]) -> None:
            callbacks.on_train_batch_end(batch, logs)
            done = number * count + min((batch + 1) * size, count)
            self._tell(logs, done, epochs * count, "images")

        callbacks.on_epoch_begin(number)
        training.epoch(state, after_batch)
        row = state.history[-1]
        callbacks.on_epoch_end(number, _logs(row))
        asked = self.workers.total([training.trained.stop_training])[0]
        state.stopped = bool(state.stopped or asked)
        self._save(state)
        self._tell(row, state.epochs * count, epochs * count, "images")

    def _save(self, state: State) -> None:
        if self.folder is not None and self.workers.chief:
            save_state(self.folder, self._identity(), state)

    def _plan(self) -> Plan:
        settings, info = self.settings, info_of(self.tail)
        return Plan(
            settings.epochs, settings.batch_size, settings.learning_rate, settings.label_smoothing,
            settings.weight_decay, settings.patience, self.weights, settings.seed, info.scaled,
        )  # fmt: skip

    def _callbacks(self, model: Any, epochs: int, steps: int) -> Any:
        model.stop_training = False
        return keras.callbacks.CallbackList(
            list(self.callbacks), model=model, epochs=epochs, steps=steps, verbose=0
        )

    def _tell(self, values: dict[str, Any], done: int, total: int, unit: str) -> None:
        stage = "training the top" if unit == "steps" else f"training {self.settings.train_from}"
        self.report(Progress(stage, done, total, unit, _logs(values)))

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
            model=self.model, problems=problems, multi_label=multi_label,
        )  # fmt: skip

    def _probabilities(self) -> npt.NDArray[np.float32]:
        """Return what the finished model puts out for the validation images."""
        validation, scaled = self.validation, info_of(self.tail).scaled
        net = boundaries.submodel(self.model, self.boundary, self.model.outputs[0])
        y = np.empty((len(validation), len(self.source.labels)), np.float32)
        for rows in chunks(len(validation), self.settings.batch_size):
            x = validation.take(np.arange(len(validation))[rows])
            y[rows] = net.predict_on_batch(scaled(x))
        return y


def _logs(row: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a row of the history, under Keras' names."""
    names = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
    return {name: float(row[name]) for name in names if row.get(name) is not None}
