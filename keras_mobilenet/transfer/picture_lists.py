"""Pictures with their classes, listed as people have them: folders, CSV files, pairs.

Each reader returns the same `Listing`. Pictures are not opened: what is no picture by its name, is
empty or is missing is left out and told; what cannot be decoded turns up when it is read.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike

Pair = tuple[str, str]  # a picture's path and its class
Data = str | PathLike[str] | Sequence[tuple[str | PathLike[str], str]]

SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
     ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)  # fmt: skip
COLUMNS = ("path", "label")
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


@dataclass(frozen=True)
class Problem:
    """Something about one file or class that does not stop the reading."""

    where: str  # the file, the folder or the class
    what: str  # the same words for all of a sort

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Listing:
    """The usable pictures of one source, sorted by path, and what was left out."""

    pairs: tuple[Pair, ...]
    problems: tuple[Problem, ...]


def list_pictures(data: Data, argument: str = "data") -> Listing:
    """Return the pictures that `data` names: a folder of class folders, a CSV file, or pairs.

    Raises:
        ValueError: `data` is none of these, is damaged, or has no usable picture in it.
    """
    if isinstance(data, (str, PathLike)):
        path = os.fspath(data)
        listing = _from_folder(path) if os.path.isdir(path) else _from_csv(path, argument)
    else:
        listing = _usable(_pairs(data, argument))
    if not listing.pairs:
        shown = "".join(f"\n  {problem}" for problem in listing.problems[:3])
        raise ValueError(f"`{argument}` has no picture in it: {_name(data)}{shown}")
    return listing


def _name(data: Data) -> str:
    return os.fspath(data) if isinstance(data, (str, PathLike)) else f"{len(data)} pairs"


def _from_folder(folder: str) -> Listing:
    """Return the pictures in a folder's folders, whose names are the classes."""
    with os.scandir(folder) as entries:
        visible = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    classes = [name for name in visible if os.path.isdir(os.path.join(folder, name))]
    if not classes:
        raise ValueError(
            f"{folder} has no folders in it. Put each class' pictures into a folder of its name."
        )
    if len(classes) > 1 and _SPLITS.issuperset(map(str.lower, classes)):
        raise ValueError(
            f"The folders in {folder} are no classes: {', '.join(classes)}. Pass the folder that "
            "has the class folders in it, and that of the validation pictures as `validation`."
        )
    problems = [Problem(os.path.join(folder, name), "is not in a class folder")
                for name in visible if name not in classes]  # fmt: skip
    pairs: list[Pair] = []
    for name in classes:
        found = _class_folder(os.path.join(folder, name), name)
        pairs += found.pairs
        problems += found.problems
        if not found.pairs:
            problems.append(Problem(os.path.join(folder, name), "is a class without pictures"))
    return Listing(tuple(pairs), tuple(problems))


def _class_folder(folder: str, label: str) -> Listing:
    files = list(_files_within(folder))
    pictures = [x for x in files if os.path.splitext(x)[1].lower() in SUFFIXES]
    usable = _usable((path, label) for path in pictures)
    others = sorted(set(files).difference(pictures))
    no_pictures = tuple(Problem(path, "is no picture, by its name") for path in others)
    return Listing(usable.pairs, no_pictures + usable.problems)


def _files_within(folder: str) -> Iterator[str]:
    """Yield the files in a folder and in the folders within it, hidden ones left out."""
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(root, name) for name in files if not name.startswith("."))


def _from_csv(path: str, argument: str) -> Listing:
    """Return the pictures of a CSV file's rows, whose paths begin at the file's own folder."""
    if not os.path.isfile(path):
        raise ValueError(
            f"`{argument}` must be a folder of class folders, a CSV file, or pairs of a path and "
            f"a label. There is nothing at {path!r}."
        )
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # Excel writes the mark
            rows = list(_csv_rows(path, file))
    except (UnicodeDecodeError, csv.Error) as error:
        remedy = "Save it as a CSV file in UTF-8, with commas."
        raise ValueError(f"{path} cannot be read as CSV: {error}. {remedy}") from error
    folder = os.path.dirname(path)
    return _usable((os.path.join(folder, picture), label) for picture, label in rows)


def _csv_rows(path: str, file: Iterable[str]) -> Iterator[Pair]:
    reader = csv.DictReader(file)
    header = [name.strip() for name in reader.fieldnames or ()]
    if not set(COLUMNS).issubset(header):
        raise ValueError(
            f"{path} must begin with a line that names the columns {' and '.join(COLUMNS)}. "
            f"Found: {', '.join(header) or 'nothing'}"
        )
    reader.fieldnames = header
    for row in reader:
        picture, label = ((row[column] or "").strip() for column in COLUMNS)
        if not (picture and label):
            raise ValueError(f"{path}, line {reader.line_num}, has no path or no label: {row}")
        yield picture, label


def _pairs(data: Iterable[object], argument: str) -> Iterator[Pair]:
    """Yield the pairs of a sequence, checked."""
    wanted = (
        f"`{argument}` must be a folder of class folders, a CSV file, or pairs of a path and a "
        "label, both as text."
    )
    if not isinstance(data, Sequence):
        raise ValueError(f"{wanted} Received: {type(data).__name__}")
    for pair in data:
        match pair:
            case (str() | PathLike() as path, str() as label) if label:
                yield os.fspath(path), label
            case _:
                raise ValueError(f"{wanted} Received: {pair!r}")


def _usable(pairs: Iterable[Pair]) -> Listing:
    """Return the pairs whose file is there and has something in it, each once."""
    kept, problems = [], []
    for path, label in sorted(set(pairs)):
        what = _fault(path)
        if what:
            problems.append(Problem(path, what))
        else:
            kept.append((path, label))
    return Listing(tuple(kept), tuple(problems))


def _fault(path: str) -> str | None:
    if not os.path.isfile(path):
        return "is missing"
    return None if os.path.getsize(path) else "is empty (0 bytes)"
