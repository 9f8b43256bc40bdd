"""What rows come to is counted in one pass, whose memory hardly grows with the images."""

import tracemalloc

import numpy as np
import pytest

from keras_mobilenet.evaluation.scoring.rows import Scored, ScoredLines, read_scored
from keras_mobilenet.evaluation.scoring.tally import MOST, Largest, Tally, compared

ROWS, LABELS = 6_000, tuple("abcdefgh")
# Two arrays of 24 and 16 bytes an image, which NumPy's views share, and what they grow ahead by; a
# row itself, with its path and its five classes, takes over 1,000.
BYTES = 100


def row(i):
    """What a model says of the i-th image: every third is wrong, every 50th cannot be read."""
    true, wrong = i % 8, i % 3 == 0
    if i % 50 == 49:
        return Scored(f"folder/{i:09}.jpg", true, fault="is damaged")
    best = tuple(((true + wrong + k) % 8, 0.5 / 2**k + i / 2**20) for k in range(5))
    given = 0.001 if wrong else best[0][1]
    return Scored(f"folder/{i:09}.jpg", true, 5 * wrong, given, best)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = ScoredLines(LABELS)
    path.write_bytes(b"".join(lines.encode(row(i)) for i in range(ROWS)))
    return str(path)


def peak(action):
    tracemalloc.start()
    try:
        return action(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_many_rows_take_some_bytes_each(rows):
    few = sum(len(f"folder/{i:09}.jpg: is damaged") + 60 for i in range(49, ROWS, 50))
    tally, most = peak(lambda: Tally(read_scored(rows, LABELS)))
    assert most < BYTES * ROWS + few
    assert len(tally.outcomes.true) + len(tally.bad) == ROWS
    (found, _), most = peak(lambda: compared(read_scored(rows, LABELS), read_scored(rows, LABELS)))
    assert most < BYTES * ROWS
    assert found.count == len(tally.outcomes.true)


def test_outcomes_are_those_of_the_rows(rows):
    tally = Tally(read_scored(rows, LABELS))
    good = [each for each in read_scored(rows, LABELS) if not each.fault]
    for name, of in (("true", lambda x: x.true), ("predicted", lambda x: x.classes[0][0]),
                     ("rank", lambda x: x.rank), ("given", lambda x: x.given),
                     ("confidence", lambda x: x.classes[0][1])):  # fmt: skip
        np.testing.assert_array_equal(getattr(tally.outcomes, name), [of(x) for x in good])
    assert tally.bad[0] == "folder/000000049.jpg: is damaged"
    wrong = sorted((x for x in good if x.rank), key=lambda x: -x.classes[0][1])
    assert list(tally.mistakes) == wrong[:MOST]


def test_either_model_has_its_share_of_the_images_shown():
    def rows(right):
        return [Scored(str(i), 0, int(not x), 0.5, ((0 if x else 1, 0.5 + i / 200),))
                for i, x in enumerate(right)]  # fmt: skip

    first = [True] * 30 + [False] * 5 + [True]
    second = [False] * 30 + [True] * 5 + [True]
    pair, shown = compared(rows(first), rows(second))
    assert (pair.both, pair.first_alone, pair.second_alone, pair.neither) == (1, 30, 5, 0)
    assert [int(one.path) for one, _ in shown] == [*range(29, 10, -1), *range(34, 29, -1)]


def test_largest_keeps_the_first_of_equal_keys():
    largest = Largest(3)
    for key, item in ((1, "a"), (2, "b"), (1, "c"), (1, "d"), (3, "e")):
        largest.add(key, item)
    assert largest.items() == ["e", "b", "a"]
