"""Medians of actions that take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

Actions = dict[str, Callable[[], object]]


def interleaved(actions: Actions, rounds: int) -> dict[str, float]:
    """Return the median seconds of each action; each goes first as often as last."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for i in range(rounds):
        for name in actions if i % 2 else reversed(actions):
            gc.collect()  # what one action left behind is not the next one's to clear away
            start = time.perf_counter()
            actions[name]()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def show(title: str, medians: dict[str, float], reference: str) -> None:
    """Print each median and its ratio to that of `reference`."""
    print(f"\n{title}")
    for name, median in medians.items():
        ratio = median / medians[reference]
        print(f"  {name:46} {1000 * median:9.1f} ms   {ratio:6.3f} x {reference}")
