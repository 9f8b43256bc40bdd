"""Every format is registered, and has a golden of numbers."""

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

from keras_mobilenet import formats
from keras_mobilenet.formats import registry

# A new format is a row here too: the test file that holds its numbers against their source's.
GOLDENS = {
    "frozen_graph": "formats/test_slim.py",
    "keras_archive": "checkpoints/test_checkpoints.py",
    "keras_h5": "checkpoints/test_checkpoints.py",
    "legacy_h5": "checkpoints/test_checkpoints.py",
    "npz_file": "formats/test_npz.py",
    "onnx_file": "formats/test_onnx.py",
    "safetensors_file": "formats/test_sources.py",
    "slim_checkpoint": "formats/test_slim.py",
    "tfjs": "formats/test_tfjs.py",
    "tflite_file": "formats/test_tflite.py",
}


def readers():
    for module in pkgutil.walk_packages(formats.__path__, f"{formats.__name__}."):
        loaded = importlib.import_module(module.name)
        if hasattr(loaded, "recognises") and loaded is not registry:
            yield module.name.rpartition(".")[2], loaded


def test_every_reader_is_registered_once():
    assert sorted(f.__name__ for f in registry.formats()) == sorted(
        m.__name__ for _, m in readers()
    )
    assert len({f.NAME for f in registry.formats()}) == len(list(registry.formats()))


def test_every_reader_has_a_golden():
    assert {name for name, _ in readers()} == set(GOLDENS)
    for file in GOLDENS.values():
        assert (Path(__file__).parents[1] / file).exists()


def test_a_file_that_is_recognised_loads_no_reader_behind_its_own(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    code = (
        "import sys; from keras_mobilenet.formats import registry\n"
        f"registry._recognised({os.fspath(path)!r})\n"
        "print(*[name for name in sys.modules if name.startswith('keras_mobilenet.formats.')])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    loaded = {name.rpartition(".")[2] for name in output.split()}
    assert "safetensors_file" in loaded
    assert loaded.isdisjoint({"npz_file", "tfjs", "onnx_file", "tflite_file", "frozen_graph"})
