"""measure_latencies(): the published nets timed on this machine, for estimates of all others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from keras_mobilenet.deploy.bench.machine import this_machine
from keras_mobilenet.deploy.bench.timing import interleaved
from keras_mobilenet.deploy.comparison import generated_images
from keras_mobilenet.deploy.engines.choice import AUTO
from keras_mobilenet.deploy.engines.engine import Precision
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import AgreementWarning
from keras_mobilenet.images.prefetch import all_cores
from keras_mobilenet.mobilenet import MobileNet
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.costs.latency import Latency, LatencyTable

ROUNDS = 10
_WARM_UP = 3
_CALLS = 5  # a turn
_IMAGES = 8  # that int8 ranges are taken from: any ranges take the same time
_PACKAGES = ("keras-mobilenet", "tensorflow", "ai-edge-litert", "openvino", "onnxruntime")
Net = tuple[float, int]  # alpha and size
PUBLISHED: tuple[Net, ...] = tuple((row.alpha, row.size) for row in pretrained.rows_of("MobileNet"))


def measure_latencies(
    *,
    engine: str = AUTO,
    precision: Precision = "float32",
    threads: int | None = None,
    nets: Sequence[Net] = PUBLISHED,
    rounds: int = ROUNDS,
    progress: Callable[[str], Any] = lambda _: None,
) -> LatencyTable:
    """Return how long one image takes in each published net, timed in turns.

    The weights are random: they take the same time.

    Args:
        engine: As in `Predictor`.
        precision: As in `Predictor`.
        threads: As in `Predictor`; None for all processors.
        nets: The alpha and size of each net to time.
        rounds: Turns of each.
        progress: Called with what is being done, in words.

    Raises:
        ValueError: an argument is wrong.
        MissingExtraError: the engine is not installed.
    """
    with ExitStack() as closing:
        actions: dict[str, Callable[[], object]] = {}
        for alpha, size in nets:
            progress(f"compiling alpha {alpha:g} at {size}")
            predictor = _compiled(alpha, size, engine, precision, threads)
            closing.callback(predictor.close)
            x = generated_images((1, size, size, 3), low=-1.0, high=1.0)
            actions[_name(alpha, size)] = partial(predictor.predict, x)
        times = interleaved(
            actions,
            rounds,
            warm_up=_WARM_UP,
            settle=1,
            calls=_CALLS,
            progress=lambda done, of: progress(f"round {done} of {of}"),
        )
        chosen = predictor.engine
    return LatencyTable(
        machine=str(this_machine(*_PACKAGES)),
        engine=chosen,
        precision=precision,
        threads=threads or all_cores(),
        rows=tuple(Latency(a, size, times[_name(a, size)].median) for a, size in nets),
    )


def _compiled(
    alpha: float, size: int, engine: str, precision: Precision, threads: int | None
) -> Predictor:
    net = MobileNet((size, size, 3), alpha=alpha, weights=None)
    some = None
    if precision == "int8":
        some = generated_images((_IMAGES, size, size, 3), low=-1.0, high=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AgreementWarning)  # random weights: only the time counts
        return Predictor(net, engine=engine, precision=precision, calibration=some, threads=threads)


def _name(alpha: float, size: int) -> str:
    return f"{alpha:g} at {size}"
