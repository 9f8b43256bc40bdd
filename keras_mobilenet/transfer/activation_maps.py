"""Where in an image a model sees a class.

MobileNet averages its features over the image and then weights them, in a 1 x 1 convolution, as a
user's own pooling and `Dense` layer on a net do. Both are linear, so the same weights put on the
features before the average give the class' score place by place, with no gradient and nothing
approximated: the map's mean is the logit. MobileNetV3 has a hard-swish between the two layers of
its top: its map is that of the top to first order at the image, and its mean still the logit.

Source: Zhou et al., 2016, Learning Deep Features for Discriminative Localization, arXiv 1512.04150.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.images.images import as_channels, fit_pixels
from keras_mobilenet.images.model_info import Label
from keras_mobilenet.models.backends import inferred
from keras_mobilenet.models.cuts import inputs_of
from keras_mobilenet.models.model_files import info_of
from keras_mobilenet.nets.arguments import as_int
from keras_mobilenet.transfer.heat_maps import ActivationMap, Pixels, cropped
from keras_mobilenet.transfer.linear_ends import ClassifierEnd, classifier_end

_BATCH = 4  # images at once: Keras holds all that lies between, 50 MB each


def cam(
    model: Any, image: str | PathLike[str] | Pixels, *, class_: int | str | None = None
) -> ActivationMap:
    """Return where in an image a model sees a class: its class activation map.

    Args:
        model: A classifier that ends in global average pooling and layers that are linear until
            the last activation: of a builder or `replace_top`, or of your own on a net, flat or
            nested, as in `Sequential([base, GlobalAveragePooling2D(), Dense(5, "softmax")])`.
            With ReLU, hard-swish or GELU between those layers the map is not `exact`.
        image: An image's file, or its pixels: `uint8` of shape `(height, width, 3)`, or 1 for
            greys. It is cropped, resized and scaled as the model's info says, and made grey for a
            model of one channel.
        class_: The class' index or its name; None for the most probable one.

    Raises:
        ValueError: the model's top is another, or it has no such class.
        ImageError: the file is no image, or a damaged one.
    """
    (activation_map,) = cams(model, [image], classes=None if class_ is None else [class_])
    return activation_map


def cams(
    model: Any,
    images: Sequence[str | PathLike[str] | Pixels],
    *,
    classes: Sequence[int | str] | None = None,
) -> list[ActivationMap]:
    """Return what `cam` returns for each of some images, computed at once.

    Args:
        model: As for `cam`.
        images: Files or pixels; all of them are held in memory.
        classes: A class for each image; None for the most probable ones.

    Raises:
        ValueError: the model's top is another, or it has no such class.
        ImageError: a file is no image, or a damaged one.
    """
    end = classifier_end(model)
    info = info_of(model)
    chosen: list[int | None] = [None] * len(images)
    if classes is not None:
        chosen = [_class_index(class_, end.classes, info.labels) for class_ in classes]
    aspect = info.size if info.keep_aspect else None
    shown = [cropped(image, info.crop, aspect) for image in images]
    channels = model.inputs[0].shape[1 if end.channels_first else -1]
    inputs = [
        info.scaled(
            as_channels(
                fit_pixels(pixels, size=info.size, interpolation=info.interpolation), channels
            )
        )
        for pixels in shown
    ]
    activation_maps = []
    for values, pixels, index in zip(_features(model, end, inputs), shown, chosen, strict=True):
        weights, bias = end.at(values.mean(axis=(0, 1)))
        maps = values @ weights + bias
        best = int(maps.mean(axis=(0, 1)).argmax()) if index is None else index
        label = None if info.labels is None else _name(info.labels[best])
        activation_maps.append(
            ActivationMap(maps[..., best], best, label, pixels, exact=end.is_linear)
        )
    return activation_maps


def _features(
    model: Any, end: ClassifierEnd, inputs: Sequence[npt.NDArray[np.float32]]
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the features of each input before they are pooled, `(height, width, features)`."""
    net = keras.Model(inputs_of(model), end.features)
    same = len({x.shape for x in inputs}) == 1  # a net of any size may get all sizes
    some = _BATCH if same else 1
    for start in range(0, len(inputs), some):
        batch = np.stack(inputs[start : start + some])
        x = batch.transpose(0, 3, 1, 2) if end.channels_first else batch
        values = keras.ops.convert_to_numpy(inferred(net, x)).astype("float32")
        yield from values.transpose(0, 2, 3, 1) if end.channels_first else values


def _class_index(class_: int | str, classes: int, labels: Sequence[Label] | None) -> int:
    """Return the index of a class that is given by its index or its name."""
    if isinstance(class_, str):
        places = [i for i, label in enumerate(labels or ()) if class_ in (label, *_names(label))]
        if len(places) == 1:
            return places[0]
        known = ", ".join(map(_name, labels[:3])) + ", ..." if labels else "none"
        problem = f"{len(places)} classes have this name" if places else f"its names are {known}"
        raise ValueError(f"The model has no single class of the name {class_!r}: {problem}.")
    index = as_int(class_)
    if index is None or not 0 <= index < classes:
        raise ValueError(
            f"`class_` must be an index from 0 to {classes - 1}, a class' name, or None for the "
            f"most probable one. Received: class_={class_!r}"
        )
    return index


def _names(label: Label) -> tuple[str, ...]:
    return (label,) if isinstance(label, str) else label


def _name(label: Label) -> str:
    return _names(label)[-1]
