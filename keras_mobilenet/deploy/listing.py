"""The pictures of a folder, or of a list, in an order that is always the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache

from PIL import Image

Path = str | os.PathLike[str]
LISTS = (".txt", ".lst")  # files of these suffixes hold paths, one a line
# Pillow knows these by name, and has no decoder of its own for them.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
_Folder = tuple[int, int]  # device and inode


def list_pictures(source: Path | Iterable[Path]) -> Iterator[str]:
    """Yield the paths of the picture files in `source`.

    A folder is walked with all its subfolders, whatever is named like a picture, sorted by name at
    each level; of its paths no more are in memory than the names of the folders that lead to the
    one being read. Links to folders are followed, but not back to a folder on the way.

    Args:
        source: A folder; a `.txt` or `.lst` file of paths, one a line, UTF-8, relative ones to
            the working folder; a picture file, whatever its name; or an iterable of these.

    Raises:
        OSError: a folder or a list cannot be read.
    """
    for item in (source,) if isinstance(source, (str, os.PathLike)) else source:
        path = os.fspath(item)
        if os.path.isdir(path):
            yield from _walk(path, ())
        elif path.lower().endswith(LISTS):
            yield from _lines(path)
        else:
            yield path


def _walk(folder: str, above: tuple[_Folder, ...]) -> Iterator[str]:
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return  # a link back
    with os.scandir(folder) as entries:
        names = sorted((entry.name, entry.is_dir()) for entry in entries)
    for name, is_folder in names:
        if is_folder:
            yield from _walk(os.path.join(folder, name), (*above, here))
        elif os.path.splitext(name)[1].lower() in picture_suffixes():
            yield os.path.join(folder, name)


def _lines(path: str) -> Iterator[str]:
    # A path is whatever bytes the file system has, as in `os.listdir`.
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.strip():
                yield line.rstrip("\r\n")


@cache
def picture_suffixes() -> frozenset[str]:
    """Return the suffixes, in small letters and with the dot, of files that can be decoded."""
    suffixes = Image.registered_extensions()
    decoded = Image.OPEN.keys() - _NOT_DECODED
    return frozenset(suffix for suffix, format_ in suffixes.items() if format_ in decoded)
