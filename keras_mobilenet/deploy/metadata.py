"""The model info in exported files: each format has a place for texts of one's own."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from keras_mobilenet.deploy.engines.checks import onnx_check
from keras_mobilenet.errors import CheckpointError, about_file, fault
from keras_mobilenet.files import check_file
from keras_mobilenet.formats.keras import zip_files
from keras_mobilenet.images.model_info import (
    KEY,
    MAX_BYTES,
    MEMBER,
    Label,
    ModelInfo,
    info_from,
    words_of,
)

_LABELS = "labels.txt"  # in the archive behind a .tflite; its metadata name it
_EXTRA = "assets.extra"  # TensorFlow leaves this folder of a SavedModel to others


def write_info(path: str, info: ModelInfo) -> None:
    """Put a model's info into an exported file, or SavedModel folder, that lies at `path`."""
    if os.path.isdir(path):
        folder = Path(path) / _EXTRA
        folder.mkdir(exist_ok=True)
        (folder / MEMBER).write_text(info.to_text(), encoding="utf-8")
    elif path.endswith(".tflite"):
        _write_tflite(path, info)
    elif path.endswith(".onnx"):
        _write_onnx(path, info)
    # An .xml has it from the one who wrote the graph.


def read_info(path: str) -> ModelInfo | None:
    """Return the model info in an exported file, or None if there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    with about_file(path, "Export it again."):
        text = _read(path)
        # The activation is for those who take the file for its weights.
        return None if text is None else replace(info_from(text), activation=None)


def openvino_info(info: ModelInfo) -> dict[str, str]:
    """Return what OpenVINO's Model API reads from a graph's `model_info`, by name.

    It subtracts a mean and divides by a scale, takes images of OpenCV, blue first, and splits the
    labels at spaces.
    """
    texts = {
        "model_type": "Classification",
        "reverse_input_channels": "True",
    }
    if info.preprocessing is not None:
        inverse = info.preprocessing.inverse()  # pixels = input * scale + offset
        texts |= {"mean_values": _text(inverse.offset), "scale_values": _text(inverse.scale)}
    if info.labels is not None:
        texts["labels"] = " ".join(name.replace(" ", "_") for name in _names(info.labels))
    return texts


def _text(values: float | Sequence[float]) -> str:
    return str(values) if isinstance(values, float) else " ".join(map(str, values))


def _names(labels: Sequence[Label]) -> list[str]:
    return [*map(words_of, labels)]


def _write_tflite(path: str, info: ModelInfo) -> None:
    """Put TFLite Metadata into a file, and behind it a zip archive with what they name.

    The archive is not compressed: MediaPipe reads its files where they lie. One label is one line.
    """
    from keras_mobilenet.deploy.graphs.writers.tflite_metadata import (  # noqa: PLC0415 - LiteRT's
        with_metadata,
    )

    file = Path(path)
    file.write_bytes(with_metadata(file.read_bytes(), info, _LABELS))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, info.to_text())
        if info.labels is not None:
            lines = (" ".join(name.splitlines()) for name in _names(info.labels))
            archive.writestr(_LABELS, "".join(f"{line}\n" for line in lines))


def _write_onnx(path: str, info: ModelInfo) -> None:
    import onnx  # noqa: PLC0415 - an extra

    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {KEY: info.to_text()})
    onnx.save(graph, path)


def _read(path: str) -> str | None:
    if os.path.isdir(path):
        return _read_extra(Path(path) / _EXTRA / MEMBER)
    if path.endswith(".tflite"):
        return zip_files.text_in(path, MEMBER, MAX_BYTES)
    if path.endswith(".onnx"):
        return onnx_check.metadata(path, KEY, MAX_BYTES)
    return _read_xml(path)


def _read_extra(file: Path) -> str | None:
    if not file.exists():
        return None
    if check_file(file, "Export the model again.") > MAX_BYTES:
        raise CheckpointError(f"{file.name} has more than {MAX_BYTES:,} bytes")
    return file.read_text(encoding="utf-8", errors="replace")


def _read_xml(path: str) -> str | None:
    from xml.etree import ElementTree  # noqa: PLC0415 - for .xml only

    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 - expat bounds entities
    except (ElementTree.ParseError, OSError) as error:
        raise CheckpointError(fault(path, f"is no XML ({error}).", "Export it again.")) from error
    entry = root.find(f"rt_info/{KEY}")
    return None if entry is None else entry.get("value")
