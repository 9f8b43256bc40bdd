"""What went wrong on Hugging Face's hub, in words that name the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from keras_mobilenet.checkpoints.published.download import OFFLINE_VARIABLE, is_offline
from keras_mobilenet.errors import DownloadError, fault

OWN_FILE = "Pass the path of a file of your own as `weights`."
ANOTHER = "`keras-mobilenet weights list` shows the names of published ones."


@dataclass(frozen=True)
class Wanted:
    """A file of weights that is asked of the hub."""

    repository: str  # "owner/name"
    revision: str | None  # a commit, branch or tag; None for the newest
    file: str
    max_bytes: int


def offline_variable(client: Any) -> str | None:
    """Return the variable that forbids the network; None where none does."""
    if client.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE"
    return OFFLINE_VARIABLE if is_offline() else None


def is_kept_offline(client: Any) -> bool:
    """Return whether the user forbade the network."""
    return offline_variable(client) is not None


@contextmanager
def explained(wanted: Wanted, client: Any) -> Iterator[None]:
    """Turn the client's errors into a `DownloadError` that names the remedy."""
    try:
        yield
    except DownloadError:
        raise
    except (OSError, ValueError, RuntimeError, client.errors.HfHubHTTPError) as error:
        found, remedy = _reason(wanted, error, client)
        raise DownloadError(fault(wanted.repository, found, remedy)) from error


def _reason(wanted: Wanted, error: Exception, client: Any) -> tuple[str, str]:
    """Return what went wrong, and what to do."""
    errors, page = client.errors, f"{client.constants.ENDPOINT}/{wanted.repository}"
    login = "log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        return "the repository is gated.", f"Accept its terms at {page}, and {login}."
    if isinstance(error, errors.RepositoryNotFoundError):
        private = f"If it is private, {login}. If a file is meant, check its path: none is here."
        return f"{client.constants.ENDPOINT} has no such repository, or a private one.", private
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no commit {wanted.revision or 'any more'}.", OWN_FILE
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _not_cached(wanted, error, client)
    if isinstance(error, errors.EntryNotFoundError):
        other = "Convert it to safetensors yourself and pass that file's path as `weights`."
        return f"it holds no {wanted.file}, and pickles are not fetched.", other
    again = "Look at the connection and the room in HF_HUB_CACHE, and try again."
    return f"the file could not be fetched ({first_line(error)}).", again


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its kind where it has none."""
    return str(error).partition("\n")[0] or type(error).__name__


def _not_cached(wanted: Wanted, error: Exception, client: Any) -> tuple[str, str]:
    where = f"{wanted.file} is not in {client.constants.HF_HUB_CACHE}"
    if variable := offline_variable(client):
        found = f"{where}, and the network was not asked, because {variable} is set."
        return found, f"Unset it once, or run `hf download {wanted.repository}` elsewhere."
    remedy = "Look at the connection, HF_ENDPOINT and the proxy, or pass the path of a file."
    reason = first_line(error.__cause__ or error)
    return f"{where}, and {client.constants.ENDPOINT} did not give it ({reason}).", remedy
