"""The net that trains from random weights, and how its learning rate changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from keras_mobilenet.checkpoints.building import build_net
from keras_mobilenet.images.model_info import ModelInfo, info_for
from keras_mobilenet.models.frozen import batch_norms_of
from keras_mobilenet.models.model_files import set_info
from keras_mobilenet.training.base_nets import seeded
from keras_mobilenet.training.scratch.options import KERNEL_STDDEV, Options

_DECAY, _MOMENTUM, _EPSILON = 0.9, 0.9, 1.0  # RMSprop's, as in Inception V3 and TF-slim


def training_net(options: Options, classes: int, *, steps: int, synchronized: bool) -> keras.Model:
    """Return a new net that puts out logits.

    Args:
        options: The settings; the seed fixes the weights.
        classes: How many logits.
        steps: Those of the whole training.
        synchronized: Whether batch norms see the whole batch that several workers share.
    """
    with _precision(options.mixed_precision), seeded(options.seed):
        net = build_net(
            options.net,
            (*options.size, 3),
            options.alpha,
            dropout=0.0,
            weights=None,
            classes=classes,
            classifier_activation=None,
            bn_momentum=options.averages(steps)[1],
            initializer=keras.initializers.TruncatedNormal(stddev=KERNEL_STDDEV),
            weight_decay=options.weight_decay or None,
            blocks=options.blocks,
            **options.of_net,
        )
    for layer in batch_norms_of(net):
        layer.synchronized = synchronized
    return net


def finished_net(options: Options, labels: Sequence[str]) -> keras.Model:
    """Return a net for the training's weights, with probabilities and how it is used.

    Its weights are in the order of the training net's.
    """
    net = build_net(
        options.net, (*options.size, 3), options.alpha, weights=None,
        classes=len(labels), blocks=options.blocks, **options.of_net,
    )  # fmt: skip
    set_info(net, model_info(options, labels))
    return net


def model_info(options: Options, labels: Sequence[str]) -> ModelInfo:
    """Return how images become the input: as the published accuracies were measured."""
    return info_for(options.size, len(labels), labels)


def new_optimizer(rate: Any, ema: float) -> keras.Optimizer:
    """Return RMSprop as published, with averages of the weights unless `ema` is 0.

    TensorFlow 1 began its mean of squares at 1, Keras begins at 0; beside an epsilon of 1 that
    shows in the first steps only.
    """
    averages = {"use_ema": True, "ema_momentum": ema} if ema else {}
    return keras.optimizers.RMSprop(
        rate, rho=_DECAY, momentum=_MOMENTUM, epsilon=_EPSILON, **averages
    )


@contextmanager
def _precision(mixed: bool) -> Iterator[None]:
    """Have layers that the body makes compute in bfloat16, with weights in float32.

    bfloat16 has the range of float32, so that no loss need be scaled, as with float16.
    """
    before = keras.config.dtype_policy()
    if mixed:
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


_FALL, _EPOCHS = 0.94, 2.5  # TF-slim's: the rate times 0.94, each 2.5 epochs


class Warmed(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A rate that rises evenly for some steps, and then is another schedule's from its beginning.

    Args:
        rate: What it rises to.
        steps: How many.
        then: What a step, counted from there, gives.
    """

    def __init__(self, rate: float, steps: int, then: Any) -> None:
        self._rate, self._steps, self._then = rate, steps, then

    def __call__(self, step: Any) -> Any:
        """Return the rate at a step from 0."""
        passed = ops.cast(step, keras.backend.floatx())
        rising = self._rate * (passed + 1) / max(1, self._steps)
        later = self._then(ops.maximum(passed - self._steps, 0.0))
        return ops.where(passed < self._steps, rising, ops.cast(later, rising.dtype))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {"rate": self._rate, "steps": self._steps, "then": self._then}


def schedule(options: Options, steps: int) -> Warmed:
    """Return the rate by step, for `steps` in each epoch."""
    rate, warmup = options.learning_rate, round(options.warmup * steps)
    then: Any
    match options.schedule:
        case "paper":
            then = keras.optimizers.schedules.ExponentialDecay(
                rate, max(1, int(_EPOCHS * steps)), _FALL, staircase=True
            )
        case "cosine":
            rest = max(1, options.epochs * steps - warmup)
            then = keras.optimizers.schedules.CosineDecay(rate, rest)
        case _:
            then = lambda step: ops.full_like(step, rate)  # noqa: E731
    return Warmed(rate, warmup, then)
