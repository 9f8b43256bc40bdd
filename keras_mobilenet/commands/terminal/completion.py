"""What a shell offers for an argument when the user presses Tab: names that rows have."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from keras_mobilenet.deploy.engines.choice import AUTO, ENGINES, PRECISIONS
from keras_mobilenet.nets.arguments import IMAGENET
from keras_mobilenet.nets.families.registry import BY_KEY
from keras_mobilenet.nets.published import table

Completion = Callable[[str], list[str]]


def one_of(names: Iterable[str]) -> Completion:
    """Return what completes the beginning of one of `names`; without any, the shell has files."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def some_of(names: Iterable[str]) -> Completion:
    """Return what completes the last of several names with commas between."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        taken = before.split(",")
        return [
            f"{before}{comma}{name}"
            for name in names
            if name.startswith(last) and name not in taken
        ]  # fmt: skip

    return complete


net = one_of(BY_KEY)
weights = one_of((IMAGENET, "none", *table.BY_NAME))
model = one_of((IMAGENET, *table.BY_NAME))
engine = one_of((AUTO, *ENGINES))
engines = some_of(ENGINES)
precisions = some_of(PRECISIONS)
train_from = one_of(("top", "all"))
