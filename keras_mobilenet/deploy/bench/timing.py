"""Actions timed in turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Actions = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Timings:
    """How long each timed call of one action took, in the order of the calls."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median in seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """The 95th percentile in seconds, interpolated between two calls."""
        if len(self.seconds) == 1:
            return self.seconds[0]
        return statistics.quantiles(self.seconds, n=20, method="inclusive")[-1]

    @property
    def best(self) -> float:
        """The shortest time in seconds."""
        return min(self.seconds)


def turns(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """Yield the order of each round.

    Every second round is the one before it backwards, so that in an even number of rounds each
    name goes first as often as last; and each pair of rounds begins one name further on, so that
    all come to be first.
    """
    for i in range(rounds):
        start = (i // 2) % len(names)
        order = [*names[start:], *names[:start]]
        yield order[::-1] if i % 2 else order


def interleaved(
    actions: Actions,
    rounds: int,
    *,
    warm_up: int = 0,
    settle: int = 0,
    calls: int = 1,
    progress: Callable[[int, int], Any] | None = None,
) -> dict[str, Timings]:
    """Return the times of each action; the actions take turns.

    Args:
        actions: What to time, by name.
        rounds: How many turns each action gets; an even number is fair, see `turns`.
        warm_up: Calls of each action before the first round, not timed.
        settle: Calls that open each turn, not timed: caches then hold the action's own data, and
            threads of the action before it that spin for more work have gone to sleep.
        calls: Timed calls a turn.
        progress: Called with how many rounds are done, and of how many.
    """
    times: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        for _ in range(warm_up):
            action()
    with _garbage_set_aside():
        for done, order in enumerate(turns(list(actions), rounds), 1):
            for name in order:
                gc.collect()  # what one action left behind is not the next one's to clear away
                times[name] += _timed(actions[name], settle, calls)
            if progress is not None:
                progress(done, rounds)
    return {name: Timings(tuple(values)) for name, values in times.items()}


def timed_for(
    action: Callable[[], object], seconds: float, *, warm_up: int = 0, least: int = 1
) -> Timings:
    """Return the times of one action's calls, which add up to `seconds` or more.

    Args:
        action: What to time.
        seconds: After these, no other call begins.
        warm_up: Calls before the first, not timed.
        least: Calls that are timed in any case.
    """
    times: list[float] = []
    with _garbage_set_aside():
        for _ in range(warm_up):
            action()
        while len(times) < least or sum(times) < seconds:
            times += _timed(action, 0, 1)
    return Timings(tuple(times))


def _timed(action: Callable[[], object], settle: int, calls: int) -> list[float]:
    for _ in range(settle):
        action()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return times


@contextmanager
def _garbage_set_aside() -> Iterator[None]:
    """Collect no garbage but when asked, and then without a walk through all of TensorFlow.

    What the caller froze stays frozen: a part of it could not be released again.
    """
    enabled, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.collect()
    if not frozen:
        gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
        if enabled:
            gc.enable()
