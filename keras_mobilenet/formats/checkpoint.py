"""What every reader returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, cast, get_args

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike
from keras_mobilenet.nets.conventions import Activation, Conventions, Padding


@dataclass(frozen=True)
class Checkpoint:
    """A file's arrays under our names, readable while the file is open.

    Attributes:
        format: The file's format, in words.
        arrays: Arrays by our names, in Keras' axis order.
        conventions: The source's conventions; None where the file does not tell, as Keras' own.
        background: Whether class 0 of the top is a background class, as in TF-slim's nets.
        notes: What the reader did to the values, such as dequantising them.
        candidates: By names of nets, the conventions of which one is the source's, where the file
            does not tell which.
        info: What a file of ours says of its input and outputs: the text of a `ModelInfo`, as
            read; None where there is none.
        scaling: What the file's graph multiplies its input by ahead of the net, and what it adds
            then; None where the net takes the input as it is.
        foreign: Whether it comes from where nets take something else than Keras' -1 to 1, or may.
    """

    format: str
    arrays: Mapping[str, ArrayLike]
    conventions: Conventions | None = None
    background: bool = False
    notes: tuple[str, ...] = ()
    candidates: Mapping[str, Conventions] = field(default_factory=dict)
    info: str | None = None
    scaling: tuple[Any, Any] | None = None
    foreign: bool = False


WRITER = "keras_mobilenet"  # the value of "format" in files that we wrote
INFO = "info"  # under which these hold the text of a `ModelInfo`
# Where an exported file has it: in its metadata, or as a file in an archive behind it.
EXPORTED_INFO, EXPORTED_MEMBER = WRITER, f"{WRITER}.json"
NET_MEMBER = f"{WRITER}_net.json"  # in a `.keras` file, where that text is of the net within
INFO_BYTES = 16 << 20  # at most: a million classes with short names


def describe(
    conventions: Conventions, origin: Mapping[str, str] | None = None, writer: str = WRITER
) -> dict[str, str]:
    """Return the mapping for a file with these conventions; `origin` says more in words.

    Another `writer` is whose names the arrays in the file have.
    """
    fields = {"epsilon": repr(conventions.epsilon), "padding": conventions.padding}
    if conventions.activation != Conventions().activation:
        fields["activation"] = conventions.activation
    return {"format": writer, **fields, **(origin or {})}


def is_ours(metadata: Mapping[str, str]) -> bool:
    """Return whether a file with this metadata was written by this package."""
    return metadata.get("format") == WRITER


def conventions(metadata: Mapping[str, str]) -> Conventions:
    """Return the conventions that a file of ours tells.

    Raises:
        CheckpointError: they are missing or make no sense.
    """
    try:
        epsilon, padding = float(metadata["epsilon"]), metadata["padding"]
        if padding not in get_args(Padding):
            raise ValueError(f"padding={padding}")
        activation = metadata.get("activation", Conventions().activation)
        if activation not in get_args(Activation):
            raise ValueError(f"activation={activation}")
        if not (isfinite(epsilon) and epsilon > 0):
            raise ValueError(f"epsilon={epsilon}")
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"the metadata's conventions are damaged ({error})") from error
    return Conventions(epsilon, cast(Padding, padding), cast(Activation, activation))
