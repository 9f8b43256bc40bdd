"""The images of a folder, or of a list, in an order that is always the same.

What an image file is, every part of the package takes from here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image

Path = str | os.PathLike[str]
LISTS = (".txt", ".lst")  # files of these suffixes hold paths, one a line
# Pillow knows these by name, and has no decoder of its own for them.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
# Photos of phones: named, so that they are reported with what to do, not passed over in silence.
_ALWAYS = frozenset({".heic", ".heif"})
_Folder = tuple[int, int]  # device and inode
_Name = tuple[str, bool]  # and whether it is that of a folder


@dataclass(frozen=True)
class Entry:
    """A file in a folder, or a folder in it that cannot be read."""

    path: str
    is_image: bool  # by its name; so is a folder that cannot be read, as images may be in it


def list_images(source: Path | Iterable[Path]) -> Iterator[str]:
    """Yield the paths of the image files in `source`.

    A folder is walked with all its subfolders, whatever is named like an image, sorted by name at
    each level; of its paths no more are in memory than the names of the folders that lead to the
    one being read. Links to folders are followed, but not back to a folder on the way. What is
    hidden is passed over, such as `.ipynb_checkpoints` and `._x.jpg`. A folder that cannot be read
    is yielded itself: it is then reported like a file that cannot be read, and the rest goes on.

    Args:
        source: A folder; a `.txt` or `.lst` file of paths, one a line, UTF-8, relative ones to
            the working folder; an image file, whatever its name; or an iterable of these.

    Raises:
        OSError: a list cannot be read.
    """
    for item in (source,) if isinstance(source, (str, os.PathLike)) else source:
        path = os.fspath(item)
        if os.path.isdir(path):
            yield from (entry.path for entry in walk(path) if entry.is_image)
        elif path.lower().endswith(LISTS):
            yield from _lines(path)
        else:
            yield path


def no_image(source: Any) -> ValueError:
    """Return the error for a source without an image."""
    return ValueError(
        f"There is no image in {source!r}. Pass a folder with files named like images "
        "(.jpg, .png, ...) in it or in its subfolders, or a .txt file of paths, one a line."
    )


def walk(folder: str) -> Iterator[Entry]:
    """Yield what is in a folder and in its folders, as `list_images` does, images or not."""
    levels: list[tuple[str, _Folder, Iterator[_Name]]] = []  # the folders on the way, from the top

    def enter(path: str) -> Iterator[Entry]:
        try:
            status = os.stat(path)
            here = (status.st_dev, status.st_ino)
            if here not in (folder for _, folder, _ in levels):  # else a link back
                levels.append((path, here, iter(visible_names(path))))
        except OSError:
            yield Entry(path, is_image=True)

    yield from enter(folder)
    while levels:  # no recursion: folders may lie deeper in each other than Python's stack goes
        name, is_folder = next(levels[-1][2], ("", False))
        path = os.path.join(levels[-1][0], name)
        if not name:
            levels.pop()
        elif is_folder:
            yield from enter(path)
        else:
            yield Entry(path, is_image_name(name))


def visible_names(folder: str) -> list[_Name]:
    """Return the names in a folder, sorted, without hidden ones, and which of them are folders.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        return sorted((e.name, _is_folder(e)) for e in entries if not e.name.startswith("."))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself leads nowhere; behind others there may be a folder
        return error.errno != errno.ELOOP


def is_image_name(path: str) -> bool:
    """Return whether a file is an image by its name."""
    return os.path.splitext(path)[1].lower() in image_suffixes()


def _lines(path: str) -> Iterator[str]:
    # A path is whatever bytes the file system has, as in `os.listdir`.
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.strip():
                yield line.rstrip("\r\n")


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes, in small letters and with the dot, of files that can be decoded."""
    suffixes = Image.registered_extensions()
    decoded = Image.OPEN.keys() - _NOT_DECODED
    return _ALWAYS | {suffix for suffix, format_ in suffixes.items() if format_ in decoded}
