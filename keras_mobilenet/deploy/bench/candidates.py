"""Who takes part in a benchmark: Keras, `tf.function`, and every engine in every precision.

Keras is imported where it takes part, or where a model or an engine needs it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.bench.plan import KERAS, TRACED, Plan, predictor_name
from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.deploy.opened import Opened
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import AgreementWarning, BackendError, MissingExtraError, PrecisionError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Candidate:
    """One way to compute a net's outputs for a batch of inputs."""

    name: str
    precision: Precision
    predict: Callable[[Array], Array]
    same_net: bool = True  # whether its outputs are to be compared


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
    plan: Plan,
    *,
    samples: Array | None,
    closing: ExitStack,
    skipped: dict[str, str],
    progress: Callable[[str], Any],
) -> Iterator[Candidate]:
    """Yield Keras' own two ways to run a model, if wanted, and a `Predictor` for each pair.

    Each is compiled when it is asked for. Keras' own come first where the Keras model is there.

    Args:
        opened: The model.
        plan: Whether Keras takes part, engines and precisions: those that it names must be there.
        samples: Inputs that int8 ranges are taken from.
        closing: Takes over the predictors.
        skipped: Takes what was left out, and why.
        progress: Called with what is being compiled, in words.

    Raises:
        MissingExtraError: an engine that is named is not installed.
        BackendError: one that is named needs another backend of Keras.
        PrecisionError: the processor does not compute in a precision that is named.
    """
    if plan.keras and opened.model is not None:
        yield from _keras_own(opened.model, skipped)
    for engine, precision in plan.pairs:
        name = predictor_name(engine)
        progress(f"compiling {engine} {precision}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AgreementWarning)  # the report tells it
                predictor = Predictor(
                    opened, engine=engine, precision=precision, calibration=samples
                )
        except (BackendError, MissingExtraError, PrecisionError) as error:
            named = plan.precisions if isinstance(error, PrecisionError) else plan.engines
            if named is not None:
                raise
            skipped[f"{name} {precision}"] = str(error)
            continue
        closing.callback(predictor.close)
        yield Candidate(name, precision, predictor.predict)
    if plan.keras and opened.model is None:
        progress("building the net in Keras")
        yield from _keras_own(opened.in_keras().model, skipped)


def _keras_own(model: Any, skipped: dict[str, str]) -> Iterator[Candidate]:
    yield Candidate(KERAS, "float32", _keras_predict(model))
    try:
        yield _traced(model)
    except BackendError as error:
        skipped[TRACED] = str(error)


def _keras_predict(model: Any) -> Callable[[Array], Array]:
    def predict(x: Array) -> Array:
        return np.asarray(model.predict(x, verbose=0))

    return predict


def _traced(model: Any) -> Candidate:
    """Return the model as TensorFlow's guides say to speed it up: traced once, for any batch."""
    from keras_mobilenet.models.backends import import_tensorflow  # noqa: PLC0415 - Keras

    tf = import_tensorflow(TRACED)
    (tensor,) = model.inputs
    function = tf.function(
        lambda x: model(x, training=False),
        input_signature=[tf.TensorSpec(tensor.shape, tensor.dtype)],
        autograph=False,
    )
    return Candidate(TRACED, "float32", lambda x: function(tf.constant(x)).numpy())
