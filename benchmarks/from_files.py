"""From image files to top-5 classes: Keras' own pipeline beside `classify_folder`.

    python benchmarks/from_files.py FOLDER [--files 2000] [--rounds N] [--weights W]
        [--calibration FOLDER]

The folder's images are repeated, as hard links in a temporary folder. Each side lives in a
process of its own, so that its memory is its own, and waits while another has its turn:

- `image_dataset_from_directory`, `preprocess_input`, `model.predict`, as Keras' guides have it;
- `classify_folder` with a `Predictor` in float32, and one in int8.

A side's first pass, over a part of the files, is not timed. The memory is the peak while images
are classified, and that of the process' whole life, conversions included. Linux only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from process_memory import peak_bytes, reset_peak
from timing import show

from keras_mobilenet.deploy.bench.machine import this_machine
from keras_mobilenet.deploy.bench.timing import Timings, turns

KERAS = "keras: image_dataset_from_directory, predict"
PRECISIONS = {
    "keras_mobilenet: classify_folder, float32": "float32",
    "keras_mobilenet: classify_folder, int8": "int8",
}
SIDES = (KERAS, *PRECISIONS)
SIZE = (224, 224)
WARM_UP = 100  # files


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="images")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--weights", default="imagenet", help="imagenet, none, or a file")
    parser.add_argument("--calibration", help="images for int8; those of the folder by default")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def keras_side(options: argparse.Namespace) -> Callable[[Path], int]:
    """Return what classifies a folder with Keras alone, and returns how many images it did."""
    import keras

    weights = None if options.weights == "none" else options.weights
    if weights == "imagenet":
        from keras_mobilenet import MobileNet  # the same net; its weights need not be fetched

        model = MobileNet(weights=weights)
    else:
        model = keras.applications.MobileNet(weights=weights)

    def classify(folder: Path) -> int:
        files = keras.utils.image_dataset_from_directory(
            folder, labels=None, image_size=SIZE, shuffle=False, verbose=False
        )
        scaled = files.map(keras.applications.mobilenet.preprocess_input)
        scores = model.predict(scaled.prefetch(2), verbose=0)
        return len(scores.argsort(axis=1)[:, -5:])

    return classify


def our_side(options: argparse.Namespace) -> Callable[[Path], int]:
    """Return what classifies a folder with this package, and returns how many images it did."""
    from keras_mobilenet import MobileNet
    from keras_mobilenet.deploy.folders import folders
    from keras_mobilenet.deploy.predictor import Predictor

    model = MobileNet(weights=None if options.weights == "none" else options.weights)
    precision = PRECISIONS[options.side]
    calibration = (options.calibration or options.folder) if precision == "int8" else None
    predictor = Predictor(model, precision=precision, calibration=calibration)
    del model

    def classify(folder: Path) -> int:
        return sum(not found.fault for found in folders.classify_folder(predictor, folder))

    return classify


def serve(options: argparse.Namespace) -> None:
    """Classify each folder that a line on stdin names, and answer with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    classify = (keras_side if options.side == KERAS else our_side)(options)
    for line in sys.stdin:
        life = peak_bytes()
        reset_peak()
        start = time.perf_counter()
        images = classify(Path(line.strip()))
        seconds = time.perf_counter() - start
        told = {"seconds": seconds, "images": images, "peak": peak_bytes(), "before": life}
        print(json.dumps(told), file=answers, flush=True)


class Side:
    """A process that classifies a folder whenever it is asked to."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments, "--side", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def classify(self, folder: Path, images: int) -> dict[str, Any]:
        """Return the seconds and the peaks of a pass over a folder."""
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}")
        told = json.loads(answer)
        if told["images"] != images:
            raise SystemExit(f"{self.name} classified {told['images']} of {images} images")
        return told

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def repeated(folder: Path, count: int) -> Iterator[Path]:
    """Yield a temporary folder with the images of `folder`, over and over, `count` files."""
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not images:
        raise SystemExit(f"{folder} holds no .jpg, .jpeg or .png file")
    with tempfile.TemporaryDirectory(prefix="keras-mobilenet-") as name:
        for i, image in enumerate(itertools.islice(itertools.cycle(images), count)):
            target = Path(name) / f"{i:05}{image.suffix}"
            try:
                os.link(image.resolve(), target)
            except OSError:  # another file system
                shutil.copy(image, target)
        yield Path(name)


def measured(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Return what each side told of each of its passes."""
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    with ExitStack() as stack:
        part = stack.enter_context(repeated(options.folder, min(WARM_UP, options.files)))
        whole = stack.enter_context(repeated(options.folder, options.files))
        sides = {name: Side(name, sys.argv[1:]) for name in SIDES}
        for side in sides.values():
            stack.callback(side.close)
        for side in sides.values():
            side.classify(part, min(WARM_UP, options.files))
        for order in turns(SIDES, options.rounds):
            for name in order:
                told[name].append(sides[name].classify(whole, options.files))
    return told


def main() -> None:
    options = parsed()
    if options.side:
        serve(options)
        return
    print(this_machine("keras-mobilenet", "keras", "tensorflow", "ai-edge-litert", "openvino"))
    told = measured(options)
    times = {name: Timings(tuple(t["seconds"] for t in passes)) for name, passes in told.items()}
    show(f"{options.files} files, median of {options.rounds} passes, taking turns", times, KERAS)
    print("\nimages a second, and peak memory while classifying and of the process' life")
    for name, passes in told.items():
        rate = options.files / times[name].median
        peak = max(t["peak"] for t in passes)
        life = max(peak, *(t["before"] for t in passes))
        print(f"  {name:46} {rate:9.1f}/s   {peak / 1e6:7.0f} MB   {life / 1e6:7.0f} MB")


if __name__ == "__main__":
    main()
