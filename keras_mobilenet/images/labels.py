"""The 1000 ImageNet classes, shipped in the wheel, and scores as names of classes.

Sources: the (synset, name) pairs of the `imagenet_class_index.json` that Keras downloads; the
numbers from 1 to 1000 of the challenge's development kit, `ILSVRC2012_ID` in its `meta.mat`, also
in the `map_clsloc.txt` of later ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from keras_mobilenet.images.model_info import Label
from keras_mobilenet.nets.arguments import positive_int

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Return the pairs (synset, name) in class order: `("n01440764", "tench")` is class 0."""
    return tuple((synset, name) for synset, name, _ in _rows())


def synsets_by_number() -> dict[int, str]:
    """Return the synsets by the numbers of the challenge's development kit: 1 is `n02119789`."""
    return {int(number): synset for synset, _, number in _rows()}


def _rows() -> Iterator[tuple[str, str, str]]:
    table = resources.files(__package__).joinpath("imagenet_classes.tsv")
    for row in table.read_text(encoding="utf-8").splitlines():
        synset, name, number = row.split("\t")
        yield synset, name, number


def decoded(
    scores: npt.NDArray[Any], top: int | None = 5, *, labels: Sequence[Label] | None = None
) -> list[list[tuple[str, str, np.floating[Any]]]]:
    """Return what `decode_predictions` does, for a NumPy array of scores.

    Raises:
        ValueError: `scores` is not of shape `(images, classes)`, or `top` is not positive.
    """
    pairs = imagenet_classes() if labels is None else tuple(map(_pair, labels))
    if scores.ndim != 2 or scores.shape[1] != len(pairs):
        remedy = "" if labels is not None else " For other classes pass `labels`, their names."
        raise ValueError(
            f"`preds` must be of shape (images, {len(pairs)}), a score for each class.{remedy} "
            f"Received: shape {tuple(scores.shape)}"
        )
    if top is not None:
        top = positive_int("top", top, "None gives every class.")
    return [_best(row, top or len(pairs), pairs) for row in scores]


def _pair(label: Label) -> tuple[str, str]:
    return (label, label) if isinstance(label, str) else (label[0], label[1])


def _best(
    row: npt.NDArray[Any], top: int, pairs: Sequence[tuple[str, str]]
) -> list[tuple[str, str, np.floating[Any]]]:
    # The order of equal scores is Keras': from the back, then a stable sort.
    indices = row.argsort()[-top:][::-1]
    best = [(*pairs[i], row[i]) for i in indices]
    return sorted(best, key=lambda item: item[2], reverse=True)
