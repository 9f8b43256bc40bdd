"""Published weights on Hugging Face's hub, by that company's own client.

The client's cache and settings hold: `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_ENDPOINT`,
`HF_TOKEN`. Only safetensors and `config.json` are ever asked for, both of one commit; a pickle,
which could run code, never is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from keras_mobilenet.checkpoints.published.download import OFFLINE_VARIABLE, is_offline
from keras_mobilenet.errors import DownloadError, MissingExtraError, fault
from keras_mobilenet.nets.published.rows import Published

EXTRA = "hub"
_CONFIG = "config.json"
_CONFIG_BYTES = 1 << 20  # at most; with the names of 1001 classes it has 70,000


def hub_file(row: Published) -> str:
    """Return the path of a row's file, found in the client's cache or fetched into it.

    Raises:
        DownloadError: it is not there, and cannot be fetched or is larger than it may be.
        MissingExtraError: the client is not installed.
    """
    client = _client(row)
    with _explained(row, client):
        path = _one_file(row, row.file, row.revision, client)
        # Whatever is pushed in between: the client names a snapshot's folder after its commit.
        commit = os.path.basename(os.path.dirname(path))
        with suppress(client.errors.EntryNotFoundError):  # some repositories have none
            _one_file(row, _CONFIG, commit, client)
    return path


def at_hand(row: Published) -> str | None:
    """Return the path of a row's file in the client's cache; None if it is not there."""
    try:
        import huggingface_hub as client  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    path = client.try_to_load_from_cache(row.repository, row.file, revision=row.revision)
    return path if isinstance(path, str) else None


def _client(row: Published) -> Any:
    try:
        import huggingface_hub  # noqa: PLC0415 - an extra
        import huggingface_hub.constants  # noqa: PLC0415
        import huggingface_hub.errors  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(f"Fetching {row.repository}", EXTRA) from error
    return huggingface_hub


def _is_offline(client: Any) -> bool:
    return bool(client.constants.HF_HUB_OFFLINE) or is_offline()


def _one_file(row: Published, name: str, revision: str | None, client: Any) -> str:
    """Return the path of one file of a repository; what is fetched is not larger than it may be."""
    limit = row.max_bytes if name == row.file else _CONFIG_BYTES
    where = {"repo_id": row.repository, "filename": name, "revision": revision}
    local = _is_offline(client)
    if not local:
        planned = client.hf_hub_download(**where, dry_run=True)
        if os.path.exists(planned.local_path):
            return str(planned.local_path)
        _check_size(row, name, planned.file_size, limit)
    path: str = client.hf_hub_download(**where, local_files_only=local)
    _check_size(row, name, os.path.getsize(path), limit)
    return path


def _check_size(row: Published, name: str, size: int, limit: int) -> None:
    if size > limit:
        raise DownloadError(
            fault(
                row.repository,
                f"{name} has {size:,} bytes, and that net's has {limit:,} at most.",
                "The repository was changed. Pass the path of a file of your own as `weights`.",
            )
        )


@contextmanager
def _explained(row: Published, client: Any) -> Iterator[None]:
    """Turn the client's errors into a `DownloadError` that names the remedy."""
    try:
        yield
    except DownloadError:
        raise
    except (OSError, ValueError, RuntimeError, client.errors.HfHubHTTPError) as error:
        found, remedy = _reason(row, error, client)
        raise DownloadError(fault(row.repository, found, remedy)) from error


def _reason(row: Published, error: Exception, client: Any) -> tuple[str, str]:
    """Return what went wrong, and what to do."""
    errors, page = client.errors, f"{client.constants.ENDPOINT}/{row.repository}"
    login = "log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        return "the repository is gated.", f"Accept its terms at {page}, and {login}."
    if isinstance(error, errors.RepositoryNotFoundError):
        private = f"If it is private, {login}. Or pass the path of a file as `weights`."
        return f"{client.constants.ENDPOINT} has no such repository, or a private one.", private
    if isinstance(error, errors.RevisionNotFoundError):
        own = "Pass the path of a file of your own as `weights`."
        return f"the repository has no commit {row.revision}.", own
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _not_cached(row, error, client)
    if isinstance(error, errors.EntryNotFoundError):
        other = "Convert it to safetensors yourself and pass that file's path as `weights`."
        return f"it holds no {row.file}, and pickles are not fetched.", other
    again = "Try again; what was fetched so far is kept and checked by the client."
    return f"the file could not be fetched ({error}).", again


def _not_cached(row: Published, error: Exception, client: Any) -> tuple[str, str]:
    where = f"{row.file} is not in {client.constants.HF_HUB_CACHE}"
    for variable, is_set in (
        ("HF_HUB_OFFLINE", bool(client.constants.HF_HUB_OFFLINE)),
        (OFFLINE_VARIABLE, is_offline()),
    ):
        if is_set:
            found = f"{where}, and the network was not asked, because {variable} is set."
            return found, f"Unset it once, or run `hf download {row.repository}` elsewhere."
    remedy = "Look at the connection, HF_ENDPOINT and the proxy, or pass the path of a file."
    reason = str(error.__cause__ or error).partition("\n")[0]
    return f"{where}, and {client.constants.ENDPOINT} did not give it ({reason}).", remedy
