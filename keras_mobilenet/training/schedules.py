"""How the learning rate changes over a training."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_mobilenet.training.options import Options

_DECAY, _EPOCHS = 0.94, 2.5  # TF-slim's: the rate times 0.94, each 2.5 epochs


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
                rate, max(1, int(_EPOCHS * steps)), _DECAY, staircase=True
            )
        case "cosine":
            rest = max(1, options.epochs * steps - warmup)
            then = keras.optimizers.schedules.CosineDecay(rate, rest)
        case _:
            then = lambda step: ops.full_like(step, rate)  # noqa: E731
    return Warmed(rate, warmup, then)
