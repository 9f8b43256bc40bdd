"""How often a compiled int8 or bfloat16 model names the class that the float32 model names."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import COMPARED, agreement_of, evenly_spaced
from keras_mobilenet.deploy.engines.engine import Engine, chunks
from keras_mobilenet.models.backends import inferred

_BATCH = 16
# What ends a net of features, whose largest value is no class.
_NO_CLASSIFIER = (
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Flatten,
    keras.layers.ReLU,
)


def agreement(model: Any, engine: Engine, samples: npt.NDArray[Any]) -> float | None:
    """Return the share of inputs for which both name the same class, None for nets of features.

    Args:
        model: The float32 Keras model.
        engine: What was compiled from it.
        samples: Inputs of shape `(count, height, width, channels)`.
    """
    if len(model.outputs[0].shape) != 2 or isinstance(_last_layer(model), _NO_CLASSIFIER):
        return None
    some = evenly_spaced(samples, COMPARED)
    inputs = some.astype(model.inputs[0].dtype)
    reference = np.concatenate(
        [
            keras.ops.convert_to_numpy(inferred(model, inputs[rows]))
            for rows in chunks(len(some), _BATCH)
        ]
    )
    outputs = engine.run(np.ascontiguousarray(some, engine.input_dtype))
    return agreement_of(reference, outputs)


def _last_layer(model: Any) -> Any:
    last = model.layers[-1]
    return _last_layer(last) if getattr(last, "layers", None) else last
