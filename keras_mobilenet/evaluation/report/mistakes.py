"""The mistakes of which a model is most sure, with what it looked at."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from keras_mobilenet.errors import ImageError
from keras_mobilenet.evaluation.report.markup import Html, element
from keras_mobilenet.evaluation.report.tables import percent, table
from keras_mobilenet.images.images import fit_pixels, read_image
from keras_mobilenet.models.model_files import recipe_of
from keras_mobilenet.transfer.activation_maps import cams

MOST = 24
_SIDE = 224  # pixels of the longer side; a card shows a third of the page or half a phone
_QUALITY = 72  # of JPEG: 24 pairs stay under 2 MB even where the images are noise
_Example = tuple[Any, int]  # an image's path, None for an array; its true class
_Pixels = npt.NDArray[np.uint8]


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


def name_of(index: int, path: Any) -> str:
    """Return an example's file with its folder; its place where it has none."""
    if path is None:
        return f"example {index}"
    folder, file = os.path.split(os.fsdecode(path))
    return os.path.join(os.path.basename(folder), file)


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


def mistakes_shown(mistakes: Sequence[Mistake], labels: Sequence[str], model: Any) -> Html:
    """Return a card for each mistake whose image can be read, and a table of the others."""
    pairs = list(zip(mistakes, _images(mistakes, labels, model), strict=True))
    cards = [_card(mistake, labels, shown) for mistake, shown in pairs if shown is not None]
    rest = [mistake for mistake, shown in pairs if shown is None]
    return element(
        "div",
        element("div", cards, class_="cards") if cards else None,
        _table(rest, labels) if rest else None,
    )


def _images(
    mistakes: Sequence[Mistake], labels: Sequence[str], model: Any
) -> list[list[Html] | None]:
    """Return, for each mistake, the image and the map over it; None where it cannot be read.

    Where the model's top permits no exact map, it is the image alone.
    """
    pixels = [_read(mistake) for mistake in mistakes]
    readable = [i for i, found in enumerate(pixels) if found is not None]
    whole = [found for found in pixels if found is not None]
    shown: list[list[Html] | None] = [None] * len(mistakes)
    if not readable:
        return shown
    try:
        maps = cams(model, whole, classes=[mistakes[i].predicted for i in readable])
    except ValueError:  # no average pooling
        crop = recipe_of(model).crop
        for i, image in zip(readable, whole, strict=True):
            cropped = fit_pixels(image, crop=crop)
            small = fit_pixels(cropped, size=_fitting(cropped))
            shown[i] = [_image(small, f"Image of {_taken(mistakes[i], labels)}")]
        return shown
    for i, found in zip(readable, maps, strict=True):
        size = _fitting(found.image)
        over = f"Heat map over it: where the model saw {labels[mistakes[i].predicted]}"
        small = fit_pixels(found.image, size=size)
        image_of = f"Image of {_taken(mistakes[i], labels)}"
        shown[i] = [_image(small, image_of), _image(found.overlay(size=size), over)]
    return shown


def _read(mistake: Mistake) -> _Pixels | None:
    try:
        return None if mistake.path is None else read_image(mistake.path)
    except ImageError:
        return None


def _taken(mistake: Mistake, labels: Sequence[str]) -> str:
    return f"{labels[mistake.true]}, predicted as {labels[mistake.predicted]}"


def _fitting(pixels: _Pixels) -> tuple[int, int]:
    """Return the height and width of an image made small enough; none is made larger."""
    height, width, _ = pixels.shape
    scale = min(1, _SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _image(pixels: _Pixels, alt: str) -> Html:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, optimize=True)
    source = f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode('ascii')}"
    height, width, _ = pixels.shape
    kind = "upright" if height > width else None
    return element("img", src=source, alt=alt, width=width, height=height, class_=kind)


def _card(mistake: Mistake, labels: Sequence[str], images: Sequence[Html]) -> Html:
    return element(
        "figure",
        element("div", images, class_="pair"),
        element(
            "figcaption",
            element("p", "predicted as ", element("b", labels[mistake.predicted]), ", ",
                    percent(mistake.probability), class_="taken"),
            element("p", "is ", element("b", labels[mistake.true]), ", ",
                    percent(mistake.probability_true)),
            element("p", mistake.name, class_="file"),
        ),
        class_="card",
    )  # fmt: skip


def _table(mistakes: Sequence[Mistake], labels: Sequence[str]) -> Html:
    heads = ("Example", "Predicted as", "True class", "Probability", "Of the true class")
    rows = [
        (
            mistake.name,
            labels[mistake.predicted],
            labels[mistake.true],
            percent(mistake.probability),
            percent(mistake.probability_true),
        )
        for mistake in mistakes
    ]
    return table("Mistakes without an image that can be shown", heads, rows, numbers=2)
