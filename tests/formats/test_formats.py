"""Every format is registered, and has a golden of numbers."""

import importlib
import pkgutil
from pathlib import Path

from keras_mobilenet import formats
from keras_mobilenet.formats import registry
from keras_mobilenet.formats.registry import FORMATS

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
    assert sorted(f.__name__ for f in FORMATS) == sorted(m.__name__ for _, m in readers())
    assert len({f.NAME for f in FORMATS}) == len(FORMATS)


def test_every_reader_has_a_golden():
    assert {name for name, _ in readers()} == set(GOLDENS)
    for file in GOLDENS.values():
        assert (Path(__file__).parents[1] / file).exists()
