"""measure_latencies(): the published nets timed on this machine, for estimates of all others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from keras_mobilenet.checkpoints.net_weights import RANDOM, Builder
from keras_mobilenet.deploy.bench.machine import this_machine
from keras_mobilenet.deploy.bench.timing import interleaved
from keras_mobilenet.deploy.comparison import generated_images
from keras_mobilenet.deploy.engines.choice import AUTO
from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import AgreementWarning
from keras_mobilenet.images.prefetch import all_cores
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.costs.latency import Latency, LatencyTable
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.published import table

ROUNDS = 10
_WARM_UP = 3
_CALLS = 5  # a turn
_IMAGES = 8  # that int8 ranges are taken from: any ranges take the same time
_PACKAGES = ("keras-mobilenet", "tensorflow", "ai-edge-litert", "openvino", "onnxruntime")
Net = tuple[str, float, int]  # key, alpha and size


def published(*keys: str) -> tuple[Net, ...]:
    """Return what nets were published of some families, the minimalistic ones left out.

    Of a family without files of Keras', they are those on the hub, at the sizes of their training.

    Raises:
        ValueError: there is no net of such a key.
    """
    return tuple(net for key in dict.fromkeys(keys) for net in _published(key))


def _published(key: str) -> tuple[Net, ...]:
    known = family(key)
    keras_own = tuple(
        (known.key, row.alpha, row.size)
        for row in pretrained.rows_of(known.name)
        if not row.minimalistic
    )
    on_hub = ((row.net, row.alpha, row.training.size) for row in table.rows_of(known.key))
    return keras_own or tuple(dict.fromkeys(on_hub))


PUBLISHED = published("mobilenet")


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
        nets: The key, as in `families.registry`, the alpha and the size of each net to time.
        rounds: Turns of each.
        progress: Called with what is being done, in words.

    Raises:
        ValueError: an argument is wrong.
        MissingExtraError: the engine is not installed.
    """
    with ExitStack() as closing:
        actions: dict[str, Callable[[], object]] = {}
        for key, alpha, size in nets:
            name = _name(key, alpha, size)
            progress(f"compiling {name}")
            predictor = _compiled(key, alpha, size, engine, precision, threads)
            closing.callback(predictor.close)
            x = generated_images((1, size, size, 3), low=-1.0, high=1.0)
            actions[name] = partial(predictor.predict, x)
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
        rows=tuple(Latency(a, n, times[_name(key, a, n)].median, key) for key, a, n in nets),
    )


def _compiled(
    key: str, alpha: float, size: int, engine: str, precision: Precision, threads: int | None
) -> Predictor:
    net = Builder(key, {"input_shape": (size, size, 3), "alpha": alpha, "weights": RANDOM})
    some = None
    if precision == "int8":
        some = generated_images((_IMAGES, size, size, 3), low=-1.0, high=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AgreementWarning)  # random weights: only the time counts
        return Predictor(net, engine=engine, precision=precision, calibration=some, threads=threads)


def _name(key: str, alpha: float, size: int) -> str:
    return f"{pretrained.label(family(key).name, alpha)} at {size}"
