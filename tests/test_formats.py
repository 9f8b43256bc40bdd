"""Every format is registered, and has a golden of numbers."""

import importlib
import pkgutil
from pathlib import Path

from keras_mobilenet import checkpoints
from keras_mobilenet.checkpoints.registry import FORMATS

# A new format is a row here too: the test file that holds its numbers against their source's.
GOLDENS = {
    "frozen_graph": "test_slim.py",
    "keras_archive": "test_checkpoints.py",
    "keras_h5": "test_checkpoints.py",
    "legacy_h5": "test_checkpoints.py",
    "npz_file": "test_npz.py",
    "onnx_file": "test_onnx.py",
    "safetensors_file": "test_sources.py",
    "slim_checkpoint": "test_slim.py",
    "tfjs": "test_tfjs.py",
    "tflite_file": "test_tflite.py",
}


def readers():
    for module in pkgutil.iter_modules(checkpoints.__path__):
        loaded = importlib.import_module(f"{checkpoints.__name__}.{module.name}")
        if hasattr(loaded, "recognises") and module.name != "registry":
            yield module.name, loaded


def test_every_reader_is_registered_once():
    assert sorted(f.__name__ for f in FORMATS) == sorted(m.__name__ for _, m in readers())
    assert len({f.NAME for f in FORMATS}) == len(FORMATS)


def test_every_reader_has_a_golden():
    assert {name for name, _ in readers()} == set(GOLDENS)
    for file in GOLDENS.values():
        assert (Path(__file__).parent / file).exists()


def test_every_reader_names_itself_in_the_readme():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name, _ in readers():
        assert f"{name}.py" in readme
