"""Published weights: found where they lie, or fetched into Keras' own cache folder.

Nothing unchecked is ever used or kept. What a file is checked against, the first that is there:

1. the hash that the user pinned in the JSON file that `KERAS_MOBILENET_HASHES` names;
2. the published hash, for a file in the cache or from the network: a SHA-256, or the MD5 that Keras
   pins, to which the caller's check is added;
3. the hash recorded beside the cached files when the file was first used;
4. the caller's check of what the file holds, after which its hash is recorded.

Files in the folders that the user named in `KERAS_MOBILENET_WEIGHTS` are the user's own. They may
well have been written anew by another program, which keeps every value and changes the hash, so
only a pinned hash and the caller's check hold for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from keras_mobilenet.checkpoints.published import hashes
from keras_mobilenet.checkpoints.published.local_files import (
    FOLDERS_VARIABLE,
    copies,
    is_cached,
    keras_cache,
    locked,
    weights_folders,
)
from keras_mobilenet.errors import CheckpointError, DownloadError
from keras_mobilenet.files import HDF5_SIGNATURE, replacing
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.families.registry import FAMILIES, family

BASE_URL_VARIABLE = "KERAS_MOBILENET_BASE_URL"
OFFLINE_VARIABLE = "KERAS_MOBILENET_OFFLINE"
MAX_BYTES = 64 << 20  # the largest published file has 17 MB
LOCK_TIMEOUT = 600.0  # seconds; what another process fetches in less is waited for

Check = Callable[[str], None]  # raises CheckpointError if the file is not what it should be
Progress = Callable[[int, int | None], None]  # bytes done, bytes in all where known


def find_or_fetch(
    file_name: str,
    known_sha256: str | None = None,
    *,
    known_md5: str | None = None,
    check: Check | None = None,
    max_bytes: int = MAX_BYTES,
    progress: Progress | None = None,
    force: bool = False,
) -> str:
    """Return the path of a published file: from a local folder, else from the network.

    The folders that `KERAS_MOBILENET_WEIGHTS` names are looked in first, then Keras' cache. What
    is fetched goes into that cache, where `keras.applications` finds it too, in one step: no other
    process ever sees a part of it.

    Args:
        file_name: The file's name, the same everywhere.
        known_sha256: The published hash, where there is one.
        known_md5: The published MD5, which counts where there is no SHA-256.
        check: Raises `CheckpointError` if the file at a path is not what it should be.
        max_bytes: The most that is taken from the network.
        progress: Called with the bytes fetched so far, and those of the whole file or None.
        force: Fetch the file into the cache whatever lies there.

    Raises:
        DownloadError: the file is in no folder and cannot be fetched, or it is not the right one.
        CheckpointError: a file in one of the user's own folders fails `check`.
    """
    published = hashes.published(known_sha256, known_md5)
    if not force:
        for path in copies(file_name):
            return _checked(path, published, check)
    if is_offline():
        reasons = [f"the network was not asked, because {OFFLINE_VARIABLE} is set"]
        raise _not_fetched(file_name, reasons, force)
    target = keras_cache() / file_name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target, LOCK_TIMEOUT):
            if force or not target.is_file():  # it is there if another process was faster
                _remove_stale_partials(target)
                _fetch(target, published, check, max_bytes, progress, force)
        return _checked(target, published, check)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"{file_name} is to be kept in {target.parent}, which cannot be written to ({error}).\n"
            f"Make room there or make it writable, name another home in KERAS_HOME, or put the "
            f"file into a folder of your own and name that in {FOLDERS_VARIABLE}."
        ) from error


def is_offline() -> bool:
    """Return whether the user forbade the network in `KERAS_MOBILENET_OFFLINE`."""
    return os.environ.get(OFFLINE_VARIABLE, "").lower() not in ("", "0", "false", "no", "off")


def addresses(file_name: str) -> list[str]:
    """Return the addresses of a file, in the order in which they are asked."""
    if bases := os.environ.get(BASE_URL_VARIABLE, "").split():
        return [f"{base.rstrip('/')}/{file_name}" for base in bases]
    found = pretrained.find_file(file_name)
    return [found[0].url(found[1])] if found else []


def expected_hash(path: Path, published: hashes.Expected | None) -> hashes.Expected | None:
    """Return the hash that a file must have, by where it lies; None where nobody said."""
    if pin := hashes.pinned(path.name):
        return pin
    if not is_cached(path):
        return None
    return published or hashes.recorded(path.parent, path.name)


def _checked(path: Path, published: hashes.Expected | None, check: Check | None) -> str:
    """Return a local file's path once it is known to be the right one."""
    expected = expected_hash(path, published)
    cached = is_cached(path)
    if expected is not None:
        verify_hash(path, expected)
    if check is not None and not (cached and _settles(expected)):
        try:
            check(str(path))
        except CheckpointError as error:
            if not cached:
                raise
            size = f"It has {path.stat().st_size} bytes."
            raise DownloadError(f"{error}\n{size} {_fetch_again(path.name)}") from error
        if cached and expected is None:
            hashes.record(path.parent, path.name, hashes.sha256_of(path))
    return str(path)


def _settles(expected: hashes.Expected | None) -> bool:
    """Return whether a file that has this hash need not be looked into."""
    return expected is not None and expected.algorithm == "SHA-256"


def verify_hash(path: Path, expected: hashes.Expected) -> None:
    """Raise `DownloadError` if a local file has another hash than the expected one."""
    try:
        found = expected.found_in(path)
    except OSError as error:
        remedy = f"Make it readable. {_fetch_again(path.name)}"
        raise DownloadError(f"{path}: the file cannot be read ({error}).\n{remedy}") from error
    if found == expected.digest.lower():
        return
    remedies = [
        _fetch_again(path.name).rstrip("."),
        expected.correction,
        f"if the file is your own, move it into a folder that {FOLDERS_VARIABLE} names",
    ]
    raise DownloadError(
        f"{path}: the file is damaged, or another one; its {expected.algorithm} differs.\n"
        f"  expected  {expected.digest} ({expected.source})\n"
        f"  found     {found}\n" + "; or, ".join(filter(None, remedies)) + "."
    )


def _fetch_again(file_name: str) -> str:
    published = pretrained.find_file(file_name)
    options = ""
    if published:
        row, include_top = published
        known = family(row.net)
        net = "" if known == FAMILIES[0] else f" --net {known.key}"
        options = f"{net} --alpha {row.alpha:g} --size {row.size}"
        options += " --minimalistic" * row.minimalistic + " --no-top" * (not include_top)
    return f"To fetch it again, run `keras-mobilenet weights fetch{options} --force`."


def _remove_stale_partials(target: Path) -> None:
    """Remove what a process that was killed left behind; the lock says that none is at work."""
    for path in target.parent.glob(f".{target.name}.*{target.suffix}"):
        path.unlink(missing_ok=True)


def _fetch(
    target: Path,
    published: hashes.Expected | None,
    check: Check | None,
    max_bytes: int,
    progress: Progress | None,
    force: bool,
) -> None:
    """Put the file from the first address that gives the right one at `target`."""
    from keras_mobilenet.checkpoints.published import http_files  # noqa: PLC0415 - loads requests

    expected = expected_hash(target, published)
    reasons = []
    for url in addresses(target.name):
        try:
            with replacing(target) as temporary:
                http_files.fetch(url, temporary, max_bytes=max_bytes, progress=progress)
                _check_fetched(temporary, expected, check)
            return
        except (http_files.FetchError, CheckpointError) as error:
            reasons.append(f"{http_files.shown(url)} ({error})")
    raise _not_fetched(target.name, reasons, force)


def _check_fetched(path: str, expected: hashes.Expected | None, check: Check | None) -> None:
    with open(path, "rb") as file:
        if file.read(len(HDF5_SIGNATURE)) != HDF5_SIGNATURE:
            raise CheckpointError("the answer is not an HDF5 file, most likely an error page")
    if expected is not None and (found := expected.found_in(path)) != expected.digest.lower():
        raise CheckpointError(
            f"the answer's {expected.algorithm} is {found}, "
            f"that {expected.source} is {expected.digest}"
        )
    if check is not None and not _settles(expected):
        check(path)


def _not_fetched(file_name: str, reasons: list[str], force: bool) -> DownloadError:
    where = "was to be fetched anew" if force else "is in none of these folders"
    lines = [f"{file_name} {where}, and could not be fetched:"]
    lines += [f"  {line}" for line in (*([] if force else weights_folders()), *reasons)]
    remedy = (
        f"Put the file into one of the folders, name its folder in {FOLDERS_VARIABLE}, or pass "
        "weights=None or the path of another file."
    )
    return DownloadError("\n".join([*lines, remedy]))
