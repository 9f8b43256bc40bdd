"""A report's charts, as SVG that takes its colours and letters from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from keras_mobilenet.evaluation.metrics import CalibrationBin
from keras_mobilenet.evaluation.report.markup import Html, element
from keras_mobilenet.evaluation.report.tables import percent, plural

_WIDTH = 400  # of a chart in its own pixels; the page scales it
_LEFT, _RIGHT, _TOP, _FOOT = 46, 12, 24, 40  # margins, with room for the axes' words
_LETTER = 8  # of a stage's name, wide enough for a phone's larger letters
_FEW = 40  # epochs: with more, a dot for each would hide the line


@dataclass(frozen=True)
class Stage:
    """A part of the training, by the positions of its epochs from 1."""

    name: str
    first: int
    last: int


@dataclass(frozen=True)
class Line:
    """One quantity by epoch; None where it is not known."""

    kind: str  # the class in the style sheet
    values: Sequence[float | None]


@dataclass(frozen=True)
class _Scale:
    """Numbers from `low` to `high` as pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def stages_of(names: Sequence[str]) -> list[Stage]:
    """Return the stages that the epochs' own names tell."""
    stages, first = [], 1
    for name, group in groupby(names):
        last = first + len(list(group)) - 1
        stages.append(Stage(name, first, last))
        first = last + 1
    return stages


def line_chart(
    title: str, lines: Sequence[Line], stages: Sequence[Stage], *, share: bool, height: int = 250
) -> Html:
    """Return lines over the epochs, the stages marked.

    Args:
        title: For who cannot see the chart.
        lines: All as long as there are epochs.
        stages: In order, and without gaps.
        share: Whether the values are shares, whose axis ends at 100 %; else it begins at 0.
        height: In pixels, of which the chart is 400 wide.
    """
    known = [v for line in lines for v in line.values if v is not None and math.isfinite(v)]
    low, high = (min(known, default=0), 1.0) if share else (0.0, max(known, default=1))
    steps = ticks(low, high)
    y = _Scale(steps[0], steps[-1], height - _FOOT, _TOP)
    x = _Scale(0.5, max((stage.last for stage in stages), default=1) + 0.5, _LEFT, _WIDTH - _RIGHT)
    told: Callable[[float], str] = (
        (lambda v: percent(v, _decimals(steps) - 2)) if share else (lambda v: _plain(v, steps))
    )
    return _svg(
        title,
        height,
        _bands(stages, x, y),
        _rows(steps, y, told),
        _columns(count_ticks(int(x.high)), x, y.start, str),
        _words("epoch", (_LEFT + _WIDTH - _RIGHT) / 2, height - 6),
        (_line(line, x, y) for line in lines),
    )


def reliability_diagram(bins: Sequence[CalibrationBin], height: int = 320) -> Html:
    """Return how often the model is right (bars) by how sure it is, over a count of examples."""
    strip = 44  # of the counts, at the foot
    x = _Scale(0, 1, _LEFT, _WIDTH - _RIGHT)
    y = _Scale(0, 1, height - _FOOT - strip - 12, 12)
    most = max((b.count for b in bins), default=0)
    counts = _Scale(0, max(most, 1), height - _FOOT, height - _FOOT - strip)
    quarters = (0.0, 0.25, 0.5, 0.75, 1.0)
    return _svg(
        "Reliability diagram: how often the model is right, by how sure it is",
        height,
        _rows(quarters, y, lambda v: percent(v, 0)),
        element("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="diagonal"),
        (_bar(b, x, y, counts) for b in bins if b.count),
        element("line", x1=x(0), x2=x(1), y1=counts(0), y2=counts(0), class_="axis"),
        _words(f"{most:,}", _LEFT - 6, counts.end + 9, class_="end"),
        _words("0", _LEFT - 6, counts.start + 3, class_="end"),
        _columns(quarters, x, counts.start, lambda v: percent(v, 0)),
        _words("probability of the predicted class", (x(0) + x(1)) / 2, height - 6),
    )


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
    """Return the decimals that tell the steps of shares apart; 2 give whole percents."""
    return max(2, -math.floor(math.log10(steps[1] - steps[0]) + 1e-9))


def _plain(value: float, steps: Sequence[float]) -> str:
    digits = max(0, -math.floor(math.log10(steps[1] - steps[0]) + 1e-9))
    return f"{value:.{digits}f}" if steps[-1] < 1e5 else f"{value:.0e}"


def _svg(title: str, height: int, *children: Html | Iterator[Html]) -> Html:
    box = f"0 0 {_WIDTH} {height}"
    return element("svg", *children, class_="chart", viewBox=box, role="img", aria_label=title)


def _words(text: str, x: float, y: float, class_: str | None = None) -> Html:
    return element("text", text, x=x, y=y, class_=class_)


def _rows(values: Sequence[float], y: _Scale, told: Callable[[float], str]) -> Iterator[Html]:
    for value in values:
        height = y(value)
        yield element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=height, y2=height, class_="gridline")
        yield _words(told(value), _LEFT - 6, height + 4, class_="end")


def _columns(
    values: Sequence[float], x: _Scale, foot: float, told: Callable[[float], str]
) -> Iterator[Html]:
    for value in values:
        yield element("line", x1=x(value), x2=x(value), y1=foot, y2=foot + 4, class_="axis")
        yield _words(told(value), x(value), foot + 17)


def _bands(stages: Sequence[Stage], x: _Scale, y: _Scale) -> Iterator[Html]:
    """Yield each stage's band, with its name on top, or its number where one has no room."""
    ends = [(x(stage.first - 0.5), x(stage.last + 0.5)) for stage in stages]
    roomy = all(
        len(stage.name) * _LETTER <= right - left
        for stage, (left, right) in zip(stages, ends, strict=True)
    )
    for i, (left, right) in enumerate(ends):
        kind = "band odd" if i % 2 else "band"
        size = {"width": right - left, "height": y.start - y.end}
        yield element("rect", x=left, y=y.end, class_=kind, **size)
        name = stages[i].name if roomy else str(i + 1)
        yield _words(name, (left + right) / 2, _TOP - 8, class_="stage")


def _line(line: Line, x: _Scale, y: _Scale) -> Html:
    """Return a line, broken where a value is missing or not finite."""
    points = [
        (x(i), y(v)) if v is not None and math.isfinite(v) else None
        for i, v in enumerate(line.values, 1)
    ]
    runs = [list(group) for known, group in groupby(points, key=bool) if known]
    drawn = [_polyline([p for p in run if p is not None]) for run in runs]
    few = len(points) <= _FEW
    dots = [element("circle", cx=p[0], cy=p[1], r=2.2) for p in points if p and few]
    return element("g", drawn, dots, class_=f"line {line.kind}")


def _polyline(points: Sequence[tuple[float, float]]) -> Html:
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))


def _bar(b: CalibrationBin, x: _Scale, y: _Scale, counts: _Scale) -> Html:
    """Return a bin: how often it is right, how far that is from what it says, how many it has."""
    left, width = x(b.low) + 1, x(b.high) - x(b.low) - 2
    right, said = y(b.accuracy or 0), y(b.confidence or 0)
    gap = element("rect", x=left, width=width, y=min(right, said), height=abs(right - said),
                  class_="gap")  # fmt: skip
    return element(
        "g",
        element("title", _bin_words(b)),
        element("rect", x=left, width=width, y=right, height=y(0) - right, class_="share"),
        gap,
        element("rect", x=left, width=width, y=counts(b.count), height=counts(0) - counts(b.count),
                class_="count"),
    )  # fmt: skip


def _bin_words(b: CalibrationBin) -> str:
    return (
        f"{percent(b.low, 0)} to {percent(b.high, 0)}: {plural(b.count, 'example')}, mean "
        f"probability {percent(b.confidence)}, right {percent(b.accuracy)}"
    )
