"""What a report's charts show, and where: `templates/charts.html` draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from keras_mobilenet.evaluation.metrics import CalibrationBin
from keras_mobilenet.evaluation.report.filters import percent

_LEFT, _RIGHT, _TOP = 46, 388, 24  # of 400 pixels, which the page scales
_LETTER = 8  # of a stage's name, wide enough for a phone's larger letters
_FEW = 40  # epochs: with more, a dot for each would hide the line
_Point = tuple[float, float]


@dataclass(frozen=True)
class TrainingStage:
    """A part of the training, by the positions of its epochs from 1."""

    name: str
    first: int
    last: int


@dataclass(frozen=True)
class Scale:
    """Numbers from `low` to `high` as pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a number stands."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def training_curves(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the stages of a training, and its loss and accuracy by epoch."""
    stages, first = [], 1
    for name, group in groupby(str(epoch.get("stage", "")) for epoch in history):
        last = first + len(list(group)) - 1
        stages.append(TrainingStage(name, first, last))
        first = last + 1
    return {
        "stages": stages,
        "validated": any(epoch.get("val_loss") is not None for epoch in history),
        "charts": {
            name.capitalize(): _line_chart(history, name, stages) for name in ("loss", "accuracy")
        },
    }


def _line_chart(
    history: Sequence[Mapping[str, Any]], name: str, stages: Sequence[TrainingStage]
) -> dict[str, Any]:
    """Return lines over the epochs, None where a value is not known, and the stages' bands."""
    lines = {
        "train": [epoch.get(name) for epoch in history],
        "validation": [epoch.get(f"val_{name}") for epoch in history],
    }
    known = [v for values in lines.values() for v in values if v is not None and math.isfinite(v)]
    share = name == "accuracy"  # whose axis ends at 100 %; that of the loss begins at 0
    low, high = (min(known, default=0), 1.0) if share else (0.0, max(known, default=1))
    steps = ticks(low, high)
    x = Scale(0.5, len(history) + 0.5, _LEFT, _RIGHT)
    y = Scale(steps[0], steps[-1], 210, _TOP)
    return {
        "x": x,
        "y": y,
        "rows": [(v, _share(v, steps) if share else _plain(v, steps)) for v in steps],
        "columns": [(epoch, str(epoch)) for epoch in count_ticks(len(history))],
        "bands": _bands(stages, x),
        "lines": {kind: _runs(values, x, y) for kind, values in lines.items()},
        "dots": len(history) <= _FEW,
    }


def reliability(bins: Sequence[CalibrationBin]) -> dict[str, Any]:
    """Return the bins that have examples, and the scales to draw them on."""
    most = max((b.count for b in bins), default=0)
    return {
        "bins": [b for b in bins if b.count],
        "most": most,
        "x": Scale(0, 1, _LEFT, _RIGHT),
        "y": Scale(0, 1, 224, 12),
        "counts": Scale(0, max(most, 1), 280, 236),  # a strip at the foot
        "quarters": [(share, percent(share, 0)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
    }


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers, evenly spaced, from at most `low` to at least `high`."""
    if not high > low:
        low, high = (low - 0.05, high) if high == 1 else (low, low + 1)
    step = _round_step((high - low) / (most - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def count_ticks(last: int, most: int = 9) -> list[int]:
    """Return which of 1 to `last` to name: each, or round ones after the first."""
    step = max(1, math.ceil(_round_step(last / most)))
    rest = range(step, last + 1, step)
    return list(rest) if step < 4 else [1, *rest]


def _round_step(rough: float) -> float:
    """Return the next number of 1, 2 or 5 with zeros."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def _decimals(steps: Sequence[float]) -> int:
    return -math.floor(math.log10(steps[1] - steps[0]) + 1e-9)


def _share(value: float, steps: Sequence[float]) -> str:
    return percent(value, max(0, _decimals(steps) - 2))


def _plain(value: float, steps: Sequence[float]) -> str:
    return f"{value:.{max(0, _decimals(steps))}f}" if steps[-1] < 1e5 else f"{value:.0e}"


def _bands(stages: Sequence[TrainingStage], x: Scale) -> list[tuple[float, float, str]]:
    """Return each stage's left and right end and its name, its number where one has no room."""
    ends = [(x(stage.first - 0.5), x(stage.last + 0.5), stage.name) for stage in stages]
    roomy = all(len(name) * _LETTER <= right - left for left, right, name in ends)
    return [
        (left, right, name if roomy else str(i)) for i, (left, right, name) in enumerate(ends, 1)
    ]


def _runs(values: Sequence[float | None], x: Scale, y: Scale) -> list[list[_Point]]:
    """Return a line's points, in runs that end where a value is missing or not finite."""
    points = [
        (x(i), y(v)) if v is not None and math.isfinite(v) else None
        for i, v in enumerate(values, 1)
    ]
    runs = [list(group) for known, group in groupby(points, key=bool) if known]
    return [[point for point in run if point is not None] for run in runs]
