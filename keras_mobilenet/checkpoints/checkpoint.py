"""What every reader returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keras_mobilenet.arrays import ArrayLike
from keras_mobilenet.spec import Conventions


@dataclass(frozen=True)
class Checkpoint:
    """A file's arrays under our names, readable while the file is open.

    Attributes:
        format: The file's format, in words.
        arrays: Arrays by our names, in Keras' axis order.
        conventions: The source's conventions; None where the file does not tell, as Keras' own.
        background: Whether class 0 of the top is a background class, as in TF-slim's nets.
        notes: What the reader did to the values, such as dequantising them.
    """

    format: str
    arrays: Mapping[str, ArrayLike]
    conventions: Conventions | None = None
    background: bool = False
    notes: tuple[str, ...] = ()
