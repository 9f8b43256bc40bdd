"""How far files of weights, opened without Keras, are from the Keras model of the same file.

    python benchmarks/exactness.py IMAGES FILE ... [--engines litert,openvino] [--double N]

IMAGES is a folder, or a CSV file with a column `path`. Each file of weights goes through
`Predictor` in each engine that is installed, and through `model.predict`; a net without its top
puts out pooled features. Printed are the largest difference of all outputs, that as a share of the
largest output, and on how many images the first class is the same.

With --double, the first N images are computed in NumPy in double precision too: the distance of
each side from that tells whose rounding a difference is. It takes about a second an image.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

import numpy as np
import numpy.typing as npt

from keras_mobilenet import Predictor
from keras_mobilenet.checkpoints.net_weights import Builder, builder_of
from keras_mobilenet.commands.terminal.quiet import native_hidden
from keras_mobilenet.deploy.bench.machine import this_machine
from keras_mobilenet.deploy.comparison import difference
from keras_mobilenet.deploy.engines.choice import is_installed
from keras_mobilenet.deploy.graphs.reference import reference_outputs
from keras_mobilenet.deploy.opened import open_model
from keras_mobilenet.images.listing import list_images

KERAS = "keras"
BATCH = 25  # images a call
Floats = npt.NDArray[np.floating[Any]]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="a folder, or a CSV file with a column 'path'")
    parser.add_argument("weights", nargs="+", help="files of weights")
    parser.add_argument("--engines", default="litert,openvino,onnxruntime")
    parser.add_argument("--double", type=int, default=0, help="images computed in double, too")
    return parser.parse_args()


def paths_in(images: Path) -> list[str]:
    if images.suffix != ".csv":
        return list(list_images(images))
    with images.open(newline="", encoding="utf-8") as file:
        return [row["path"] for row in csv.DictReader(file)]


def pooled(builder: Builder) -> Builder:
    """Return the builder of the same net, with its features pooled where it has no top."""
    top = builder.arguments.get("include_top", True)
    return builder if top else replace(builder, arguments={**builder.arguments, "pooling": "avg"})


def outputs(predictor: Predictor, x: Floats) -> Floats:
    rows = [predictor.predict(x[i : i + BATCH]) for i in range(0, len(x), BATCH)]
    return np.concatenate(rows)


def computed(builder: Builder, x: Floats, engines: list[str]) -> Iterator[tuple[str, Floats]]:
    """Yield each way's name and its outputs, those of the Keras model as it is built first."""
    yield KERAS, open_model(builder).in_keras().model.predict(x, batch_size=BATCH, verbose=0)
    for engine in engines:
        with native_hidden():
            predictor = Predictor(builder, engine=engine)
        with predictor:
            yield engine, outputs(predictor, x)


def compare(file: str, images: list[str], engines: list[str], double: int) -> None:
    builder = pooled(builder_of(file))
    opened = open_model(builder)
    with Predictor(builder, engine=engines[0]) as predictor:
        pixels = np.stack([predictor.read_image(path) for path in images])
    x = opened.info.scaled(pixels)
    exact = reference_outputs(opened.graph, x[:double], np.float64) if double else None
    kind = "probabilities" if opened.graph.classifies else "features"
    print(f"\n{file}: {builder.net}, {x.shape[1]} x {x.shape[2]}, {opened.classes} {kind}")
    keras = None
    for name, y in computed(builder, x, engines):
        keras = y if keras is None else keras
        apart = difference(keras, y)
        same = round(apart.top1_agreement * len(x))
        told = f"{apart.max_error:8.1e} ({apart.relative_error:.1e}), same first {same}/{len(x)}"
        if exact is not None:
            off = difference(exact, y[:double])
            told += f"; from double {off.max_error:.1e}, rms {off.rms_error:.1e}"
        print(f"  {name:12} {told}", flush=True)


def main() -> None:
    options = parsed()
    print(this_machine("keras-mobilenet", "keras", "tensorflow", "ai-edge-litert", "openvino",
                       "onnxruntime"))  # fmt: skip
    engines = [name for name in options.engines.split(",") if is_installed(name)]
    images = paths_in(options.images)
    for file in options.weights:
        compare(file, images, engines, options.double)


if __name__ == "__main__":
    main()
