"""bench(): how fast a model is in every engine and precision, and how far from Keras."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_mobilenet.deploy.bench.candidates import (
    KERAS,
    Array,
    Candidate,
    chosen_pairs,
    compile_candidates,
)
from keras_mobilenet.deploy.bench.machine import Machine, Peak, measured_peak, this_machine
from keras_mobilenet.deploy.bench.timing import Timings, interleaved
from keras_mobilenet.deploy.comparison import Difference, difference, generated_images
from keras_mobilenet.deploy.engines.engine import Precision, chunks
from keras_mobilenet.deploy.graphs.calibration import calibration_samples
from keras_mobilenet.deploy.opened import Opened, open_model
from keras_mobilenet.display.summaries import layer_rows
from keras_mobilenet.nets.arguments import positive_int

BATCHES = (1, 8, 64)
ROUNDS = 20
PACKAGES = ("keras-mobilenet", "keras", "tensorflow", "numpy", "ai-edge-litert", "openvino",
            "nncf", "onnxruntime")  # fmt: skip
_GENERATED = 16  # images, to compare outputs on
_WARM_UP = 3  # calls: the first traces or compiles, the second may still allocate
_CALLS = 8  # single images timed a turn: a 95th percentile needs many


@dataclass(frozen=True)
class Result:
    """How one candidate did at one batch size."""

    name: str
    precision: Precision
    batch: int
    timings: Timings
    difference: Difference | None  # from Keras; None for another net

    @property
    def rate(self) -> float:
        """Images a second, by the median."""
        return self.batch / self.timings.median


@dataclass(frozen=True)
class BenchReport:
    """All that was measured in one run."""

    model: str
    machine: Machine
    peak: Peak
    flops: int | None  # of one image: two for each MAC; None where they cannot be counted
    rounds: int
    images: int  # that outputs were compared on
    results: tuple[Result, ...]
    skipped: dict[str, str]  # candidate -> why it is not there
    notes: tuple[str, ...]

    def ratio(self, result: Result) -> float:
        """Return how many times as fast a candidate is as Keras' `predict` at the same batch."""
        reference = next(r for r in self.results if (r.name, r.batch) == (KERAS, result.batch))
        return result.rate / reference.rate

    def peak_share(self, result: Result) -> float | None:
        """Return the share of the machine's float32 peak, in any precision; None if not known."""
        return None if self.flops is None else result.rate * self.flops / 1e9 / self.peak.gflops


def bench(
    model: Any,
    *,
    name: str | None = None,
    engines: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    batches: Sequence[int] = BATCHES,
    rounds: int = ROUNDS,
    calibration: Any = None,
    images: Any = None,
    peers: Sequence[Candidate] = (),
    progress: Callable[[str], Any] = lambda _: None,
) -> BenchReport:
    """Time a model in Keras, in `tf.function` and in every engine, all in turns.

    A turn opens with a call that is not timed; the timed calls cover what a user's call covers:
    a NumPy array in, a NumPy array out.

    Args:
        model: A Keras model that takes images, or a `.keras` file.
        name: What the report calls it; its own name by default.
        engines: Some of `deploy.engines.ENGINES`; None for all that are installed.
        precisions: Some of `"float32"`, `"bfloat16"`, `"int8"`; None for all.
        batches: How many images a call gets, each of them in rounds of its own.
        rounds: Turns of each candidate; one more if odd, to let each go first as often as last.
        calibration: Images for int8, as `Predictor` takes them; generated ones by default.
        images: Images to compare the outputs on, likewise; generated ones by default.
        peers: Other candidates.
        progress: Called with what is being done, in words.

    Raises:
        ValueError: an argument is wrong, or the model does not take one batch of images.
        MissingExtraError: an engine that was asked for by name is not installed.
    """
    opened = open_model(model)
    pairs = chosen_pairs(engines, precisions)
    batches = _batch_sizes(batches)
    rounds = positive_int("rounds", rounds, "Each candidate has that many turns.")
    rounds += rounds % 2
    inputs = _inputs(images, opened)
    if opened.input_dtype == "uint8":  # the scaling is in its graph
        inputs = inputs.astype(np.uint8)
    int8 = any(precision == "int8" for _, precision in pairs)
    samples = _inputs(calibration, opened) if int8 else None
    with ExitStack() as closing:
        # Before anything else, and after it: a machine that slows down has its best once.
        progress("measuring the machine's peak")
        peaks = [measured_peak()]
        compiled = compile_candidates(
            opened,
            pairs,
            samples=samples,
            optional=engines is None,
            closing=closing,
            progress=progress,
        )
        candidates = [*compiled.candidates, *peers]
        results = [
            result
            for batch in batches
            for result in _measured(candidates, inputs, batch, rounds, progress)
        ]
        peaks.append(measured_peak())
    seen = {result.precision for result in results}
    return BenchReport(
        model=name or opened.name,
        machine=this_machine(*PACKAGES),
        peak=max(peaks, key=lambda peak: peak.gflops),
        flops=_flops(opened.model),
        rounds=rounds,
        images=len(inputs),
        results=tuple(results),
        skipped=compiled.skipped,
        notes=tuple(
            _notes(
                other_precisions=seen != {"float32"},
                generated_images=images is None,
                generated_ranges=calibration is None and "int8" in seen,
                flat=_is_flat(_outputs(candidates[0], inputs[:_GENERATED], _GENERATED)),
            )
        ),
    )


def _batch_sizes(batches: Sequence[int]) -> tuple[int, ...]:
    remedy = "Pass some, such as (1, 8, 64)."
    if not batches:
        raise ValueError(f"`batches` holds no batch size. {remedy}")
    return tuple(positive_int("batches", batch, remedy) for batch in batches)


def _inputs(images: Any, opened: Opened) -> Array:
    """Return images as the model's inputs, generated ones where there are none."""
    shape = opened.input_shape
    if images is not None:
        return calibration_samples(images, opened.info, shape)
    height, width = opened.info.size or (224, 224)
    sizes = (_GENERATED, shape[0] or height, shape[1] or width, shape[2] or 3)
    return opened.info.comparable.scaled(generated_images(sizes))


def _measured(
    candidates: Sequence[Candidate],
    inputs: Array,
    batch: int,
    rounds: int,
    progress: Callable[[str], Any],
) -> list[Result]:
    """Return a result for each candidate at one batch size."""
    progress(f"batch {batch}: comparing outputs")
    reference = _outputs(candidates[0], inputs, batch)
    differences: list[Difference | None] = [difference(reference, reference)]
    for candidate in candidates[1:]:
        outputs = _outputs(candidate, inputs, batch) if candidate.same_net else None
        differences.append(None if outputs is None else difference(reference, outputs))
    x = _repeated(inputs, batch)

    def call(candidate: Candidate) -> Callable[[], object]:
        return lambda: candidate.predict(x)

    times = interleaved(
        {f"{c.name} {c.precision}": call(c) for c in candidates},
        rounds,
        warm_up=_WARM_UP,
        settle=1,
        calls=max(1, _CALLS // batch),
        progress=lambda done, of: progress(f"batch {batch}: round {done} of {of}"),
    )
    return [
        Result(c.name, c.precision, batch, times[f"{c.name} {c.precision}"], apart)
        for c, apart in zip(candidates, differences, strict=True)
    ]


def _outputs(candidate: Candidate, inputs: Array, batch: int) -> Array:
    """Return the outputs for `inputs`, computed in batches of exactly `batch`."""
    whole = _repeated(inputs, math.ceil(len(inputs) / batch) * batch)
    parts = [np.array(candidate.predict(whole[rows])) for rows in chunks(len(whole), batch)]
    outputs: Array = np.concatenate(parts)[: len(inputs)]
    return outputs


def _repeated(inputs: Array, count: int) -> Array:
    """Return the first `count` of the inputs, begun again where they are fewer."""
    return np.resize(inputs, (count, *inputs.shape[1:]))


def _flops(model: Any) -> int | None:
    macs = [row.macs for row in layer_rows(model)]
    known = [value for value in macs if value is not None]
    return 2 * sum(known) if len(known) == len(macs) else None


def _is_flat(outputs: Array) -> bool:
    """Return whether all outputs are nearly the same, as those of an untrained net are."""
    return bool(np.ptp(outputs) < 0.05 * np.abs(outputs).max())


def _notes(
    *, other_precisions: bool, generated_images: bool, generated_ranges: bool, flat: bool
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
        "The net's outputs are all nearly the same, as with random weights: errors and same "
        "classes say little.": flat,
    }
    return [note for note, applies in notes.items() if applies]
