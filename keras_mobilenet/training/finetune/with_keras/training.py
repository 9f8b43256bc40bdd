"""A training that Keras does: from any part on, with a caller's callbacks, by several workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.engines.engine import chunks
from keras_mobilenet.models.model_files import info_of
from keras_mobilenet.training.base_nets import base_net
from keras_mobilenet.training.finetune.features import put_through
from keras_mobilenet.training.finetune.stages import Training, logs
from keras_mobilenet.training.finetune.top import STEPS, Step, train_top
from keras_mobilenet.training.finetune.with_keras.tail import Plan, UnfrozenTraining
from keras_mobilenet.training.run_state import State
from keras_mobilenet.training.runs import KerasModel, TrainedModel
from keras_mobilenet.transfer import boundaries
from keras_mobilenet.transfer.freezing import freeze
from keras_mobilenet.transfer.trained_parts import TOP, frozen_until


@dataclass
class KerasTraining(Training):
    """First the top, to its optimum, then what else trains."""

    callbacks: Sequence[Any] = ()

    def _build(self) -> None:
        settings = self.settings
        self.model = base_net(
            net=settings.net, alpha=settings.alpha, weights=settings.weights, size=settings.size,
            channels=settings.channels, labels=self.source.labels, seed=settings.seed,
            blocks=settings.blocks, **settings.options,
            activation="sigmoid" if self.source.multi_label else "softmax",
        )  # fmt: skip
        until = frozen_until(settings.train_from, settings.network)
        freeze(self.model, until=until)
        self.boundary = boundaries.boundary(self.model, settings.train_from)
        self.tail = boundaries.submodel(self.model, self.boundary, boundaries.logits(self.model))
        net = boundaries.submodel(self.model, self.model.inputs[0], boundaries.pooled(self.model))
        self.weights_hash = boundaries.fingerprint(net)

    def _beneath(self) -> Any:
        pixels = self.model.inputs[0]
        if self.boundary is pixels:
            return None
        return boundaries.submodel(self.model, pixels, self.boundary)

    def _learn(self, state: State) -> None:
        with boundaries.classifier_is_linear(self.model):
            if not state.epochs:
                with self._timed("top"):
                    self._train_top(state)
                self._save(state)
            if self.settings.train_from != TOP:
                with self._timed("tail"):
                    self._train_tail(state)

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
            callbacks.on_epoch_end(row["epoch"] - 1, logs(row))
            return bool(self.tail.stop_training)

        callbacks.on_train_begin()
        step = train_top(
            train.flat(), validation.flat() if validation else None,
            classes=len(self.source.labels), weights=self.class_weights, steps=steps, each=each,
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
        callbacks.on_epoch_end(number, logs(row))
        asked = self.workers.total([training.trained.stop_training])[0]
        state.stopped = bool(state.stopped or asked)
        self._save(state)
        self._tell(row, state.epochs * count, epochs * count, "images")

    def _plan(self) -> Plan:
        settings, info = self.settings, info_of(self.tail)
        return Plan(
            settings.epochs, settings.batch_size, settings.learning_rate, settings.label_smoothing,
            settings.weight_decay, settings.patience, self.class_weights, settings.seed,
            info.scaled,
        )  # fmt: skip

    def _callbacks(self, model: Any, epochs: int, steps: int) -> Any:
        model.stop_training = False
        return keras.callbacks.CallbackList(
            list(self.callbacks), model=model, epochs=epochs, steps=steps, verbose=0
        )

    def _probabilities(self) -> npt.NDArray[np.float32]:
        """Return what the finished model puts out for the validation images."""
        validation, scaled = self.validation, info_of(self.tail).scaled
        net = boundaries.submodel(self.model, self.boundary, self.model.outputs[0])
        y = np.empty((len(validation), len(self.source.labels)), np.float32)
        for rows in chunks(len(validation), self.settings.batch_size):
            x = validation.take(np.arange(len(validation))[rows])
            y[rows] = net.predict_on_batch(scaled(x))
        return y

    def _trained(self) -> TrainedModel:
        return KerasModel(self.model)
