"""What goes into the net and what comes out of it: pixels to floats, scores to class names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mobilenet.images.labels import decoded
from keras_mobilenet.images.model_info import Label

DATA_FORMATS = ("channels_last", "channels_first")


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Return `x`, pixels in 0 to 255, scaled to -1 to 1; a NumPy array of floats is overwritten.

    So it is in Keras, and programs rely on it that ignore what is returned. `scale_pixels` leaves
    every array as it is.

    Args:
        x: NumPy array or tensor of any shape.
        data_format: `"channels_last"`, `"channels_first"` or None. Checked, as in Keras; the
            scaling is the same for all.

    Returns:
        An array or tensor of the shape of `x`. Floats keep their dtype, integers become
        `keras.config.floatx()`.

    Raises:
        ValueError: `data_format` is unknown.

    Source: `keras.applications.mobilenet.preprocess_input`, whose results these are.
    """
    scaled = scale_pixels(x, data_format)
    if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.floating):
        return scaled
    x[...] = scaled
    return x


def scale_pixels(x: Any, data_format: str | None = None) -> Any:
    """Return `x`, pixels in 0 to 255, scaled to -1 to 1, and leave `x` as it is.

    Args:
        x: NumPy array or tensor of any shape.
        data_format: As `preprocess_input` takes it.

    Returns:
        A new array or tensor of the shape of `x`. Floats keep their dtype, integers become
        `keras.config.floatx()`.

    Raises:
        ValueError: `data_format` is unknown.
    """
    if data_format is not None and data_format not in DATA_FORMATS:
        raise ValueError(
            f"`data_format` must be one of {', '.join(DATA_FORMATS)} or None. "
            f"Received: data_format={data_format!r}"
        )
    if not hasattr(x, "shape"):
        x = np.asarray(x)  # a list, a Pillow image
    if isinstance(x, np.ndarray):
        if not np.issubdtype(x.dtype, np.floating):
            x = x.astype(keras.config.floatx())
    elif not keras.backend.is_keras_tensor(x) and not _is_float(x):
        x = keras.ops.cast(x, keras.config.floatx())
    return x / 127.5 - 1.0


def _is_float(tensor: Any) -> bool:
    return "float" in keras.backend.standardize_dtype(tensor.dtype)


def decode_predictions(
    preds: Any, top: int | None = 5, *, labels: Sequence[Label] | None = None
) -> list[list[tuple[str, str, np.floating[Any]]]]:
    """Return the `top` classes of each row of `preds`, the most probable first.

    Args:
        preds: Scores of shape `(images, classes)`.
        top: How many classes an image; None for all.
        labels: The classes' names in order, or pairs of an identifier and a name. None stands
            for the 1000 ImageNet classes.

    Returns:
        For each image a list of `(identifier, name, score)`. The identifier is ImageNet's
        synset, or the name itself where `labels` has no pairs.

    Raises:
        ValueError: `preds` is not of that shape, or `top` is not a positive integer.
    """
    return decoded(keras.ops.convert_to_numpy(preds), top, labels=labels)
