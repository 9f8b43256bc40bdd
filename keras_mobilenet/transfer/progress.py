"""How far long work is, told to whoever draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Where one stage of the work stands."""

    stage: str  # what is done, as in "features of the pictures to train with"
    done: int
    total: int
    unit: str = "pictures"
    values: Mapping[str, float] = field(default_factory=dict)  # the latest, as val_accuracy


Report = Callable[[Progress], None]


def unreported(progress: Progress) -> None:
    """Tell nobody."""
