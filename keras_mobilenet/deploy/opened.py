"""The one door: a model as it comes in, with all that the steps behind the door ask of it.

What deploys a model opens it first and hands on what it got: fold, quantize, write, compare. Each
step takes the last one's result, and nobody asks the model itself again. Keras is imported for
Keras models only, and for what only Keras can do.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy.typing as npt

from keras_mobilenet.checkpoints.hub_folders import is_hub_folder
from keras_mobilenet.checkpoints.net_weights import (
    RANDOM,
    Builder,
    NetWeights,
    builder_of,
    published_builder,
    weights_of,
)
from keras_mobilenet.checkpoints.published.names import is_name
from keras_mobilenet.checkpoints.writing.model_file import write_model_file
from keras_mobilenet.deploy.engines.checks.saved_models import check_folder
from keras_mobilenet.deploy.engines.choice import engine_module
from keras_mobilenet.deploy.engines.engine import Engine, EngineSettings
from keras_mobilenet.deploy.graphs.keras_file import graph_in_keras_file
from keras_mobilenet.deploy.graphs.keras_graph import UnknownLayerError, graph_of_model
from keras_mobilenet.deploy.graphs.net_graph import graph_of_net
from keras_mobilenet.deploy.graphs.operations import ACTIVATIONS, Graph
from keras_mobilenet.deploy.metadata import read_info
from keras_mobilenet.errors import CheckpointError, PrecisionError, about_file
from keras_mobilenet.formats.keras.model_config import ModelSettings
from keras_mobilenet.images.model_info import Label, ModelInfo, check_classes
from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE, Preprocessing
from keras_mobilenet.nets.arguments import IMAGENET

_SUFFIX = ".keras"
_EXPORTED = (".tflite", ".onnx", ".xml")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """A model as it came in, or an exported file in its engine, and what is known of either."""

    name: str
    info: ModelInfo  # preprocessing and labels, size and crop of the images
    input_shape: tuple[int | None, ...]  # (height, width, channels), None where any length goes
    input_dtype: str  # "uint8" where it takes pixels and scales them itself
    classes: int | None  # None where the output is no vector of scores
    model: Any = None  # the Keras model, or the engine; None where neither was made
    graph: Graph | None = None  # what it computes; None where only Keras knows
    load: Callable[[], Any] | None = None  # makes the Keras model of what came without one

    def given(
        self, preprocessing: Preprocessing | str | None, labels: Sequence[Label] | None
    ) -> Opened:
        """Return the same with what a caller gave in place of what was known.

        Raises:
            ValueError: it is no preprocessing, or there are not as many labels as classes.
        """
        return replace(self, info=self.info.given(preprocessing, labels, self.classes))

    def then(self, step: Callable[..., Any], *arguments: Any) -> Opened:
        """Return the same with what a step makes of the Keras model and its arguments."""
        model = step(self.model, *arguments)
        return replace(self, model=model, graph=None, input_dtype=model.inputs[0].dtype)

    def outputs(self, x: Any) -> npt.NDArray[Any]:
        """Return what it puts out for inputs: by Keras if it is there, else worked out in NumPy."""
        if self.model is None and self.graph is not None:
            from keras_mobilenet.deploy.graphs.reference import reference_outputs  # noqa: PLC0415

            return reference_outputs(self.graph, x)
        from keras_mobilenet.deploy.graphs.traced.files import keras_outputs  # noqa: PLC0415 - Keras

        return keras_outputs(self.model, x)

    def in_keras(self) -> Opened:
        """Return the same with its Keras model, which is made if there is none yet."""
        if self.model is not None or self.load is None:
            return self
        opened = open_model(self.load())
        return replace(opened, name=self.name, info=self.info)


def is_exported(model: Any) -> bool:
    """Return whether a model is the path of what a runtime opens: a file, or a folder."""
    if not isinstance(model, (str, PathLike)):
        return False
    path = os.fspath(model)
    return path.endswith(_EXPORTED) or (os.path.isdir(path) and not is_hub_folder(path))


def open_model(model: Any) -> Opened:
    """Open a Keras model, a `.keras` file, a `Builder`, `NetWeights`, a file or a name of weights.

    What is open stays as it is. Keras is imported for a Keras model, and for a file whose model
    has layers that only Keras knows.

    Raises:
        ValueError: it has not one input of images and one output, or nothing is at that path.
        CheckpointError: the file is damaged or of another kind.
    """
    if isinstance(model, Opened):
        return model
    if isinstance(model, (str, PathLike)):
        if is_name(model):
            return _open_net(published_builder(os.fspath(model), {}))
        path = _existing(model)
        return _open_keras_file(path) if path.endswith(_SUFFIX) else _open_net(builder_of(path))
    if isinstance(model, NetWeights):
        return _of_weights(model, lambda: _rebuilt(model))
    return _open_net(model) if isinstance(model, Builder) else _open_keras(model)


def _open_keras_file(path: str) -> Opened:
    try:
        graph, info = graph_in_keras_file(path)
    except (UnknownLayerError, CheckpointError) as error:  # Keras tells what is wrong with a file
        logger.info("%s is opened by Keras: %s", path, error)
        return _open_keras(_loaded(path))
    return _of_graph(graph, info, lambda: _loaded(path))


def _loaded(path: str) -> Any:
    from keras_mobilenet.models.model_files import load_model  # noqa: PLC0415 - Keras

    return load_model(path)


def _open_net(builder: Builder) -> Opened:
    """Open the net that a builder describes, or a file's, with its weights."""
    if builder.arguments.get("classifier_activation", "softmax") not in (*ACTIVATIONS, None):
        return _open_keras(_built(builder))
    builder, weights = weights_of(builder)
    activation = weights.classifier_activation  # the file's, where the builder has none
    same = replace(builder, arguments={**builder.arguments, "classifier_activation": activation})
    if activation not in (*ACTIVATIONS, None):
        return _open_keras(_built(same))
    if builder.arguments.get("weights") == RANDOM and None not in weights.size:
        return _of_weights(weights, lambda: _rebuilt(weights))  # which has the same values
    return _of_weights(weights, lambda: _built(same))


def _of_weights(weights: NetWeights, load: Callable[[], Any] | None) -> Opened:
    return _of_graph(graph_of_net(weights), weights.info, load)


def _built(builder: Builder) -> Any:
    from keras_mobilenet.checkpoints.building import build_net  # noqa: PLC0415 - Keras

    weights = builder.arguments.get("weights", IMAGENET)
    weights = None if weights == RANDOM else weights
    return build_net(builder.net, **{**builder.arguments, "weights": weights})


def _rebuilt(weights: NetWeights) -> Any:
    """Return the Keras model of a net and its arrays, by way of a file."""
    height, width = weights.size
    if height is None or width is None:
        raise ValueError(f"{weights.name} takes any size, and Keras needs a known one here.")
    settings = ModelSettings(
        weights.conventions, weights.family.bn_momentum, weights.classifier_activation or "linear",
        scaling=(MINUS_ONE_TO_ONE.scale, MINUS_ONE_TO_ONE.offset),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        write_model_file(
            path, weights.net, weights.arrays, name=weights.name, size=(height, width),
            settings=settings, info=weights.info,
        )  # fmt: skip
        return _loaded(path)


def _of_graph(graph: Graph, info: ModelInfo, load: Callable[[], Any] | None) -> Opened:
    scores = graph.shapes[graph.output]
    classes = scores[0] if len(scores) == 1 else None
    dtype = "uint8" if graph.pixels else "float32"
    return Opened(graph.name, info, graph.input_shape, dtype, classes, None, graph, load)


def _open_keras(model: Any) -> Opened:
    from keras_mobilenet.models.model_files import classes_of, info_of  # noqa: PLC0415 - Keras

    inputs: Any = getattr(model, "inputs", None) or ()
    outputs: Any = getattr(model, "outputs", None) or ()
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
        raise ValueError(
            "A model with one input of shape (batch, height, width, channels) and one output is "
            f"needed. Received: {type(model).__name__} with inputs "
            f"{[tuple(x.shape) for x in inputs]} and outputs {[tuple(y.shape) for y in outputs]}"
        )
    shape, dtype = inputs[0].shape[1:], inputs[0].dtype
    try:
        graph: Graph | None = graph_of_model(model)
    except UnknownLayerError as error:
        logger.info("%s goes through TensorFlow: %s", model.name, error)
        graph = None
    return Opened(model.name, info_of(model), shape, dtype, classes_of(model), model, graph)


def open_exported(path: str | PathLike[str], engine: str, settings: EngineSettings) -> Opened:
    """Open a `.tflite`, `.onnx` or `.xml` file, or a SavedModel folder, in an engine.

    Raises:
        ValueError: nothing is there.
        CheckpointError: the file is damaged or of another kind, the folder no SavedModel.
        PrecisionError: it does not compute in the precision that is asked for.
        MissingExtraError: the engine is not installed.
    """
    path = _existing(path)
    if os.path.isdir(path):
        check_folder(path, (*_EXPORTED, _SUFFIX))
    compiled: Engine = engine_module(engine).open_file(path, settings)
    _check_precision(path, compiled, settings)
    shape, scores = compiled.input_shape, compiled.output_shape
    classes = scores[0] if len(scores) == 1 else None
    height, width = shape[:2]
    size = None if height is None or width is None else (height, width)
    info = read_info(path) or ModelInfo(size, preprocessing=None)
    with about_file(path, "Export it again."):
        check_classes(info, classes)
    dtype = compiled.input_dtype.name
    return Opened(path, info, shape, dtype, classes, compiled)


def _existing(path: str | PathLike[str]) -> str:
    path = os.fspath(path)
    if not os.path.exists(path) and not os.path.exists(f"{path}.index"):  # of a checkpoint
        raise ValueError(f"No file or folder of the name {path!r} exists.")
    return path


def _check_precision(path: str, engine: Engine, settings: EngineSettings) -> None:
    if settings.precision not in (None, engine.precision):
        engine.close()
        raise PrecisionError(
            f"{path} computes in {engine.precision}, as it was exported. Received: "
            f"precision={settings.precision!r}. Leave `precision` out, or export the model again "
            "with another `quantize`."
        )
