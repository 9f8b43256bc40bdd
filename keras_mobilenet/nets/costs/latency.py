"""How long a net takes on a machine on which the published nets were timed.

`deploy.latencies.measure_latencies` makes the table, once for a machine and an engine; a line
through its times then tells those of other nets, in microseconds and without building them. Four
counts of a net's costs stand for its time: the call itself, the MACs of dense convolutions, those
of depthwise ones, which take longer each, and the weights that have to be read.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from os import PathLike
from pathlib import Path

from keras_mobilenet.nets.costs.layers import LayerCost, layer_costs

_VERSION = 1
_STEPS = 20_000  # of coordinate descent; each takes microseconds
_SETTLED = 1e-12  # a share of a coefficient that a step has to move it by


@dataclass(frozen=True)
class Latency:
    """The time that one published net took for one image."""

    alpha: float
    size: int  # height and width of the image in pixels
    seconds: float  # the median
    net: str = "mobilenet"  # its key, as in `families.registry`


@dataclass(frozen=True)
class LatencyTable:
    """The times of some published nets on one machine, in one engine and precision."""

    machine: str
    engine: str
    precision: str
    threads: int
    rows: tuple[Latency, ...]

    def to_text(self) -> str:
        """Return the table as JSON."""
        return json.dumps({"version": _VERSION, **asdict(self)}, indent=2)


def read_latencies(path: str | PathLike[str]) -> LatencyTable:
    """Return the table that `keras-mobilenet latency` wrote to a file.

    Raises:
        ValueError: the file holds no such table.
        OSError: the file cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    try:
        told = json.loads(text)
        if told.pop("version") != _VERSION:
            raise ValueError("written by a later version of keras-mobilenet")
        rows = tuple(Latency(**row) for row in told.pop("rows"))
        times = [row.seconds for row in rows]
        if len(rows) < len(_counts(layer_costs())) or not all(isfinite(t) and t > 0 for t in times):
            raise ValueError("times that are too few, or no positive numbers")
        return LatencyTable(rows=rows, **told)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} holds no table of latencies ({error}). Make one with "
            f"`keras-mobilenet latency FILE`."
        ) from error


def estimate_latency(layers: Sequence[LayerCost], table: LatencyTable) -> float:
    """Return the seconds that one image takes on the table's machine.

    `benchmarks/latency.py` tells how far such estimates are off.

    Args:
        layers: What `layer_costs` returned.
        table: Times measured on the machine, as `read_latencies` returns them.

    Raises:
        ValueError: there are no layers.
    """
    if not layers:
        raise ValueError("`layers` must be what layer_costs returned. Received: nothing")
    coefficients = _coefficients(table.rows)
    return sum(c * count for c, count in zip(coefficients, _counts(layers), strict=True))


def _counts(layers: Sequence[LayerCost]) -> tuple[float, ...]:
    """Return what a net's time is taken to grow with, in millions where it is large."""
    depthwise = sum(c.macs for c in layers if c.kind == "DepthwiseConv2D")
    dense = sum(c.macs for c in layers) - depthwise
    return 1.0, dense / 1e6, depthwise / 1e6, sum(c.params for c in layers) / 1e6


@functools.cache
def _coefficients(rows: tuple[Latency, ...]) -> tuple[float, ...]:
    """Return the seconds that each count costs: none below zero, the relative errors least.

    Least squares with signs, by coordinate descent: four unknowns need no library.
    """
    counts = [_counts(layer_costs(row.alpha, net=row.net, size=row.size)) for row in rows]
    # Each row over its own time: the sum of squares is then of relative errors.
    scaled = [[n / row.seconds for n in c] for c, row in zip(counts, rows, strict=True)]
    columns: list[list[float]] = [list(column) for column in zip(*scaled, strict=True)]
    squares = [sum(x * x for x in column) for column in columns]
    found, left = [0.0] * len(columns), [1.0] * len(rows)  # what is not explained yet
    for _ in range(_STEPS):
        moved = 0.0
        for j, column in enumerate(columns):
            slope = sum(x * y for x, y in zip(column, left, strict=True))
            step = max(found[j] + slope / squares[j], 0.0) - found[j]
            found[j] += step
            left = [y - step * x for x, y in zip(column, left, strict=True)]
            moved = max(moved, abs(step) / (found[j] or 1.0))
        if moved < _SETTLED:
            break
    return tuple(found)
