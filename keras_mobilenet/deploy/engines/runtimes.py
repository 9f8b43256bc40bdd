"""Runtimes of others that are optional, imported without their reports to their makers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_mobilenet.errors import MissingExtraError

_TELEMETRY = "openvino_telemetry"


def keep_onnxruntime_to_itself() -> None:
    """Switch ONNX Runtime's telemetry off, unless the user has set its switch.

    It reads the switch when it is imported, in child processes too. On, it looks up a server and
    leaves a device's name and its events in the user's cache.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def import_onnxruntime(feature: str) -> Any:
    """Return the package `onnxruntime`.

    Args:
        feature: What needs it, as an error's first words.

    Raises:
        MissingExtraError: it is not installed.
    """
    keep_onnxruntime_to_itself()
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError(feature, "onnx") from error
    return onnxruntime


def import_openvino() -> Any:
    """Return the package `openvino`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with unreported():
            import openvino  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("The engine OpenVINO", "openvino") from error
    return openvino


@contextmanager
def unreported() -> Iterator[None]:
    """Import OpenVINO's packages within as if `openvino-telemetry` were not installed.

    It reports each import to a server, from a forked process, which JAX's threads may make hang.
    """
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # which importing stops at
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        if before is not None:
            sys.modules[_TELEMETRY] = before
