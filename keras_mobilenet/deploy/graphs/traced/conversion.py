"""From a Keras model to the formats that runtimes read; nothing here is compared or kept."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import evenly_spaced
from keras_mobilenet.deploy.engines.runtimes import (
    import_openvino,
    keep_onnxruntime_to_itself,
)
from keras_mobilenet.deploy.graphs.operations import INPUT, OUTPUT, SIGNATURE
from keras_mobilenet.deploy.graphs.traced.unconverted import (
    attempted,
    check_operators,
    unknown_to_onnx,
    unknown_to_openvino,
    unknown_to_tflite,
)
from keras_mobilenet.errors import MissingExtraError
from keras_mobilenet.files import temporary_folder
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.models.backends import import_tensorflow, in_tensorflow, is_tensorflow
from keras_mobilenet.models.cuts import free_name

Quantize = Literal["float16", "dynamic", "int8", "full_int8"]
_CALIBRATION = 100  # images: TensorFlow's converter takes a tenth of a second for each


def with_preprocessing(model: Any, info: ModelInfo) -> keras.Model:
    """Return `model` with the scaling of pixels, `uint8`, in its graph."""
    pixels = _input_around(model, model.inputs[0].shape[1:], dtype="uint8")
    if info.takes_pixels:  # it scales them itself
        return keras.Model(
            pixels, model(keras.ops.cast(pixels, model.inputs[0].dtype)), name=model.name
        )
    known = info.known_preprocessing()
    scaling = keras.layers.Rescaling(
        known.scale, known.offset, name=free_name("rescaling", [model.name]), dtype="float32"
    )  # whatever policy is set for layers to come
    return keras.Model(pixels, model(scaling(pixels)), name=model.name)


def of_batch(model: Any, count: int) -> keras.Model:
    """Return `model` for so many images at once, no more and no fewer."""
    (tensor,) = model.inputs
    images = _input_around(model, tensor.shape[1:], dtype=tensor.dtype, batch_size=count)
    return keras.Model(images, model(images), name=model.name)


def _input_around(model: Any, shape: Any, **options: Any) -> Any:
    """Return the input of a graph that `model` is called in: it is a layer there, by its name."""
    return keras.Input(shape, name=free_name(INPUT, [model.name]), **options)


def save_graph(model: Any, folder: str | PathLike[str]) -> None:
    """Write `model` as a SavedModel with the signature `input` to `output`.

    Under another backend than TensorFlow a process of its own does so, and takes its start more.

    Raises:
        BackendError: that process failed.
    """
    if not is_tensorflow():
        return in_tensorflow("save_graph", "Tracing a model", model, folder)
    tf = import_tensorflow("Tracing a model")
    module = tf.Module()
    module.variables_kept = [variable.value for variable in model.variables]
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: _traced(tf, model)})


def save_frozen_graph(model: Any, folder: str | PathLike[str]) -> None:
    """Write what `save_graph` does, with constants for variables, if the graph changes none.

    A converter opens that in half the time, and makes the same of it.

    Raises:
        BackendError: as `save_graph`.
    """
    if not is_tensorflow():
        return in_tensorflow("save_frozen_graph", "Tracing a model", model, folder)
    tf = import_tensorflow("Tracing a model")
    traced = _traced(tf, model)
    if any(node.op.startswith("Assign") for node in _nodes(traced.graph.as_graph_def())):
        return save_graph(model, folder)
    from tensorflow.python.framework import convert_to_constants  # noqa: PLC0415

    frozen = convert_to_constants.convert_variables_to_constants_v2(
        traced, lower_control_flow=False
    )

    @tf.function(input_signature=_signature(tf, model), autograph=False)  # type: ignore[untyped-decorator]
    def serve(x: Any) -> dict[str, Any]:
        (y,) = frozen(x)
        return {OUTPUT: y}

    signatures = {SIGNATURE: serve.get_concrete_function()}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


def _traced(tf: Any, model: Any) -> Any:
    """Return what `model` computes at inference, as a traced function of TensorFlow."""

    @tf.function(input_signature=_signature(tf, model))  # type: ignore[untyped-decorator]
    def serve(x: Any) -> dict[str, Any]:
        return {OUTPUT: model(x, training=False)}

    return serve.get_concrete_function()


def _signature(tf: Any, model: Any) -> list[Any]:
    (tensor,) = model.inputs
    return [tf.TensorSpec(tensor.shape, tensor.dtype, name=INPUT)]


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph of TensorFlow's, and of the functions that it calls."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


@contextmanager
def saved_graph(model: Any) -> Iterator[str]:
    """Yield the path of a temporary SavedModel of `model`."""
    with temporary_folder() as folder:
        save_frozen_graph(model, folder)
        yield folder


def to_tflite(
    model: Any,
    quantize: Quantize | None = None,
    samples: npt.NDArray[Any] | None = None,
    *,
    pixels: bool = False,
) -> bytes:
    """Return `model` as a TFLite flatbuffer of builtin operators, under any backend of Keras.

    Args:
        model: A Keras model.
        quantize: `"float16"` weights; `"dynamic"`, int8 weights and float activations; `"int8"`,
            all int8 but float input and output; `"full_int8"`, those int8 too.
        samples: Inputs of shape `(count, height, width, channels)` for the two int8 kinds.
        pixels: Whether the codes of an int8 kind's input are pixels, and `uint8` then.

    Raises:
        ValueError: the model has operators that TFLite has not.
    """
    import tensorflow as tf  # noqa: PLC0415

    with saved_graph(model) as folder:
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if quantize is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize in ("int8", "full_int8"):
            _ask_for_int8(converter, tf, samples)
            if pixels and model.inputs[0].dtype == "float32":
                converter.inference_input_type = tf.uint8
        if quantize == "full_int8":
            converter.inference_input_type = tf.uint8 if pixels else tf.int8
            converter.inference_output_type = tf.int8
        content, unknown = attempted(converter.convert, unknown_to_tflite)
    check_operators("TFLite", unknown, "OpenVINO (.xml), ONNX, or a SavedModel folder")
    return bytes(content)


def _ask_for_int8(converter: Any, tf: Any, samples: Any) -> None:
    some = evenly_spaced(samples, _CALIBRATION)
    converter.representative_dataset = lambda: ([sample[None]] for sample in some)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def to_onnx(model: Any, path: str | PathLike[str]) -> None:
    """Write `model` to an ONNX file of any batch size.

    Under another backend than TensorFlow a process of its own does so, and takes its start more.

    Raises:
        ValueError: the model has operators that ONNX has not.
        MissingExtraError: `onnx` or `tf2onnx` is not installed.
        BackendError: that process failed.
    """
    keep_onnxruntime_to_itself()  # tf2onnx may import it
    try:
        import onnx  # noqa: PLC0415
        import tf2onnx  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtraError("Writing ONNX files", "onnx") from error
    if not is_tensorflow():
        return in_tensorflow("to_onnx", "Writing ONNX files", model, path)
    (tensor,) = model.inputs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras' own, about NumPy
        model(np.zeros([n or 32 for n in (1, *tensor.shape[1:])], tensor.dtype))
        model.export(path, format="onnx", verbose=False)
        graph = onnx.load(path)
        unknown = unknown_to_onnx(graph.graph)
        _rename(graph.graph)
        if not unknown:
            onnx.checker.check_model(graph)
        onnx.save(graph, path)
    check_operators("ONNX", unknown, "LiteRT (.tflite), OpenVINO (.xml), or a SavedModel folder")


def _rename(graph: Any) -> None:
    """Give an ONNX graph's input, output and batch axis the names that are always the same."""
    names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (graph.input[0], graph.output[0]):
        value.name = names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def to_openvino(model: Any) -> Any:
    """Return `model` as an OpenVINO model of any batch size.

    Raises:
        ValueError: the model has operators that OpenVINO has not.
        MissingExtraError: OpenVINO is not installed.
    """
    openvino = import_openvino()
    with saved_graph(model) as folder:

        def convert() -> Any:  # not by `convert_model`: that reports each use to a server
            return _detached(openvino.Core().read_model(folder), openvino)

        graph, unknown = attempted(convert, unknown_to_openvino)
    check_operators("OpenVINO", unknown, "LiteRT (.tflite), ONNX, or a SavedModel folder")
    return graph


def _detached(graph: Any, openvino: Any) -> Any:
    """Return the model with its weights in memory: the files that it was read from will go."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(graph, path, compress_to_fp16=False)
        return openvino.Core().read_model(path.read_bytes(), path.with_suffix(".bin").read_bytes())
