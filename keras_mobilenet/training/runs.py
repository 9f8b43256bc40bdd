"""What a training leaves: the model, and everything that a report on it needs."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

_HALF = 0.5
_PACKAGES = ("keras-mobilenet", "keras", "tensorflow", "numpy", "pillow")


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
    model: Any  # keras.Model
    problems: tuple[str, ...]  # each names its image or class
    multi_label: bool = False  # whether an image may be of several classes, or of none

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
