"""Where a benchmark ran, and how fast that machine multiplies."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from keras_mobilenet.deploy.bench.timing import interleaved
from keras_mobilenet.deploy.engines.choice import version_of
from keras_mobilenet.deploy.engines.processor import decisive_instructions, processor_name
from keras_mobilenet.images.prefetch import all_cores

_SIZE = 3072  # rows and columns: far beyond the caches, and under a second a product


@dataclass(frozen=True)
class Machine:
    """A computer, as a process of this interpreter sees it."""

    processor: str
    cores: int  # those that the process may use
    instructions: tuple[str, ...]
    system: str
    python: str
    versions: Mapping[str, str]  # of installed packages

    def __str__(self) -> str:
        versions = ", ".join(f"{package} {number}" for package, number in self.versions.items())
        return (
            f"{self.processor}, {self.cores} cores, {self.system}\nPython {self.python}, {versions}"
        )


def this_machine(*packages: str) -> Machine:
    """Return the machine, with the versions of those of `packages` that are installed."""
    return Machine(
        processor=processor_name(),
        cores=all_cores(),
        instructions=decisive_instructions(),
        system=platform.system(),
        python=platform.python_version(),
        versions={name: number for name in packages if (number := version_of(name)) is not None},
    )


@dataclass(frozen=True)
class Peak:
    """The fastest float32 matrix product that was measured."""

    gflops: float  # 1e9 floating-point operations a second; a multiply-accumulate is two
    library: str
    size: int  # rows and columns of the square factors


def measured_peak(*, tensorflow: bool, size: int = _SIZE, rounds: int = 4) -> Peak:
    """Return the best of several products, by NumPy's library and, if wanted, TensorFlow's."""
    factor = np.random.default_rng(0).random((size, size), np.float32)
    actions: dict[str, Callable[[], object]] = {"NumPy": lambda: factor @ factor}
    if tensorflow:
        import tensorflow as tf  # noqa: PLC0415 - not needed to describe the machine

        tensor = tf.constant(factor)
        actions["TensorFlow"] = lambda: tf.linalg.matmul(tensor, tensor).numpy()
    times = interleaved(actions, rounds, warm_up=1)
    library = min(times, key=lambda name: times[name].best)
    return Peak(2 * size**3 / times[library].best / 1e9, library, size)
