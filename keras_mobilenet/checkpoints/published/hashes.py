"""The hashes of files: pinned by the user, published, or recorded when a file was first used."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from keras_mobilenet.checkpoints.published.local_files import locked
from keras_mobilenet.errors import DownloadError, fault
from keras_mobilenet.files import replacing

PINS_VARIABLE = "KERAS_MOBILENET_HASHES"
RECORD = "keras_mobilenet_hashes.json"  # in the cache, beside the files
LOCK_TIMEOUT = 10.0  # seconds; the record is written in an instant
Algorithm = Literal["SHA-256", "MD5"]
_ALGORITHMS: dict[Algorithm, Callable[[], Any]] = {
    "SHA-256": hashlib.sha256,
    # Against damage, not malice: what passes is held against the net's arrays, too.
    "MD5": partial(hashlib.md5, usedforsecurity=False),
}
_SHA256 = re.compile("[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Expected:
    """The hash that a file must have, where that was said, and what to do if it is wrong."""

    digest: str  # in hexadecimal digits
    source: str  # completes "the hash ..."
    correction: str = ""  # completes "or, if ..."
    algorithm: Algorithm = "SHA-256"

    def found_in(self, path: str | os.PathLike[str]) -> str:
        """Return the same kind of hash of a file."""
        return hash_of(path, self.algorithm)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hash_of(path, "SHA-256")


def hash_of(path: str | os.PathLike[str], algorithm: Algorithm) -> str:
    """Return a hash of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, _ALGORITHMS[algorithm]).hexdigest()


def published(sha256: str | None, md5: str | None = None) -> Expected | None:
    """Return the published hash of a file: the SHA-256 where it is known, else Keras' MD5."""
    if sha256:
        return Expected(sha256, "published")
    return Expected(md5, "pinned by Keras", algorithm="MD5") if md5 else None


def pinned(file_name: str) -> Expected | None:
    """Return the hash that the user's file of hashes gives.

    Raises:
        DownloadError: that file cannot be read or is not `{"file name": "sha256"}`.
    """
    path = os.environ.get(PINS_VARIABLE)
    if not path:
        return None
    remedy = f'{PINS_VARIABLE} must name a JSON file of {{"file name": "sha256"}}, or be unset.'
    sha256 = _read(Path(path).expanduser(), remedy).get(file_name)
    correction = f"if the file is the right one, correct its line in {path}"
    return Expected(sha256, f"pinned in {path}", correction) if sha256 else None


def recorded(folder: Path, file_name: str) -> Expected | None:
    """Return the hash that the file had when it was first used from `folder`.

    Raises:
        DownloadError: the record cannot be read.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    remedy = "Delete it: files are then checked and recorded anew."
    sha256 = _read(path, remedy).get(file_name)
    correction = f"if the file was replaced on purpose, delete its line in {path}"
    return Expected(sha256, f"recorded in {path} on first use", correction) if sha256 else None


def record(folder: Path, file_name: str, sha256: str) -> None:
    """Record the hash of a file in `folder`, unless there is one or the folder is read-only."""
    path = folder / RECORD
    with suppress(OSError), locked(path, LOCK_TIMEOUT):
        hashes = {file_name: sha256} | (_read(path, "") if path.exists() else {})
        with replacing(path) as temporary:
            Path(temporary).write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")


def _read(path: Path, remedy: str) -> dict[str, str]:
    try:
        hashes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DownloadError(fault(path, f"the hashes cannot be read ({error}).", remedy)) from error
    entries = hashes.items() if isinstance(hashes, dict) else [("the file", hashes)]
    for name, value in entries:
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            problem = f"{name} has no SHA-256 of 64 hexadecimal digits, but {value!r:.80}."
            raise DownloadError(fault(path, problem, remedy))
    return {name: value.lower() for name, value in entries}
