"""The views of an image that a net is trained on: the whole of it, mirrored, and parts of it.

Views are fixed by the seed and the image's content, not drawn anew each epoch: then what lies
under the freeze boundary is computed once for each.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keras_mobilenet.images.images import fit_pixels
from keras_mobilenet.nets.net import Size

Pixels = npt.NDArray[np.uint8]
MIN_AREA = 0.35  # share of the image that a part shows; objects fill most of theirs
_ASPECTS = (3 / 4, 4 / 3)  # width to height, against the image's own
_TRIES = 10  # for a part that lies within the image


@dataclass(frozen=True)
class View:
    """How one view is cut from an image."""

    number: int  # 0 the whole image, 1 the same mirrored, above them random parts
    seed: int = 0

    def key(self) -> str:
        """Return what tells this view of an image from the others."""
        return (
            ("whole", "mirrored")[self.number] if self.number < 2 else f"{self.seed}/{self.number}"
        )

    def of(self, pixels: Pixels, content: str, size: Size) -> Pixels:
        """Return the view, `(height, width, 3)` of `size`, of an image with that content hash."""
        part = pixels
        if self.number == 1:
            part = pixels[:, ::-1]
        elif self.number > 1:
            digest = hashlib.sha256(f"{self.key()}/{content}".encode()).digest()
            part = random_resized_crop(pixels, np.random.default_rng(list(digest)))
        return fit_pixels(np.ascontiguousarray(part), size=size)


def views(count: int, seed: int) -> tuple[View, ...]:
    """Return the first `count` views under a seed."""
    return tuple(View(number, seed) for number in range(count))


def random_resized_crop(
    pixels: Pixels, rng: np.random.Generator, *, min_area: float = MIN_AREA
) -> Pixels:
    """Return a part of random place, area and aspect, mirrored every other time.

    Args:
        pixels: An image, `(height, width, 3)`.
        rng: Where the randomness is from.
        min_area: Share of the image that a part shows at least.

    Returns:
        A view of `pixels`, of no more rows and columns than they have.
    """
    height, width = pixels.shape[:2]
    rows, columns = _lengths(height, width, rng, min_area)
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    part = pixels[top : top + rows, left : left + columns]
    return part[:, ::-1] if rng.random() < 0.5 else part


def _lengths(height: int, width: int, rng: np.random.Generator, min_area: float) -> tuple[int, int]:
    for _ in range(_TRIES):
        area = rng.uniform(min_area, 1.0)
        aspect = math.exp(rng.uniform(math.log(_ASPECTS[0]), math.log(_ASPECTS[1])))
        rows = max(1, round(height * math.sqrt(area / aspect)))
        columns = max(1, round(width * math.sqrt(area * aspect)))
        if rows <= height and columns <= width:
            return rows, columns
    return height, width
