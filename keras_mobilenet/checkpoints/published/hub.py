"""Weights on Hugging Face's hub, by that company's own client.

The client's cache and settings hold: `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_ENDPOINT`,
`HF_TOKEN`. Only safetensors and files of settings in JSON are ever asked for, all of one commit; a
pickle, which could run code, never is.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from keras_mobilenet.checkpoints.published import hub_errors
from keras_mobilenet.checkpoints.published.hub_errors import Wanted
from keras_mobilenet.errors import CheckpointError, DownloadError, MissingExtraError, fault
from keras_mobilenet.files import replacing
from keras_mobilenet.nets.published.rows import CONFIG, CONFIG_BYTES, WEIGHTS, Published

EXTRA = "hub"
PROCESSOR = "preprocessor_config.json"  # transformers' own place for what pixels become
_MOST_BYTES = 256 << 20  # of a file that no row describes; the largest MobileNet's has 130 MB
_CARD = "README.md"
_LICENCE = re.compile(r"[a-z0-9.+-]{1,64}")  # in the hub's words, as in `apache-2.0`
_FRONT_MATTER = re.compile(r"---\r?\n(?:(?!---).*\n)*?license: *[\"']?([^\s\"']+)")
_SNAPSHOTS = "snapshots"  # in the client's cache: models--OWNER--NAME/snapshots/COMMIT/FILE


def hub_file(row: Published, *, force: bool = False) -> str:
    """Return the path of a row's file, found in the client's cache or fetched into it.

    Raises:
        DownloadError: it is not there, and cannot be fetched or is larger than it may be.
        MissingExtraError: the client is not installed.
    """
    return _fetched(Wanted(row.repository, row.revision, row.file, row.max_bytes), (CONFIG,), force)


def repository_file(repository: str, revision: str | None = None, *, force: bool = False) -> str:
    """Return the path of the file of weights of a repository that no row describes.

    Its settings lie beside it, where it has any. With `force` it is fetched even if it is there.

    Raises:
        DownloadError: it is not there, cannot be fetched, or is of no MobileNet.
        MissingExtraError: the client is not installed.
    """
    return _fetched(Wanted(repository, revision, WEIGHTS, _MOST_BYTES), (CONFIG, PROCESSOR), force)


def at_hand(row: Published) -> str | None:
    """Return the path of a row's file in the client's cache; None if it is not there."""
    try:
        import huggingface_hub as client  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    path = client.try_to_load_from_cache(row.repository, row.file, revision=row.revision)
    return path if isinstance(path, str) else None


def source_of(path: str | os.PathLike[str]) -> str | None:
    """Return "owner/name@commit" of a file in the client's cache; None of any other file."""
    *_, repository, snapshots, commit, _ = ("", "", "", *os.path.abspath(path).split(os.sep))
    kind, *names = repository.split("--")
    if snapshots != _SNAPSHOTS or kind != "models" or len(names) != 2:
        return None
    return f"{'/'.join(names)}@{commit}"


def licence_of(source: str) -> str | None:
    """Return the licence that a repository in the client's cache states; None where none is known.

    It stands in timm's settings, beside the weights, and in the card, where that was fetched too.

    Args:
        source: What `source_of` tells, `"owner/name@commit"`.
    """
    try:
        client = client_for("The licence")
    except MissingExtraError:
        return None
    repository, _, commit = source.partition("@")
    for name, read in ((CONFIG, _licence_in_settings), (_CARD, _licence_in_card)):
        path = client.try_to_load_from_cache(repository, name, revision=commit)
        if isinstance(path, str):
            with open(path, encoding="utf-8", errors="replace") as file:
                licence = read(file.read(CONFIG_BYTES))
            if isinstance(licence, str) and _LICENCE.fullmatch(licence):
                return licence
    return None


def _licence_in_settings(text: str) -> Any:
    try:
        config = json.loads(text)
        return config.get("pretrained_cfg", config).get("license")
    except (AttributeError, ValueError, RecursionError):
        return None


def _licence_in_card(text: str) -> Any:
    found = _FRONT_MATTER.match(text)
    return found and found[1]


def client_for(feature: str) -> Any:
    """Return the hub's client, `huggingface_hub`; `feature` says what for.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import huggingface_hub  # noqa: PLC0415 - an extra
        import huggingface_hub.constants  # noqa: PLC0415
        import huggingface_hub.errors  # noqa: PLC0415
        import huggingface_hub.utils  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(feature, EXTRA) from error
    return huggingface_hub


def _fetched(wanted: Wanted, settings: tuple[str, ...], force: bool) -> str:
    """Return the path of a repository's file, whole, with its settings beside it."""
    client = client_for(f"Fetching {wanted.repository}")
    with hub_errors.explained(wanted, client):
        planned = _planned(wanted, wanted.file, wanted.revision, client)
        commit = planned.commit_hash  # of all that follows, whatever is pushed in between
        _check_size(wanted, wanted.file, planned.file_size, wanted.max_bytes)
        for name in settings:
            if client.try_to_load_from_cache(wanted.repository, name, revision=commit):
                continue  # it is there, or known to be nowhere
            with suppress(client.errors.EntryNotFoundError):  # some repositories have none
                config = _planned(wanted, name, commit, client)
                _check_size(wanted, name, config.file_size, CONFIG_BYTES)
                _download(wanted, name, commit, client)
        _check_config(wanted, os.path.join(os.path.dirname(planned.local_path), CONFIG))
        path = _download(wanted, wanted.file, commit, client, force=force)
        if not _is_whole(path):  # a cache half written, or damaged since
            path = _again(wanted, path, commit, client)
        _remember(wanted, path, commit)
    return path


def _planned(wanted: Wanted, name: str, revision: str | None, client: Any) -> Any:
    """Return what the client would fetch, or has: commit, size and path."""
    return client.hf_hub_download(
        wanted.repository, name, revision=revision, dry_run=True,
        local_files_only=hub_errors.is_kept_offline(client),
    )  # fmt: skip


def _download(wanted: Wanted, name: str, commit: str, client: Any, *, force: bool = False) -> str:
    path: str = client.hf_hub_download(
        wanted.repository, name, revision=commit, force_download=force,
        local_files_only=hub_errors.is_kept_offline(client) and not force,
    )  # fmt: skip
    return path


def _again(wanted: Wanted, path: str, commit: str, client: Any) -> str:
    """Return the path of a file that is damaged in the cache, once it was fetched anew.

    Raises:
        DownloadError: the network must not be asked, or what it gives is no better.
    """
    if hub_errors.is_kept_offline(client):
        variable = hub_errors.offline_variable(client)
        found = f"{path} is cut off or damaged, and {variable} is set."
        raise DownloadError(
            fault(wanted.repository, found, "Unset it once: the file is fetched again.")
        )
    path = _download(wanted, wanted.file, commit, client, force=True)
    if not _is_whole(path):
        for name in {os.path.realpath(path), path}:
            os.remove(name)
        found = f"its {wanted.file} at {commit} is no whole safetensors file; it was not kept."
        raise DownloadError(fault(wanted.repository, found, hub_errors.OWN_FILE))
    return path


def _is_whole(path: str) -> bool:
    """Return whether a file has all the bytes that its header tells."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - loads NumPy

    try:
        with safe_open(path, framework="numpy"):
            return True
    except SafetensorError:
        return False


def _remember(wanted: Wanted, path: str, commit: str) -> None:
    """Note in the client's cache what commit a branch has, so that it is found without network."""
    if wanted.revision == commit:
        return
    refs = Path(path).parents[2] / "refs" / (wanted.revision or "main")
    with suppress(OSError):  # a cache that is only read
        if refs.is_file() and refs.read_text(encoding="ascii") == commit:
            return
        refs.parent.mkdir(parents=True, exist_ok=True)
        with replacing(refs) as temporary:
            Path(temporary).write_text(commit, encoding="ascii")


def _check_size(wanted: Wanted, name: str, size: int, limit: int) -> None:
    if size > limit:
        found = f"its {name} has {size:,} bytes, and that of such a net has {limit:,} at most."
        raise DownloadError(fault(wanted.repository, found, hub_errors.OWN_FILE))


def _check_config(wanted: Wanted, path: str) -> None:
    """Raise where a repository's settings name another net, before that is fetched."""
    from keras_mobilenet.formats.plain.third_party import read_config  # noqa: PLC0415 - NumPy

    try:
        config = read_config(path)
    except CheckpointError as error:
        raise DownloadError(fault(wanted.repository, f"{error}.", hub_errors.OWN_FILE)) from error
    if not isinstance(config, dict):
        return
    for key in ("architecture", "model_type", "net"):  # timm's, transformers' and ours
        name = config.get(key)
        if isinstance(name, str) and "mobilenet" not in name:
            found = f"its {CONFIG} says {key}={name!r}, which is no MobileNet."
            raise DownloadError(fault(wanted.repository, found, hub_errors.ANOTHER))
