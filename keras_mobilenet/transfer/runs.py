"""What a training leaves: the model, and everything that a report on it needs."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

_PACKAGES = ("keras-mobilenet", "keras", "tensorflow", "numpy", "pillow")


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training."""

    labels: tuple[str, ...]
    # A row an epoch: stage, epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds;
    # None where there is no such number, as without validation.
    history: list[dict[str, Any]]
    validation: tuple[tuple[str | None, int], ...]  # (path, true class), None in arrays
    probabilities: npt.NDArray[np.float32]  # (validation pictures, classes), of the final model
    settings: dict[str, Any]  # what was asked for, as JSON holds it
    timings: dict[str, float]  # seconds
    versions: dict[str, str]
    weights_hash: str  # SHA-256 of the weights that the training began with
    model: Any  # keras.Model
    problems: tuple[str, ...]  # each names its picture or class

    @property
    def accuracy(self) -> float | None:
        """The share of the validation pictures that the model takes for what they are."""
        if not self.validation:
            return None
        truth = np.array([index for _, index in self.validation])
        return float((self.probabilities.argmax(axis=1) == truth).mean())


def versions() -> dict[str, str]:
    """Return those of what a training depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
