"""Runtimes of others that are optional, imported without their reports to their makers."""

from __future__ import annotations

import os
from typing import Any

from keras_mobilenet.errors import MissingExtraError


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
