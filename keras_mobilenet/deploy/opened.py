"""The one door: a model as it comes in, with all that the steps behind the door ask of it.

What deploys a model opens it first and hands on what it got: fold, quantize, write, compare. Each
step takes the last one's result, and nobody asks the model itself again. Keras is imported for
Keras models only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from keras_mobilenet.deploy.engines.choice import engine_module
from keras_mobilenet.deploy.engines.engine import Engine, EngineSettings
from keras_mobilenet.deploy.metadata import read_info
from keras_mobilenet.errors import PrecisionError, about_file
from keras_mobilenet.images.model_info import Label, ModelInfo, check_classes, checked_labels
from keras_mobilenet.images.pixel_scaling import Preprocessing, as_preprocessing

_SUFFIX = ".keras"


@dataclass(frozen=True)
class Opened:
    """A Keras model, or an exported file in its engine, and what is known of either."""

    name: str
    info: ModelInfo  # preprocessing and labels, size and crop of the images
    input_shape: tuple[int | None, ...]  # (height, width, channels), None where any length goes
    input_dtype: str  # "uint8" where it takes pixels and scales them itself
    classes: int | None  # None where the output is no vector of scores
    model: Any  # the Keras model, or the engine

    def given(
        self, preprocessing: Preprocessing | str | None, labels: Sequence[Label] | None
    ) -> Opened:
        """Return the same with what a caller gave in place of what was known.

        Raises:
            ValueError: it is no preprocessing, or there are not as many labels as classes.
        """
        info = self.info
        if preprocessing is not None:
            info = replace(info, preprocessing=as_preprocessing(preprocessing))
        if labels is not None:
            info = replace(info, labels=checked_labels(labels, self.classes))
        return replace(self, info=info)

    def then(self, step: Callable[..., Any], *arguments: Any) -> Opened:
        """Return the same with what a step makes of the Keras model and its arguments."""
        model = step(self.model, *arguments)
        return replace(self, model=model, input_dtype=model.inputs[0].dtype)


def is_exported(model: Any) -> bool:
    """Return whether a model is the path of something else than a `.keras` file."""
    return isinstance(model, (str, PathLike)) and not os.fspath(model).endswith(_SUFFIX)


def open_model(model: Any) -> Opened:
    """Open a Keras model, or the one in a `.keras` file; one that is open stays as it is.

    Raises:
        ValueError: it has not one input of images and one output, or nothing is at that path.
        CheckpointError: the file is damaged or of another kind.
    """
    if isinstance(model, Opened):
        return model
    from keras_mobilenet.models.model_files import (  # noqa: PLC0415 - Keras
        classes_of,
        info_of,
        load_model,
    )

    if isinstance(model, (str, PathLike)) and not is_exported(model):
        model = load_model(_existing(model))
    inputs: Any = getattr(model, "inputs", None) or ()
    outputs: Any = getattr(model, "outputs", None) or ()
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
        raise ValueError(
            "A model with one input of shape (batch, height, width, channels) and one output is "
            f"needed. Received: {type(model).__name__} with inputs "
            f"{[tuple(x.shape) for x in inputs]} and outputs {[tuple(y.shape) for y in outputs]}"
        )
    shape, dtype = inputs[0].shape[1:], inputs[0].dtype
    return Opened(model.name, info_of(model), shape, dtype, classes_of(model), model)


def open_exported(path: str | PathLike[str], engine: str, settings: EngineSettings) -> Opened:
    """Open a `.tflite`, `.onnx` or `.xml` file, or a SavedModel folder, in an engine.

    Raises:
        ValueError: nothing is there.
        CheckpointError: the file is damaged or of another kind.
        PrecisionError: it does not compute in the precision that is asked for.
        MissingExtraError: the engine is not installed.
    """
    path = _existing(path)
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
    if not os.path.exists(path):
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
