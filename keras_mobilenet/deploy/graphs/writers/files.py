"""A graph of operations into a file: no Keras model is made of it, and no TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_mobilenet.deploy.engines import onnx_engine, openvino_engine
from keras_mobilenet.deploy.engines.runtimes import import_openvino
from keras_mobilenet.deploy.graphs.operations import Graph, simplified
from keras_mobilenet.deploy.metadata import openvino_info
from keras_mobilenet.images.model_info import KEY, ModelInfo

QUANTIZE = {".tflite": (None, "float16"), ".onnx": (None,), ".xml": (None, "float16")}


def write_graph(
    graph: Graph, path: Path, quantize: str | None, info: ModelInfo, *, batch: int | None
) -> None:
    """Write a graph as a `.tflite`, `.onnx` or `.xml` file; batch norms are folded.

    Args:
        graph: What it computes.
        path: Its suffix says the format.
        quantize: None or, where the format has it, `"float16"`.
        info: What goes with the model, for the format that keeps it in its graph.
        batch: How many images a `.tflite` takes at once, None for any number.

    Raises:
        MissingExtraError: the format's package is not installed.
        AccuracyError: a batch norm cannot be folded.
    """
    float16 = quantize == "float16"
    if path.suffix == ".tflite":
        from keras_mobilenet.deploy.graphs.writers.tflite import tflite_content  # noqa: PLC0415

        path.write_bytes(tflite_content(simplified(graph), batch=batch, float16=float16))
    elif path.suffix == ".onnx":
        path.write_bytes(onnx_engine.onnx_of(graph))
    else:
        save_openvino(openvino_engine.openvino_of(graph), path, info, float16=float16)


def save_openvino(model: Any, path: Path, info: ModelInfo, *, float16: bool) -> None:
    """Write an OpenVINO model with what goes with it."""
    model.set_rt_info(info.to_text(), [KEY])
    for key, value in openvino_info(info).items():
        model.set_rt_info(value, ["model_info", key])
    import_openvino().save_model(model, path, compress_to_fp16=float16)
