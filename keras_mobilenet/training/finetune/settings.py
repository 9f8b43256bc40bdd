"""What a training was asked to do, checked before anything is read."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.nets import arguments
from keras_mobilenet.nets.families import v1
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.net import Net, Size
from keras_mobilenet.training.checks import (
    check_range,
    check_whole,
    checked_size,
    settings_to_json,
)
from keras_mobilenet.training.finetune.top import STEPS
from keras_mobilenet.transfer.trained_parts import TOP, checked_train_from

# Of the second stage, measured on five classes of 100 flowers each.
EPOCHS = 10
# A higher rate, from 1e-5 on, overwrites within an epoch what ImageNet taught.
LEARNING_RATE = 5e-6
BALANCED = "balanced"
ClassWeight = str | Mapping[Any, float] | None


@dataclass(frozen=True)
class FinetuneSettings:
    """The settings that the result depends on, beside the data."""

    alpha: float
    weights: Any  # "imagenet", a path, or None
    size: Size
    channels: int
    train_from: str
    epochs: int
    views: int
    batch_size: int
    learning_rate: float
    label_smoothing: float
    weight_decay: float
    patience: int
    class_weight: ClassWeight
    validation: Any  # as it was passed
    seed: int
    net: str = "mobilenet"
    blocks: Sequence[Any] = v1.BLOCKS
    minimalistic: bool = False  # V3 only

    @property
    def network(self) -> Net:
        """The net as data."""
        return family(self.net).network(blocks=self.blocks, **self.options)

    @property
    def options(self) -> dict[str, Any]:
        """What the net alone takes."""
        return arguments.net_options(family(self.net), minimalistic=self.minimalistic)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON holds them."""
        record = settings_to_json(self)
        if isinstance(self.class_weight, Mapping):
            record["class_weight"] = {str(k): float(x) for k, x in self.class_weight.items()}
        if self.weights is not None:
            record["weights"] = os.fspath(self.weights)
        return record


def checked_settings(
    *,
    size: Any,
    train_from: str,
    epochs: int | None,
    learning_rate: float | None,
    views: int | None,
    net: str = "mobilenet",
    blocks: Any = None,
    minimalistic: Any = False,
    **others: Any,
) -> FinetuneSettings:
    """Return the settings with the defaults filled in.

    Raises:
        ValueError: one is out of range.
    """
    known = family(net)
    blocks = arguments.checked_blocks(blocks, others["alpha"], known)
    options = arguments.net_options(known, minimalistic=minimalistic)
    part = checked_train_from(train_from, known.network(blocks=blocks))
    settings = FinetuneSettings(
        net=known.key,
        **options,
        blocks=blocks,
        size=checked_size(size),
        train_from=part,
        epochs=(STEPS if part == TOP else EPOCHS) if epochs is None else epochs,
        learning_rate=LEARNING_RATE if learning_rate is None else learning_rate,
        views=(1 if part == TOP else 2) if views is None else views,
        **others,
    )
    for name in ("epochs", "views", "batch_size", "patience"):
        check_whole(name, getattr(settings, name), 1)
    check_whole("seed", settings.seed, 0)
    if settings.channels not in (1, 3):
        raise ValueError(f"`channels` must be 3, or 1 for greys. Received: {settings.channels!r}")
    check_range("learning_rate", settings.learning_rate, 0, math.inf)
    check_range("label_smoothing", settings.label_smoothing, 0, 1, or_least=True)
    check_range("weight_decay", settings.weight_decay, 0, math.inf, or_least=True)
    return settings


def class_weights(
    asked: ClassWeight, labels: Sequence[str], classes: Sequence[int]
) -> tuple[float, ...]:
    """Return how much each class' images count, 1 on average over the images.

    Args:
        asked: None for all alike; `"balanced"` for each class as much as another; or weights by
            a class' name or number, 1 where none is given.
        labels: The classes' names.
        classes: Those of the images to train with.

    Raises:
        ValueError: a class is unknown, or a weight is not positive.
    """
    counts = np.bincount(classes, minlength=len(labels))
    weights = np.ones(len(labels))
    if asked == BALANCED:
        weights = 1.0 / np.maximum(counts, 1)
    else:
        _set_weights(weights, asked, labels)
    return tuple(map(float, weights * counts.sum() / (weights * counts).sum()))


def positive_weights(
    asked: ClassWeight, labels: Sequence[str], truth: npt.NDArray[Any]
) -> tuple[float, ...]:
    """Return how much each class' multi-label images count, against one without the class.

    Args:
        asked: As for `class_weights`; `"balanced"` is as much as all those without.
        labels: The classes' names.
        truth: 0 or 1 for each class of the images to train with, `(images, classes)`.

    Raises:
        ValueError: a class is unknown, or a weight is not positive.
    """
    weights = np.ones(len(labels))
    if asked == BALANCED:
        counts = truth.sum(axis=0)
        weights = np.maximum(len(truth) - counts, 1) / np.maximum(counts, 1)
    else:
        _set_weights(weights, asked, labels)
    return tuple(map(float, weights))


def _set_weights(
    weights: npt.NDArray[np.float64], asked: ClassWeight, labels: Sequence[str]
) -> None:
    """Set the weights that are asked for by a class' name or number."""
    if isinstance(asked, Mapping):
        for key, weight in asked.items():
            weights[_class_index(key, labels)] = weight
            check_range("class_weight", weight, 0, math.inf)
    elif asked is not None:
        raise ValueError(
            "`class_weight` must be None, 'balanced', or a weight for each class' name or number. "
            f"Received: class_weight={asked!r}"
        )


def _class_index(key: Any, labels: Sequence[str]) -> int:
    if isinstance(key, str) and key in labels:
        return labels.index(key)
    if isinstance(key, (int, np.integer)) and 0 <= key < len(labels):
        return int(key)
    raise ValueError(
        f"`class_weight` has a weight for {key!r}, which is no class. "
        f"The classes are {', '.join(labels)}."
    )
