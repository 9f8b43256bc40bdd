"""What every reader returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from keras_mobilenet.arrays import ArrayLike

Padding = Literal["keras", "same", "symmetric"]


@dataclass(frozen=True)
class Conventions:
    """What a source did and shapes cannot show. The defaults are those of Keras."""

    epsilon: float = 1e-3  # of every batch norm
    padding: Padding = "keras"  # of the strided convolutions


@dataclass(frozen=True)
class Checkpoint:
    """A file's arrays under our names, readable while the file is open."""

    format: str
    arrays: Mapping[str, ArrayLike]
    conventions: Conventions | None = None  # None: Keras' own files do not tell them
