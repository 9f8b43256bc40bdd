"""TFLite Micro's arena: its planner by hand, and whole nets against what the interpreter took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_mobilenet import layer_costs, peak_memory
from keras_mobilenet.nets.costs.micro import Buffer, plan


def chain(image):
    """An image, two small tensors and a large one, each of which makes the next."""
    return [Buffer(image, 0, 0), Buffer(16, 0, 1), Buffer(16, 1, 2), Buffer(48, 2, 3)]


def test_the_largest_buffer_is_placed_first_and_of_two_alike_the_later_one():
    # Between the image and the later small one there is just room for the earlier.
    assert plan(chain(32)) == [0, 32, 48, 0]
    # Not so here: it goes on top, and the gap below stays though 64 bytes would do.
    assert plan(chain(48)) == [0, 64, 48, 0]


def test_a_buffer_goes_into_the_first_gap_that_it_fits():
    held = [Buffer(64, 0, 0), Buffer(48, 0, 9), Buffer(32, 0, 1), Buffer(16, 0, 9)]
    assert plan(held) == [0, 64, 112, 144]
    assert plan([*held, Buffer(8, 5, 9)])[-1] == 0
    assert plan([*held, Buffer(8, 0, 9)])[-1] == 160


buffers = st.builds(
    lambda size, first, length: Buffer(size, first, first + length),
    st.integers(1, 9), st.integers(0, 9), st.integers(0, 3),
)  # fmt: skip


@given(st.lists(buffers, max_size=12))
def test_buffers_that_are_needed_at_once_lie_apart(buffers):
    placed = list(zip(plan(buffers), buffers, strict=True))
    for i, (start, one) in enumerate(placed):
        for other_start, other in placed[:i]:
            at_once = one.first <= other.last and other.first <= one.last
            apart = start + one.size <= other_start or other_start + other.size <= start
            assert apart or not at_once


# The tensors' part and the whole, read from `print_allocations` of the package of 2026-10-23, as
# tests/deploy/test_consumers.py does.
@pytest.mark.parametrize(
    ("options", "dtype", "tensors", "arena"),
    [
        ({"alpha": 0.25, "size": 96}, "int8", 73_728, 111_696),
        ({"alpha": 0.25, "size": 96}, "float32", 294_912, 332_816),
        ({"alpha": 0.25, "size": 96, "channels": 1, "classes": 2}, "int8", 55_296, 85_296),
        ({"alpha": 0.25, "size": 100}, "int8", 80_000, 118_144),
        ({"alpha": 0.25, "size": 128}, "int8", 131_072, 169_040),
        ({"alpha": 0.5, "size": 96}, "int8", 110_592, 170_448),
        ({"net": "mobilenet_v2", "alpha": 0.35, "size": 96}, "int8", 138_240, 218_192),
        ({"net": "mobilenet_v2", "alpha": 0.35, "size": 96}, "float32", 552_960, 624_848),
        ({"net": "mobilenet_v3_small", "alpha": 0.75, "size": 96}, "int8", 73_728, 168_816),
        ({"net": "mobilenet_v4_conv_small", "alpha": 0.5, "size": 96}, "int8", 153_728, 232_256),
    ],
)
def test_arena_is_what_tflite_micro_took(options, dtype, tensors, arena):
    peak = peak_memory(layer_costs(**options), dtype, runtime="tflite-micro")
    assert peak.bytes == sum(peak.live.values())
    assert peak.bytes - peak.live["tables"] == tensors
    # Tables are counted by an average for each kind of operation: V2's dense layer in float32,
    # which has none for its channels, is 1.4 % off, all others less than 0.5.
    assert peak.bytes == pytest.approx(arena, rel=0.015)


def test_live_says_what_fills_the_arena():
    peak = peak_memory(layer_costs(0.25, size=96), "int8", runtime="tflite-micro")
    assert (peak.layer, peak.live.pop("tables")) == ("conv1", 38_100)
    assert peak.live == {"input": 27_648, "output": 18_432, "gaps": 27_648}


def test_part_of_a_net_takes_an_input_as_large_as_its_output():
    (one,) = (cost for cost in layer_costs(0.25, size=96) if cost.name == "conv_pw_1")
    peak = peak_memory([one], "int8", runtime="tflite-micro")
    assert (peak.live["input"], peak.live["output"]) == (36_864, 36_864)
    assert "gaps" not in peak.live
