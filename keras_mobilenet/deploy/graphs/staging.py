"""Exported files, put in their place whole, one process at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_mobilenet.files import faults_of_writing, left_by_killed, locked, temporary_name

_ASIDE = ".before"
_TIMEOUT_S = 60.0  # seconds that moving a few files takes at most


def check_place(path: Path, *, replaces: Callable[[Path], bool] | None) -> None:
    """Raise unless something can be written at `path` without harm to what is there.

    Args:
        path: Of a file, or of a folder.
        replaces: Says of a folder that is there whether a new one may take its place; None where
            a file is written.

    Raises:
        OSError: the folder around it is missing, is none, or cannot be written to.
        ValueError: at `path` is something else than an export.
    """
    around = path.parent
    if not around.is_dir():
        raise FileNotFoundError(f"{around} is not a folder. Make it, or export to another path.")
    if not os.access(around, os.W_OK):
        raise PermissionError(f"{around} cannot be written to. Export to another path.")
    if path.is_dir() and not (replaces and (replaces(path) or not any(path.iterdir()))):
        raise ValueError(f"{path} is a folder of something else. Export to another path.")
    if replaces and path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file. Export to another path.")


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a new folder beside `path`.

    What the body writes there, under that name or with other suffixes, takes the place of what has
    the same names beside `path`; on any error it is removed, and all is as it was.

    Raises:
        OSError: it cannot be written, whatever exception a library has for that; it names `path`.
    """
    with faults_of_writing(os.fspath(path)):
        for leftover in map(Path, left_by_killed(os.fspath(path))):
            _clear(leftover, path)
        folder = Path(temporary_name(os.fspath(path)))
        folder.mkdir(mode=0o700)
        try:
            with faults_of_writing(os.fspath(path)):  # while the disk is as full as it was
                yield folder / path.name
            with _lock(path):
                # The largest first: an .xml must not appear before the .bin that it needs.
                for file in sorted(folder.iterdir(), key=lambda f: f.suffix == path.suffix):
                    _move(file, path.parent / file.name, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _clear(leftover: Path, path: Path) -> None:
    """Remove what a killed process left; what it had only put aside goes back into its place."""
    before = leftover / f"{path.name}{_ASIDE}"
    with suppress(OSError):
        if before.exists() and not path.exists():
            os.rename(before, path)
    shutil.rmtree(leftover, ignore_errors=True)


def _move(source: Path, target: Path, folder: Path) -> None:
    if not target.is_dir():
        os.replace(source, target)
        return
    aside = folder / f"{target.name}{_ASIDE}"
    os.rename(target, aside)
    try:
        os.rename(source, target)
    except BaseException:
        os.rename(aside, target)
        raise


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock of `path` against this user's other processes: two files are no single step."""
    key = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:20]
    user = os.getuid() if hasattr(os, "getuid") else 0
    lock = Path(tempfile.gettempdir()) / f"keras-mobilenet-{user}-{key}.lock"
    busy = f"{path} has been in the hands of another export for {_TIMEOUT_S:g} s. Try again later."
    with locked(lock, busy, timeout=_TIMEOUT_S):
        yield
