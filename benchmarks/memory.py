"""Whether a `Predictor` holds more memory the longer it is used.

    python benchmarks/memory.py [--engine E] [--precision P] [--alpha A] [--size N]
        [--first 1000] [--last 10000]

The resident memory after 1,000 and after 10,000 predictions of single images; the exit code is 1
if they are more than 20 MB apart. The weights are random: they take the same memory. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

import numpy as np
from process_memory import resident_bytes

from keras_mobilenet import MobileNet
from keras_mobilenet.deploy.bench.machine import this_machine
from keras_mobilenet.deploy.engines.choice import AUTO, ENGINES
from keras_mobilenet.deploy.predictor import Predictor

LIMIT = 20e6  # bytes


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default=AUTO, choices=(AUTO, *ENGINES))
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--last", type=int, default=10000)
    return parser.parse_args()


def resident_after(predictor: Predictor, x: np.ndarray, calls: int) -> int:
    """Return the memory that the process holds after so many predictions."""
    for _ in range(calls):
        predictor.predict(x)
    gc.collect()
    return resident_bytes()


def main() -> None:
    options = parsed()
    model = MobileNet((options.size, options.size, 3), alpha=options.alpha, weights=None)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (8, options.size, options.size, 3), np.uint8)
    calibration = pixels if options.precision == "int8" else None
    predictor = Predictor(
        model, engine=options.engine, precision=options.precision, calibration=calibration
    )
    print(this_machine("keras-mobilenet", "tensorflow", "ai-edge-litert", "openvino"))
    print(f"{predictor.engine} {predictor.precision}, alpha {options.alpha:g}, {options.size} px")
    x = pixels[:1]
    first = resident_after(predictor, x, options.first)
    last = resident_after(predictor, x, options.last - options.first)
    for calls, held in ((options.first, first), (options.last, last)):
        print(f"after {calls:6,} predictions {held / 1e6:8.1f} MB")
    grown = last - first
    print(f"grown by {grown / 1e6:.1f} MB; the limit is {LIMIT / 1e6:.0f} MB")
    sys.exit(grown > LIMIT)


if __name__ == "__main__":
    main()
