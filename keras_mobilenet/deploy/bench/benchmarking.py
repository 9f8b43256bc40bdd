"""bench(): how fast a model is in every engine and precision, and how far from Keras."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from typing import Any, cast

import numpy as np

from keras_mobilenet.deploy.bench.candidates import Array, Candidate, Kept, compiled_candidates
from keras_mobilenet.deploy.bench.machine import measured_peak, this_machine
from keras_mobilenet.deploy.bench.plan import (
    GENERATED,
    KERAS,
    LEAST,
    WARM_UP,
    Plan,
    calls_a_turn,
)
from keras_mobilenet.deploy.bench.report import KERAS as OF_KERAS
from keras_mobilenet.deploy.bench.report import NUMPY, BenchReport, Result
from keras_mobilenet.deploy.bench.timing import Timings, interleaved, timed_for
from keras_mobilenet.deploy.comparison import Difference, difference, generated_images
from keras_mobilenet.deploy.engines.engine import chunks
from keras_mobilenet.deploy.graphs.calibration import calibration_samples
from keras_mobilenet.deploy.graphs.operations import WEIGHTED, Graph, Operation
from keras_mobilenet.deploy.opened import Opened, open_model
from keras_mobilenet.display.summaries import layer_rows
from keras_mobilenet.nets.costs.layers import attention_macs, kernel_macs
from keras_mobilenet.nets.net import Shape

PACKAGES = ("keras-mobilenet", "keras", "tensorflow", "numpy", "ai-edge-litert", "openvino",
            "nncf", "onnxruntime")  # fmt: skip
_AT_ONCE = 8  # images worked out between two notes of progress
_DRIFT = 1.2  # times as long at the end as at the start: the machine was doing something else


def bench(
    model: Any,
    plan: Plan | None = None,
    *,
    name: str | None = None,
    calibration: Any = None,
    images: Any = None,
    peers: Sequence[Candidate] = (),
    progress: Callable[[str], Any] = lambda _: None,
    show: Callable[[BenchReport], Any] = lambda _: None,
) -> BenchReport:
    """Time a model in Keras, in `tf.function` and in the engines.

    Outputs are compared with Keras', if the model came as Keras' or Keras was named, and it is
    timed first. Else they are compared with the same net worked out in NumPy, and Keras comes last,
    so that the engines' results do not wait for its import. Where engines are named, and Keras not
    among them, neither it nor TensorFlow is imported, but for a model or an engine that needs them.

    One after the other is compiled, compared and timed; or all are, and then take turns, if the
    plan says so. No call is timed before it has warmed up. The timed calls cover what a user's
    call covers: a NumPy array in, a NumPy array out.

    Args:
        model: A Keras model that takes images, a `.keras` file, or what else `Predictor` opens that
            is not in an engine's own format.
        plan: What is measured, and for how long; `Plan()` by default.
        name: What the report calls it; its own name by default.
        calibration: Images for int8, as `Predictor` takes them; generated ones by default.
        images: Images to compare the outputs on, likewise; generated ones by default.
        peers: Other candidates.
        progress: Called with what is being done, in words.
        show: Called with the report before its first result, again with each result as soon as it
            is measured, and when it is complete.

    Raises:
        ValueError: an argument is wrong, or the model does not take one batch of images.
        MissingExtraError: an engine that was asked for by name is not installed.
    """
    plan = plan or Plan()
    opened = open_model(model)
    if plan.keras and not plan.keras_last:
        opened = opened.in_keras()
    inputs = _inputs(images, opened)
    if opened.input_dtype == "uint8":  # the scaling is in its graph
        inputs = inputs.astype(np.uint8)
    int8 = any(precision == "int8" for _, precision in plan.pairs)
    samples = _inputs(calibration, opened) if int8 else None
    progress("measuring the machine's peak")
    report = BenchReport(
        model=name or opened.name,
        machine=this_machine(*PACKAGES),
        peak=measured_peak(tensorflow=plan.keras and opened.model is not None),
        flops=_flops(opened),
        plan=plan,
        names=(*plan.names, *(peer.name for peer in peers)),
        images=len(inputs),
        reference=OF_KERAS if opened.model is not None else NUMPY,
    )
    show(report)
    skipped: dict[str, str] = {}
    with ExitStack() as closing:
        compiled = compiled_candidates(
            opened,
            plan,
            samples=samples,
            closing=closing,
            skipped=skipped,
            progress=progress,
        )
        candidates = Kept(chain(compiled, peers))
        measuring = _Measuring(
            opened, candidates, inputs, plan, progress, keras_first=report.keras_first
        )
        for result in measuring.results():
            report = report.then(result)
            show(report)
    seen = {result.precision for result in report.results}
    notes = _notes(
        other_precisions=seen != {"float32"},
        generated_images=images is None,
        generated_ranges=calibration is None and "int8" in seen,
        flat=_is_flat(measuring.reference),
        in_numpy=report.reference == NUMPY,
        without_keras=report.reference == NUMPY and not plan.keras,
    )
    if not report.keras_first:
        notes += _keras_beside(report)
    report = replace(report, skipped=skipped, notes=(*notes, *measuring.drifts), complete=True)
    show(report)
    return report


def _inputs(images: Any, opened: Opened) -> Array:
    """Return images as the model's inputs, generated ones where there are none."""
    shape = opened.input_shape
    if images is not None:
        return calibration_samples(images, opened.info, shape)
    height, width = opened.info.size or (224, 224)
    sizes = (GENERATED, shape[0] or height, shape[1] or width, shape[2] or 3)
    return opened.info.comparable.scaled(generated_images(sizes))


class _Measuring:
    """The candidates, one after the other or in turns, at one batch size after the other."""

    def __init__(
        self,
        opened: Opened,
        candidates: Kept,
        inputs: Array,
        plan: Plan,
        progress: Callable[[str], Any],
        *,
        keras_first: bool,
    ) -> None:
        self._opened = opened
        self._candidates = candidates
        self._inputs = inputs
        self._plan = plan
        self._progress = progress
        self._keras_first = keras_first
        self.reference: Array = np.empty(0)  # the outputs that others are compared with
        self.drifts: list[str] = []

    def results(self) -> Iterator[Result]:
        """Yield each result as soon as it is measured."""
        if not self._keras_first:
            self.reference = self._worked_out()
        if self._plan.rounds is not None:
            list(self._candidates)  # compiled, before any of them is timed
        for batch in self._plan.batches:
            if self._plan.rounds is None:
                yield from self._one_by_one(batch)
            else:
                yield from self._in_turns(batch, self._plan.rounds)

    def _one_by_one(self, batch: int) -> Iterator[Result]:
        results: list[Result] = []
        for candidate in self._candidates:
            self._progress(f"batch {batch}: {candidate.name} {candidate.precision}")
            apart = self._difference(candidate, batch)
            timings = self._timed(candidate, batch, self._plan.seconds, WARM_UP)
            results.append(Result(candidate.name, candidate.precision, batch, timings, apart))
            yield results[-1]
        self._progress(f"batch {batch}: {self._first.name} once more")
        self._look_for_drift(batch, results[0].timings)

    def _timed(self, candidate: Candidate, batch: int, seconds: float, warm_up: int) -> Timings:
        call = self._call(candidate, batch)
        return timed_for(call, seconds, warm_up=warm_up, least=LEAST)

    def _worked_out(self) -> Array:
        """Return the outputs to compare with where Keras takes no part."""
        parts = []
        for rows in chunks(len(self._inputs), _AT_ONCE):
            self._progress(f"working out what to compare with, image {rows.start + 1}")
            parts.append(self._opened.outputs(self._inputs[rows]))
        outputs: Array = np.concatenate(parts)
        return outputs

    @property
    def _first(self) -> Candidate:
        return next(iter(self._candidates))

    def _call(self, candidate: Candidate, batch: int) -> Callable[[], object]:
        x = _repeated(self._inputs, batch)
        return lambda: candidate.predict(x)

    def _look_for_drift(self, batch: int, first: Timings) -> None:
        """Note if the first is not as fast at the end as it was: then nothing compares well."""
        last = self._timed(self._first, batch, self._plan.seconds / 2, 1)  # it is traced already
        drift = last.median / first.median
        if not 1 / _DRIFT < drift < _DRIFT:
            self.drifts.append(
                f"At batch {batch} {self._first.name} took {drift:.2f} times as long at the end as "
                "at the start: the machine was not idle, or changed its speed. Measure again."
            )

    def _in_turns(self, batch: int, rounds: int) -> Iterator[Result]:
        self._progress(f"batch {batch}: comparing outputs")
        candidates = list(self._candidates)
        differences = [self._difference(candidate, batch) for candidate in candidates]
        times = interleaved(
            {f"{c.name} {c.precision}": self._call(c, batch) for c in candidates},
            rounds,
            warm_up=WARM_UP,
            settle=1,
            calls=calls_a_turn(batch),
            progress=lambda done, of: self._progress(f"batch {batch}: round {done} of {of}"),
        )
        for c, apart in zip(candidates, differences, strict=True):
            yield Result(c.name, c.precision, batch, times[f"{c.name} {c.precision}"], apart)

    def _difference(self, candidate: Candidate, batch: int) -> Difference | None:
        """Return how far a candidate's outputs are from the reference; None for another net."""
        if not candidate.same_net:
            return None
        outputs = _outputs(candidate, self._inputs, batch)
        if self._keras_first and candidate is self._first:
            self.reference = outputs
        return difference(self.reference, outputs)


def _outputs(candidate: Candidate, inputs: Array, batch: int) -> Array:
    """Return the outputs for `inputs`, computed in batches of exactly `batch`."""
    whole = _repeated(inputs, math.ceil(len(inputs) / batch) * batch)
    parts = [np.array(candidate.predict(whole[rows])) for rows in chunks(len(whole), batch)]
    outputs: Array = np.concatenate(parts)[: len(inputs)]
    return outputs


def _repeated(inputs: Array, count: int) -> Array:
    """Return the first `count` of the inputs, begun again where they are fewer."""
    return np.resize(inputs, (count, *inputs.shape[1:]))


def _flops(opened: Opened) -> int | None:
    macs = _graph_macs(opened.graph) if opened.graph else _keras_macs(opened.model)
    known = [value for value in macs if value is not None]
    return 2 * sum(known) if len(known) == len(macs) else None


def _keras_macs(model: Any) -> list[int | None]:
    return [row.macs for row in layer_rows(model)]


def _graph_macs(graph: Graph) -> list[int | None]:
    return [_macs(graph, x) for x in graph.operations if x.kind in (*WEIGHTED, "attention")]


def _macs(graph: Graph, operation: Operation) -> int | None:
    """Return the MACs of an operation; None of images of any size."""
    attends = operation.kind == "attention"
    names = operation.inputs[:2] if attends else (operation.name,)
    shapes = [graph.shapes[name] for name in names]
    if any(None in shape for shape in shapes):
        return None
    known = cast(list[Shape], shapes)
    if attends:
        return attention_macs(*known)
    return kernel_macs(operation.kernel.shape, known[0][:-1])


def _keras_beside(report: BenchReport) -> list[str]:
    """Return how many times as fast as Keras each batch's first is, where Keras comes last."""
    own = [result for result in report.results if result.name == KERAS]
    times = (f"{1 / report.ratio(x):.1f} times at batch {x.batch}" for x in own)
    return [f"The first is as fast as {KERAS} {', '.join(times)}."] if own else []


def _is_flat(outputs: Array) -> bool:
    """Return whether all outputs are nearly the same, as those of an untrained net are."""
    return bool(np.ptp(outputs) < 0.05 * np.abs(outputs).max())


def _notes(
    *,
    other_precisions: bool,
    generated_images: bool,
    generated_ranges: bool,
    flat: bool,
    in_numpy: bool,
    without_keras: bool,
) -> list[str]:
    """Return what a reader has to know to judge the numbers."""
    notes = {
        "bfloat16 and int8 shares are of the float32 peak too, and may be above 100 %.": (
            other_precisions
        ),
        "Outputs were compared on generated images, not on photographs.": generated_images,
        "int8 ranges were taken from generated images: its speed is right, its error is not.": (
            generated_ranges
        ),
        "Outputs were compared with the net's as NumPy works them out.": in_numpy,
        "Name keras among the engines to time it too.": without_keras,
        "The net's outputs are all nearly the same, as with random weights: errors and same "
        "classes say little.": flat,
    }
    return [note for note, applies in notes.items() if applies]
