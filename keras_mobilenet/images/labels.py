"""The 1000 ImageNet classes, shipped in the wheel: nothing is fetched.

Source: the (synset, name) pairs of the `imagenet_class_index.json` that Keras downloads.
"""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Return the pairs (synset, name) in class order: `("n01440764", "tench")` is class 0."""
    table = resources.files(__package__).joinpath("imagenet_classes.tsv")
    rows = table.read_text(encoding="utf-8").splitlines()
    return tuple((synset, name) for synset, name in (row.split("\t") for row in rows))
