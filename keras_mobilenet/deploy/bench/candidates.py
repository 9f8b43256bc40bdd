"""Who takes part in a benchmark: Keras, `tf.function`, and every engine in every precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.bench.plan import KERAS, TRACED, Pair, predictor_name
from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.deploy.opened import Opened
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import AgreementWarning, BackendError, MissingExtraError, PrecisionError
from keras_mobilenet.models.backends import import_tensorflow

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Candidate:
    """One way to compute a net's outputs for a batch of inputs."""

    name: str
    precision: Precision
    predict: Callable[[Array], Array]
    same_net: bool = True  # whether its outputs are to be compared with Keras'


class Kept:
    """Candidates as often as asked for, each of them made once, when it is first asked for."""

    def __init__(self, coming: Iterable[Candidate]) -> None:
        """Take them over from what makes them one by one."""
        self._coming = iter(coming)
        self._made: list[Candidate] = []

    def __iter__(self) -> Iterator[Candidate]:
        """Yield those that are made, and make the others."""
        yield from self._made
        for candidate in self._coming:
            self._made.append(candidate)
            yield candidate


def compiled_candidates(
    opened: Opened,
    pairs: Sequence[Pair],
    *,
    samples: Array | None,
    optional: bool,
    closing: ExitStack,
    skipped: dict[str, str],
    progress: Callable[[str], Any],
) -> Iterator[Candidate]:
    """Yield Keras' own two ways to run a model, then a `Predictor` for each pair.

    Each is compiled when it is asked for.

    Args:
        opened: The Keras model.
        pairs: Engines and precisions.
        samples: Inputs that int8 ranges are taken from.
        optional: Whether an engine that is not installed is left out.
        closing: Takes over the predictors.
        skipped: Takes what was left out, and why.
        progress: Called with what is being compiled, in words.

    Raises:
        MissingExtraError: an engine is not installed, and not optional.
        PrecisionError: likewise, the processor does not compute in a precision.
        BackendError: likewise, an engine needs another backend of Keras.
    """
    yield Candidate(KERAS, "float32", _keras_predict(opened.model))
    try:
        yield _traced(opened.model)
    except BackendError as error:
        skipped[TRACED] = str(error)
    for engine, precision in pairs:
        name = predictor_name(engine)
        progress(f"compiling {engine} {precision}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AgreementWarning)  # the report tells it
                predictor = Predictor(
                    opened, engine=engine, precision=precision, calibration=samples
                )
        except (BackendError, MissingExtraError, PrecisionError) as error:
            if not optional:
                raise
            skipped[f"{name} {precision}"] = str(error)
            continue
        closing.callback(predictor.close)
        yield Candidate(name, precision, predictor.predict)


def _keras_predict(model: Any) -> Callable[[Array], Array]:
    def predict(x: Array) -> Array:
        return np.asarray(model.predict(x, verbose=0))

    return predict


def _traced(model: Any) -> Candidate:
    """Return the model as TensorFlow's guides say to speed it up: traced once, for any batch."""
    tf = import_tensorflow(TRACED)
    (tensor,) = model.inputs
    function = tf.function(
        lambda x: model(x, training=False),
        input_signature=[tf.TensorSpec(tensor.shape, tensor.dtype)],
        autograph=False,
    )
    return Candidate(TRACED, "float32", lambda x: function(tf.constant(x)).numpy())
