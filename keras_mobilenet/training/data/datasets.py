"""A user's images with their classes: what to train with, and what to validate with."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from keras_mobilenet.evaluation.labelled.image_lists import (
    Data,
    Listing,
    Pair,
    Problem,
    list_images,
)
from keras_mobilenet.training.data.splits import Group, equal_content, split

Example = tuple[str, int]  # an image's path and the index of its class
_Sides = tuple[list[Pair], list[Pair], list[Problem]]  # to train, to validate with
_SHOWN = 3  # of a sort, in a warning


@dataclass(frozen=True)
class Dataset:
    """Images by path, each with the index of its class in `labels`."""

    labels: tuple[str, ...]  # sorted
    train: tuple[Example, ...]
    validation: tuple[Example, ...]  # may be empty
    problems: tuple[str, ...] = ()  # each names its file or class; what was left out, too


def read_dataset(data: Data, *, validation: float | Data | None = 0.2, seed: int = 0) -> Dataset:
    """Return the images of `data` and their classes, split into two.

    Images are not opened. Hidden files are passed over; files that are no images by their
    names, are empty or are missing are left out. That, and what else looks wrong, is in the
    result's `problems`, and a `UserWarning` for each sort names the first three.

    Args:
        data: A folder with a folder of images for each class, at any depth within; a CSV file
            with the columns `path`, from the file's own folder, and `label`; or pairs of these.
        validation: The share of each class' images to validate with, above 0 and below 1; or
            the images themselves, in any of the kinds of `data`; or None for none. A split puts
            files of equal content on one side and leaves each class at least one to train with.
        seed: Another one gives another split.

    Raises:
        ValueError: there is no image, or one class only; the images to validate with are of
            classes that `data` does not have; an argument is of another kind.
    """
    listing = list_images(data)
    labels = tuple(sorted({label for _, label in listing.pairs}))
    if len(labels) < 2:
        raise ValueError(
            f"There must be at least two classes to tell apart. Received: one, {labels[0]!r}"
        )
    if validation is None or isinstance(validation, (int, float)):
        train, validated, problems = _divided(listing, _share(validation), seed)
    else:
        other = list_images(validation, "validation")
        _check_labels(other, labels)
        train, validated, problems = _beside(listing, other)
    problems += _rare(listing.pairs)
    _warn(problems)
    examples = _indexed(train, labels), _indexed(validated, labels)
    return Dataset(labels, *examples, tuple(map(str, problems)))


def _share(validation: float | None) -> float | None:
    if validation is not None and (isinstance(validation, bool) or not 0 < validation < 1):
        raise ValueError(
            "`validation` must be a share above 0 and below 1, images in one of the kinds of "
            f"`data`, or None. Received: validation={validation!r}"
        )
    return validation


def _divided(listing: Listing, share: float | None, seed: int) -> _Sides:
    """Return one source's images on two sides, all on the first without a share."""
    groups = equal_content(listing.pairs)
    train, validated = split(groups, share, seed) if share else (list(listing.pairs), [])
    return train, validated, [*listing.problems, *_contradictions(groups)]


def _beside(listing: Listing, other: Listing) -> _Sides:
    """Return two sources' images, each on its side."""
    train, validated = list(listing.pairs), list(other.pairs)
    groups = equal_content(train + validated)
    problems = [*listing.problems, *other.problems, *_contradictions(groups)]
    return train, validated, [*problems, *_on_both_sides(groups, set(train), set(validated))]


def _check_labels(validation: Listing, labels: Sequence[str]) -> None:
    unknown = sorted({label for _, label in validation.pairs}.difference(labels))
    if unknown:
        raise ValueError(
            f"`validation` has classes that `data` does not have: {', '.join(unknown)}. "
            f"Those of `data` are {', '.join(labels)}."
        )


def _contradictions(groups: Iterable[Group]) -> Iterator[Problem]:
    """Yield the images that are in several classes, which are named."""
    for group in groups:
        classes = sorted({label for _, label in group})
        if len(classes) > 1:
            where = f"{_paths(group)} ({', '.join(classes)})"
            yield Problem(where, "is one image in several classes")


def _on_both_sides(
    groups: Iterable[Group], train: set[Pair], validated: set[Pair]
) -> Iterator[Problem]:
    """Yield the images that are validated with although the net has seen them."""
    for group in groups:
        if not train.isdisjoint(group) and not validated.isdisjoint(group):
            yield Problem(_paths(group), "is one image to train and to validate with")


def _paths(group: Group) -> str:
    return " = ".join(dict.fromkeys(path for path, _ in group))


def _rare(pairs: Iterable[Pair]) -> Iterator[Problem]:
    """Yield the classes of which there is one image."""
    for label, count in Counter(label for _, label in pairs).items():
        if count == 1:
            yield Problem(label, "is a class with one image, which is trained with")


def _warn(problems: Iterable[Problem]) -> None:
    sorts = defaultdict(list)
    for problem in problems:
        sorts[problem.what].append(problem.where)
    for what, places in sorts.items():
        more = f" ... and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        text = f"{what} ({len(places)}): {', '.join(places[:_SHOWN])}{more}"
        warnings.warn(text, UserWarning, stacklevel=3)  # the line that calls read_dataset


def _indexed(pairs: Iterable[Pair], labels: Sequence[str]) -> tuple[Example, ...]:
    index = {label: i for i, label in enumerate(labels)}
    return tuple((path, index[label]) for path, label in pairs)
