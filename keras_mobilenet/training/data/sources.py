"""Whatever a user trains with, as one thing: images that can be read, hashed and named."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keras_mobilenet.checkpoints.published.hashes import sha256_of
from keras_mobilenet.images.images import read_image
from keras_mobilenet.images.pixel_scaling import Preprocessing, as_preprocessing
from keras_mobilenet.images.value_ranges import Pixels, range_of
from keras_mobilenet.training.data.array_data import ArrayData, is_array_data, read_arrays
from keras_mobilenet.training.data.datasets import Dataset, Example, read_dataset
from keras_mobilenet.training.data.splits import split
from keras_mobilenet.training.data.targets import Classes


@dataclass(frozen=True, eq=False)
class Image:
    """One image with its classes: a file, or pixels that are at hand."""

    classes: Classes  # one, but for multi-label images
    path: str | None = None
    pixels: Pixels | None = None

    @property
    def class_index(self) -> int:
        """The number of the one class."""
        (index,) = self.classes
        return index

    def read(self) -> Pixels:
        """Return the pixels, `(height, width, 3)` of the image's own size.

        Raises:
            ImageError: the file is no image, or a damaged one.
        """
        return read_image(self.path or "") if self.pixels is None else self.pixels

    def content(self) -> str:
        """Return the SHA-256 of what the image is made of, which is read for it once.

        Raises:
            OSError: the file cannot be read.
        """
        return self._content

    @cached_property
    def _content(self) -> str:
        if self.pixels is None:
            return sha256_of(self.path or "")
        shape = str(self.pixels.shape).encode()
        return hashlib.sha256(shape + self.pixels.tobytes()).hexdigest()


@dataclass(frozen=True)
class LabelledImages:
    """Images to train and to validate with, and the names of their classes."""

    labels: tuple[str, ...]
    train: tuple[Image, ...]
    validation: tuple[Image, ...]  # may be empty
    problems: tuple[str, ...] = ()
    multi_label: bool = False  # whether an image may be of several classes, or of none
    values: str | None = None  # the range that arrays of floats are of


def read_source(
    data: Any,
    *,
    validation: Any,
    seed: int,
    labels: Sequence[str] | None = None,
    multi_label: bool | None = None,
    preprocessing: Preprocessing | str | None = None,
) -> LabelledImages:
    """Return the images of `data` and of `validation`, or a share of those of `data`.

    Args:
        data: What `read_dataset` takes, or what `read_arrays` does.
        validation: A share above 0 and below 1, images of the kind of `data`, or None.
        seed: Another one gives another split.
        labels: The names of the class numbers; folders and CSV files have their own.
        multi_label: Whether an image may be of several classes; None for whether one is.
        preprocessing: What was made of the pixels in arrays; None is found.

    Raises:
        ValueError: the data are of another kind, or do not fit each other.
    """
    if not is_array_data(data):
        _check_files(labels, multi_label, preprocessing)
        return _from_dataset(read_dataset(data, validation=validation, seed=seed))
    made = None if preprocessing is None else as_preprocessing(preprocessing)
    training = read_arrays(data, "data", labels=labels, multi_label=multi_label, made=made)
    share = validation is None or isinstance(validation, (int, float))
    validated = None if share else _beside(training, validation, labels, made)
    names = _names(labels, training, validated)
    # Keras' data sets are shuffled anew each time: the result is to be the same nevertheless.
    images = tuple(sorted(_images(training), key=Image.content))
    parts = images, () if validated is None else _images(validated)
    if share and validation is not None:
        parts = _divided(images, names, float(validation), seed)
    values = None if training.made is None else range_of(training.made)
    return LabelledImages(names, *parts, multi_label=training.targets.multi_label, values=values)


def _check_files(
    labels: Sequence[str] | None, multi_label: bool | None, preprocessing: Any
) -> None:
    if labels is not None:
        raise ValueError("`labels` names class numbers; images in files have names already.")
    if multi_label:
        raise ValueError(
            "Folders, CSV files and pairs give each image one class. With multi_label=True pass "
            "arrays, or a data set of them."
        )
    if preprocessing is not None:
        raise ValueError(
            "`preprocessing` says what was made of the pixels in arrays; those in files are as "
            f"they are. Received: preprocessing={preprocessing!r}"
        )


def _from_dataset(dataset: Dataset) -> LabelledImages:
    train, validated = map(_files, (dataset.train, dataset.validation))
    return LabelledImages(dataset.labels, train, validated, dataset.problems)


def _files(examples: Iterable[Example]) -> tuple[Image, ...]:
    return tuple(Image((index,), path) for path, index in examples)


def _beside(
    training: ArrayData, validation: Any, labels: Sequence[str] | None, made: Preprocessing | None
) -> ArrayData:
    """Return the images to validate with, whose classes are those of `own`."""
    validated = read_arrays(
        validation,
        "validation",
        labels=training.names if labels is None else labels,
        multi_label=training.targets.multi_label,
        made=made,
        fallback=training.made,
    )
    if (
        training.names is not None
        and validated.names is not None
        and training.names != validated.names
    ):
        raise ValueError(
            "`validation` must have the classes of `data`. Received: "
            f"{', '.join(validated.names)}, not {', '.join(training.names)}"
        )
    return validated


def _names(
    labels: Sequence[str] | None, training: ArrayData, validated: ArrayData | None
) -> tuple[str, ...]:
    given = training.names if labels is None else tuple(labels)
    both = [training.targets] if validated is None else [training.targets, validated.targets]
    count = max(targets.count for targets in both)
    names = tuple(map(str, range(count))) if given is None else given
    wrong = {targets.count for targets in both if targets.columns and targets.count != len(names)}
    if len(names) < max(count, 2) or wrong:
        raise ValueError(
            f"There must be a label for each class, and two classes. Received: {len(names)} "
            f"labels, and {max(wrong, default=count)} classes"
        )
    return names


def _images(data: ArrayData) -> tuple[Image, ...]:
    pairs = zip(data.targets.classes, data.images, strict=True)
    return tuple(Image(classes, None, pixels) for classes, pixels in pairs)


def _divided(
    images: Sequence[Image], names: Sequence[str], share: float, seed: int
) -> tuple[tuple[Image, ...], tuple[Image, ...]]:
    """Return the images on two sides as `read_dataset` does, those of equal content on one."""
    if not 0 < share < 1:
        raise ValueError(
            f"`validation` must be a share above 0 and below 1. Received: validation={share!r}"
        )
    counts = Counter(index for image in images for index in image.classes)
    groups = defaultdict(list)
    for place, image in enumerate(images):
        # Of several classes the rarest: it is the one that a share of all might leave out.
        rarest = min(image.classes, key=lambda index: (counts[index], index), default=None)
        label = "" if rarest is None else names[rarest]
        groups[image.content()].append((f"{place:09}", label))
    sides = split(list(groups.values()), share, seed)
    train, validated = (tuple(images[int(place)] for place, _ in side) for side in sides)
    return train, validated
