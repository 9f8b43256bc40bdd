"""What is written from a net and its arrays, beside what TensorFlow's converter makes of the same.

    python benchmarks/direct_graphs.py [--weights FILE ...] [--rounds N] [--batch 1,64]

For each engine the two take turns in one process, on one image and on many. Printed are medians and
ratios of the time of a call, the time to compile, and the memory of a process that opens the file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

from timing import show

from keras_mobilenet.checkpoints.net_weights import RANDOM, Builder
from keras_mobilenet.commands.deploy import batch_sizes
from keras_mobilenet.commands.terminal.quiet import native_hidden
from keras_mobilenet.deploy.bench.timing import interleaved
from keras_mobilenet.deploy.comparison import generated_images
from keras_mobilenet.deploy.engines.choice import engine_module, is_installed
from keras_mobilenet.deploy.engines.engine import Engine, EngineSettings
from keras_mobilenet.deploy.graphs.traced.copies import in_float32
from keras_mobilenet.deploy.graphs.traced.files import write_keras
from keras_mobilenet.deploy.graphs.traced.folding import without_batch_norms
from keras_mobilenet.deploy.graphs.writers.files import write_graph
from keras_mobilenet.deploy.opened import Opened, open_model
from keras_mobilenet.images.prefetch import all_cores

ENGINES = {"litert": ".tflite", "onnxruntime": ".onnx", "openvino": ".xml"}
NETS = {
    "V1, alpha 1.0": Builder("mobilenet", {"weights": RANDOM}),
    "V1, alpha 0.25": Builder("mobilenet", {"weights": RANDOM, "alpha": 0.25}),
    "V2, alpha 1.0": Builder("mobilenet_v2", {"weights": RANDOM}),
    "V3 Large": Builder("mobilenet_v3_large", {"weights": RANDOM, "input_shape": (224, 224, 3)}),
}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="*", default=[], help="files, beside random nets")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=batch_sizes, default=(1, 64))
    return parser.parse_args()


# What a process holds after it has opened a file and computed one image.
OPENED = """
import sys
sys.path.insert(0, {here!r})
import numpy as np
from process_memory import peak_bytes, resident_bytes
from keras_mobilenet import Predictor
with Predictor({path!r}) as predictor:
    predictor.predict(np.zeros((1, 224, 224, 3), np.float32))
    print(resident_bytes(), peak_bytes())
"""


def timed(make: Callable[[], Engine]) -> tuple[Engine, float]:
    """Return an engine, and the seconds that it took to make."""
    started = time.perf_counter()
    with native_hidden():
        engine = make()
    return engine, time.perf_counter() - started


def memory(path: Path) -> str:
    """Return what a process of its own holds with a file open, and at most held."""
    program = OPENED.format(here=str(Path(__file__).parent), path=str(path))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    held, peak = (int(n) / 1e6 for n in done.stdout.split())
    return f"{held:7.1f} MB held, {peak:7.1f} MB at most"


def compare(name: str, opened: Opened, rounds: int, batches: tuple[int, ...]) -> None:
    whole = opened.in_keras().then(in_float32).then(without_batch_norms)
    settings = EngineSettings(all_cores())
    for known, suffix in ENGINES.items():
        if not is_installed(known):
            continue
        module: Any = engine_module(known)
        ways = {
            "direct": partial(module.compile_graph, opened.graph, settings),
            "TensorFlow": partial(module.compile_model, whole.model, settings, None),
        }
        for way in ways.values():
            timed(way)[0].close()  # what is imported, and allocated once, is no one's
        engines = {way: timed(make) for way, make in ways.items()}
        print(f"\n{name}, {known}")
        with tempfile.TemporaryDirectory() as folder, native_hidden():
            paths = {way: Path(folder) / f"{way}{suffix}" for way in ways}
            write_graph(opened.graph, paths["direct"], None, opened.info, batch=1)
            write_keras(whole, paths["TensorFlow"], suffix, None, None, batch=None)
            held = {way: memory(path) for way, path in paths.items()}
        for way, (_, seconds) in engines.items():
            print(f"  {way:12} made in {seconds:6.2f} s, {held[way]}")
        for batch in batches:
            x = generated_images((batch, 224, 224, 3), low=-1.0, high=1.0)
            actions = {way: partial(engine.run, x) for way, (engine, _) in engines.items()}
            times = interleaved(actions, rounds, warm_up=3)
            show(f"  {batch} images a call", times, "TensorFlow")
        for engine, _ in engines.values():
            engine.close()


def main() -> None:
    options = parsed()
    nets = NETS | {os.path.basename(path): path for path in options.weights}
    for name, net in nets.items():
        compare(name, open_model(net), options.rounds, options.batch)


if __name__ == "__main__":
    main()
