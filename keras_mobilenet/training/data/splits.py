"""Images of equal content, and a split into two sides that keeps them together."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

from keras_mobilenet.checkpoints.published.hashes import sha256_of
from keras_mobilenet.evaluation.labelled.image_lists import Pair

Group = list[Pair]  # images of equal content


def equal_content(pairs: Iterable[Pair]) -> list[Group]:
    """Return the pairs in groups of equal content, in order of the first of each.

    Only files of the same length are read.
    """
    ordered = list(pairs)
    sizes = {path: os.path.getsize(path) for path, _ in ordered}
    paths_of = defaultdict(set)
    for path, size in sizes.items():
        paths_of[size].add(path)
    groups: dict[object, Group] = {}
    for pair in ordered:
        path = pair[0]
        alone = len(paths_of[sizes[path]]) == 1
        groups.setdefault(path if alone else (sha256_of(path),), []).append(pair)
    return list(groups.values())


def split(groups: Sequence[Group], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return the images to train with and those to validate with, `share` of each class.

    Groups stay whole. Each class of at least two groups has images on both sides where the
    groups' lengths permit, and every class has one to train with. A group of several classes, a
    contradiction, is never validated with. A class' split depends on its images and the seed
    only, not on other classes.
    """
    by_label: dict[str, list[Group]] = defaultdict(list)
    train: list[Pair] = []
    for group in groups:
        labels = {label for _, label in group}
        if len(labels) == 1:
            by_label[labels.pop()].append(group)
        else:
            train += group
    validation: list[Pair] = []
    for label, alike in by_label.items():
        chosen = _chosen(alike, share, f"{seed}/{label}")
        for group, validates in zip(alike, chosen, strict=True):
            (validation if validates else train).extend(group)
    return sorted(train), sorted(validation)


def _chosen(groups: Sequence[Group], share: float, seed: str) -> list[bool]:
    """Return which groups of one class to validate with."""
    count = sum(map(len, groups))
    wanted = min(max(1, round(share * count)), count - 1)  # at least one on each side
    chosen = [False] * len(groups)
    for i in random.Random(seed).sample(range(len(groups)), len(groups)):  # noqa: S311 - no secret
        if len(groups[i]) <= wanted:
            chosen[i] = True
            wanted -= len(groups[i])
    return chosen
