"""What only TensorFlow can do with a Keras model, where Keras computes with JAX or PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import keras

from keras_mobilenet.errors import BackendError
from keras_mobilenet.models.model_files import save_model

TENSORFLOW = "tensorflow"
_CODE = """
import sys
from keras_mobilenet.deploy.graphs.traced import conversion
from keras_mobilenet.models.model_files import load_model
task, model, path = sys.argv[1:]
try:
    getattr(conversion, task)(load_model(model), path)
except Exception as error:
    print(error)  # without the traceback, and apart from what libraries write to stderr
    sys.exit(1)
"""


def is_tensorflow() -> bool:
    """Return whether Keras computes with TensorFlow."""
    return str(keras.backend.backend()) == TENSORFLOW


def inferred(model: Any, inputs: Any) -> Any:
    """Return what `model` puts out at inference for one batch, in tensors or NumPy arrays.

    TensorFlow computes layer by layer: to trace the net takes longer than one batch. JAX would
    compile each operation by itself, five times as long as all at once, and PyTorch keep what
    gradients need.
    """
    if isinstance(getattr(model, "input", None), list) and not isinstance(inputs, list):
        inputs = [inputs]  # else Keras warns
    return model(inputs, training=False) if is_tensorflow() else model.predict_on_batch(inputs)


@contextmanager
def tensorflow_left_out() -> Iterator[None]:
    """Keep Keras from importing TensorFlow for a configuration, under another backend.

    It looks for TensorFlow's shapes in everything that it serializes; where TensorFlow is not
    imported, there are none. That import would take many times as long as an export.
    """
    lazy = getattr(sys.modules.get("keras.src.saving.serialization_lib"), "tf", None)
    if "tensorflow" in sys.modules or getattr(lazy, "_available", True) is not None:
        yield
        return
    vars(lazy)["_available"] = False
    try:
        yield
    finally:
        vars(lazy)["_available"] = None


def import_tensorflow(feature: str, remedy: str = "") -> Any:
    """Return the package `tensorflow`, for what traces a Keras model.

    Args:
        feature: What needs it, as an error's first words.
        remedy: A sentence for the error, if another way leads there too.

    Raises:
        BackendError: Keras' backend is another.
    """
    if not is_tensorflow():
        raise BackendError(feature, str(keras.backend.backend()), remedy)
    import tensorflow as tf  # noqa: PLC0415 - not needed to import the package

    return tf


def in_tensorflow(task: str, feature: str, model: Any, path: str | PathLike[str]) -> None:
    """Do what `conversion.<task>(model, path)` does, in a process whose backend is TensorFlow.

    The model goes there as a `.keras` file, so that its layers must be Keras' own or registered.

    Args:
        task: A function's name.
        feature: What it does, as an error's first words.
        model: A Keras model.
        path: What it writes.

    Raises:
        BackendError: the process failed; the error holds its own.
    """
    # The folders that imports are found in here: the package need not be installed.
    paths = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"KERAS_BACKEND": TENSORFLOW, "PYTHONPATH": paths}
    with tempfile.TemporaryDirectory(prefix="keras-mobilenet-") as folder:
        file = Path(folder) / "model.keras"
        save_model(model, file)
        command = [sys.executable, "-c", _CODE, task, str(file), os.fspath(path)]
        done = subprocess.run(  # noqa: S603 - the code above, without a shell
            command, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        words = done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]
        raise BackendError(
            feature,
            str(keras.backend.backend()),
            f"A process with TensorFlow, which was given the model as a .keras file, failed: "
            f"{words}\n",
        )
