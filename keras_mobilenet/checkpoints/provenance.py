"""What a file that we write says of itself: its conventions, and where its values come from.

A flat mapping of text, which every format has a place for: the metadata of safetensors, an
attribute of HDF5.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import cast, get_args

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.spec import Activation, Conventions, Padding

WRITER = "keras_mobilenet"  # the value of "format" in files that we wrote


def describe(conventions: Conventions, origin: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the mapping for a file with these conventions; `origin` says more in words."""
    told = {"epsilon": repr(conventions.epsilon), "padding": conventions.padding}
    if conventions.activation != Conventions().activation:
        told["activation"] = conventions.activation
    return {"format": WRITER, **told, **(origin or {})}


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
