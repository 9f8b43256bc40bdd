"""Costs without Keras: against the real model, and against what was published."""

import json

import keras
import pytest

from keras_mobilenet import MobileNet, layer_costs
from keras_mobilenet.display.cost_tables import cost_table
from keras_mobilenet.display.summaries import layer_rows
from keras_mobilenet.nets.costs.layers import PAPER_TABLE_2, cost_shares

ALPHAS = (1.0, 0.75, 0.5, 0.25)
SIZES = (224, 192, 160, 128)

# Millions of multiply-accumulates as the paper prints them (arXiv 1704.04861): tables 6 and 7.
PAPER_MACS = {
    (1.0, 224): 569,
    (0.75, 224): 325,
    (0.5, 224): 149,
    (0.25, 224): 41,
    (1.0, 192): 418,
    (1.0, 160): 290,
    (1.0, 128): 186,
    (0.5, 160): 76,  # table 9
}
# All 16, in two decimals, from slim's rows recomputed by hand (not from slim's own table, whose
# 0.75 row and 0.25-192 are wrong).
MACS = {
    1.0: (568.74, 418.12, 290.68, 186.40),
    0.75: (325.40, 239.27, 166.40, 106.77),
    0.5: (149.50, 109.97, 76.52, 49.16),
    0.25: (41.03, 30.21, 21.06, 13.57),
}


def macs(**arguments):
    return sum(cost.macs for cost in layer_costs(**arguments))


@pytest.mark.parametrize(
    ("alpha", "exact"),
    [(1.0, 568_740_352), (0.75, 325_400_448), (0.5, 149_497_088), (0.25, 41_030_272)],
)
def test_macs_at_224(alpha, exact):
    assert macs(alpha=alpha) == exact


@pytest.mark.parametrize("alpha", ALPHAS)
def test_macs_of_all_16_pairs(alpha):
    found = tuple(round(macs(alpha=alpha, size=size) / 1e6, 2) for size in SIZES)
    assert found == MACS[alpha]


@pytest.mark.parametrize(("alpha", "size"), PAPER_MACS)
def test_macs_agree_with_the_paper_within_its_rounding(alpha, size):
    # The paper prints whole millions, here rounded (569) and there cut off (149, 290, 76).
    assert abs(macs(alpha=alpha, size=size) / 1e6 - PAPER_MACS[alpha, size]) < 1


@pytest.mark.parametrize("include_top", [True, False])
@pytest.mark.parametrize(("alpha", "depth_multiplier", "size"), [(0.25, 1, 224), (0.1, 2, 225)])
def test_every_layer_costs_what_the_keras_model_says(alpha, depth_multiplier, size, include_top):
    net = {"alpha": alpha, "depth_multiplier": depth_multiplier, "include_top": include_top}
    keras.utils.clear_session(free_memory=False)  # names as in a fresh process
    model = MobileNet((size, size, 3), weights=None, **net)
    costs = layer_costs(size=size, **net)
    assert sum(cost.params for cost in costs) == model.count_params()
    for cost, row in zip(costs, layer_rows(model), strict=True):
        assert (cost.name, cost.kind) == (row.name, row.kind)
        assert (None, *cost.output_shape) == row.output_shape
        assert cost.params == row.params
        assert cost.macs == row.macs
        assert cost.activation_bytes == row.activation_bytes


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooling_gives_a_flat_output(pooling):
    last = layer_costs(include_top=False, pooling=pooling, size=(96, 160))[-1]
    assert last.output_shape == (1024,)
    assert last.activation_bytes == 1024 * 4


def test_bytes_per_value_scales_activations_only():
    floats, bytes_ = layer_costs(), layer_costs(bytes_per_value=1)
    for a, b in zip(floats, bytes_, strict=True):
        assert (a.activation_bytes, a.params, a.macs) == (4 * b.activation_bytes, b.params, b.macs)


def test_shares_equal_the_papers_table_2_but_for_its_slip():
    for ours, paper in zip(cost_shares(layer_costs()), PAPER_TABLE_2, strict=True):
        assert ours.kind == paper.kind
        assert ours.params == pytest.approx(paper.params, abs=0.005)
        if ours.kind == "conv 3x3":
            assert (round(ours.macs, 2), paper.macs) == (1.91, 1.19)
        else:
            assert ours.macs == pytest.approx(paper.macs, abs=0.005)
    assert sum(row.macs for row in PAPER_TABLE_2) == pytest.approx(99.29)


@pytest.mark.parametrize("by", ["layer", "part"])
def test_rows_of_a_cost_table_sum_to_its_total(by):
    *rows, total = json.loads(cost_table(layer_costs(0.5), by=by, format="json"))
    for column in ("params", "MACs", "activation bytes"):
        assert sum(row[column] for row in rows) == total[column]
    assert total["% of MACs"] == pytest.approx(100)


def test_table_by_kind_explains_the_papers_slip():
    assert "1.91 %" in cost_table(layer_costs(), by="kind")
    assert "1.91 %" in cost_table(layer_costs(), by="kind", format="markdown")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"size": 31},
            "`input_shape` must be .*at least 32.*Received: input_shape=\\(31, 31, 3\\)",
        ),
        ({"size": None}, "`size` must be known to count MACs. Received: size=None"),
        ({"size": (1, 2, 3)}, "Received: input_shape"),
        ({"alpha": 0}, "`alpha` must be a positive number.*Received: alpha=0"),
        ({"bytes_per_value": 0}, "`bytes_per_value` must be a positive integer"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_costs(**arguments)


def test_unknown_grouping_is_named():
    with pytest.raises(ValueError, match="`by` must be one of layer, part, kind. Received: by='x'"):
        cost_table(layer_costs(), by="x")


def test_unknown_format_is_named():
    with pytest.raises(ValueError, match="`format` must be one of text, markdown, json. Received"):
        cost_table(layer_costs(), format="html")
