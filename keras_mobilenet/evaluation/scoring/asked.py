"""A model as a caller asks it: with another crop, size or scaling than it says, in an engine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from keras_mobilenet.checkpoints.net_weights import builder_of, published_builder
from keras_mobilenet.checkpoints.published.names import is_name
from keras_mobilenet.deploy.opened import is_exported
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.images.model_info import Label, ModelInfo
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.nets.net import Size
from keras_mobilenet.nets.published.rows import CropEdges, Interpolation


@dataclass(frozen=True)
class Asked:
    """What a caller asks for; None for what the model says of itself."""

    size: Size | None = None
    crop: float | None = None
    crop_edges: CropEdges | None = None
    interpolation: Interpolation | None = None
    preprocessing: Preprocessing | str | None = None
    labels: Sequence[Label] | None = None

    @contextmanager
    def predictor(self, model: Any, engine: Mapping[str, Any]) -> Iterator[Predictor]:
        """Yield the predictor of the model that is asked for, and close it unless it was one.

        Args:
            model: What `Predictor` takes, the name of published weights, or a `Predictor`.
            engine: Arguments of `Predictor` about what computes.

        Raises:
            ValueError: the model takes images of another size, or is in an engine already.
        """
        if isinstance(model, Predictor):
            _check_free(model, engine)
            given = model.info.given(self.preprocessing, self.labels, None)
            with self._fitting(model, given):
                yield model
            return
        with Predictor(
            _sized(model, self.size), preprocessing=self.preprocessing, labels=self.labels, **engine
        ) as predictor, self._fitting(predictor, predictor.info):  # fmt: skip
            yield predictor

    @contextmanager
    def other(self, model: Any) -> Iterator[Predictor]:
        """Yield the predictor of the model that it is compared with, in an engine of its own.

        How pixels become its input, and its classes' names, are those that are asked for only
        where it does not say so itself: the two may be of different kinds.
        """
        alone = replace(self, preprocessing=None, labels=None)
        with alone.predictor(model, {}) as predictor:
            info = predictor.info
            if info.preprocessing is None:
                info = info.given(self.preprocessing, None, None)
            if info.labels is None and self.labels is not None:
                info = replace(info, labels=tuple(self.labels))
            predictor.info = info  # `_fitting` takes it back
            yield predictor

    @contextmanager
    def _fitting(self, predictor: Predictor, info: ModelInfo) -> Iterator[None]:
        """Let a predictor fit images as is asked for."""
        before = predictor.info
        names = ("size", "crop", "crop_edges", "interpolation")
        fit: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.size is not None:
            _check_size(predictor, self.size)
        predictor.info = replace(info, **{k: v for k, v in fit.items() if v is not None})
        try:
            yield
        finally:
            predictor.info = before


def _check_free(model: Predictor, engine: Mapping[str, Any]) -> None:
    if engine:
        raise ValueError(
            f"{model!r} is in an engine already. Received: {', '.join(engine)}. Pass what it was "
            "made of, or make the Predictor with them."
        )


def _check_size(predictor: Predictor, size: Size) -> None:
    takes = predictor.input_shape[:2]
    if any(n not in (None, m) for n, m in zip(takes, size, strict=True)):
        raise ValueError(
            f"{predictor.name} takes images of {takes[0]} x {takes[1]}. Received: "
            f"size={size!r}. Leave it out, or pass a file of weights."
        )


def _sized(model: Any, size: Size | None) -> Any:
    """Return a model, or what builds it from weights at a size."""
    if size is None or not isinstance(model, (str, PathLike)):
        return model
    path = os.fspath(model)
    if is_exported(path) or path.endswith(".keras"):
        return path
    builder = published_builder(path, {}) if is_name(path) else builder_of(path)
    shape = {"input_shape": (*size, builder.arguments["input_shape"][2])}
    return replace(builder, arguments={**builder.arguments, **shape})
