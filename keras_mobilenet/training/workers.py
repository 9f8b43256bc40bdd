"""The processes that train together, as `TF_CONFIG` names them; without it, this one alone.

Keras 3.15's `fit` fails under `MultiWorkerMirroredStrategy`, so that trainings here have steps of
their own, and need these few things of TensorFlow's strategy. `keras.distribution` has no
TensorFlow backend yet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Of one exchange: a worker that is dead is noticed by its heartbeat within seconds; one that is
# stuck only by this. Workers may differ by minutes where one of them is still tracing its graph.
_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Workers:
    """All processes of one training, and which of them this is."""

    strategy: Any  # tf.distribute.Strategy; None where this process alone needs none
    number: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        """Whether this is the one process that writes files."""
        return self.number == 0

    @property
    def replicas(self) -> int:
        """Parts of a batch that are computed at once: workers times their devices."""
        return 1 if self.strategy is None else int(self.strategy.num_replicas_in_sync)

    def scope(self) -> AbstractContextManager[Any]:
        """Return the strategy's scope, in which a net and its optimizer are made."""
        scope: AbstractContextManager[Any] = (
            nullcontext() if self.strategy is None else self.strategy.scope()
        )
        return scope

    def batches(self, batches_of: Callable[[Any], Any]) -> Any:
        """Return an iterator over what `batches_of` gives for each worker's `InputContext`."""
        return iter(self.strategy.distribute_datasets_from_function(batches_of))

    def sums(self, step: Callable[..., Sequence[Any]], args: Sequence[Any]) -> tuple[Any, ...]:
        """Return the sums over all replicas of what `step` returns on each for its `args`."""
        parts = self.strategy.run(step, args=args)
        return tuple(self.strategy.reduce("SUM", part, axis=None) for part in parts)

    def total(self, values: Sequence[float] | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the sums over all workers; each must ask at the same point of its work."""
        if self.count == 1:
            return np.array(values, np.float64)
        import tensorflow as tf  # noqa: PLC0415 - loads for seconds

        here = self.strategy.run(tf.constant, args=(np.array(values, np.float64),))
        # The mean, because a worker with several devices is in the sum that many times.
        mean = self.strategy.reduce(tf.distribute.ReduceOp.MEAN, here, axis=None)
        return np.asarray(mean) * self.count

    def broadcast(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the chief's values, to the bit; each must ask at the same point of its work."""
        if self.count == 1:
            return values
        shared = values if self.chief else np.zeros_like(values)
        return self.total(shared.ravel()).astype(np.float32).reshape(values.shape)

    def check_alike(self, values: Sequence[float], what: str) -> None:
        """Raise ValueError unless all workers have the same values, of no more than 2^26 each."""
        array = np.array(values, np.float64)
        sums = self.total([*array, *array**2])
        means, squares = np.split(sums / self.count, 2)
        if not np.array_equal(means**2, squares):
            raise ValueError(
                f"The workers of TF_CONFIG do not have the same {what}. Start all of them with the "
                "same command, and with folders that all of them see."
            )

    @contextmanager
    def failures_as_errors(self, remedy: str) -> Iterator[None]:
        """Turn TensorFlow's words for a worker that is gone into an error that says so.

        Raises:
            ConnectionError: another worker stopped answering.
        """
        if self.count == 1:
            yield
            return
        from tensorflow import errors  # noqa: PLC0415

        gone = (errors.UnavailableError, errors.AbortedError, errors.CancelledError,
                errors.DeadlineExceededError, errors.InternalError)  # fmt: skip
        try:
            yield
        except gone as error:
            raise ConnectionError(
                f"Another worker of TF_CONFIG has stopped, or cannot be reached. {remedy}"
            ) from error


SINGLE = Workers(None)


def count_in_tf_config() -> int:
    """Return how many workers `TF_CONFIG` names, without loading TensorFlow.

    Raises:
        ValueError: it is no JSON, or no cluster.
    """
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        return sum(len(cluster.get(role, ())) for role in ("chief", "worker"))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"TF_CONFIG is not what TensorFlow describes: {error}") from error


def workers() -> Workers:
    """Return the workers that `TF_CONFIG` names, after all of them have started.

    A strategy that the caller is in the scope of is taken as it is.

    Raises:
        ValueError: `TF_CONFIG` names others than workers, or TensorFlow was used before.
    """
    import tensorflow as tf  # noqa: PLC0415

    if tf.distribute.has_strategy():
        return Workers(tf.distribute.get_strategy())
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    cluster = resolver.cluster_spec().as_dict()
    chiefs, others = len(cluster.get("chief", ())), len(cluster.get("worker", ()))
    if chiefs + others < 2:
        return Workers(tf.distribute.get_strategy())
    if not {"chief", "worker"}.issuperset(cluster) or resolver.task_type not in cluster:
        raise ValueError(
            "TF_CONFIG must name workers, one of which may be called chief. "
            f"Received: {', '.join(cluster)}, and a task of type {resolver.task_type!r}"
        )
    number = resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=_TIMEOUT_S)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    except RuntimeError as error:
        raise ValueError(
            "With TF_CONFIG, the training must be the first thing in the process that uses "
            f"TensorFlow. It says: {error}"
        ) from error
    return Workers(strategy, number, chiefs + others)
