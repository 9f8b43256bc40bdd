"""Medians of actions that take turns, printed beside each other."""

from __future__ import annotations

from collections.abc import Mapping

from keras_mobilenet.deploy.bench.timing import Timings


def show(title: str, times: Mapping[str, Timings], reference: str) -> None:
    """Print each median and its ratio to that of `reference`."""
    print(f"\n{title}")
    for name, found in times.items():
        ratio = found.median / times[reference].median
        print(f"  {name:46} {1000 * found.median:9.1f} ms   {ratio:6.3f} x {reference}")
