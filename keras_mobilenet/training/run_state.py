"""Where a training stands, written after each epoch, so that it can be killed at any time.

The file is NumPy's archive, replaced as a whole; zip's checksums tell a damaged one. It names
its training: another one does not resume from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.files import check_file, replacing
from keras_mobilenet.formats.arrays import ArrayLike
from keras_mobilenet.formats.keras import zip_files
from keras_mobilenet.formats.plain import npz_file

Array = npt.NDArray[Any]
NAME = "state.npz"
_MAX_BYTES = 1 << 30  # the largest net with its optimizer takes a tenth
# What damaged files raise; CheckpointError is a ValueError.
_FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
_GROUPS = ("weights", "optimizer", "best")


@dataclass
class State:
    """What the next epoch depends on, beside the settings."""

    history: list[dict[str, Any]] = field(default_factory=list)
    epochs: int = 0  # of the second stage
    best_loss: float | None = None  # of the validation; of the top alone at first
    waited: int = 0  # epochs since the best
    stopped: bool = False
    weights: Sequence[Array] = ()
    optimizer: Sequence[Array] = ()
    best: Sequence[Array] = ()  # the weights to keep


def save_state(folder: Path, identity: str, state: State) -> None:
    """Write the state of the training that `identity` stands for.

    Raises:
        OSError: it cannot be written, as on a full disk; the state before is as it was.
    """
    record = {key: x for key, x in vars(state).items() if key not in _GROUPS}
    text = json.dumps({"identity": identity, **record})
    arrays = {f"{group}_{i}": x for group in _GROUPS for i, x in enumerate(getattr(state, group))}
    with replacing(folder / NAME) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, record=np.array(text), **arrays)


def load_state(folder: Path, identity: str) -> State | None:
    """Return the state that is there; None where there is none yet.

    Raises:
        ValueError: it is damaged, or that of another training.
    """
    path = folder / NAME
    if not path.exists():
        return None
    remedy = "Delete it: the training then begins anew, with the features that were computed."
    try:
        check_file(path, remedy)
        with zip_files.opened(str(path)) as archive:
            stored, state = _read(npz_file.arrays(archive, _MAX_BYTES, floats=False), identity)
    except _FAULTS as error:
        raise ValueError(f"{path} is damaged: {error}. {remedy}") from error
    if stored != identity:
        raise ValueError(
            f"{path} is the state of a training with other settings, images or weights. "
            "Pass the settings it was begun with, or another folder."
        )
    return state


def _read(arrays: Mapping[str, ArrayLike], identity: str) -> tuple[str, State]:
    """Return what a state is of, and the state, if that is `identity`."""
    record = json.loads(str(np.asarray(arrays["record"])))
    stored = record.pop("identity")
    state = State(**record)
    if not isinstance(state.history, list) or not isinstance(state.epochs, int):
        raise TypeError("its history is none")
    if stored == identity:
        state.weights, state.optimizer, state.best = (_group(arrays, group) for group in _GROUPS)
    return stored, state


def _group(arrays: Mapping[str, ArrayLike], group: str) -> list[Array]:
    count = sum(name.startswith(f"{group}_") for name in arrays)
    return [np.asarray(arrays[f"{group}_{i}"]) for i in range(count)]
