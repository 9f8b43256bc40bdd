"""What a file is that no reader takes, and how to make it one that is read."""

from __future__ import annotations

import zipfile

from keras_mobilenet.arrays import shortened
from keras_mobilenet.checkpoints import zip_files
from keras_mobilenet.files import HDF5_SIGNATURE
from keras_mobilenet.texts import plain_line

_MODELS = (".h5", ".keras", ".safetensors", ".tflite", ".onnx", ".npz", ".pb", "model.json")
_PICKLE = "a {} pickle, which can run code and is never opened"
_TO_SAFETENSORS = """\
Turn it into safetensors where you trust it, with PyTorch:
    import torch; from safetensors.torch import save_file
    state = torch.load({path!r}, weights_only=True)
    save_file({{k: v.contiguous() for k, v in state.items()}}, "weights.safetensors")"""


def describe(path: str, head: bytes, another: str) -> tuple[str, str]:
    """Return what the file at `path` is, and the remedy; `another` names the readable formats."""
    if head.startswith(zip_files.SIGNATURE):
        if _holds_pickle(path):
            return _PICKLE.format("PyTorch"), _TO_SAFETENSORS.format(path=path)
        return _archive(path, another)
    if head.startswith(HDF5_SIGNATURE):
        return "an HDF5 file with neither of Keras' layouts for weights", another
    if head.startswith(b"\x80"):
        return _PICKLE.format("Python"), _TO_SAFETENSORS.format(path=path)
    if head.startswith(b"\x1f\x8b"):
        return "a gzip archive", "Unpack it first."
    if head.lstrip().startswith(b"<"):
        page = "an HTML or XML page, most likely an error page in a file's place"
        return page, "Fetch it again."
    return "not a file of weights", another


def _archive(path: str, another: str) -> tuple[str, str]:
    """Return what is in an archive without one file of weights, and which of it to pass."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    what = "a zip archive that holds no weights"
    if not names:
        return what, another
    what = f"{what} by itself; in it are {', '.join(shortened(map(plain_line, names)))}"
    readable = [name for name in names if name.endswith(_MODELS)]
    if not readable:
        return what, another
    return what, f"Unpack it and pass what is in it: {plain_line(readable[0])}."


def _holds_pickle(path: str) -> bool:
    with zipfile.ZipFile(path) as archive:  # opened once already by the reader of .keras files
        return any(name.endswith("data.pkl") for name in archive.namelist())
