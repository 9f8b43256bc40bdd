"""Where published weights lie on this machine, and the lock of a file that is being written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from keras_mobilenet import files
from keras_mobilenet.errors import DownloadError

FOLDERS_VARIABLE = "KERAS_MOBILENET_WEIGHTS"


def weights_folders() -> list[Path]:
    """Return the folders that published weights are looked for in, in order."""
    return list(_folders())


def _folders() -> Iterator[Path]:
    named = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    yield from (Path(folder).expanduser() for folder in named if folder)
    yield keras_cache()


def keras_cache() -> Path:
    """Return the folder in which `keras.applications` keeps its weights.

    Raises:
        DownloadError: there is none, because the user has no home.
    """
    try:
        return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
    except RuntimeError as error:
        raise DownloadError(
            "Keras' cache would be in your home folder, and you have none.\n"
            "Name a folder for it in KERAS_HOME, or the folder of the weights in "
            f"{FOLDERS_VARIABLE}."
        ) from error


def is_cached(path: Path) -> bool:
    """Return whether a file lies in Keras' cache, not in a folder that the user named."""
    try:
        return path.parent == keras_cache()
    except DownloadError:
        return False


def copies(file_name: str) -> Iterator[Path]:
    """Yield the paths at which the file lies, in the order in which they are looked at."""
    paths = (folder / file_name for folder in _folders())
    return (path for path in paths if os.path.isfile(path))  # Path.is_file may raise


def locked(path: Path, timeout: float) -> AbstractContextManager[None]:
    """Return the lock of `path`, which is a hidden file beside it, against every other process.

    Raises:
        DownloadError: another process held the lock for `timeout` seconds.
        OSError: the folder cannot be written to.
    """
    lock = path.with_name(f".{path.name}.lock")
    busy = (
        f"{path}: another process has been writing this file for {timeout:g} s.\n"
        f"Wait for it to end and try again. If no such process is there, delete {lock}"
    )
    return files.locked(lock, busy, timeout=timeout, error=DownloadError)
