"""What a benchmark measured, as far as it has come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from keras_mobilenet.deploy.bench.machine import Machine, Peak
from keras_mobilenet.deploy.bench.plan import Plan
from keras_mobilenet.deploy.bench.timing import Timings
from keras_mobilenet.deploy.comparison import Difference
from keras_mobilenet.deploy.engines.processor import Precision

KERAS, NUMPY = "Keras", "NumPy"  # what outputs are compared with


@dataclass(frozen=True)
class Result:
    """How one candidate did at one batch size."""

    name: str
    precision: Precision
    batch: int
    timings: Timings
    difference: Difference | None  # from the report's reference; None for another net

    @property
    def rate(self) -> float:
        """Images a second, by the median."""
        return self.batch / self.timings.median


@dataclass(frozen=True)
class BenchReport:
    """All that was measured in one run, or the part of it that is done."""

    model: str
    machine: Machine
    peak: Peak
    flops: int | None  # of one image: two for each MAC; None where they cannot be counted
    plan: Plan
    names: tuple[str, ...]  # of the candidates that are to come
    images: int  # that outputs were compared on
    reference: str  # what they were compared with: `KERAS`, or `NUMPY` of the graph
    results: tuple[Result, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)  # candidate -> why it is not there
    notes: tuple[str, ...] = ()
    complete: bool = False

    @property
    def keras_first(self) -> bool:
        """Whether Keras is timed first, so that the others' ratios are to it."""
        return self.plan.keras and self.reference == KERAS

    def then(self, result: Result) -> BenchReport:
        """Return the report with one more result."""
        return replace(self, results=(*self.results, result))

    def ratio(self, result: Result) -> float:
        """Return how many times as fast a candidate is as the first one at the same batch."""
        first = next(r for r in self.results if r.batch == result.batch)
        return result.rate / first.rate

    def peak_share(self, result: Result) -> float | None:
        """Return the share of the machine's float32 peak, in any precision; None if not known."""
        return None if self.flops is None else result.rate * self.flops / 1e9 / self.peak.gflops
