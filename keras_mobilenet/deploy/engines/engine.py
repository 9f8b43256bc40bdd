"""What every engine is: a model compiled for one runtime, to be run on batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.nets.net import Shape


@dataclass(frozen=True)
class EngineSettings:
    """How an engine is to work."""

    threads: int
    precision: Precision | None = None  # None: float32 for a model, its own for a file
    batch_size: int | None = None  # images that go through at once; None: what suits the engine


class Engine(ABC):
    """A model compiled for one runtime. Not safe for threads: `Predictor` takes care of that."""

    input_shape: tuple[int | None, ...]  # of one image, None where any length goes
    input_dtype: np.dtype[Any]  # float32, or uint8 for a model that takes pixels
    output_shape: tuple[int | None, ...]  # for one image
    precision: str = "float32"  # what it computes in: a `Precision`, or "dynamic"
    # How pixels become the input, where a file tells it by more than our own metadata.
    input_preprocessing: Preprocessing | None = None

    @abstractmethod
    def run(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a new array of the outputs for `x`, of shape `(count, *input_shape)`."""

    @abstractmethod
    def renewed(self) -> Engine:
        """Return such an engine for a process forked from the one that made this one.

        Threads do not follow into such a process: what waits for them waits for ever.

        Raises:
            ValueError: the runtime cannot be used there.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what the runtime holds."""


def forked(runtime: str) -> str:
    """Return an error's words for a runtime that a forked process cannot use."""
    return (
        f"{runtime} does not work in a process that was forked from one where it ran. Start "
        "processes by 'spawn', fork before the `Predictor` is made, or pass engine='litert'."
    )


def known(shape: Any) -> tuple[int | None, ...]:
    """Return the lengths in a shape, None for those that a runtime marks as unknown."""
    return tuple(n if isinstance(n, int) and n > 0 else None for n in shape)


def chunks(count: int, size: int) -> list[slice]:
    """Return the slices of at most `size` that make up `count` rows."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def empty(count: int, shape: Shape | tuple[int | None, ...]) -> npt.NDArray[np.float32]:
    """Return an array for `count` outputs; lengths that are unknown have to be known by now."""
    return np.empty((count, *(n or 0 for n in shape)), np.float32)
