"""A model's most confident mistakes, with where it looked."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from keras_mobilenet.errors import ImageError, path_of_text
from keras_mobilenet.evaluation.multi_label_metrics import THRESHOLD
from keras_mobilenet.evaluation.scoring.tally import MOST
from keras_mobilenet.images.images import fit_pixels, read_image
from keras_mobilenet.transfer.heat_maps import ActivationMap

_SIDE = 224  # pixels of the longer side; a card shows a third of the page or half a phone
_QUALITY = 72  # of JPEG: 24 pairs stay under 2 MB even where the images are noise
_Example = tuple[Any, Any]  # an image's path, None for an array; its true class, or several
_Pixels = npt.NDArray[np.uint8]


class TrainedModel(Protocol):
    """What was trained, as far as the cards ask."""

    @property
    def crop(self) -> float:
        """Share of each side of an image that the model sees."""

    def maps(self, images: Sequence[_Pixels], classes: Sequence[int]) -> list[ActivationMap]:
        """Return where the model sees a class in each image.

        Raises:
            ValueError: its top permits no such map.
        """


@dataclass(frozen=True)
class Mistake:
    """An example that was predicted as another class."""

    index: int  # among all that were validated with
    path: str | None
    true: int
    predicted: int
    probability: float  # of the predicted class
    probability_true: float

    @property
    def name(self) -> str:
        """The file with its folder, which is its class in most cases; the rest is private."""
        return name_of(self.index, self.path)


@dataclass(frozen=True)
class WrongAnswer:
    """An image that is predicted as a class that it is not of, or the reverse."""

    index: int  # among all that were validated with
    name: str
    class_index: int
    is_of_it: bool
    probability: float


@dataclass(frozen=True)
class CardImage:
    """An image of a card, as an `<img>` has it."""

    src: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Card:
    """A mistake with its image, and, where the model permits an exact one, the map over it."""

    mistake: Mistake
    images: tuple[CardImage, ...]


def find_mistakes(
    examples: Sequence[_Example], probabilities: npt.NDArray[Any], most: int = MOST
) -> list[Mistake]:
    """Return the mistakes of the highest probability, those first, at most `most`."""
    true = np.array([class_ for _, class_ in examples], dtype=np.int64)
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != true)
    order = np.argsort(-probabilities.max(axis=1)[wrong], kind="stable")
    return [
        Mistake(
            index=int(i),
            path=None if examples[i][0] is None else os.fsdecode(examples[i][0]),
            true=int(true[i]),
            predicted=int(predicted[i]),
            probability=float(probabilities[i, predicted[i]]),
            probability_true=float(probabilities[i, true[i]]),
        )
        for i in wrong[order[:most]]
    ]


def find_wrong_answers(
    examples: Sequence[_Example], probabilities: npt.NDArray[Any], most: int = MOST
) -> tuple[list[WrongAnswer], int]:
    """Return the most confident wrong answers, at most `most`, and how many there are."""
    truth = np.zeros(probabilities.shape, bool)
    for row, (_, classes) in enumerate(examples):
        truth[row, list(classes)] = True
    rows, columns = np.nonzero((probabilities >= THRESHOLD) != truth)
    order = np.argsort(-np.abs(probabilities[rows, columns] - THRESHOLD), kind="stable")[:most]
    first = [(int(i), int(k)) for i, k in zip(rows[order], columns[order], strict=True)]
    answers = [
        WrongAnswer(i, name_of(i, examples[i][0]), k, bool(truth[i, k]),
                    float(probabilities[i, k]))
        for i, k in first
    ]  # fmt: skip
    return answers, len(rows)


def mistake_cards(
    mistakes: Sequence[Mistake],
    labels: Sequence[str],
    trained: TrainedModel | None,
    *,
    crop: float = 1,
) -> tuple[list[Card], list[Mistake]]:
    """Return a card for each mistake whose image can be read, and the other mistakes.

    Args:
        mistakes: What to show.
        labels: The classes' names in order.
        trained: The model, asked for its crop and its maps; None for images without a map.
        crop: Share of each side of an image to show without a model.
    """
    pixels = [_read(mistake.path) for mistake in mistakes]
    readable = [(m, image) for m, image in zip(mistakes, pixels, strict=True) if image is not None]
    rest = [m for m, image in zip(mistakes, pixels, strict=True) if image is None]
    shown: Sequence[tuple[_Pixels, ...]]
    if trained is None:
        shown = [_cropped(image, crop) for _, image in readable]
    else:
        shown = _seen(readable, trained) if readable else []
    return [
        _card(mistake, labels, *images)
        for (mistake, _), images in zip(readable, shown, strict=True)
    ], rest


def name_of(index: int, path: Any) -> str:
    """Return an example's file with its folder; its place where it has none."""
    if path is None:
        return f"example {index}"
    folder, file = os.path.split(os.fsdecode(path))
    return os.path.join(os.path.basename(folder), file)


def thumbnail(path: str, alt: str, crop: float) -> CardImage | None:
    """Return an image made small, None where it cannot be read."""
    pixels = _read(path)
    return None if pixels is None else _image(*_cropped(pixels, crop), alt)


def _read(path: str | None) -> _Pixels | None:
    try:
        return None if path is None else read_image(path_of_text(path))
    except ImageError:
        return None


def _seen(
    readable: Sequence[tuple[Mistake, _Pixels]], trained: TrainedModel
) -> list[tuple[_Pixels, ...]]:
    """Return each image as the model saw it, and the map over it where its top permits one."""
    images = [image for _, image in readable]
    try:
        maps = trained.maps(images, [mistake.predicted for mistake, _ in readable])
    except ValueError:  # no average pooling
        return [_cropped(image, trained.crop) for image in images]
    return [(_small(cam.image), cam.overlay(size=_fitting(cam.image))) for cam in maps]


def _cropped(pixels: _Pixels, crop: float) -> tuple[_Pixels]:
    return (_small(fit_pixels(pixels, crop=crop)),)


def _small(pixels: _Pixels) -> _Pixels:
    return fit_pixels(pixels, size=_fitting(pixels))


def _fitting(pixels: _Pixels) -> tuple[int, int]:
    """Return the height and width of an image made small enough; none is made larger."""
    height, width, _ = pixels.shape
    scale = min(1, _SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _card(mistake: Mistake, labels: Sequence[str], *images: _Pixels) -> Card:
    alts = (
        f"Image of {labels[mistake.true]}, predicted as {labels[mistake.predicted]}",
        f"Heat map over it: where the model saw {labels[mistake.predicted]}",
    )
    return Card(mistake, tuple(_image(*each) for each in zip(images, alts, strict=False)))


def _image(pixels: _Pixels, alt: str) -> CardImage:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, optimize=True)
    height, width, _ = pixels.shape
    source = f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode('ascii')}"
    return CardImage(source, alt, width, height)
