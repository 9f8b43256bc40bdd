"""Images and classes as arrays: pairs, `tf.data`, and the data sets of Keras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.images.value_ranges import PixelReader, Pixels
from keras_mobilenet.training.data.targets import Targets, read_targets

Array = npt.NDArray[Any]
_INFINITE = -1  # tf.data's cardinality of a data set without an end
_AT_ONCE = 64  # images of an array: so many are floats at a time


@dataclass(frozen=True)
class ArrayData:
    """Images with their classes."""

    images: Sequence[Pixels]  # each `(height, width, 3)`
    targets: Targets
    names: tuple[str, ...] | None  # of the classes, where the data have them
    made: Preprocessing | None  # what their values are of pixels; None for whole numbers


def is_array_data(data: Any) -> bool:
    """Return whether data are a pair of arrays or a data set, not files."""
    return _is_pair(data) or hasattr(data, "as_numpy_iterator") or _is_py_dataset(data)


def read_arrays(
    data: Any,
    argument: str,
    *,
    labels: Sequence[str] | None = None,
    multi_label: bool | None = None,
    made: Preprocessing | None = None,
    fallback: Preprocessing | None = None,
) -> ArrayData:
    """Return the images and classes of a pair of arrays, or of a data set of them.

    Args:
        data: A pair of images, an array or a list of arrays, and their classes; a
            `tf.data.Dataset` of such pairs, batched or not; or a `keras.utils.PyDataset`.
        argument: Its name.
        labels: The classes' names, if given.
        multi_label: As for `read_targets`.
        made: What was made of pixels, if given.
        fallback: What to assume where the values do not show it.

    Raises:
        ValueError: the data are of another kind, or what is in them is.
    """
    reader = PixelReader(argument, made)
    parts: list[Any] = []
    for images, y in _parts(data, argument):
        parts.append(y)
        for start in range(0, len(images), _AT_ONCE):
            reader.add(images[start : start + _AT_ONCE])
    if not parts or not sum(map(len, parts)):
        raise ValueError(f"`{argument}` holds no images.")
    names = _class_names(data)
    known = labels if labels is not None else names
    targets = read_targets(_joined(parts, argument), argument, known, multi_label)
    pixels = reader.finish(fallback)
    if len(pixels) != len(targets.classes):
        raise ValueError(
            f"`{argument}` must have a class for each image. Received: {len(pixels)} images and "
            f"{len(targets.classes)} classes"
        )
    return ArrayData(pixels, targets, names or targets.names, reader.range)


def _is_pair(data: Any) -> bool:
    """Return whether data are a pair of images and classes, not two pairs of a path and a class."""
    if not (isinstance(data, tuple) and len(data) == 2):
        return False
    first = data[0]
    several = isinstance(first, (list, tuple)) and len(first) > 0 and hasattr(first[0], "shape")
    return hasattr(first, "shape") or several


def _is_py_dataset(data: Any) -> bool:
    return hasattr(data, "num_batches") and hasattr(data, "__getitem__")


def _class_names(data: Any) -> tuple[str, ...] | None:
    """Return the names that Keras' readers of folders leave at their data sets."""
    names = getattr(data, "class_names", None)
    if names is None and isinstance(getattr(data, "class_indices", None), dict):
        names = sorted(data.class_indices, key=data.class_indices.__getitem__)
    return None if names is None else tuple(map(str, names))


def _parts(data: Any, argument: str) -> Iterator[tuple[list[Array], Any]]:
    """Yield some images at a time, `(height, width, 3)`, with their classes."""
    if _is_pair(data):
        yield _images(data[0], argument), data[1]
        return
    for element in _elements(data, argument):
        if not (isinstance(element, (tuple, list)) and len(element) == 2):
            raise ValueError(
                f"`{argument}` must hold pairs of images and classes, without sample weights. "
                f"Received: {_words(element)}"
            )
        x, y = np.asarray(element[0]), np.asarray(element[1])
        single = x.ndim == 2 or (x.ndim == 3 and x.shape[-1] in (1, 3))
        yield (_images(x[None], argument), y[None]) if single else (_images(x, argument), y)


def _elements(data: Any, argument: str) -> Iterator[Any]:
    """Yield what a data set holds, each once.

    Raises:
        ValueError: it has no end.
    """
    if hasattr(data, "as_numpy_iterator"):
        if int(data.cardinality()) == _INFINITE:
            raise ValueError(f"`{argument}` never ends. Pass it without `repeat()`.")
        yield from data.as_numpy_iterator()
    elif _is_py_dataset(data):
        if data.num_batches is None:
            raise ValueError(f"`{argument}` never ends. Give it a length.")
        yield from (data[i] for i in range(data.num_batches))
    else:
        raise ValueError(
            f"`{argument}` must be a pair of arrays, images and their classes, or a data set of "
            f"such pairs, as the other data are. Received: {type(data).__name__}"
        )


def _words(element: Any) -> str:
    if isinstance(element, (tuple, list)):
        return f"{len(element)} parts each"
    return f"{type(element).__name__} of shape {np.shape(element)}"


def _images(x: Any, argument: str) -> list[Array]:
    """Return images `(height, width, 3)` of an array `(count, height, width[, channels])`."""
    if not isinstance(x, (list, tuple)):
        x = np.asarray(x)
        if x.ndim == 3:
            x = x[..., None]
    images = [_image(np.asarray(image), argument) for image in x]
    dtypes = {image.dtype for image in images}
    if len(dtypes) > 1:
        raise ValueError(
            f"The images of `{argument}` must be of one type. Received: "
            f"{', '.join(sorted(map(str, dtypes)))}"
        )
    return images


def _image(image: Array, argument: str) -> Array:
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype.name == "bfloat16":  # which NumPy does not count among floats
        image = image.astype(np.float32)
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or not image.size:
        raise ValueError(
            f"The images of `{argument}` must be of shape (count, height, width, 3 or 1), or "
            f"(count, height, width). Received: one of shape {image.shape}"
        )
    if image.dtype.kind not in "iuf":
        raise ValueError(
            f"The images of `{argument}` must be uint8 pixels from 0 to 255, or floats. Received: "
            f"{image.dtype}"
        )
    return np.repeat(image, 3 // image.shape[-1], axis=-1)


def _joined(parts: Sequence[Any], argument: str) -> Any:
    if len(parts) == 1:
        return parts[0]
    try:
        return np.concatenate(parts)
    except ValueError as error:
        raise ValueError(f"The classes of `{argument}` are not of one kind: {error}") from error
