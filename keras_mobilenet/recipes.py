"""What a model's file must say beside its weights: what its input and its outputs mean.

How a picture becomes the input, and the names of the classes, as one text, JSON, for which every
file format has a place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.labels import imagenet_classes
from keras_mobilenet.spec import Size

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

KEY = "keras_mobilenet"  # under which a file's metadata hold the text
EVALUATION_CROP = 0.875  # what the published accuracies were measured with
MAX_BYTES = 16 << 20  # of the text in a file: a million classes with short names
_VERSION = 1
_DIVISORS = (1e-6, 1e6)  # beyond them every pixel becomes one number, or none
_LARGEST_SHIFT = 1e6
Label = str | tuple[str, str]


@dataclass(frozen=True)
class Recipe:
    """How a picture becomes a model's input, and what its outputs are called.

    A picture is cropped about its centre to `crop` of each side, resized to `size`, and its pixels
    `x`, 0 to 255, become `x / divisor - shift`.
    """

    size: Size | None = None  # (height, width) in pixels, None for the picture's own
    crop: float = EVALUATION_CROP
    divisor: float = 127.5
    shift: float = 1.0
    labels: tuple[Label, ...] | None = None  # None where the outputs have no known names

    def scaled(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return pixels, 0 to 255, as the model's input."""
        floats: npt.NDArray[np.float32] = pixels.astype("float32")
        floats /= self.divisor
        floats -= self.shift
        return floats

    @property
    def takes_pixels(self) -> bool:
        """Whether the model takes pixels from 0 to 255 as they are."""
        return (self.divisor, self.shift) == (1.0, 0.0)

    def taking_pixels(self) -> Recipe:
        """Return the recipe of the same model with the scaling put into its graph."""
        return replace(self, divisor=1.0, shift=0.0)

    def to_text(self) -> str:
        """Return the recipe as JSON."""
        return json.dumps({"version": _VERSION, **asdict(self)}, ensure_ascii=False)


def recipe_for(
    size: Size | None, classes: int | None, labels: Sequence[Label] | None = None
) -> Recipe:
    """Return the recipe of a net of this package: pixels in -1 to 1, ImageNet's names for 1000.

    Raises:
        ValueError: there are not as many labels as classes.
    """
    if labels is None and classes == len(imagenet_classes()):
        labels = imagenet_classes()
    return Recipe(size, labels=checked_labels(labels, classes))


def checked_labels(labels: Sequence[Label] | None, classes: int | None) -> tuple[Label, ...] | None:
    """Return the labels as a tuple.

    Raises:
        ValueError: they are no names, or not as many as classes.
    """
    if labels is None:
        return None
    if isinstance(labels, str) or not all(map(_is_label, labels)):
        raise ValueError(
            "`labels` must be the classes' names in order, or pairs of an identifier and a name. "
            f"Received: labels={labels!r}"
        )
    if classes is not None and len(labels) != classes:
        raise ValueError(
            f"`labels` must name each of the model's {classes} outputs. "
            f"Received: {len(labels)} labels"
        )
    return tuple(label if isinstance(label, str) else (label[0], label[1]) for label in labels)


def _is_label(value: Any) -> bool:
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    return isinstance(value, str) or (pair and all(isinstance(part, str) for part in value))


def recipe_from(text: str) -> Recipe:
    """Return the recipe that a text of `to_text` tells.

    Raises:
        CheckpointError: the text is damaged, or of a later version.
    """
    try:
        told = json.loads(text)
        if told.pop("version") != _VERSION:
            raise ValueError("written by a later version of keras-mobilenet")
        size = told.pop("size")
        labels = checked_labels(told.pop("labels"), None)
        recipe = Recipe(None if size is None else _size(*size), labels=labels, **told)
        numbers = (recipe.crop, recipe.divisor, recipe.shift)
        if not (
            0 < recipe.crop <= 1
            and _DIVISORS[0] <= recipe.divisor <= _DIVISORS[1]
            and abs(recipe.shift) <= _LARGEST_SHIFT
        ):
            raise ValueError(f"crop, divisor and shift of {numbers}")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(f"what the file says of its input is damaged ({error})") from error
    return recipe


def check_classes(recipe: Recipe, classes: int | None) -> None:
    """Raise unless a file's recipe names as many classes as its model has outputs.

    Raises:
        CheckpointError: it names more or fewer.
    """
    if recipe.labels is not None and classes is not None and len(recipe.labels) != classes:
        raise CheckpointError(
            f"the file names {len(recipe.labels)} classes, and its model has {classes} outputs"
        )


def _size(height: int, width: int) -> Size:
    if min(height, width) < 1 or {type(height), type(width)} != {int}:
        raise ValueError(f"a size of {height} x {width}")
    return height, width
