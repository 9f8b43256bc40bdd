"""A folder for the hub to the hub itself, by Hugging Face's own client.

Its settings hold, and its token: `HF_TOKEN`, or what `hf auth login` keeps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from keras_mobilenet.checkpoints.hub_folders import CARD
from keras_mobilenet.checkpoints.net_weights import builder_of, net_weights
from keras_mobilenet.checkpoints.published import hub_errors
from keras_mobilenet.checkpoints.published.hub import client_for
from keras_mobilenet.checkpoints.published.names import SCHEME
from keras_mobilenet.checkpoints.writing.hub_folder import FILES
from keras_mobilenet.checkpoints.writing.model_card import code_line
from keras_mobilenet.errors import UploadError, fault
from keras_mobilenet.files import replacing
from keras_mobilenet.nets.published import table

_MESSAGE = "Upload a MobileNet with keras-mobilenet"
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN, to a token that may write"
_CODE = re.compile(r"^predictor = Predictor\(.*\)$", re.MULTILINE)


def check_push(repository: str) -> str:
    """Return "owner/name" of a repository that something is to be pushed to.

    Nothing is asked of the hub yet.

    Raises:
        ValueError: no repository can have that name.
        MissingExtraError: the hub's client is not installed.
        UploadError: the network must not be asked, or there is no token.
    """
    name = repository.removeprefix(SCHEME)
    if not table.looks_like_repository(name):
        raise ValueError(f"Push to OWNER/NAME, as in me/flowers. Received: {repository!r}")
    client = client_for(f"Pushing to {name}")
    try:
        client.utils.validate_repo_id(name)
    except ValueError as error:
        raise ValueError(f"The hub has no repositories of the name {name!r}: {error}") from error
    if variable := hub_errors.offline_variable(client):
        found = f"nothing was pushed, because {variable} is set."
        raise UploadError(fault(name, found, "Unset it, and push again."))
    if client.get_token() is None:
        found = "nothing was pushed: the hub has no token of yours."
        raise UploadError(fault(name, found, f"First {_LOG_IN}."))
    return name


def is_there(repository: str) -> bool:
    """Return whether the hub has a repository that the user may see.

    Raises:
        UploadError: it does not answer.
    """
    client = client_for(f"Pushing to {repository}")
    with _explained(repository, client):
        return bool(client.repo_exists(repository))


def push(folder: str | PathLike[str], repository: str, *, private: bool = False) -> str:
    """Upload a folder for the hub in one commit, and return the address of its page.

    The repository is made where there is none; its files of other names stay.

    Args:
        folder: As `save_weights(model, "folder/")` writes it; its files of other names stay here.
        repository: "owner/name".
        private: Whether a new repository is for its owner's eyes only.

    Raises:
        CheckpointError: the folder does not open.
        UploadError: the hub does not take it.
    """
    net_weights(builder_of(folder))  # what does not open here would not open from there
    client = client_for(f"Pushing to {repository}")
    paths = [(name, os.path.join(folder, name)) for name in FILES]
    files = [
        client.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path)
        for name, path in paths
        if os.path.isfile(path)
    ]
    with _explained(repository, client):
        client.create_repo(repository, private=private or None, exist_ok=True)
        client.create_commit(repository, files, commit_message=_MESSAGE)
    return f"{client.constants.ENDPOINT}/{repository}"


def name_in_card(folder: str | PathLike[str], repository: str) -> None:
    """Let the code in a folder's card open the repository, where it opens the folder so far.

    Raises:
        OSError: the card cannot be written; it is as it was.
    """
    path = Path(folder, CARD)
    if not path.is_file():
        return
    before = path.read_text(encoding="utf-8")
    line = code_line(SCHEME + repository)
    after = _CODE.sub(lambda _: line, before, count=1)
    if after != before:
        with replacing(path) as temporary:
            Path(temporary).write_text(after, encoding="utf-8")


@contextmanager
def _explained(repository: str, client: Any) -> Iterator[None]:
    """Turn the client's errors into an `UploadError` that names the remedy."""
    try:
        yield
    except Exception as error:  # the client's, and those of the HTTP library that it goes by
        found, remedy = _reason(repository, error, client)
        raise UploadError(fault(repository, found, remedy)) from error


def _reason(repository: str, error: Exception, client: Any) -> tuple[str, str]:
    """Return what went wrong, and what to do."""
    endpoint = client.constants.ENDPOINT
    cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status in (401, 403, 404):  # 404 where a token must not know what is there
        owner = repository.partition("/")[0]
        found = f"{endpoint} does not let your token write to {owner}'s repositories ({status})."
        return found, f"Push to one of your own, or {_LOG_IN} there."
    reason = hub_errors.first_line(cause)
    found = f"{endpoint} did not take it ({reason})."
    return found, "Look at the connection, HF_ENDPOINT and the proxy, and push again."
