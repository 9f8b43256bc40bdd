"""How far outputs are from a reference, and what is told where one of them is no number."""

from types import SimpleNamespace

import numpy as np
import pytest

from keras_mobilenet.deploy.comparison import agreement_of, difference
from keras_mobilenet.deploy.exporting import ExportReport, _check_tolerance
from keras_mobilenet.deploy.graphs.operations import check_half
from keras_mobilenet.errors import AccuracyError

GOOD = np.array([[0.25, 0.75], [0.5, 0.5]])
BAD = np.array([[np.nan, 0.75], [np.inf, 0.5]])


@pytest.mark.parametrize(
    ("reference", "outputs", "words"),
    [
        (GOOD, BAD, "50.0% of its outputs are infinite or NaN, and 0.0% of those"),
        (BAD, BAD, "50.0% of its outputs are infinite or NaN, and 50.0% of those"),
    ],
)
def test_what_is_no_number_is_told_as_such(reference, outputs, words):
    found = difference(reference, outputs)
    assert words in str(found)
    assert (found.max_error, found.rms_error, found.top1_agreement) == (np.inf, np.inf, 0.0)


def test_nan_agrees_with_no_score():
    assert agreement_of(np.array([[0.1], [0.9]]), np.array([[np.nan], [0.8]])) == 0.5


@pytest.mark.parametrize(
    ("reference", "quantize", "words"),
    [
        (GOOD, "float16", "puts out 50.0% infinite or NaN values.*float16 ends at 65504"),
        (GOOD, None, "puts out 50.0% infinite or NaN values.*Choose another"),
        (BAD, "float16", "50.0% of whose own outputs are infinite or NaN.*training diverged"),
    ],
)
def test_an_export_whose_outputs_are_no_numbers_says_whose_fault_it_is(reference, quantize, words):
    apart = difference(reference, BAD)
    report = ExportReport("m.tflite", quantize, 1, {}, apart, 2, True, 0.1, 1.0)
    with pytest.raises(AccuracyError, match=words):
        _check_tolerance(report)


def test_values_that_float16_does_not_hold_are_refused_by_name():
    def graph(bias):
        values = {"kernel": np.ones((1, 2), np.float32), "bias": np.full(2, bias)}
        return SimpleNamespace(operations=[SimpleNamespace(name="predictions", **values)])

    check_half(graph(-65504.0))
    with pytest.raises(AccuracyError, match="'predictions'.* reach 6.6e.04, and float16 ends at"):
        check_half(graph(-66000.0))
