"""A Keras model in an engine, folded and corrected by Keras: int8, and what only Keras knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keras_mobilenet.deploy.engines.choice import engine_module
from keras_mobilenet.deploy.engines.engine import Engine, EngineSettings
from keras_mobilenet.deploy.graphs.calibration import calibration_samples
from keras_mobilenet.deploy.graphs.traced.agreement import agreement
from keras_mobilenet.deploy.graphs.traced.bias_correction import (
    bias_corrected,
    to_bfloat16,
    to_int8,
)
from keras_mobilenet.deploy.graphs.traced.copies import in_float32
from keras_mobilenet.deploy.graphs.traced.folding import without_batch_norms
from keras_mobilenet.deploy.opened import Opened


def compiled_keras(
    opened: Opened, engine: str, settings: EngineSettings, calibration: Any
) -> tuple[Opened, float | None]:
    """Return a Keras model in an engine, and how often it names the class that Keras names.

    That is None where nothing was compared: in float32, and without calibration images.
    """
    folded, samples = opened.then(in_float32).then(without_batch_norms), None
    portable = folded
    rounding = {"int8": to_int8, "bfloat16": to_bfloat16}.get(settings.precision or "")
    if rounding is not None and (settings.precision == "int8" or calibration is not None):
        samples = calibration_samples(calibration, opened.info, opened.input_shape)
        portable = folded.then(bias_corrected, samples, rounding)
    compiled: Engine = engine_module(engine).compile_model(portable.model, settings, samples)
    agreed = None if samples is None else agreement(folded.model, compiled, samples)
    return replace(portable, model=compiled), agreed
