"""Two models on the same images: the images that one alone gets right, with both answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_mobilenet.evaluation.paired import Paired
from keras_mobilenet.evaluation.report.mistakes import CardImage, name_of, thumbnail
from keras_mobilenet.evaluation.scoring.tally import Pair

if TYPE_CHECKING:
    from keras_mobilenet.evaluation.evaluating import ModelScore


@dataclass(frozen=True)
class Answer:
    """What one model says of an image."""

    label: str
    probability: float
    right: bool


@dataclass(frozen=True)
class Difference:
    """An image that one of two models alone gets right."""

    name: str
    true: str
    answers: tuple[Answer, Answer]
    image: CardImage | None  # None where it cannot be read any more


@dataclass(frozen=True)
class Comparison:
    """How two models compare, and some of the images where they differ."""

    models: tuple[str, str]
    scores: tuple[ModelScore, ModelScore]
    found: Paired
    differences: tuple[Difference, ...]


def differences(
    pairs: Sequence[Pair], labels: tuple[Sequence[str], Sequence[str]], *, crop: float
) -> tuple[Difference, ...]:
    """Return images that one model alone gets right, with both answers.

    Args:
        pairs: What the two models say of each of them.
        labels: The names of each model's classes: one may have a class more.
        crop: Share of each side of an image to show.
    """
    return tuple(_difference(pair, labels, crop) for pair in pairs)


def _difference(pair: Pair, labels: tuple[Sequence[str], Sequence[str]], crop: float) -> Difference:
    path, true = pair[0].path, labels[0][pair[0].true]
    one, two = (
        Answer(names[scored.classes[0][0]], scored.classes[0][1], scored.rank == 0)
        for scored, names in zip(pair, labels, strict=True)
    )
    return Difference(name_of(0, path), true, (one, two), thumbnail(path, f"Image of {true}", crop))
