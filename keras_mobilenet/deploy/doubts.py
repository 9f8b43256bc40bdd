"""Whether floats given to a model are in the range that it takes."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from keras_mobilenet.pixel_scaling import WHITE, Preprocessing

_CHANNELS = 4  # of images at the most: with more, they are features, which a part of a net takes
_TOO_LARGE = 3.0  # times the largest input that there is: noise and padding stay under it


def doubt(x: npt.NDArray[Any], size: float, preprocessing: Preprocessing) -> str | None:
    """Return why floats cannot be the inputs that pixels become, and what to do; None if they can.

    Args:
        x: Inputs for a model.
        size: Their root mean square, which tells most of it.
        preprocessing: How pixels become the model's input.
    """
    if x.shape[-1] > _CHANNELS:
        return None
    low, high = preprocessing.range
    if size > _TOO_LARGE * max(abs(low), abs(high)):
        return _words(f"values of {size:.0f} on average", preprocessing)
    if high - low >= WHITE / 2 and 0 < size <= 1 and (x != x.round()).any():
        return _words(f"values of {size:.2g} on average, as if scaled already", preprocessing)
    return None


def _words(found: str, preprocessing: Preprocessing) -> str:
    low, high = preprocessing.range
    taken = "pixels as they are" if preprocessing.takes_pixels else f"floats of {low:g} to {high:g}"
    remedy = "Pass pixels as uint8, which are scaled as the model needs"
    own = "" if preprocessing.takes_pixels else ", or scale them yourself"
    return f"`x` has {found}, and the model takes {taken}. {remedy}{own}."
