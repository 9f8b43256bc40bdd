"""Who takes part in a benchmark: Keras, `tf.function`, and every engine in every precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.engines.choice import ENGINES, PRECISIONS, engine_module
from keras_mobilenet.deploy.engines.engine import Precision
from keras_mobilenet.deploy.opened import Opened
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import AgreementWarning, BackendError, MissingExtraError, PrecisionError
from keras_mobilenet.models.backends import import_tensorflow

Array = npt.NDArray[Any]
KERAS = "Keras predict"  # what all others are compared with
TRACED = "tf.function"


@dataclass(frozen=True)
class Candidate:
    """One way to compute a net's outputs for a batch of inputs."""

    name: str
    precision: Precision
    predict: Callable[[Array], Array]
    same_net: bool = True  # whether its outputs are to be compared with Keras'


@dataclass
class Candidates:
    """The candidates, and those that could not come, with the reason."""

    candidates: list[Candidate] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def chosen_pairs(
    engines: Sequence[str] | None, precisions: Sequence[str] | None
) -> list[tuple[str, Precision]]:
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
        and precision in engine_module(engine).PRECISIONS
    ]
    if not pairs:
        able = "; ".join(f"{e}: {', '.join(engine_module(e).PRECISIONS)}" for e in ENGINES)
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


def compile_candidates(
    opened: Opened,
    pairs: Sequence[tuple[str, Precision]],
    *,
    samples: Array | None,
    optional: bool,
    closing: ExitStack,
    progress: Callable[[str], Any],
) -> Candidates:
    """Return Keras' own two ways to run a model, and a `Predictor` for each pair.

    Args:
        opened: The Keras model.
        pairs: Engines and precisions.
        samples: Inputs that int8 ranges are taken from.
        optional: Whether an engine that is not installed is left out, with its reason.
        closing: Takes over the predictors.
        progress: Called with what is being compiled, in words.

    Raises:
        MissingExtraError: an engine is not installed, and not optional.
        PrecisionError: likewise, the processor does not compute in a precision.
        BackendError: likewise, an engine needs another backend of Keras.
    """
    compiled = Candidates([Candidate(KERAS, "float32", _keras_predict(opened.model))])
    try:
        compiled.candidates.append(_traced(opened.model))
    except BackendError as error:
        compiled.skipped[TRACED] = str(error)
    for engine, precision in pairs:
        name = f"Predictor {engine}"
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
            compiled.skipped[f"{name} {precision}"] = str(error)
            continue
        compiled.candidates.append(Candidate(name, precision, predictor.predict))
        closing.callback(predictor.close)
    return compiled


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
