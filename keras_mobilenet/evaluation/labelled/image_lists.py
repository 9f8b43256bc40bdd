"""Images with their classes, listed as people have them: folders, CSV files, pairs.

Each reader returns the same `Listing`. Images are not opened: what is no image by its name, is
empty or is missing is left out and reported; what cannot be decoded turns up when it is read.
"""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike

from keras_mobilenet.errors import path_of_text, unicode_text
from keras_mobilenet.images.listing import visible_names, walk

Pair = tuple[str, str]  # an image's path and its class
Data = str | PathLike[str] | Sequence[tuple[str | PathLike[str], str]]

COLUMNS = ("path", "label")
_UNREADABLE = "cannot be read"
_SEPARATORS = "|;,"  # of several classes in a cell, as people write them
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
    """The usable images of one source, sorted by path, and what was left out."""

    pairs: tuple[Pair, ...]
    problems: tuple[Problem, ...]


def list_images(data: Data, argument: str = "data") -> Listing:
    """Return the images that `data` names: a folder of class folders, a CSV file, or pairs.

    Raises:
        ValueError: `data` is none of these, is damaged, or has no usable image in it.
    """
    if isinstance(data, (str, PathLike)) and os.path.isdir(data):
        listing = _from_folder(os.fspath(data))
    elif isinstance(data, (str, PathLike)):
        listing = _with_lists_of_classes(_from_csv(os.fspath(data), argument))
    else:
        listing = _with_lists_of_classes(_usable(_pairs(data, argument)))
    if not listing.pairs:
        shown = "".join(f"\n  {problem}" for problem in listing.problems[:3])
        raise ValueError(f"`{argument}` has no image in it: {_name(data)}{shown}")
    _check_labels(listing, argument)
    return listing


def _with_lists_of_classes(listing: Listing) -> Listing:
    """Return a listing that has among its problems the labels that look like several classes.

    Each is one class here, as an image has one label in a list. It is a problem where its parts are
    other images' labels; the parts of a class name with a comma in it are not.
    """
    labels = {label for _, label in listing.pairs}
    what = (
        "looks like several classes of an image, and is taken for a class of its own; images of "
        "several classes are trained with as arrays and multi_label=True"
    )
    several = tuple(Problem(label, what) for label in sorted(labels) if _is_list(label, labels))
    return Listing(listing.pairs, listing.problems + several)


def _is_list(label: str, labels: set[str]) -> bool:
    for separator in _SEPARATORS:
        parts = [part.strip() for part in label.split(separator)]
        if len(parts) > 1 and labels.issuperset(parts):
            return True
    return False


def _check_labels(listing: Listing, argument: str) -> None:
    """Raise for classes whose names no file can hold: what is trained could not be saved."""
    labels = {label for _, label in listing.pairs}
    odd = sorted(name for name in map(unicode_text, labels) if name not in labels)
    if odd:
        raise ValueError(
            f"`{argument}` has classes whose names are no UTF-8: {', '.join(odd[:3])}. Rename "
            "them: a class folder gives its class its name."
        )


def _name(data: Data) -> str:
    return os.fspath(data) if isinstance(data, (str, PathLike)) else f"{len(data)} pairs"


def _from_folder(folder: str) -> Listing:
    """Return the images in a folder's folders, whose names are the classes."""
    names = visible_names(folder)
    classes = [name for name, is_folder in names if is_folder]
    if not classes:
        raise ValueError(
            f"{folder} has no folders in it. Put each class' images into a folder of its name."
        )
    if len(classes) > 1 and _SPLITS.issuperset(map(str.lower, classes)):
        raise ValueError(
            f"The folders in {folder} are no classes: {', '.join(classes)}. Pass the folder that "
            "has the class folders in it, and that of the validation images as `validation`."
        )
    problems = [Problem(os.path.join(folder, name), "is not in a class folder")
                for name, is_folder in names if not is_folder]  # fmt: skip
    pairs: list[Pair] = []
    for name in classes:
        listing = _class_folder(os.path.join(folder, name), name)
        pairs += listing.pairs
        problems += listing.problems
        if not listing.pairs and not any(
            _UNREADABLE in problem.what for problem in listing.problems
        ):
            problems.append(Problem(os.path.join(folder, name), "is a class without images"))
    return Listing(tuple(pairs), tuple(problems))


def _class_folder(folder: str, label: str) -> Listing:
    entries = list(walk(folder))
    usable = _usable((entry.path, label) for entry in entries if entry.is_image)
    others = sorted(entry.path for entry in entries if not entry.is_image)
    no_images = tuple(Problem(path, "is no image, by its name") for path in others)
    return Listing(usable.pairs, no_images + usable.problems)


def _from_csv(path: str, argument: str) -> Listing:
    """Return the images of a CSV file's rows, whose paths begin at the file's own folder."""
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
    return _usable((path_of_text(os.path.join(folder, image)), label) for image, label in rows)


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
        image, label = ((row[column] or "").strip() for column in COLUMNS)
        if not (image and label):
            raise ValueError(f"{path}, line {reader.line_num}, has no path or no label: {row}")
        yield image, label


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
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        return f"{_UNREADABLE}: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISDIR(status.st_mode):
        return f"is a folder that {_UNREADABLE}" if _is_closed(path) else "is a folder"
    if not stat.S_ISREG(status.st_mode):
        return "is a pipe or a device"
    return None if status.st_size else "is empty (0 bytes)"


def _is_closed(folder: str) -> bool:
    try:
        os.scandir(folder).close()
    except OSError:
        return True
    return False
