"""JAX and PyTorch under Keras: the same outputs as TensorFlow, and no TensorFlow for them."""

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import backend_outputs
import numpy as np
import pytest
from conftest import SHARED_DATA

from keras_mobilenet.deploy.comparison import difference

pytestmark = pytest.mark.backends
SCRIPT = Path(__file__).with_name("backend_outputs.py")
DATA = SHARED_DATA if SHARED_DATA.is_dir() else None
# Largest difference, of the largest output: float32 sums in other orders, through 28 layers. They
# differ by a few 1e-6 from library to library; a wrong padding or epsilon by 1e-2 and more.
TOLERANCE = 5e-5
# To compile takes JAX most of its time, and a third less where it optimizes nothing.
JAX = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
BACKENDS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            find_spec(name) is None, reason=f"needs the extra `{name}`, which is not installed"
        ),
    )
    for name in ("jax", "torch")
]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Return the process of each backend, all of them begun at once, with the file it writes."""
    folder, processes = tmp_path_factory.mktemp("outputs"), {}
    for name in ("jax", "torch"):
        if find_spec(name) is not None:
            file = folder / f"{name}.npz"
            command = [sys.executable, SCRIPT, file, *filter(None, [DATA])]
            environment = os.environ | JAX | {"KERAS_BACKEND": name}
            output = (folder / f"{name}.txt").open("w+")
            process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            processes[name] = process, output, file
    yield processes
    for process, output, _ in processes.values():
        process.kill()
        process.wait()
        output.close()


@pytest.fixture(scope="module")
def expected(started):
    """Return what TensorFlow computes, here, while the others do."""
    with tempfile.TemporaryDirectory() as temporary:
        return dict(backend_outputs.outputs(Path(temporary), DATA))


@pytest.fixture(scope="module")
def computed(started):
    """Return what a backend computed, once all of what it shall do is done and right."""

    def outputs(name):
        process, output, file = started[name]
        code = process.wait()
        output.seek(0)
        assert code == 0, output.read()
        return dict(np.load(file))

    return outputs


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_are_those_of_tensorflow(backend, expected, computed):
    ours = {key: y for key, y in computed(backend).items() if not key.startswith("says ")}
    assert ours.keys() == expected.keys()
    apart = {name: difference(expected[name], ours[name]).relative_error for name in expected}
    assert {name: error for name, error in apart.items() if not error <= TOLERANCE} == {}


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_models_borrow_tensorflow_and_a_traced_engine_says_it_cannot(backend, computed):
    assert str(computed(backend)["says keras engine"]).startswith(
        f"The engine 'keras' needs TensorFlow as Keras' backend. Found: '{backend}'. Pass engine="
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_layer_that_the_other_process_does_not_know_is_named(backend, computed):
    message = str(computed(backend)["says own layer"])
    assert message.startswith("Tracing a model needs TensorFlow as Keras' backend. Found: '")
    assert "Own" in message
    assert "Set KERAS_BACKEND=tensorflow" in message
