"""Two models on the same images: the images that one alone gets right, with both answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keras_mobilenet.evaluation.paired import Paired
from keras_mobilenet.evaluation.report.mistakes import CardImage, name_of, thumbnail
from keras_mobilenet.evaluation.scoring import Scored

_MOST = 24
_Pair = tuple[Scored, Scored]


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
    found: Paired
    differences: tuple[Difference, ...]


def differences(
    pairs: Sequence[_Pair],
    labels: tuple[Sequence[str], Sequence[str]],
    *,
    crop: float,
    most: int = _MOST,
) -> tuple[Difference, ...]:
    """Return images that one model alone gets right, at most `most`, of each model its share.

    Those of the first come first, and of each the ones where the other is surest of its mistake.

    Args:
        pairs: What the two models say of each image.
        labels: The names of each model's classes: one may have a class more.
        crop: Share of each side of an image to show.
        most: How many images to show.
    """
    first = _surest([pair for pair in pairs if pair[0].rank == 0 != pair[1].rank], wrong=1)
    second = _surest([pair for pair in pairs if pair[1].rank == 0 != pair[0].rank], wrong=0)
    half = most // 2
    kept = first[: max(half, most - len(second))] + second[: max(most - half, most - len(first))]
    return tuple(_difference(pair, labels, crop) for pair in kept)


def _surest(pairs: list[_Pair], *, wrong: int) -> list[_Pair]:
    return sorted(pairs, key=lambda pair: -pair[wrong].classes[0][1])


def _difference(
    pair: _Pair, labels: tuple[Sequence[str], Sequence[str]], crop: float
) -> Difference:
    path, true = pair[0].path, labels[0][pair[0].true]
    one, two = (
        Answer(names[scored.classes[0][0]], scored.classes[0][1], scored.rank == 0)
        for scored, names in zip(pair, labels, strict=True)
    )
    return Difference(name_of(0, path), true, (one, two), thumbnail(path, f"Image of {true}", crop))
