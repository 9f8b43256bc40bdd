"""What is timed, in which order, and the statistics of it; never how fast anything is."""

import functools
import gc
from collections import Counter

import numpy as np
import pytest
from hurried_bench import MOMENT

from keras_mobilenet.deploy.bench import timing
from keras_mobilenet.deploy.bench.timing import Timings, interleaved, timed_for, turns


def test_statistics_of_a_known_series():
    timings = Timings(tuple(range(100, -1, -1)))
    assert (timings.median, timings.p95, timings.best) == (50, 95, 0)


@pytest.mark.parametrize("count", [2, 3, 20, 33])
def test_percentile_is_that_of_numpy(count):
    times = tuple(np.random.default_rng(count).random(count))
    assert Timings(times).p95 == pytest.approx(np.percentile(times, 95))


def test_one_call_is_its_own_statistics():
    assert (Timings((2.0,)).median, Timings((2.0,)).p95) == (2.0, 2.0)


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcdefg"])
@pytest.mark.parametrize("pairs", [1, 2, 7, 10])
def test_each_goes_first_as_often_as_last(names, pairs):
    rounds = list(turns(names, 2 * pairs))
    assert Counter(r[0] for r in rounds) == Counter(r[-1] for r in rounds)
    assert all(sorted(r) == sorted(names) for r in rounds)


def test_each_goes_first_in_turn():
    firsts = Counter(order[0] for order in turns("abcde", 10))
    assert set(firsts.values()) == {2}


def test_calls_come_in_the_order_of_the_turns():
    calls = []
    actions = {name: functools.partial(calls.append, name) for name in "ab"}
    times = interleaved(actions, 2, warm_up=2, settle=1, calls=3)
    assert "".join(calls) == "aabb" + "aaaa" + "bbbb" + "bbbb" + "aaaa"
    assert {name: len(found.seconds) for name, found in times.items()} == {"a": 6, "b": 6}


def test_only_the_call_is_timed(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    times = interleaved({"a": lambda: None}, 3, warm_up=5, settle=5, calls=2)
    assert times["a"].seconds == (1,) * 6


def test_calls_of_one_action_end_with_the_first_that_fills_its_time(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    calls = []
    times = timed_for(lambda: calls.append(1), 3, warm_up=2)
    assert times.seconds == (1,) * 3
    assert len(calls) == 5


def test_as_many_calls_are_timed_as_there_must_be():
    assert len(timed_for(int, MOMENT, least=7).seconds) >= 7


@pytest.mark.parametrize("frozen", [False, True])
def test_no_garbage_is_collected_while_timing_and_all_is_as_before_after_it(frozen):
    def check():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
        raise KeyError

    gc.unfreeze()
    if frozen:
        gc.freeze()
    with pytest.raises(KeyError):
        interleaved({"a": check}, 1)
    assert gc.isenabled()
    assert (gc.get_freeze_count() > 0) == frozen
    gc.freeze()  # as `lasting_objects` leaves it


def test_progress_counts_the_rounds():
    told = []
    interleaved({"a": int}, 2, progress=lambda *rounds: told.append(rounds))
    assert told == [(1, 2), (2, 2)]
