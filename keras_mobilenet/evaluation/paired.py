"""Two classifiers on the same images: what each gets right alone, and whether that is chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from keras_mobilenet.evaluation.metrics import wilson_interval

METHOD = (
    "Newcombe's square-and-add interval of paired proportions from Wilson's, method 10 "
    "(Newcombe, 1998, Stat. Med. 17, 2635-2650)"
)


@dataclass(frozen=True)
class Paired:
    """Which of two classifiers is right on how many images. All shares are from 0 to 1."""

    both: int
    first_alone: int
    second_alone: int
    neither: int
    difference: float  # accuracy of the first less that of the second
    interval: tuple[float, float]  # 95 %, of the difference
    interval_method: str
    p_value: float  # McNemar's exact test, of both sides

    @property
    def count(self) -> int:
        """How many images there are."""
        return self.both + self.first_alone + self.second_alone + self.neither

    def to_json(self) -> dict[str, Any]:
        """Return the same as dictionaries, lists, texts and numbers, for `json.dumps`."""
        return {"count": self.count, **asdict(self)}


def paired(first: Sequence[int], second: Sequence[int]) -> Paired:
    """Return how two classifiers compare by whether each is right, image by image.

    Raises:
        ValueError: there is no image, or not one of each for each.
    """
    if not first or len(first) != len(second):
        raise ValueError(
            "`first` and `second` must say of the same images, one or more, whether each is right. "
            f"Received: {len(first)} and {len(second)}"
        )
    sides = Counter((bool(a), bool(b)) for a, b in zip(first, second, strict=True))
    kinds = ((True, True), (True, False), (False, True), (False, False))
    both, alone, other, neither = (sides[kind] for kind in kinds)
    return Paired(
        both,
        alone,
        other,
        neither,
        difference=(alone - other) / len(first),
        interval=difference_interval(both, alone, other, neither),
        interval_method=METHOD,
        p_value=mcnemar(alone, other),
    )


def mcnemar(first_alone: int, second_alone: int) -> float:
    """Return how probable it is that two equally good classifiers differ so much, or more.

    Of the images that one alone gets right, each is as probably the first's as the second's: a
    binomial, summed exactly. Source: McNemar, 1947, Psychometrika 12.
    """
    count, few = first_alone + second_alone, min(first_alone, second_alone)
    ways = total = 1
    for i in range(few):
        ways = ways * (count - i) // (i + 1)
        total += ways
    return float(min(Fraction(1), Fraction(2 * total, 1 << count)))


def difference_interval(
    both: int, first_alone: int, second_alone: int, neither: int
) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two accuracies on the same images.

    Source: Newcombe, 1998, Stat. Med. 17, 2635-2650, method 10.
    """
    count = both + first_alone + second_alone + neither
    one, two = both + first_alone, both + second_alone
    (low_1, high_1), (low_2, high_2) = wilson_interval(one, count), wilson_interval(two, count)
    share_1, share_2 = one / count, two / count
    phi = _phi(both, first_alone, second_alone, neither)
    down = _side(share_1 - low_1, high_2 - share_2, phi)
    up = _side(high_1 - share_1, share_2 - low_2, phi)
    difference = (first_alone - second_alone) / count
    return max(-1.0, difference - down), min(1.0, difference + up)


def _side(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))


def _phi(both: int, first_alone: int, second_alone: int, neither: int) -> float:
    """Return how the two go together, made smaller by a continuity correction where they do."""
    sides = (
        (both + first_alone)
        * (second_alone + neither)
        * (both + second_alone)
        * (first_alone + neither)
    )
    if not sides:
        return 0.0
    excess: float = both * neither - first_alone * second_alone
    if excess > 0:
        excess = max(0.0, excess - (both + first_alone + second_alone + neither) / 2)
    return excess / math.sqrt(sides)
