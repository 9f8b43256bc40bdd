"""What is said of two classifiers on the same images is what books and counts say."""

import math

import numpy as np
import pytest

from keras_mobilenet.evaluation.paired import difference_interval, mcnemar, paired


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (5, 2), (9, 21), (300, 410)])
def test_mcnemar_is_a_two_sided_binomial_test(counts):
    n, few = sum(counts), min(counts)
    tail = math.fsum(math.comb(n, k) / 2**n for k in range(few + 1))
    assert mcnemar(*counts) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)
    assert mcnemar(*counts) == mcnemar(*counts[::-1])


def test_many_differences_stay_exact():
    assert mcnemar(5000, 5000) == 1.0
    assert 0 < mcnemar(4800, 5200) < 1e-3


def test_counts_and_difference_are_of_the_pairs():
    found = paired([True, True, True, False, False], [True, False, False, True, False])
    assert (found.both, found.first_alone, found.second_alone, found.neither) == (1, 2, 1, 1)
    assert found.difference == pytest.approx(0.2)
    assert found.interval[0] < 0 < found.difference < found.interval[1]
    assert found.to_json()["count"] == 5


def test_equal_classifiers_have_an_interval_about_zero():
    low, high = difference_interval(90, 0, 0, 10)
    assert low == pytest.approx(-high)
    assert 0 < high < 0.05


def test_interval_turns_with_the_classifiers():
    low, high = difference_interval(150, 20, 8, 22)
    assert difference_interval(150, 8, 20, 22) == pytest.approx((-high, -low))


def test_interval_holds_the_truth_in_19_of_20_draws():
    shares = np.array([0.6, 0.12, 0.06, 0.22])
    draws = np.random.default_rng(0).multinomial(200, shares, size=2000)
    inside = [
        low <= 0.06 <= high for low, high in (difference_interval(*map(int, d)) for d in draws)
    ]
    assert 0.935 <= np.mean(inside) <= 0.98  # 2,000 draws tell 95 % to 1 % (two standard errors)


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="Received: 0 and 0"):
        paired([], [])
