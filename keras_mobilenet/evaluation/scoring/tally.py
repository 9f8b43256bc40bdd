"""What the rows of one model, or of two, come to in one pass: some bytes of memory an image."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable
from itertools import count
from typing import Generic, TypeVar

import numpy as np

from keras_mobilenet.evaluation.metrics import Outcomes
from keras_mobilenet.evaluation.paired import Paired, paired
from keras_mobilenet.evaluation.scoring.rows import Scored

MOST = 24  # images that a report shows of a sort
_STEPS = 256  # of a softmax in 8 bits
Item = TypeVar("Item")
Pair = tuple[Scored, Scored]


class Largest(Generic[Item]):
    """The items of the largest keys among those added; of equal keys, the first added."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, Item]] = []
        self._number = count()

    def add(self, key: float, item: Item) -> None:
        """Keep an item if its key is one of the largest."""
        entry = (key, -next(self._number), item)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def items(self) -> list[Item]:
        """Return what is kept, the largest key first."""
        return [item for _, _, item in sorted(self._heap, key=lambda x: x[:2], reverse=True)]


class Tally:
    """The outcomes of rows, the surest mistakes among them, and the images without an answer."""

    def __init__(self, rows: Iterable[Scored]) -> None:
        self.bad: list[str] = []  # images that could not be read, each with its fault
        self.in_8_bits = True  # whether every probability is one of a softmax in 8 bits
        self._wholes = array("q")  # true, predicted and rank of each image
        self._shares = array("d")  # confidence and given
        self._mistakes: Largest[Scored] = Largest(MOST)
        for row in rows:
            if row.fault:
                self.bad.append(f"{row.path}: {row.fault}")
            else:
                self._add(row)

    @property
    def mistakes(self) -> tuple[Scored, ...]:
        """Wrong answers, those of the highest probability, the surest first."""
        return tuple(self._mistakes.items())

    @property
    def outcomes(self) -> Outcomes:
        """What the metrics ask of the images that have an answer."""
        wholes = np.frombuffer(self._wholes, np.int64).reshape(-1, 3)
        shares = np.frombuffer(self._shares, np.float64).reshape(-1, 2)
        return Outcomes(*wholes.T, *shares.T)

    def _add(self, row: Scored) -> None:
        predicted, confidence = row.classes[0]
        self._wholes.extend((row.true, predicted, row.rank))
        self._shares.extend((confidence, row.given))
        self.in_8_bits &= all((_STEPS * share).is_integer() for _, share in row.classes)
        if row.rank:
            self._mistakes.add(confidence, row)


def compared(first: Iterable[Scored], second: Iterable[Scored]) -> tuple[Paired, tuple[Pair, ...]]:
    """Return how two models compare, and images that one alone gets right, at most `MOST`.

    Those of the first come first, and of each the ones where the other is surest of its mistake.

    Args:
        first: A model's rows.
        second: Another's, for the same images in the same order.

    Raises:
        ValueError: there is no image that both could read.
    """
    right = bytearray(), bytearray()
    alone: tuple[Largest[Pair], Largest[Pair]] = Largest(MOST), Largest(MOST)
    for pair in zip(first, second, strict=True):
        if any(row.fault for row in pair):
            continue
        one, two = (row.rank == 0 for row in pair)
        for each, answer in zip(right, (one, two), strict=True):
            each.append(answer)
        if one != two:
            wrong = pair[int(one)]
            alone[int(two)].add(wrong.classes[0][1], pair)
    mine, others = (each.items() for each in alone)
    half = MOST // 2
    shown = mine[: max(half, MOST - len(others))] + others[: max(MOST - half, MOST - len(mine))]
    return paired(*right), tuple(shown)
