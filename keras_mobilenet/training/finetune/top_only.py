"""A training of the top alone: features, the solver and the files, without Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.checkpoints.net_weights import NetWeights
from keras_mobilenet.checkpoints.writing.model_file import write_model_file
from keras_mobilenet.deploy.graphs.operations import Activation, Graph, leading_to
from keras_mobilenet.deploy.graphs.reference import activated
from keras_mobilenet.deploy.opened import Opened
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.formats.keras.model_config import ModelSettings
from keras_mobilenet.images.images import as_channels, fit_pixels
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.nets.families import registry
from keras_mobilenet.nets.net import Layer, Net, Size
from keras_mobilenet.training.base_nets import base_features, base_weights, takes_published_top
from keras_mobilenet.training.finetune.settings import FinetuneSettings
from keras_mobilenet.training.finetune.stages import Training
from keras_mobilenet.training.finetune.top import STAGE, Step, train_top
from keras_mobilenet.training.run_state import State
from keras_mobilenet.training.runs import TrainedModel
from keras_mobilenet.transfer.heat_maps import ActivationMap, Pixels, cropped
from keras_mobilenet.transfer.trained_parts import TOP


def is_light(settings: FinetuneSettings) -> bool:
    """Return whether Keras has no part in a training: its top stands on a pool of known weights."""
    if settings.train_from != TOP or settings.weights is None:
        return False
    family = registry.family(settings.net)
    taken = takes_published_top(
        settings.net, settings.alpha, settings.weights, settings.size, settings.options
    )
    return not (family.has_wide_top and taken)


@dataclass
class TopTraining(Training):
    """A linear classifier on pooled features, which needs nothing of Keras."""

    def _build(self) -> None:
        settings = self.settings
        self.base = base_weights(
            net=settings.net, alpha=settings.alpha, weights=settings.weights, size=settings.size,
            channels=settings.channels, blocks=settings.blocks, **settings.options,
        )  # fmt: skip
        self.features = base_features(self.base, settings.size)
        assert self.features.graph is not None  # noqa: S101 - made of a net
        self.weights_hash = self.features.graph.fingerprint()

    def _beneath(self) -> Opened:
        return self.features

    def _learn(self, state: State) -> None:
        steps = self.settings.epochs

        def each(step: Step, row: dict[str, Any]) -> bool:
            state.history.append(row)
            self._tell(row, row["epoch"], steps, "steps")
            return False

        with self._timed(STAGE):
            self.step = train_top(
                self.train.flat(), self.validation.flat() if self.validation else None,
                classes=len(self.source.labels), weights=self.class_weights, steps=steps, each=each,
            )  # fmt: skip
        self._save(state)

    def _probabilities(self) -> npt.NDArray[np.float32]:
        classes = len(self.source.labels)
        if not len(self.validation):
            return np.empty((0, classes), np.float32)
        rows = np.stack(self.validation.flat().rows[0])
        logits = (rows @ self.step.kernel + self.step.bias).astype(np.float64)
        return activated(self._activation, logits).astype(np.float32)

    @property
    def _activation(self) -> Activation:
        return "sigmoid" if self.source.multi_label else "softmax"

    def _trained(self) -> TrainedModel:
        info = replace(self.features.info, labels=self.source.labels)
        return TopOnNet(
            self.base, self.features, self.step, info, self.settings.size, self._activation
        )


@dataclass(frozen=True)
class TopOnNet:
    """A net with a classifier of its own, as arrays."""

    weights: NetWeights
    features: Opened  # up to the pool
    step: Step
    info: ModelInfo
    size: Size
    activation: str

    @property
    def crop(self) -> float:
        """Share of each side of an image that the model sees."""
        return self.info.crop

    def save(self, path: Path) -> None:
        """Write the model as a `.keras` file."""
        settings = ModelSettings(
            self.weights.conventions,
            self.weights.family.bn_momentum,
            self.activation,
            frozen=frozenset(layer.name for layer in self._below),
        )
        write_model_file(
            path, self._net, self._arrays, name=self.weights.name, size=self.size,
            settings=settings, info=self.info,
        )  # fmt: skip

    def keras(self) -> Any:
        """Return the `keras.Model`."""
        import tempfile  # noqa: PLC0415

        from keras_mobilenet.models.model_files import load_model  # noqa: PLC0415 - Keras

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            self.save(path)
            return load_model(path)

    def maps(self, images: Sequence[Pixels], classes: Sequence[int]) -> list[ActivationMap]:
        """Return where the model sees a class in each image: the classifier before the pool."""
        shown = [cropped(image, self.crop) for image in images]
        channels = self.weights.net.layers[0].channels
        pixels = [as_channels(fit_pixels(x, size=self.size), channels) for x in shown]
        graph = _before_pool(self.features.graph)
        with Predictor(replace(self.features, graph=graph), engine="litert") as predictor:
            values = predictor.predict(np.stack(pixels))
        kernel, bias, labels = self.step.kernel, self.step.bias, self.info.labels or ()
        return [
            ActivationMap(
                np.asarray(features @ kernel[:, index] + bias[index], np.float32),
                index, str(labels[index]), image,
            )
            for features, image, index in zip(values, shown, classes, strict=True)
        ]  # fmt: skip

    @property
    def _below(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.weights.net if layer.part != "top")

    @cached_property
    def _net(self) -> Net:
        return self.weights.family.on_pool(self.weights.net, len(self.step.bias))

    @property
    def _arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        layer = self.weights.family.classifier
        shape = self._net.by_name[layer.name].kernel
        own = {f"{layer.name}/kernel": self.step.kernel.reshape(shape)}
        return {**self.weights.arrays, **own, f"{layer.name}/bias": self.step.bias}


def _before_pool(graph: Graph | None) -> Graph:
    """Return a graph of features without the pool that ends it."""
    assert graph is not None  # noqa: S101 - made of a net
    pool = graph.by_name[graph.output]
    return replace(graph, operations=leading_to(pool.inputs[0], graph.by_name))
