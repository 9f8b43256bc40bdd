"""A graph of operations into a file: no Keras model is made of it, and no TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_mobilenet.deploy.engines import litert_engine, onnx_engine, openvino_engine
from keras_mobilenet.deploy.engines.runtimes import import_openvino
from keras_mobilenet.deploy.graphs.operations import Graph, check_half, simplified
from keras_mobilenet.deploy.metadata import openvino_info
from keras_mobilenet.images.model_info import KEY, ModelInfo

_INT8 = ("int8", "full_int8")
_QUANTIZE = {
    ".tflite": (None, "float16", *_INT8),
    ".onnx": (None,),
    ".xml": (None, "float16", "int8"),
}


def writes(graph: Graph | None, suffix: str, quantize: str | None) -> bool:
    """Return whether a graph is written in a format, quantised so, without Keras."""
    if graph is None or quantize not in _QUANTIZE.get(suffix, ()):
        return False
    return quantize not in _INT8 or suffix == ".xml" or litert_engine.quantizes(graph)


def write_graph(
    graph: Graph,
    path: Path,
    quantize: str | None,
    info: ModelInfo,
    *,
    batch: int | None,
    samples: Any = None,
) -> None:
    """Write a graph as a `.tflite`, `.onnx` or `.xml` file; batch norms are folded.

    Args:
        graph: What it computes.
        path: Its suffix says the format.
        quantize: None or, where the format has it, `"float16"`, `"int8"` or `"full_int8"`.
        info: What goes with the model, for the format that keeps it in its graph.
        batch: How many images a `.tflite` takes at once, None for any number.
        samples: Inputs that int8 ranges are taken from.

    Raises:
        MissingExtraError: the format's package is not installed.
        AccuracyError: a batch norm cannot be folded, or float16 does not hold the values.
    """
    if float16 := quantize == "float16":
        check_half(graph)
    if path.suffix == ".xml":
        int8 = quantize == "int8"
        model = (
            openvino_engine.int8_of(graph, samples) if int8 else openvino_engine.openvino_of(graph)
        )
        save_openvino(model, path, info, float16=float16)
    elif quantize in _INT8:
        whole = quantize == "full_int8"
        takes = "uint8" if info.takes_pixels else "int8" if whole else "float32"
        gives = "int8" if whole else "float32"
        content = litert_engine.int8_of(graph, samples, batch=batch, takes=takes, gives=gives)
        path.write_bytes(content)
    elif path.suffix == ".tflite":
        from keras_mobilenet.deploy.graphs.writers.tflite import tflite_content  # noqa: PLC0415

        path.write_bytes(tflite_content(simplified(graph), batch=batch, float16=float16))
    else:
        path.write_bytes(onnx_engine.onnx_of(graph))


def save_openvino(model: Any, path: Path, info: ModelInfo, *, float16: bool) -> None:
    """Write an OpenVINO model with what goes with it."""
    model.set_rt_info(info.to_text(), [KEY])
    for key, value in openvino_info(info).items():
        model.set_rt_info(value, ["model_info", key])
    import_openvino().save_model(model, path, compress_to_fp16=float16)
