"""What a training leaves: the model, and everything that a report on it needs."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from keras_mobilenet.transfer.heat_maps import ActivationMap, Pixels

_HALF = 0.5
_PACKAGES = ("keras-mobilenet", "keras", "tensorflow", "numpy", "pillow")


class TrainedModel(Protocol):
    """What a training leaves: a model, whoever computes with it."""

    @property
    def crop(self) -> float:
        """Share of each side of an image that the model sees."""

    def keras(self) -> Any:
        """Return the `keras.Model`."""

    def save(self, path: Path) -> None:
        """Write it as a `.keras` file."""

    def maps(self, images: Sequence[Pixels], classes: Sequence[int]) -> list[ActivationMap]:
        """Return where the model sees a class in each image.

        Raises:
            ValueError: its top permits no such map.
        """


@dataclass(frozen=True)
class KerasModel:
    """A Keras model that was trained."""

    model: Any

    @property
    def crop(self) -> float:
        """Share of each side of an image that the model sees."""
        from keras_mobilenet.models.model_files import info_of  # noqa: PLC0415 - Keras

        return info_of(self.model).crop

    def keras(self) -> Any:
        """Return it."""
        return self.model

    def save(self, path: Path) -> None:
        """Write it as a `.keras` file."""
        from keras_mobilenet.models.model_files import save_model  # noqa: PLC0415 - Keras

        save_model(self.model, path)

    def maps(self, images: Sequence[Pixels], classes: Sequence[int]) -> list[ActivationMap]:
        """Return where the model sees a class in each image."""
        from keras_mobilenet.transfer.activation_maps import cams  # noqa: PLC0415 - Keras

        return cams(self.model, images, classes=classes)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training."""

    labels: tuple[str, ...]
    # A row an epoch: stage, epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds;
    # None where there is no such number, as without validation.
    history: list[dict[str, Any]]
    # (path, true class), None in arrays; the class is a tuple of classes in a multi-label run
    validation: tuple[tuple[str | None, int | tuple[int, ...]], ...]
    probabilities: npt.NDArray[np.float32]  # (validation images, classes), of the final model
    settings: dict[str, Any]  # what was asked for, as JSON holds it
    timings: dict[str, float]  # seconds
    versions: dict[str, str]
    weights_hash: str  # SHA-256 of the weights that the training began with
    trained: TrainedModel
    problems: tuple[str, ...]  # each names its image or class
    multi_label: bool = False  # whether an image may be of several classes, or of none

    @cached_property
    def model(self) -> Any:
        """The `keras.Model`, which is made when it is first asked for."""
        return self.trained.keras()

    @property
    def accuracy(self) -> float | None:
        """The share of the validation images that are classified correctly.

        Of a multi-label image that is all its classes and no other, at a probability of 0.5.
        """
        if not self.validation:
            return None
        if self.multi_label:
            return float(((self.probabilities >= _HALF) == self.truth()).all(axis=1).mean())
        truth = np.array([index for _, index in self.validation])
        return float((self.probabilities.argmax(axis=1) == truth).mean())

    def truth(self) -> npt.NDArray[np.bool_]:
        """Return which classes each validation image of a multi-label run is of."""
        rows = np.zeros(self.probabilities.shape, bool)
        for row, (_, classes) in zip(rows, self.validation, strict=True):
            row[list(classes) if isinstance(classes, tuple) else [classes]] = True
        return rows


@dataclass(frozen=True)
class Scores:
    """How a classifier does on some images."""

    loss: float  # the mean cross-entropy in nats
    accuracy: float


def history_row(
    stage: str,
    epoch: int,
    trained: Scores,
    validated: Scores | None,
    rate: float | None,
    seconds: float,
) -> dict[str, Any]:
    """Return a row of a run's history; `held` are the scores on the validation images."""
    return {
        "stage": stage, "epoch": epoch, "loss": trained.loss, "accuracy": trained.accuracy,
        "val_loss": validated and validated.loss, "val_accuracy": validated and validated.accuracy,
        "learning_rate": rate, "seconds": seconds,
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Return those of what a training depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


@dataclass(frozen=True)
class Progress:
    """Where one stage of the work stands."""

    stage: str  # what is being done, as in "features of the images to train with"
    done: int
    total: int
    unit: str = "images"
    values: Mapping[str, float] = field(default_factory=dict)  # the latest, as val_accuracy


ProgressCallback = Callable[[Progress], None]


def unreported(progress: Progress) -> None:
    """Report nothing."""
