"""Numbers as colours over an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

# From the lowest number to the highest, evenly spaced. Their brightness rises all the way, so that
# the order can be seen in greys, too, and with any kind of colour vision.
RAMP = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)]
)


def coloured(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return numbers of any shape as colours, `(..., 3)`: the lowest dark, the highest bright.

    Equal numbers are all dark: none of them stands out.
    """
    low, high = numbers.min(), numbers.max()
    share = (numbers - low) / (high - low) if high > low else np.zeros_like(numbers)
    stops = np.linspace(0, 1, len(RAMP))
    channels = [np.interp(share, stops, RAMP[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlaid(
    image: npt.NDArray[np.uint8], numbers: npt.NDArray[np.float32], alpha: float
) -> npt.NDArray[np.uint8]:
    """Return an image, `(height, width, 3)`, with a map of any `(height, width)` over it.

    The map is stretched over the image, bilinear, and covers it with a share of `alpha`.

    Raises:
        ValueError: `alpha` is not in 0 to 1.
    """
    if isinstance(alpha, (bool, str)) or not 0 <= alpha <= 1:
        raise ValueError(f"`alpha` must be between 0 and 1. Received: alpha={alpha!r}")
    height, width, _ = image.shape
    # The numbers are stretched, not their colours, between which there may be colours of others.
    stretched = Image.fromarray(numbers).resize((width, height), Image.Resampling.BILINEAR)
    heat = Image.fromarray(coloured(np.asarray(stretched)))
    return np.array(Image.blend(Image.fromarray(image), heat, alpha))
