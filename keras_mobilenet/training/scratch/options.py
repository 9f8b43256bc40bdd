"""What a training from scratch was asked to do, checked, with the published recipe as defaults.

The recipe, and where it is from:

- The paper, section 3.2: RMSprop; less regularisation and augmentation than large nets get; no
  label smoothing; the size of small crops limited; little or no weight decay on depthwise kernels.
  It names no numbers.
- TF-slim's `nets/mobilenet_v1.py`: weight decay 0.00004, none on depthwise kernels; batch norms
  that keep 0.9997 of their statistics; kernels drawn from a normal distribution of deviation 0.09,
  cut at two deviations.
- TF-slim's `nets/mobilenet_v1_train.py`: batches of 64; a rate of 0.045, times 0.94 each 2.5
  epochs. It takes plain gradient descent.
- TF-slim's `train_image_classifier.py`: RMSprop with decay 0.9, momentum 0.9 and epsilon 1.0.
- Inception V3 (arXiv 1512.00567, section 8), which the paper follows: the same RMSprop and rate.
- The published checkpoints hold moving averages of the weights.

It is V1's, for every net. V4's own is in TensorFlow's Model Garden,
`official/vision/configs/experiments/image_classification/imagenet_mobilenetv4_conv_*_tpu.yaml`:
AdamW at 0.002 (Small) or 0.004, which falls by a cosine after 5 epochs, of Large 20; label
smoothing of 0.1; RandAugment, dropout, and from Medium on stochastic depth.
docs/train.md has its numbers, and the options that some of them go with.

What is not published, and is chosen here: 100 epochs; averages that keep 0.9999 a step; parts of at
least 0.35 of an image, mirrored every other time, and no change of colours; no dropout, of which
TF-slim has 0.001 for V1, because two processes could not drop what one does. A short training could
not fill averages of thousands of steps: they reach over a twentieth of its steps at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_mobilenet.nets.arguments import checked_blocks, net_options
from keras_mobilenet.nets.families import v1
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.net import Size
from keras_mobilenet.training.checks import (
    check_range,
    check_whole,
    checked_size,
    settings_to_json,
)

SCHEDULES = ("paper", "cosine", "constant")
EPOCHS, BATCH_SIZE, LEARNING_RATE = 100, 64, 0.045
WEIGHT_DECAY, BN_MOMENTUM, EMA = 4e-5, 0.9997, 0.9999
KERNEL_STDDEV = 0.09  # of the kernels at first
_REACH = 20  # a twentieth of the steps


@dataclass(frozen=True)
class Options:
    """The settings that the result depends on, beside the images."""

    alpha: float
    size: Size
    epochs: int
    batch_size: int  # of all workers together
    schedule: str
    learning_rate: float
    warmup: float  # epochs
    weight_decay: float
    label_smoothing: float
    ema: float | None  # None: the published one, or less in a short training; 0: none
    bn_momentum: float | None  # None: the same
    min_area: float
    mixed_precision: bool
    seed: int
    validation: Any  # as it was passed
    blocks: Sequence[Any]
    net: str = v1.FAMILY.key
    minimalistic: bool = False  # V3 only

    @property
    def of_net(self) -> dict[str, Any]:
        """What the net alone takes."""
        return net_options(family(self.net), minimalistic=self.minimalistic)

    def averages(self, steps: int) -> tuple[float, float]:
        """Return what the weights' averages and the batch norms keep in each of `steps`."""
        return (
            _reaching(EMA, steps) if self.ema is None else self.ema,
            _reaching(BN_MOMENTUM, steps) if self.bn_momentum is None else self.bn_momentum,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON holds them."""
        return settings_to_json(self)


def checked_options(
    *,
    size: Any,
    net: Any = v1.FAMILY.key,
    blocks: Any = None,
    minimalistic: Any = False,
    **others: Any,
) -> Options:
    """Return the settings; `net` is a key, or a builder's name.

    Raises:
        ValueError: one is out of range.
    """
    known = family(net)
    blocks = checked_blocks(blocks, others["alpha"], known)
    others |= net_options(known, minimalistic=minimalistic)
    options = Options(size=checked_size(size), net=known.key, blocks=blocks, **others)
    for name, least in (("epochs", 1), ("batch_size", 2), ("seed", 0)):
        check_whole(name, getattr(options, name), least)
    if options.schedule not in SCHEDULES:
        raise ValueError(
            f"`schedule` must be one of {', '.join(map(repr, SCHEDULES))}. "
            f"Received: schedule={options.schedule!r}"
        )
    check_range("learning_rate", options.learning_rate, 0, math.inf)
    check_range("warmup", options.warmup, 0, math.inf, or_least=True)
    check_range("weight_decay", options.weight_decay, 0, math.inf, or_least=True)
    check_range("label_smoothing", options.label_smoothing, 0, 1, or_least=True)
    check_range("min_area", options.min_area, 0, 1, or_most=True)
    for name in ("ema", "bn_momentum"):
        if getattr(options, name) is not None:
            check_range(name, getattr(options, name), 0, 1, or_least=True)
    return options


def _reaching(published: float, steps: int) -> float:
    return max(0.0, min(published, 1 - _REACH / steps))
