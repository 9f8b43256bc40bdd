"""Published weights: found where they lie, or fetched into Keras' own cache folder."""

from __future__ import annotations

import os
from pathlib import Path

import pooch

from keras_mobilenet import pretrained
from keras_mobilenet.errors import DownloadError
from keras_mobilenet.files import HDF5_SIGNATURE

FOLDERS_VARIABLE = "KERAS_MOBILENET_WEIGHTS"
BASE_URL_VARIABLE = "KERAS_MOBILENET_BASE_URL"
TIMEOUT = 30  # seconds without an answer


def find_or_fetch(file_name: str, known_sha256: str | None = None) -> str:
    """Return the path of a published file: from a local folder, else from the network.

    The folders that `KERAS_MOBILENET_WEIGHTS` names are looked in first, then Keras' cache. What
    is fetched goes into that cache, where `keras.applications` finds it too.

    Raises:
        DownloadError: the file is in no folder and cannot be fetched.
    """
    folders = weights_folders()
    for folder in folders:
        if (folder / file_name).is_file():
            return str(folder / file_name)
    return _fetch(file_name, folders, known_sha256)


def weights_folders() -> list[Path]:
    """Return the folders that published weights are looked for in, in order."""
    named = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    return [Path(folder).expanduser() for folder in named if folder] + [keras_cache()]


def keras_cache() -> Path:
    """Return the folder in which `keras.applications` keeps its weights."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "models"


def _fetch(file_name: str, folders: list[Path], known_sha256: str | None) -> str:
    base_url = os.environ.get(BASE_URL_VARIABLE) or pretrained.BASE_URL
    url = f"{base_url.rstrip('/')}/{file_name}"
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # a library is silent when all is well
    try:
        return str(pooch.retrieve(url, known_sha256, file_name, keras_cache(), downloader=_save))
    except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
        looked_in = "\n".join(f"  {folder}" for folder in folders)
        raise DownloadError(
            f"{file_name} is in none of these folders, and could not be fetched:\n{looked_in}\n"
            f"  {url} ({error})\n"
            f"Put the file into one of the folders, name its folder in {FOLDERS_VARIABLE}, or "
            "pass weights=None or the path of another file."
        ) from error
    finally:
        logger.setLevel(level)


def _save(url: str, output_file: str, downloader: pooch.Pooch | None) -> None:
    """Save `url` as `output_file`, a temporary file that pooch then moves into place."""
    pooch.HTTPDownloader(timeout=TIMEOUT)(url, output_file, downloader)
    with open(output_file, "rb") as file:
        if file.read(len(HDF5_SIGNATURE)) != HDF5_SIGNATURE:
            raise ValueError("the answer is not an HDF5 file, most likely an error page")
