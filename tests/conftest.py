import gc
import os
import random
import re
import shutil
import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

# Before TensorFlow is imported anywhere. Processes that test side by side share the cores.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if count := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, (os.cpu_count() or 1) // count)))

import numpy as np
import pytest
from checkpoint_files import (
    assign,
    random_arrays,
    same,
    weights,
    write_keras_2,
    write_keras_3,
    write_keras_archive,
    write_safetensors,
    zeroed,
)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
SOON = 20  # seconds: a refusal takes far under one, something that blocks takes for ever
SMALL = 64 << 20  # bytes: the model has 2 million, its largest file may unpack to 28 million


def pytest_collection_modifyitems(items):
    """Let the files that take the longest begin first, so that all processes end together."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Let a test and its fixtures draw the same numbers in every run, whatever ran before it.

    Keras' initializers and dropout take their seeds from Python's generator. To seed TensorFlow's,
    by which `fit` shuffles, throws its kernels away: nets are built half as fast.
    """
    random.seed(0)
    np.random.seed(0)


def absent(reason):
    """Skip a test that lacks its data; under CI, where they should be, it fails."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@pytest.fixture(scope="session")
def shared_data():
    if not SHARED_DATA.is_dir():
        absent(f"needs the files of {SHARED_DATA}, which is not there")
    return SHARED_DATA


@pytest.fixture(scope="module", autouse=True)
def lasting_objects():
    """Keep what lasts from the garbage collector: TensorFlow's objects, and earlier files' nets.

    To look through them took a fifth of the tests' time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def tensors_as_arrays():
    """Let NumPy take PyTorch's outputs as it takes TensorFlow's and JAX's, without `detach`."""
    if os.environ.get("KERAS_BACKEND") != "torch":
        yield
        return
    import torch

    as_array = torch.Tensor.__array__
    torch.Tensor.__array__ = lambda self, dtype=None, copy=None: as_array(self.detach(), dtype)
    yield
    torch.Tensor.__array__ = as_array


@pytest.fixture
def silent(capsys):
    """Nothing is printed, whatever happens; native code's own notes are not Python's."""
    yield
    gc.collect()  # while the test's marks hold
    assert capsys.readouterr() == ("", "")


@pytest.fixture(scope="session")
def donor():
    """A model whose every weight differs; to save from, never to load into."""
    return random_model(seed=0)


@pytest.fixture(scope="session")
def built():
    """A model for `model`."""
    return random_model(seed=2)


@pytest.fixture
def model(built):
    """A model whose every weight is zero, so that what is right was loaded."""
    return zeroed(built)


@pytest.fixture(scope="session")
def target():
    """Another such model; bad files are loaded into it, and must not change it."""
    return random_model(seed=1)


def random_model(seed):
    import keras_mobilenet

    model = keras_mobilenet.MobileNet(weights=None, alpha=0.25)
    assign(model, random_arrays(seed, alpha=0.25))
    return model


@pytest.fixture(scope="session")
def good_files(tmp_path_factory):
    """A file of each format that fits the target, by its suffix."""
    folder, arrays = tmp_path_factory.mktemp("good"), random_arrays(alpha=0.25)
    return {
        ".h5": write_keras_2(folder / "good.h5", arrays),
        ".weights.h5": write_keras_3(folder / "good.weights.h5", arrays),
        ".keras": write_keras_archive(folder / "good.keras", arrays),
        ".safetensors": write_safetensors(folder / "good.safetensors", arrays),
    }


@pytest.fixture
def good(good_files, tmp_path):
    """Return a copy of a file that fits the target, for a test to damage."""
    return lambda suffix: Path(shutil.copy(good_files[suffix], tmp_path))


@pytest.fixture(scope="session")
def untouched(target):
    """The target's weights as they were at first."""
    return weights(target)


@pytest.fixture
def refuse(target, untouched):
    """Load a file that must be refused: soon, in little memory, with every weight as it was."""
    from keras_mobilenet import load_weights
    from keras_mobilenet.errors import CheckpointError

    def check(path, match, **options):
        with at_most(SOON, SMALL), pytest.raises(CheckpointError, match=match) as caught:
            load_weights(target, path, **options)
        assert same(weights(target), untouched)
        message = str(caught.value)
        assert message.startswith(os.fspath(path))  # names the file first ...
        assert "\n" in message  # ... and says at the end what to do
        return message

    return check


@pytest.fixture
def closed(monkeypatch):
    """Folders whose name ends in "closed" cannot be read: root, who runs tests, may read all."""
    scandir = os.scandir

    def without_permission(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", without_permission)


class TooSlow(BaseException):
    """Not an `Exception`, which the code under test could take for one of its own."""


@contextmanager
def at_most(seconds, memory):
    """Fail if the body takes longer, or more memory at its peak than before it."""

    def stop(*_):
        raise TooSlow(f"more than {seconds} s")

    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    before = reset_peak()
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    assert peak() - before < memory


def reset_peak():
    """Set the process' peak of memory to what it holds now, and return that."""
    with suppress(OSError):  # not Linux: the peak is that of the process' life
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak():
    status = Path("/proc/self/status")
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) << 10 if status.exists() else 0


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of Keras' cache, not made yet; no other folder named, and little patience.

    An answer that does come has time to, however busy the machine is.
    """
    from keras_mobilenet.checkpoints.published import http_files

    for name in ("WEIGHTS", "BASE_URL", "OFFLINE", "HASHES"):
        monkeypatch.delenv(f"KERAS_MOBILENET_{name}", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    quick = http_files.RetryPolicy(timeout=SOON, attempts=3, pause=0.01)
    monkeypatch.setattr(http_files, "RETRY_POLICY", quick)
    return tmp_path / "home" / "models"


@pytest.fixture
def impatient(cache, monkeypatch):
    """No patience with a server that falls silent: for tests of that alone."""
    from keras_mobilenet.checkpoints.published import http_files

    monkeypatch.setattr(http_files, "RETRY_POLICY", replace(http_files.RETRY_POLICY, timeout=1.0))


@pytest.fixture
def hub_client(monkeypatch, tmp_path):
    """Return what makes the hub's client read its settings anew: it does so when it is imported."""

    def settings(**variables):
        for name in [*sys.modules]:
            if name.partition(".")[0] == "huggingface_hub":
                monkeypatch.delitem(sys.modules, name)
        fixed = {
            "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": "0", "HF_HUB_ETAG_TIMEOUT": "2", "HF_TOKEN": "",
        }  # fmt: skip
        for name, value in (fixed | variables).items():
            monkeypatch.setenv(name, value)

    return settings


@pytest.fixture(scope="session")
def sample(shared_data):
    """The paths of the images, each with its class' number as text."""
    paths = sorted((shared_data / "images/imagenet_sample").iterdir())
    return [(str(path), str(5 * i)) for i, path in enumerate(paths)]


@pytest.fixture(scope="session")
def deployed(shared_data, sample, tmp_path_factory):
    """The published net of alpha 0.25 as two `.tflite` files: in float32, and in int8."""
    weights = shared_data / "weights/keras/mobilenet_2_5_224_tf.h5"
    from keras_mobilenet import export

    folder = tmp_path_factory.mktemp("deployed")
    paths = str(folder / "float32.tflite"), str(folder / "int8.tflite")
    export(weights, paths[0])
    export(weights, paths[1], quantize="int8", calibration=[path for path, _ in sample[100:116]])
    return paths
