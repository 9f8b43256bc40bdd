"""Keras itself, traced once: the engine that is always there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.engines.checks.saved_models import check_saved_model
from keras_mobilenet.deploy.engines.engine import Engine, EngineSettings, chunks, forked, known
from keras_mobilenet.deploy.graphs.operations import INPUT, OUTPUT, SIGNATURE
from keras_mobilenet.errors import CheckpointError, fault
from keras_mobilenet.models.backends import import_tensorflow

NAME = "keras"
_BATCH = 32


class KerasEngine(Engine):
    """A traced function of TensorFlow, which runs with TensorFlow's own number of threads."""

    def __init__(self, function: Any, settings: EngineSettings) -> None:
        self._function = function
        self._batch = settings.batch_size or _BATCH
        _, inputs = function.structured_input_signature
        self.input_shape = known(inputs[INPUT].shape[1:])
        self.input_dtype = np.dtype(inputs[INPUT].dtype.as_numpy_dtype)
        self.output_shape = known(function.structured_outputs[OUTPUT].shape[1:])

    def run(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the outputs for `x`."""
        import tensorflow as tf  # noqa: PLC0415 - a SavedModel opens under any backend

        parts = [
            self._function(**{INPUT: tf.constant(x[rows])})[OUTPUT].numpy()
            for rows in chunks(len(x), self._batch)
        ]
        return np.concatenate(parts)

    def renewed(self) -> Engine:
        """Raise: TensorFlow waits for threads that are not there, whatever is run."""
        raise ValueError(forked("TensorFlow"))

    def close(self) -> None:
        """Drop the function."""
        self._function = None


def compile_model(model: Any, settings: EngineSettings, samples: Any) -> Engine:
    """Return the engine of a folded Keras model; it takes no `samples`.

    Raises:
        BackendError: Keras' backend is not TensorFlow.
    """
    tf = import_tensorflow("The engine 'keras'", "Pass engine='auto'. ")
    (tensor,) = model.inputs
    spec = tf.TensorSpec(tensor.shape, tensor.dtype, name=INPUT)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def serve(**inputs: Any) -> dict[str, Any]:
        return {OUTPUT: model(inputs[INPUT], training=False)}

    return KerasEngine(serve.get_concrete_function(**{INPUT: spec}), settings)


def open_file(path: str, settings: EngineSettings) -> Engine:
    """Return the engine of a SavedModel folder with a signature `input` to `output`.

    A SavedModel is a program; one that does more than compute is refused.

    Raises:
        CheckpointError: the folder is no SavedModel, is damaged, or has other signatures.
    """
    import tensorflow as tf  # noqa: PLC0415

    check_saved_model(path)
    try:
        module = tf.saved_model.load(path)
        function = module.signatures[SIGNATURE]
        function.module_kept = module  # its variables live as long as it does
        return KerasEngine(function, settings)
    except Exception as error:  # TensorFlow raises nearly any type at a damaged folder
        remedy = "Pass a folder that `keras_mobilenet.export` wrote."
        raise CheckpointError(fault(path, f"cannot be opened: {error}.", remedy)) from error
