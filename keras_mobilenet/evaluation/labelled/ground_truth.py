"""The classes of a flat folder's images from a file, as ImageNet's validation images have them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from keras_mobilenet.evaluation.labelled.image_lists import Listing, list_images
from keras_mobilenet.images.labels import synsets_by_number
from keras_mobilenet.images.listing import is_image_name, visible_names

# Of the development kit, with a number from 1 to 1000 a line, in an order of its own.
_DEVKIT = re.compile(r"ILSVRC20\d\d_(clsloc_)?validation_ground_truth")
_NUMBERED = re.compile(r"ILSVRC20\d\d_val_(\d{8})\.\w+")
_KAGGLE = "ImageId"  # begins the first line of LOC_val_solution.csv
_Row = list[str]


def with_ground_truth(folder: str, file: str) -> Listing:
    """Return the images of a flat folder with the classes that a file tells.

    Args:
        folder: The images. Where they have ImageNet's names, not all need be there.
        file: A class a line, in the order of the images' names, or behind each name: synset ids,
            names or numbers from 0, as in `imagenet_2012_validation_synset_labels.txt`, Caffe's
            `val.txt` and Kaggle's `LOC_val_solution.csv`. Numbers in the development kit's
            `ILSVRC2012_validation_ground_truth.txt` are its own, from 1 to 1000.

    Raises:
        ValueError: the file is none of these, or has not a line for each image.
        OSError: it cannot be read.
    """
    names = [n for n, is_folder in visible_names(folder) if not is_folder and is_image_name(n)]
    rows = _rows(file)
    if all(len(row) == 1 for row in rows):
        classes = _by_line(file, [row[0] for row in rows])
        named = _in_order(names, classes, file, folder)
    else:
        named = _after_names(names, rows, file)
    pairs = [(os.path.join(folder, name), label) for name, label in named]
    return list_images(pairs, "ground_truth")


def _rows(file: str) -> list[_Row]:
    """Return the words of each line, without a header."""
    try:
        with open(file, encoding="utf-8-sig") as lines:
            rows = [line.replace(",", " ").split() for line in lines if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} cannot be read as text: {error}. Save it in UTF-8, a class a line."
        ) from error
    if not rows:
        raise ValueError(f"{file} has no line in it, where a class a line is needed.")
    return rows[1:] if rows[0][0] == _KAGGLE else rows


def _by_line(file: str, classes: list[str]) -> list[str]:
    """Return the classes of a file that has nothing else, the kit's numbers as synset ids."""
    numbers = [int(x) for x in classes if x.isascii() and x.isdigit()]
    if not numbers:
        return classes
    synsets = synsets_by_number()
    of_kit = len(numbers) == len(classes) and min(numbers) >= 1 and max(numbers) <= len(synsets)
    if _DEVKIT.match(os.path.basename(file)):
        if of_kit:
            return [synsets[number] for number in numbers]
        raise ValueError(
            f"{file} has the name of the development kit's file, and not its numbers, 1 to 1000. "
            "Give it another name if its classes are numbers from 0."
        )
    if of_kit and max(numbers) == len(synsets):
        raise ValueError(
            f"{file} has numbers from 1 to 1000, as the development kit's file has. Give it that "
            "name, ILSVRC2012_validation_ground_truth.txt, if it is that file: the kit numbers the "
            "classes in an order of its own. Other numbers begin at 0."
        )
    return classes


def _in_order(
    names: Sequence[str], classes: Sequence[str], file: str, folder: str
) -> list[tuple[str, str]]:
    """Return images with the classes of the lines that are theirs."""
    numbered = [_NUMBERED.fullmatch(name) for name in names]
    places = [int(match[1]) - 1 for match in numbered if match]
    if places and len(places) == len(names) and 0 <= min(places) <= max(places) < len(classes):
        return [(name, classes[i]) for name, i in zip(names, places, strict=True)]
    if len(classes) != len(names):
        raise ValueError(
            f"{file} must have a line for each image. Received: {len(classes)} lines, and "
            f"{len(names)} images in {folder}"
        )
    return list(zip(names, classes, strict=True))


def _after_names(names: Sequence[str], rows: Sequence[_Row], file: str) -> list[tuple[str, str]]:
    """Return images with the classes behind their names, which may lack the suffix."""
    short = next((row for row in rows if len(row) < 2), None)
    if short is not None:
        raise ValueError(f"{file} has a line without a name or a class: {short[0]!r}")
    by_stem = {os.path.splitext(name)[0]: name for name in names}
    return [(by_stem.get(os.path.splitext(row[0])[0], row[0]), row[1]) for row in rows]
