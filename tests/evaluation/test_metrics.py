"""Each number against one computed by hand, and against scikit-learn where that is installed."""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_mobilenet.evaluation.metrics import BINS, evaluate, wilson_interval

ABC = ("a", "b", "c")
#                  true 0, predicted as 0    0 for 1           1 for 1           1 for 0
ROWS = np.array([[0.9, 0.05, 0.05], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.5, 0.25, 0.25]])
TRUE = [0, 0, 1, 1]


def random_case(seed, n=200, classes=7):
    """Return classes and probabilities that agree better than chance, some classes rare."""
    rng = np.random.default_rng(seed)
    true = np.minimum(rng.geometric(0.4, n) - 1, classes - 1)
    logits = rng.normal(size=(n, classes)) * 2
    logits[np.arange(n), true] += 1.5
    powers = np.exp(logits)
    return true, (powers / powers.sum(axis=1, keepdims=True)).astype("float32")


def test_small_case_is_as_computed_by_hand():
    found = evaluate(ABC, TRUE, ROWS)
    assert (found.count, found.correct, found.accuracy) == (4, 2, 0.5)
    assert found.confusion == ((1, 1, 0), (1, 1, 0), (0, 0, 0))
    a, b, _ = found.classes
    assert (a.label, a.support, a.predicted, a.correct) == ("a", 2, 2, 1)
    assert (a.precision, a.recall, a.f1) == (b.precision, b.recall, b.f1) == (0.5, 0.5, 0.5)
    logs = math.log(0.9) + math.log(0.3) + math.log(0.7) + math.log(0.25)
    assert found.log_loss == pytest.approx(-logs / 4, rel=1e-12)
    # Each example has a bin of its own: |0.9 - 1|, |0.6 - 0|, |0.7 - 1|, |0.5 - 0|
    assert found.calibration_error == pytest.approx((0.1 + 0.6 + 0.3 + 0.5) / 4, rel=1e-12)


def test_class_without_example_or_prediction_has_no_shares():
    c = evaluate(ABC, TRUE, ROWS).classes[2]
    assert (c.support, c.predicted) == (0, 0)
    assert c.precision is c.recall is c.f1 is None


def test_class_that_is_never_predicted_has_a_recall_of_0_and_no_precision():
    b = evaluate("ab", [0, 1], [[0.9, 0.1], [0.8, 0.2]]).classes[1]
    assert b.precision is None
    assert (b.recall, b.f1) == (0, 0)


def test_class_without_examples_has_a_precision_of_0_and_no_recall():
    b = evaluate("ab", [0, 0], [[0.9, 0.1], [0.2, 0.8]]).classes[1]
    assert b.recall is None
    assert (b.precision, b.f1) == (0, 0)


def test_bins_have_their_upper_edge_and_hold_every_example():
    found = evaluate("ab", [0, 0, 1], [[1, 0], [0.5, 0.5], [0.6, 0.4]])
    assert len(found.bins) == BINS == 15
    assert sum(b.count for b in found.bins) == 3
    last, ninth = found.bins[-1], found.bins[8]  # 0.6 is the end of the ninth
    assert (last.count, last.confidence, last.accuracy) == (1, 1, 1)
    assert (ninth.count, ninth.confidence, ninth.accuracy) == (1, 0.6, 0)
    assert found.bins[0].confidence is found.bins[0].accuracy is None
    assert "Guo" in found.calibration_method


def test_top_2_is_told_of_5_classes_and_more():
    rows = np.eye(5) * 0.5 + 0.1
    assert evaluate("abcd", [0], [[0.7, 0.1, 0.1, 0.1]]).top_2 is None
    assert (
        evaluate("abcde", [0, 0, 2, 4, 3], rows).top_2 == 3 / 5
    )  # the second place, shared by all others, is the first's of them


def test_probability_of_0_costs_much_and_not_infinitely():
    found = evaluate("ab", [0], [[0.0, 1.0]])
    assert found.log_loss == pytest.approx(-math.log(2**-23))


def test_sure_and_right_is_perfect():
    found = evaluate("ab", [0, 1], np.eye(2))
    assert (found.accuracy, found.log_loss, found.calibration_error) == (1, 0, 0)
    assert found.interval[1] == 1


def test_json_holds_every_number():
    found = evaluate(ABC, TRUE, ROWS.astype("float32"))
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["accuracy"] == 0.5
    assert told["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert told["classes"][2] == {"label": "c", "support": 0, "predicted": 0, "correct": 0,
                                  "precision": None, "recall": None, "f1": None}  # fmt: skip


def test_probabilities_of_half_precision_are_accepted():
    rows = random_case(0, classes=100)[1].astype("float16")
    assert 0 < evaluate([str(i) for i in range(100)], [0] * 200, rows).log_loss < 17


@pytest.mark.parametrize(
    ("true", "rows", "match"),
    [
        ([], np.zeros((0, 2)), "n at least 1"),
        ([0], [[0.2, 0.3, 0.5]], r"\(1,\) and \(1, 3\)"),
        ([0, 1], [[0.5, 0.5]], r"\(2,\) and \(1, 2\)"),
        ([2], [[0.5, 0.5]], "from 0 to 1"),
        ([-1], [[0.5, 0.5]], "from 0 to 1"),
        ([0.0], [[0.5, 0.5]], "float64"),
        ([0], [[2.0, -1.0]], "numbers from -1 to 2"),
        ([0], [[3.0, 1.0]], "as a softmax"),
        ([0], [[math.nan, 1.0]], "as a softmax"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(true, rows, match):
    with pytest.raises(ValueError, match=match):
        evaluate("ab", true, rows)


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [
        # Newcombe, 1998, Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(correct, count, low, high):
    assert wilson_interval(correct, count) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_share_and_mirrors(case):
    correct, count = case
    low, high = wilson_interval(correct, count)
    assert 0 <= low <= correct / count <= high <= 1
    assert high - low > 0
    assert wilson_interval(count - correct, count) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("case", [(3, 2), (-1, 2), (0, 0)])
def test_wilson_interval_of_no_share_is_refused(case):
    with pytest.raises(ValueError, match="`correct` must be in 0 to `count`"):
        wilson_interval(*case)


@pytest.mark.parametrize("seed", range(5))
def test_numbers_are_those_of_scikit_learn(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other packages' own, while it is imported
        theirs = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    true, rows = random_case(seed)
    found, predicted, every = evaluate("abcdefg", true, rows), rows.argmax(axis=1), range(7)
    assert found.accuracy == theirs.accuracy_score(true, predicted)
    assert np.array_equal(found.confusion, theirs.confusion_matrix(true, predicted, labels=every))
    assert found.top_2 == theirs.top_k_accuracy_score(true, rows, k=2, labels=every)
    # scikit-learn computes it in float32
    loss = theirs.log_loss(true, rows, labels=every)
    assert found.log_loss == pytest.approx(loss, rel=1e-5)
    precision, recall, f1, support = theirs.precision_recall_fscore_support(
        true, predicted, labels=every, zero_division=np.nan
    )
    for i, ours in enumerate(found.classes):
        assert ours.support == support[i]
        for value, other in ((ours.precision, precision[i]), (ours.recall, recall[i]),
                             (ours.f1, f1[i])):  # fmt: skip
            assert (value is None) == np.isnan(other)
            assert value is None or value == pytest.approx(other)
