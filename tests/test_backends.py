"""JAX and PyTorch under Keras: the same outputs as TensorFlow, and no TensorFlow for them."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED_DATA

from keras_mobilenet.deploy.comparison import difference

SCRIPT = Path(__file__).with_name("backend_outputs.py")
# Largest difference, of the largest output: float32 sums in other orders, through 28 layers. They
# differ by a few 1e-6 from library to library; a wrong padding or epsilon by 1e-2 and more.
TOLERANCE = 5e-5


def start(backend, *arguments):
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def installed(backend):
    if find_spec(backend) is None:
        pytest.skip(f"needs the extra `{backend}`, which is not installed")
    return backend


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Return the outputs under a backend, computed once."""
    known, folder = {}, tmp_path_factory.mktemp("outputs")

    def outputs(backend):
        if backend not in known:
            file = folder / f"{backend}.npz"
            data = [str(SHARED_DATA)] if SHARED_DATA.is_dir() else []
            done = start(backend, str(SCRIPT), str(file), *data)
            assert done.returncode == 0, done.stderr
            known[backend] = dict(np.load(file))
        return known[backend]

    return outputs


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_outputs_are_those_of_tensorflow(backend, computed):
    ours, theirs = computed(installed(backend)), computed("tensorflow")
    assert ours.keys() == theirs.keys()
    apart = {name: difference(theirs[name], ours[name]).relative_error for name in theirs}
    assert {name: error for name, error in apart.items() if not error <= TOLERANCE} == {}


EXPORT = """
from keras_mobilenet import MobileNet, Predictor, export
from keras_mobilenet.errors import BackendError
model = MobileNet((32, 32, 3), 0.25, weights=None, classes=3)
export(model, "net.tflite")
try:
    Predictor(model, engine="keras")
except BackendError as error:
    print(error)
"""


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_export_borrows_tensorflow_and_a_traced_engine_says_it_cannot(
    backend, tmp_path, monkeypatch
):
    installed(backend)
    monkeypatch.chdir(tmp_path)
    done = start(backend, "-c", EXPORT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "net.tflite").stat().st_size > 800_000
    assert done.stdout.startswith(
        f"The engine 'keras' needs TensorFlow as Keras' backend. Found: '{backend}'. Pass engine="
    )


FOREIGN = """
import keras
from keras_mobilenet import export
from keras_mobilenet.errors import BackendError
class Own(keras.layers.Layer):
    def call(self, x):
        return keras.ops.mean(x, (1, 2))
inputs = keras.Input((32, 32, 3))
try:
    export(keras.Model(inputs, Own()(inputs)), "net.tflite")
except BackendError as error:
    print(error)
"""


@pytest.mark.backends
def test_layer_that_the_other_process_does_not_know_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = start(installed("jax"), "-c", FOREIGN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Tracing a model needs TensorFlow as Keras' backend. Found: 'jax")
    assert "Own" in done.stdout
    assert "Set KERAS_BACKEND=tensorflow" in done.stdout
    assert not list(tmp_path.iterdir())
