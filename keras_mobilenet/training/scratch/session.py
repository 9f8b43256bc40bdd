"""One training from scratch, from the images to the run."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.models.backends import is_tensorflow
from keras_mobilenet.training import run_files
from keras_mobilenet.training.data.datasets import Dataset, Example
from keras_mobilenet.training.run_state import State, load_state, save_state
from keras_mobilenet.training.runs import (
    KerasModel,
    Progress,
    ProgressCallback,
    Run,
    Scores,
    history_row,
    versions,
)
from keras_mobilenet.training.scratch.batches import (
    training_batches,
    training_dataset,
    validation_batches,
)
from keras_mobilenet.training.scratch.learning import Learner
from keras_mobilenet.training.scratch.options import Options
from keras_mobilenet.training.scratch.reading import UNREADABLE, Reader
from keras_mobilenet.training.scratch.steps import KerasSteps, StrategySteps
from keras_mobilenet.training.scratch.training_net import (
    finished_net,
    model_info,
    new_optimizer,
    schedule,
    training_net,
)
from keras_mobilenet.training.workers import Workers
from keras_mobilenet.transfer.boundaries import fingerprint

_BOARD = "tensorboard"


class Session:
    """One training. `run` does it; the other methods stand in the order of the work."""

    def __init__(
        self,
        options: Options,
        dataset: Dataset,
        folder: Path,
        workers: Workers,
        callbacks: Sequence[Any],
        report: ProgressCallback,
        tensorboard: bool,
    ) -> None:
        self._options, self._dataset, self._folder = options, dataset, folder
        self._workers, self._report = workers, report
        self._steps = len(dataset.train) // options.batch_size
        self._check_batches()
        board = [_board(folder / _BOARD)] if tensorboard and workers.chief else []
        self._callbacks = [*callbacks, *board]
        scaled = model_info(options, dataset.labels)
        self._train = Reader(dataset.train, scaled, seed=options.seed, min_area=options.min_area)
        self._held = Reader(dataset.validation, scaled)

    def _check_batches(self) -> None:
        batch, replicas = self._options.batch_size, self._workers.replicas
        if not self._steps:
            raise ValueError(
                f"There are {len(self._dataset.train)} images to train with, less than one batch "
                f"of {batch}. Pass a smaller `batch_size`."
            )
        if batch % replicas:
            raise ValueError(
                f"`batch_size` must be a multiple of {replicas}, the parts it is computed in. "
                f"Received: batch_size={batch}"
            )

    def run(self) -> Run:
        """Return the finished run; the chief writes its files.

        Raises: as `train`.
        """
        started = time.perf_counter()
        with self._workers.failures_as_errors(
            f"{self._folder} holds what was done, to be resumed."
        ):
            self._build()
            state = self._state()
            try:
                self._epochs(state)
            except Exception as error:
                if self._train.failure is not None:  # which TensorFlow tells as its own
                    raise self._train.failure from error
                raise
            run = self._result(state, {"total": time.perf_counter() - started})
            if self._workers.chief:
                run_files.write_run(self._folder, run)
            self._workers.total([0])  # a worker that ended first would be missed
        return run

    def _build(self) -> None:
        options, workers = self._options, self._workers
        total = self._steps * options.epochs
        with workers.scope():
            net = training_net(
                options,
                len(self._dataset.labels),
                steps=total,
                synchronized=workers.replicas > 1,
            )
            rate = schedule(options, self._steps)
            optimizer = new_optimizer(rate, options.averages(total)[0])
        batch, smoothing = options.batch_size, options.label_smoothing
        step = (
            StrategySteps(workers, net, optimizer, batch=batch, label_smoothing=smoothing)
            if is_tensorflow()
            else KerasSteps(net, optimizer, label_smoothing=smoothing)
        )
        self._learner = Learner(net, optimizer, step, batch=batch)
        self._model = finished_net(options, self._dataset.labels)
        self._model.set_weights(net.get_weights())
        self._weights_hash = fingerprint(self._model)

    def _identity(self) -> str:
        """Return a hash of all that the result depends on.

        Of the images it takes names, classes and lengths: a hash of what is in millions of files
        would take longer than an epoch.
        """
        settings = self._options.to_json()
        del settings["validation"]  # of which the images count, not the path
        images = [[_described(x) for x in part]
                    for part in (self._dataset.train, self._dataset.validation)]  # fmt: skip
        text = json.dumps([settings, self._dataset.labels, images], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _state(self) -> State:
        """Return where the training stands, and set the net's variables to it."""
        self._own_identity = self._identity()
        state = load_state(self._folder, self._own_identity) or State()
        number = int(self._own_identity[:6], 16)  # exact in the sums of all workers
        self._workers.check_alike([number, state.epochs], f"images, settings or {self._folder}")
        if state.epochs:
            self._learner.restore(state.weights, state.optimizer)
        return state

    def _epochs(self, state: State) -> None:
        options = self._options
        batches = self._batches(range(state.epochs, options.epochs))
        callbacks = keras.callbacks.CallbackList(
            self._callbacks, model=self._learner.net, epochs=options.epochs, steps=self._steps
        )
        self._learner.net.stop_training = False
        callbacks.on_train_begin()
        while state.epochs < options.epochs and not state.stopped:
            self._epoch(state, batches, callbacks)
        callbacks.on_train_end()

    def _batches(self, epochs: range) -> Iterator[Any]:
        """Return the batches of some epochs, as the steps take them."""
        options = self._options
        order: dict[str, Any] = {
            "seed": options.seed, "count": len(self._dataset.train),
            "batch": options.batch_size, "epochs": epochs,
        }  # fmt: skip
        if not is_tensorflow():
            return training_batches(self._train, **order)
        batches: Iterator[Any] = self._workers.batches(
            lambda context: training_dataset(
                self._train, size=options.size, context=context, **order
            )
        )
        return batches

    def _epoch(self, state: State, batches: Iterator[Any], callbacks: Any) -> None:
        started, number = time.perf_counter(), state.epochs
        callbacks.on_epoch_begin(number)

        def after_steps(step: int, loss: float) -> None:
            callbacks.on_train_batch_end(step - 1, {"loss": loss})
            self._tell(number * self._steps + step, {"loss": loss})

        scores = self._learner.epoch(batches, self._steps, after_steps)
        self._model.set_weights(self._learner.averaged_weights())
        rate = float(self._learner.optimizer.learning_rate)
        row = history_row(
            "train", number + 1, scores, self._validate(), rate, time.perf_counter() - started
        )
        logs = {key: x for key, x in row.items() if isinstance(x, float)}
        callbacks.on_epoch_end(number, logs)
        state.history.append(row)
        state.epochs += 1
        state.stopped = bool(self._workers.total([self._learner.net.stop_training])[0])
        state.weights, state.optimizer = self._learner.variables()
        if self._workers.chief:
            save_state(self._folder, self._own_identity, state)
        self._tell(state.epochs * self._steps, logs)

    def _tell(self, step: int, values: dict[str, float]) -> None:
        batch = self._options.batch_size
        total = self._options.epochs * self._steps * batch
        self._report(Progress("training", step * batch, total, "images", values))

    def _validate(self) -> Scores | None:
        """Return how good the finished net would be now; each worker looks at its share."""
        if not self._dataset.validation:
            return None
        loss = correct = seen = 0.0
        for y, probabilities in self._outputs(self._workers.number, self._workers.count):
            known = y != UNREADABLE
            given = probabilities[known, y[known]]
            loss -= float(np.log(np.maximum(given, np.finfo(np.float32).eps)).sum())
            correct += float((probabilities.argmax(axis=1) == y)[known].sum())
            seen += float(known.sum())
        loss, correct, seen = map(float, self._workers.total([loss, correct, seen]))
        return Scores(loss / seen, correct / seen) if seen else None

    def _outputs(
        self, worker: int, workers: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Yield classes and probabilities of the validation images, a batch at a time."""
        for x, y in validation_batches(
            self._held, count=len(self._dataset.validation), batch=self._options.batch_size,
            worker=worker, workers=workers,
        ):  # fmt: skip
            yield y, np.asarray(self._model.predict_on_batch(x))

    def _result(self, state: State, timings: dict[str, float]) -> Run:
        self._model.set_weights(self._learner.averaged_weights())
        classes, rows = [], [np.empty((0, len(self._dataset.labels)), np.float32)]
        for y, probabilities in self._outputs(0, 1) if self._dataset.validation else ():
            classes.append(y)
            rows.append(probabilities)
        known = np.concatenate([np.empty(0, np.int64), *classes]) != UNREADABLE
        examples = zip(self._dataset.validation, known, strict=True)
        problems = {**self._train.problems, **self._held.problems}
        return Run(
            labels=self._dataset.labels, history=state.history,
            validation=tuple(example for example, readable in examples if readable),
            probabilities=np.concatenate(rows)[known], settings=self._options.to_json(),
            timings=timings, versions=versions(), weights_hash=self._weights_hash,
            trained=KerasModel(self._model), problems=(*self._dataset.problems, *problems.values()),
        )  # fmt: skip


def _described(example: Example) -> tuple[str, int, int]:
    path, index = example
    return os.path.basename(path), index, os.path.getsize(path)


def _board(folder: Path) -> Any:
    """Return what writes for TensorBoard.

    Raises:
        ImportError: it is not installed; TensorFlow has its format from there.
    """
    try:
        import tensorboard  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise ImportError(
            "tensorboard=True needs TensorBoard: pip install 'keras-mobilenet[tensorboard]'"
        ) from error
    return keras.callbacks.TensorBoard(folder, write_graph=False)
