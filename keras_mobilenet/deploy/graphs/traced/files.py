"""A Keras model into a file, through Keras and TensorFlow: int8, and what only Keras knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy.typing as npt

from keras_mobilenet.deploy.engines import openvino_engine
from keras_mobilenet.deploy.graphs.traced.bias_correction import (
    bias_corrected,
    to_float16,
    to_int8,
)
from keras_mobilenet.deploy.graphs.traced.conversion import (
    of_batch,
    save_graph,
    to_onnx,
    to_openvino,
    to_tflite,
    with_preprocessing,
)
from keras_mobilenet.deploy.graphs.traced.folding import without_batch_norms
from keras_mobilenet.deploy.graphs.writers.files import save_openvino
from keras_mobilenet.deploy.opened import Opened
from keras_mobilenet.models.backends import inferred


def keras_outputs(model: Any, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what a Keras model puts out for some inputs."""
    outputs: npt.NDArray[Any] = keras.ops.convert_to_numpy(inferred(model, samples))
    return outputs


def folded(opened: Opened, quantize: str | None, samples: npt.NDArray[Any]) -> Opened:
    """Return a Keras model with its batch norms folded, and its biases corrected for rounding."""
    portable = opened.then(without_batch_norms)
    if quantize is None:
        return portable
    rounding = to_float16 if quantize == "float16" else to_int8
    return portable.then(bias_corrected, samples, rounding)


def taking_pixels(opened: Opened) -> Opened:
    """Return a model with the scaling of pixels, `uint8`, in its graph."""
    return opened.then(with_preprocessing, opened.info)


def write_keras(
    opened: Opened,
    path: Path,
    suffix: str,
    quantize: Any,
    samples: npt.NDArray[Any],
    *,
    batch: int | None,
) -> None:
    """Write a folded Keras model as a file, or as a SavedModel folder.

    Args:
        opened: The model, and what goes with it.
        path: Where.
        suffix: The format's: `".tflite"`, `".onnx"`, `".xml"`; another one is a folder's.
        quantize: What `export` takes.
        samples: Inputs that int8 ranges are taken from.
        batch: How many images a `.tflite` takes at once, None for any number.

    Raises:
        ValueError: the model computes with operators that the format has not.
        MissingExtraError: the format's package is not installed.
    """
    if batch is not None:
        opened = opened.then(of_batch, batch)
    if suffix == ".tflite":
        pixels = opened.info.takes_pixels
        path.write_bytes(to_tflite(opened.model, quantize, samples, pixels=pixels))
    elif suffix == ".onnx":
        to_onnx(opened.model, path)
    elif suffix == ".xml":
        graph = to_openvino(opened.model)
        if quantize == "int8":
            graph = openvino_engine.quantized(graph, samples)
        save_openvino(graph, path, opened.info, float16=quantize == "float16")
    else:
        save_graph(opened.model, path)
