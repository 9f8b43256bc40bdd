"""The recipe in exported files: each format has a place for texts of one's own."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

from keras_mobilenet.errors import CheckpointError, MissingExtraError, fault
from keras_mobilenet.recipes import KEY, Recipe, recipe_from

_MEMBER = f"{KEY}.json"
_LABELS = "labels.txt"  # where Android's tools look
_EXTRA = "assets.extra"  # TensorFlow leaves this folder of a SavedModel to others


def write_recipe(path: str, recipe: Recipe) -> None:
    """Put a recipe into an exported file, or SavedModel folder, that lies at `path`."""
    if os.path.isdir(path):
        folder = Path(path) / _EXTRA
        folder.mkdir(exist_ok=True)
        (folder / _MEMBER).write_text(recipe.to_text(), encoding="utf-8")
    elif path.endswith(".tflite"):
        _append_zip(path, recipe)
    elif path.endswith(".onnx"):
        _write_onnx(path, recipe)
    else:
        raise AssertionError(f"no place for a recipe in {path}")  # .xml: set on the graph


def read_recipe(path: str) -> Recipe | None:
    """Return the recipe in an exported file, or None if there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    text = _read(path)
    try:
        return None if text is None else recipe_from(text)
    except CheckpointError as error:
        raise CheckpointError(fault(path, f"{error}.", "Export it again.")) from error


def _append_zip(path: str, recipe: Recipe) -> None:
    """Append a zip archive to a TFLite file, as TensorFlow's metadata are: both can be read."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_MEMBER, recipe.to_text())
        if recipe.labels is not None:
            names = [label if isinstance(label, str) else label[1] for label in recipe.labels]
            archive.writestr(_LABELS, "".join(f"{name}\n" for name in names))


def _write_onnx(path: str, recipe: Recipe) -> None:
    import onnx  # noqa: PLC0415 - an extra

    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {KEY: recipe.to_text()})
    onnx.save(graph, path)


def _read(path: str) -> str | None:
    if os.path.isdir(path):
        file = Path(path) / _EXTRA / _MEMBER
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else None
    if path.endswith(".tflite"):
        return _read_zip(path)
    if path.endswith(".onnx"):
        return _read_onnx(path)
    return _read_xml(path)


def _read_zip(path: str) -> str | None:
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(_MEMBER).decode("utf-8") if _MEMBER in archive.namelist() else None
    except (zipfile.BadZipFile, UnicodeDecodeError, OSError, RuntimeError, ValueError) as error:
        found = f"its metadata are damaged ({error})."
        raise CheckpointError(fault(path, found, "Export it again.")) from error


def _read_onnx(path: str) -> str | None:
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("Reading ONNX files", "onnx") from error
    options: Any = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # ONNX Runtime's exceptions have no common type
        message = f"cannot be opened by ONNX Runtime: {error}."
        raise CheckpointError(fault(path, message, "Export it again.")) from error
    return metadata.get(KEY)


def _read_xml(path: str) -> str | None:
    from xml.etree import ElementTree  # noqa: PLC0415 - for .xml only

    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 - expat bounds entities
    except (ElementTree.ParseError, OSError) as error:
        raise CheckpointError(fault(path, f"is no XML ({error}).", "Export it again.")) from error
    entry = root.find(f"rt_info/{KEY}")
    return None if entry is None else entry.get("value")
