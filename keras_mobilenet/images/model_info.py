"""What a model's file must say beside its weights: what its input and its outputs mean.

How an image becomes the input, and the names of the classes, as one text, JSON, for which every
file format has a place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.images.pixel_scaling import (
    MINUS_ONE_TO_ONE,
    PIXELS,
    TEXTS,
    WHITE,
    Preprocessing,
    as_preprocessing,
)
from keras_mobilenet.nets.net import Size
from keras_mobilenet.nets.published.rows import CropEdges, Interpolation, Published

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

KEY = "keras_mobilenet"  # under which a file's metadata hold the text
MEMBER = f"{KEY}.json"  # the name of the text where it is a file in an archive or a folder
EVALUATION_CROP = 0.875  # what the published accuracies were measured with
_RESIZING = ("interpolation", "keep_aspect", "source", "crop_edges")
MAX_BYTES = 16 << 20  # of the text in a file: a million classes with short names
_VERSION = 3  # 1 had a divisor and a shift for all channels, and 2 one way to resize
_DAMAGE = (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError)
Label = str | tuple[str, str]


@dataclass(frozen=True)
class ModelInfo:
    """How an image becomes a model's input, and what its outputs are called.

    An image is cropped about its centre to `crop` of each side and resized to `size`; where
    `keep_aspect` is set, the crop has the aspect of `size`. What its pixels become then is
    `preprocessing`.
    """

    size: Size | None = None  # (height, width) in pixels, None for the image's own
    crop: float = EVALUATION_CROP
    preprocessing: Preprocessing | None = MINUS_ONE_TO_ONE  # None where it is not known
    labels: tuple[Label, ...] | None = None  # None where the outputs have no known names
    interpolation: Interpolation = "bilinear"  # of resizing
    keep_aspect: bool = False
    source: str | None = None  # published weights that it was made with: "owner/name@commit"
    crop_edges: CropEdges = "whole"
    # Of the classifier, in a file of weights: "linear" for none, and None for a softmax.
    activation: str | None = None

    def ending_in(self, activation: str | None) -> ModelInfo:
        """Return it for a file of weights whose classifier applies this; a softmax is not said."""
        return replace(self, activation=None if activation == "softmax" else activation)

    @property
    def fit(self) -> dict[str, Any]:
        """How images are cropped and resized, as `read_image` takes it, but for the size."""
        return {
            "crop": self.crop,
            "interpolation": self.interpolation,
            "keep_aspect": self.keep_aspect,
            "crop_edges": self.crop_edges,
        }

    def scaled(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return pixels, 0 to 255, as the model's input.

        Raises:
            ValueError: how they become it is not known.
        """
        return self.known_preprocessing().scaled(pixels)

    def known_preprocessing(self) -> Preprocessing:
        """Return the preprocessing.

        Raises:
            ValueError: it is not known.
        """
        if self.preprocessing is None:
            raise ValueError(
                "How pixels become this model's input is not known: nothing is recorded with it, "
                "and it neither scales pixels nor is one of Keras' own MobileNets. Pass "
                f"`preprocessing` (--preprocessing in commands): {TEXTS}. Or pass floats as the "
                "model takes them; or write it into a file of weights once, with "
                "`keras-mobilenet weights convert FILE NEW.safetensors --preprocessing TEXT`."
            )
        return self.preprocessing

    def known_labels(self) -> tuple[Label, ...]:
        """Return the classes' names.

        Raises:
            ValueError: there are none.
        """
        if self.labels is None:
            raise ValueError(
                "The model does not name its classes. Pass `labels` (--labels in commands), the "
                "names in the order of its outputs, or use `predict`."
            )
        return self.labels

    @property
    def comparable(self) -> Preprocessing:
        """What to scale generated images by: where nothing is known, any range does."""
        return MINUS_ONE_TO_ONE if self.preprocessing is None else self.preprocessing

    @property
    def takes_pixels(self) -> bool:
        """Whether the model is known to take pixels from 0 to 255 as they are."""
        return self.preprocessing is not None and self.preprocessing.takes_pixels

    def given(
        self,
        preprocessing: Preprocessing | str | None,
        labels: Sequence[Label] | None,
        classes: int | None,
    ) -> ModelInfo:
        """Return the same with what a caller gave in place of what was known.

        Raises:
            ValueError: it is no preprocessing, or there are not as many labels as classes.
        """
        info = self
        if preprocessing is not None:
            info = replace(info, preprocessing=as_preprocessing(preprocessing))
        return info if labels is None else replace(info, labels=checked_labels(labels, classes))

    def taking_pixels(self) -> ModelInfo:
        """Return the info of the same model with the scaling put into its graph."""
        return replace(self, preprocessing=PIXELS)

    def to_text(self) -> str:
        """Return it as JSON."""
        known = self.preprocessing
        record = {
            "version": _VERSION,
            "size": self.size,
            "crop": self.crop,
            "scale": None if known is None else known.scale,
            "offset": None if known is None else known.offset,
            "labels": self.labels,
            "interpolation": self.interpolation,
            "keep_aspect": self.keep_aspect,
            "source": self.source,
        }
        if self.crop_edges != "whole":  # older versions of this package know nothing else
            record["crop_edges"] = self.crop_edges
        if self.activation is not None:  # likewise
            record["activation"] = self.activation
        return json.dumps(record, ensure_ascii=False)


def info_for(
    size: Size | None, classes: int | None, labels: Sequence[Label] | None = None
) -> ModelInfo:
    """Return the info of a MobileNet, whose input is pixels scaled to -1 to 1.

    Raises:
        ValueError: there are not as many labels as classes.
    """
    return ModelInfo(size, labels=checked_labels(labels, classes))


def as_published(
    info: ModelInfo, row: Published, channels: int, source: str | None = None
) -> ModelInfo:
    """Return a net's info with the crop and the scaling of the published weights in it.

    A net that scales its input itself goes on taking pixels. Where the weights are for other
    channels, and each has its own scaling, that of the net's is not known.
    """
    height = info.size[0] if info.size and len({*info.size}) == 1 else None
    info = replace(
        info,
        crop=row.crop_at(height),
        interpolation=row.interpolation,
        keep_aspect=True,
        source=source or str(row),
    )
    if info.preprocessing not in (None, MINUS_ONE_TO_ONE):
        return info
    if row.takes_minus_one_to_one:
        return replace(info, preprocessing=MINUS_ONE_TO_ONE)
    return replace(info, preprocessing=_scaling(row, channels))


def as_saved(info: ModelInfo, saved: ModelInfo, *, classes: int | None, channels: int) -> ModelInfo:
    """Return a net's info with what its file of weights says in it.

    A file's preprocessing is that of the net's own input. Where a model of that net scales pixels
    itself, as if for -1 to 1, what is left to do before it is what leads to the same.

    Args:
        info: What is known of the model without the file.
        saved: What the file says.
        classes: How many the model puts out; None where it has no scores.
        channels: Of its input.
    """
    fits = saved.labels is not None and len(saved.labels) == classes
    return replace(
        info,
        size=info.size or saved.size,
        **saved.fit,
        source=saved.source,
        preprocessing=_before(info.preprocessing, saved.preprocessing, channels),
        labels=saved.labels if fits else info.labels,
    )


def _before(
    known: Preprocessing | None, net: Preprocessing | None, channels: int
) -> Preprocessing | None:
    """Return what goes before a model whose net takes `net`, and that took `known` for -1 to 1."""
    if net is None:  # a model that scales pixels was told to, by who built it
        return None if known == MINUS_ONE_TO_ONE else known
    if known is None or net.is_close(MINUS_ONE_TO_ONE):
        return known
    if any(isinstance(x, tuple) and len(x) != channels for x in (net.scale, net.offset)):
        return None
    if known == MINUS_ONE_TO_ONE:
        return net
    return net.then(MINUS_ONE_TO_ONE.inverse()).then(known)


def _scaling(row: Published, channels: int) -> Preprocessing | None:
    mean, std = ([WHITE * x for x in numbers] for numbers in (row.mean, row.std))
    if len({*mean}) == len({*std}) == 1:
        return Preprocessing.from_mean_std(mean[0], std[0])
    return Preprocessing.from_mean_std(mean, std) if channels == len(mean) else None


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


def words_of(label: Label) -> str:
    """Return the name of a class, without the identifier before it, if any."""
    return label if isinstance(label, str) else label[1]


def _is_label(value: Any) -> bool:
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    return isinstance(value, str) or (pair and all(isinstance(part, str) for part in value))


def info_from(text: str) -> ModelInfo:
    """Return what a text of `to_text` says.

    Raises:
        CheckpointError: the text is damaged, or of a later version.
    """
    try:
        record = json.loads(text)
        version = record.pop("version")
        if version not in range(1, _VERSION + 1):
            raise ValueError("written by a later version of keras-mobilenet")
        size = record.pop("size")
        labels = checked_labels(record.pop("labels"), None)
        crop = record.pop("crop")
        size = None if size is None else _size(*size)
        activation = record.pop("activation", None)
        if not isinstance(activation, str | None):
            raise ValueError(f"an activation {activation!r}")
        resizing = _resizing(*(record.pop(name, None) for name in _RESIZING))
        preprocessing = _first_version(**record) if version == 1 else _preprocessing(**record)
        if not 0 < crop <= 1:
            raise ValueError(f"a crop of {crop}")
    except _DAMAGE as error:
        raise CheckpointError(f"what the file says of its input is damaged ({error})") from error
    return ModelInfo(size, crop, preprocessing, labels, **resizing, activation=activation)


def _resizing(interpolation: Any, keep_aspect: Any, source: Any, edges: Any) -> dict[str, Any]:
    edges = "whole" if edges is None else edges
    interpolation = "bilinear" if interpolation is None else interpolation
    if interpolation not in get_args(Interpolation):
        raise ValueError(f"an interpolation {interpolation!r}")
    if edges not in get_args(CropEdges):
        raise ValueError(f"crop edges {edges!r}")
    if keep_aspect not in (None, False, True) or not isinstance(source, str | None):
        raise ValueError(f"an aspect {keep_aspect!r}, of {source!r}")
    return {
        "interpolation": interpolation,
        "keep_aspect": bool(keep_aspect),
        "source": source,
        "crop_edges": edges,
    }


def _preprocessing(scale: Any, offset: Any) -> Preprocessing | None:
    return None if scale is None and offset is None else Preprocessing(scale, offset)


def _first_version(divisor: float, shift: float) -> Preprocessing:
    return Preprocessing(1 / divisor, -shift)


def check_classes(info: ModelInfo, classes: int | None) -> None:
    """Raise unless a file names as many classes as its model has outputs.

    Raises:
        CheckpointError: it names more or fewer.
    """
    if info.labels is not None and classes is not None and len(info.labels) != classes:
        raise CheckpointError(
            f"the file names {len(info.labels)} classes, and its model has {classes} outputs"
        )


def _size(height: int, width: int) -> Size:
    if min(height, width) < 1 or {type(height), type(width)} != {int}:
        raise ValueError(f"a size of {height} x {width}")
    return height, width
