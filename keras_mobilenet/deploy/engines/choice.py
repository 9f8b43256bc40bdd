"""The engines there are, which of them are installed, and which one `"auto"` takes."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import get_args

from keras_mobilenet.deploy.engines.processor import Precision, adds_int8_products, instructions

# Name -> (its file here, what must be installed, what it computes in). Each file has NAME,
# compile_model(model, settings, samples) and open_file(path, settings).
ENGINES: dict[str, tuple[str, tuple[str, ...], tuple[Precision, ...]]] = {
    "keras": ("keras_engine", (), ("float32",)),
    "litert": ("litert_engine", ("ai_edge_litert",), ("float32", "int8")),
    "openvino": ("openvino_engine", ("openvino",), ("float32", "bfloat16", "int8")),
    "onnxruntime": ("onnx_engine", ("onnxruntime", "onnx", "tf2onnx"), ("float32",)),
}
AUTO, KERAS = "auto", "keras"
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_FILES = {".tflite": "litert", ".onnx": "onnxruntime", ".xml": "openvino"}


def engine_module(name: str) -> ModuleType:
    """Return the file of an engine."""
    return import_module(f"{__package__}.{ENGINES[name][0]}")


def precisions_of(name: str) -> tuple[Precision, ...]:
    """Return what an engine computes in."""
    return ENGINES[name][2]


def packages_of(name: str) -> tuple[str, ...]:
    """Return the packages that compute for an engine, as they are published."""
    return tuple(x.replace("_", "-") for x in ENGINES[name][1] or ("keras", "tensorflow"))


def version_of(package: str) -> str | None:
    """Return the version of a package, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def is_installed(name: str, precision: Precision = "float32") -> bool:
    """Return whether everything is there that an engine needs for a precision."""
    needed = ENGINES[name][1]
    if (name, precision) == ("openvino", "int8"):
        needed += ("nncf",)
    return all(find_spec(package) is not None for package in needed)


def engine_for(name: str, precision: Precision) -> str:
    """Return the engine to compile a model with.

    `"auto"` is what was the fastest on processors of this kind (`benchmarks/inference.py`).

    Raises:
        ValueError: the engine is unknown, or does not compute in that precision.
    """
    _check_names(name, precision)
    if name == AUTO:
        preferred = _preferred(precision)
        return next((n for n in preferred if is_installed(n, precision)), preferred[0])
    precisions = precisions_of(name)
    if precision not in precisions:
        able = [n for n in ENGINES if precision in precisions_of(n)]
        raise ValueError(
            f"`engine` {name!r} computes in {' and '.join(precisions)}. "
            f"Pass engine={' or '.join(map(repr, able))} for precision={precision!r}."
        )
    return name


def _preferred(precision: Precision) -> tuple[str, ...]:
    """Return the engines for a precision, the fastest first.

    OpenVINO is the faster one on x86 with AVX-512, and for int8 with VNNI; without these LiteRT is,
    and in int8 nearer to float32, too. On other processors nothing was measured.
    """
    if precision == "bfloat16":
        return ("openvino",)
    wide = adds_int8_products() if precision == "int8" else "avx512f" in instructions()
    return ("openvino", "litert") if wide else ("litert", "openvino")


def engine_for_file(path: str, name: str, precision: Precision | None = None) -> str:
    """Return the engine to open an exported model with.

    Raises:
        ValueError: the engine is unknown, or does not read such files.
    """
    _check_names(name, precision or "float32")
    suffix = Path(path).suffix
    native = "keras" if os.path.isdir(path) else _FILES.get(suffix)
    if native is None:
        raise ValueError(
            "A model is a Keras model, a SavedModel folder, or the path of a .keras, "
            f"{', '.join(_FILES)} file. Received: {path!r}"
        )
    able = {native, "openvino"} if suffix in (".tflite", ".onnx") else {native}
    if name not in (AUTO, *able):
        raise ValueError(
            f"`engine` {name!r} does not read {path!r}; {' and '.join(sorted(able))} can."
        )
    return native if name == AUTO else name


def _check_names(name: str, precision: Precision) -> None:
    if name not in (AUTO, *ENGINES):
        names = ", ".join(map(repr, (AUTO, *ENGINES)))
        raise ValueError(f"`engine` must be one of {names}. Received: engine={name!r}")
    if precision not in PRECISIONS:
        names = ", ".join(map(repr, PRECISIONS))
        raise ValueError(f"`precision` must be one of {names}. Received: precision={precision!r}")
