"""What a benchmark measures, and about how long that takes: known before Keras is imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from keras_mobilenet.deploy.engines.choice import (
    ENGINES,
    PRECISIONS,
    is_installed,
    precisions_of,
)
from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.nets.arguments import positive_int

BATCHES = (1, 8)
SECONDS = 1.0
KERAS = "Keras predict"  # what all others are compared with, where it is there
TRACED = "tf.function"
GENERATED = 8  # images, to compare outputs on
WARM_UP = 3  # calls: the first traces or compiles, the second may still allocate
LEAST = 5  # calls that are timed, however long one takes
TURN = 8  # single images timed a turn: a 95th percentile needs many

Pair = tuple[str, Precision]
# Left out where nobody asks for them, so that all takes under a minute: the first computes what
# `tf.function` does, the second takes the longest to convert, the third pays on some processors.
RARELY_ASKED: tuple[Pair, ...] = (
    ("keras", "float32"), ("onnxruntime", "float32"), ("openvino", "bfloat16"),
)  # fmt: skip

# Seconds on 2 cores, for an estimate.
_PEAK = 2.0  # the machine's is measured
_KERAS = 8.0  # Keras and TensorFlow are imported, the net built
_IN_NUMPY = 0.1  # an image, to compare with, of MobileNet V1 at 224
_COMPILING = 2.5  # a candidate, on average
_IMAGE = 0.01  # MobileNet V1 at 224, on average over the candidates
_V1_MACS = 568_740_352


def predictor_name(engine: str) -> str:
    """Return what a `Predictor` is called in a report."""
    return f"Predictor {engine}"


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long.

    Raises:
        ValueError: a name is unknown, a number is wrong, or none of the engines computes in any of
            the precisions.
    """

    engines: Sequence[str] | None = None  # some of `ENGINES`; None for Keras and those installed
    precisions: Sequence[str] | None = None  # some of `PRECISIONS`; None for all
    everything: bool = False  # whether `RARELY_ASKED` come too where neither of these is given
    batches: Sequence[int] = BATCHES  # how many images a call gets
    seconds: float = SECONDS  # of timed calls, for each candidate at each batch size
    rounds: int | None = None  # turns of each candidate, instead: one more if odd, as in `turns`
    pairs: tuple[Pair, ...] = field(init=False)  # engines and precisions that go together

    def __post_init__(self) -> None:
        """Check what was given."""
        pairs = chosen_pairs(self.engines, self.precisions)
        if not self.everything and self.engines is None and self.precisions is None:
            pairs = [pair for pair in pairs if pair not in RARELY_ASKED]
        object.__setattr__(self, "pairs", tuple(pairs))
        object.__setattr__(self, "batches", _batch_sizes(self.batches))
        if self.rounds is not None:
            rounds = positive_int("rounds", self.rounds, "Each candidate has that many turns.")
            object.__setattr__(self, "rounds", rounds + rounds % 2)
        _check_seconds(self.seconds)

    @property
    def keras(self) -> bool:
        """Whether Keras' own two ways are timed: where it, or nothing, is among the engines.

        Of engines alone neither Keras nor TensorFlow is imported, unless a model needs them.
        """
        return self.engines is None or "keras" in self.engines

    @property
    def keras_last(self) -> bool:
        """Whether Keras may wait: unless it is named, what needs no import of it comes first.

        Where all take turns, all are made before the first is timed.
        """
        needs_it = any(engine == "keras" for engine, _ in self.pairs)
        return self.engines is None and self.rounds is None and not needs_it

    @property
    def names(self) -> tuple[str, ...]:
        """The candidates' names, each once, whether or not they turn out to be installed."""
        own = (KERAS, TRACED) if self.keras else ()
        return (*own, *dict.fromkeys(predictor_name(engine) for engine, _ in self.pairs))

    def estimate(self, macs: int | None = None, images: int = GENERATED) -> str:
        """Return about how long the whole command takes, in words, and how that comes about.

        Args:
            macs: Multiply-accumulates of an image; None for as many as V1 has.
            images: How many the outputs are compared on.
        """
        image = _IMAGE * (macs or _V1_MACS) / _V1_MACS
        rows = (self._row_seconds(batch, image, images) for batch in self.batches)
        each = round(_COMPILING + sum(rows))
        count, own = sum(is_installed(*pair) for pair in self.pairs), 2 * self.keras
        working_out = images * _IN_NUMPY * image / _IMAGE
        start = _PEAK + (_KERAS if self.keras and not self.keras_last else working_out)
        total = round(start) + (count + own) * each + _KERAS * self.keras_last
        about = f"{total:.0f} s" if total < 120 else f"{total / 60:.0f} minutes"
        first = count if self.keras_last else count + own
        candidates = "candidate" if first == 1 else "candidates"
        text = f"about {about}: {start:.0f} s to start, then {first} {candidates} at {each} s"
        return f"{text}, {_KERAS:.0f} s to import Keras, {own} more" if self.keras_last else text

    def _row_seconds(self, batch: int, image: float, images: int) -> float:
        """Return how long one candidate takes at one batch size, from the seconds an image takes.

        Outputs are compared and the calls warmed up before any is timed.
        """
        before = max(images, batch) + WARM_UP * batch
        if self.rounds is None:
            return before * image + max(self.seconds, LEAST * batch * image)
        return (before + self.rounds * (1 + calls_a_turn(batch)) * batch) * image


def calls_a_turn(batch: int) -> int:
    """Return how many calls are timed in a turn, where candidates take turns."""
    return max(1, TURN // batch)


def chosen_pairs(engines: Sequence[str] | None, precisions: Sequence[str] | None) -> list[Pair]:
    """Return the engines and precisions that go together; None stands for all.

    Raises:
        ValueError: a name is unknown, or none of the engines computes in any of the precisions.
    """
    _check_names("engines", engines, tuple(ENGINES))
    _check_names("precisions", precisions, PRECISIONS)
    pairs = [
        (engine, precision)
        for precision in PRECISIONS
        for engine in ENGINES
        if (precisions is None or precision in precisions)
        and (engines is None or engine in engines)
        and precision in precisions_of(engine)
    ]
    if not pairs:
        able = "; ".join(f"{e}: {', '.join(precisions_of(e))}" for e in ENGINES)
        raise ValueError(
            f"None of `engines` {engines} computes in any of `precisions` {precisions}. "
            f"There are {able}."
        )
    return pairs


def _check_names(argument: str, names: Sequence[str] | None, known: Sequence[str]) -> None:
    unknown = [name for name in names or () if name not in known]
    if unknown or (names is not None and not names):
        raise ValueError(
            f"`{argument}` must be one or more of {', '.join(map(repr, known))}. "
            f"Received: {', '.join(map(repr, unknown)) or 'none'}"
        )


def _batch_sizes(batches: Sequence[int]) -> tuple[int, ...]:
    remedy = "Pass some, such as (1, 8, 64)."
    if not batches:
        raise ValueError(f"`batches` holds no batch size. {remedy}")
    return tuple(dict.fromkeys(positive_int("batches", batch, remedy) for batch in batches))


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds < math.inf:
        raise ValueError(f"`seconds` must be a number above 0. Received: seconds={seconds!r}")
