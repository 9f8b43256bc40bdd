"""Names of published weights: rows, Keras' files, and `hf://owner/name` that no row describes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from keras_mobilenet.nets.pretrained import Pretrained, find_file
from keras_mobilenet.nets.published import table, timm_rows

SCHEME = "hf://"
_REVISION = re.compile(r"[\w./-]+")
# A name with one of these ends is the path of a file that is not there.
_FILES = re.compile(
    r".*\.(h5|hdf5|keras|safetensors|npz|npy|json|onnx|tflite|pb|ckpt|pt|pth|bin|xml|zip|tar|gz)"
)


@dataclass(frozen=True)
class Repository:
    """A repository of the hub."""

    name: str  # "owner/name"
    revision: str | None = None  # a commit, branch or tag; None for the newest

    def __str__(self) -> str:
        return SCHEME + self.name + (f"@{self.revision}" if self.revision else "")


def row_name(weights: Any) -> Any:
    """Return `weights` without the scheme where that makes it the name of a row."""
    if isinstance(weights, str) and table.find(weights.removeprefix(SCHEME)):
        return weights.removeprefix(SCHEME)
    return weights


def repository(weights: Any) -> Repository | None:
    """Return the repository that a text names; None of a row, a file, and all else.

    `"owner/name"` alone is one where it cannot well be meant otherwise: nothing of that path is
    here, it does not end as a file does, no row is of that owner, and the client is installed.

    Raises:
        ValueError: it begins with `hf://` and goes on otherwise, or is of a net that is known to
            be none of those built here.
    """
    if not isinstance(weights, str):
        return None
    if weights.startswith(SCHEME):
        name, _, revision = weights.removeprefix(SCHEME).partition("@")
        sound = not revision or _REVISION.fullmatch(revision)
        if not table.looks_like_repository(name) or not sound or weights.endswith("@"):
            raise ValueError(
                "Repositories of the hub are named hf://owner/name, or hf://owner/name@commit. "
                f"Received: {weights!r}"
            )
        if name in timm_rows.OTHERS:
            raise ValueError(f"{weights} cannot be opened. {table.why_unknown(name)}")
        known = not revision and table.find(name)
        return None if known else Repository(name, revision or None)
    return Repository(weights) if _is_plain_name(weights) else None


def is_name(weights: Any) -> bool:
    """Return whether a text names published weights, and no file that is here."""
    if not isinstance(weights, str) or os.path.lexists(weights):
        return False
    named = keras_file(weights) or table.find(row_name(weights))
    return named is not None or repository(weights) is not None


def keras_file(weights: Any) -> tuple[Pretrained, bool] | None:
    """Return the row that Keras' name of a file stands for, and whether it has the top.

    It is None of a file that is here, and of any other name.
    """
    if not isinstance(weights, str) or os.path.lexists(weights):
        return None
    return find_file(weights)


def _is_plain_name(text: str) -> bool:
    if not table.looks_like_repository(text) or _FILES.fullmatch(text):
        return False
    owner = text.partition("/")[0]
    of_rows = {row.repository.partition("/")[0] for row in table.ROWS}
    if owner in of_rows or os.path.lexists(owner):
        return False
    return find_spec("huggingface_hub") is not None  # else a path that is wrong is likelier
