"""OpenVINO: float32, bfloat16 and int8 on processors of Intel, AMD and ARM."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.engines.engine import (
    Engine,
    EngineSettings,
    chunks,
    empty,
    forked,
    known,
)
from keras_mobilenet.deploy.engines.litert_engine import preprocessing_of_codes
from keras_mobilenet.deploy.engines.runtimes import import_openvino, unreported
from keras_mobilenet.deploy.graphs.operations import Graph, simplified
from keras_mobilenet.errors import CheckpointError, MissingExtraError, PrecisionError, fault
from keras_mobilenet.images.pixel_scaling import Preprocessing

NAME = "openvino"
# Images a request where many are at hand, by measurement.
_BATCH = {"float32": 4, "bfloat16": 1, "int8": 4}
# Whether this thread's NNCF is silent; a user's own, in another thread, tells what it always does.
_SILENT: ContextVar[bool] = ContextVar("silent", default=False)


class OpenVINOEngine(Engine):
    """The graph compiled twice: all threads on one image, and a stream a thread for more."""

    def __init__(self, graph: Any, settings: EngineSettings) -> None:
        self._openvino = import_openvino()
        self._graph, self._settings = graph, settings
        self.precision = _precision(graph, settings)
        self._batch = settings.batch_size or _BATCH[self.precision]
        if graph.input(0).partial_shape[0].is_static:
            self._batch = 1  # a file for one image: shapes within it may not take more
        self.input_shape = _lengths(graph.input(0).partial_shape)[1:]
        self.input_dtype = np.dtype(graph.input(0).element_type.to_dtype())
        self.output_shape = _lengths(graph.output(0).partial_shape)[1:]
        self._single = self._compile(1, {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
        self._queue: Any = None  # made when the first batch comes

    def run(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the outputs for `x`."""
        whole = 0 if len(x) == 1 else len(x) - len(x) % self._batch
        rest = [self._run_single(x[i : i + 1]) for i in range(whole, len(x))]
        if not whole:
            return np.concatenate(rest)
        y = empty(len(x), rest[0].shape[1:] if rest else self.output_shape)
        self._run_many(x[:whole], y)
        for i, row in enumerate(rest, whole):
            y[i] = row[0]
        return y

    def _run_single(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self._single.infer({0: x}, share_inputs=True)
        return np.array(self._single.get_output_tensor().data)

    def _run_many(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
        if self._queue is None:
            streams = {"NUM_STREAMS": str(self._settings.threads)}
            compiled = self._compile(self._batch, streams)
            self._queue = self._openvino.AsyncInferQueue(compiled, self._settings.threads)

        def keep(request: Any, rows: slice) -> None:
            y[rows] = request.get_output_tensor().data

        self._queue.set_callback(keep)
        for rows in chunks(len(x), self._batch):
            self._queue.start_async({0: x[rows]}, userdata=rows, share_inputs=True)
        self._queue.wait_all()

    def _compile(self, batch: int, options: dict[str, str]) -> Any:
        graph = self._graph.clone()
        graph.reshape([batch, *(n or -1 for n in self.input_shape)])
        # Left to itself, OpenVINO computes in bf16 on processors that have it.
        precision = "bf16" if self.precision == "bfloat16" else "f32"
        fixed = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": str(self._settings.threads),
        }
        compiled = self._openvino.Core().compile_model(graph, "CPU", options | fixed)
        if compiled.get_property("INFERENCE_PRECISION_HINT") != getattr(
            self._openvino.Type, precision
        ):
            raise PrecisionError(
                f"OpenVINO does not compute in {self.precision} on this processor. "
                "Pass precision='float32'."
            )
        return compiled

    def renewed(self) -> Engine:
        """Raise: OpenVINO computes there, and ends the process with SIGSEGV when it is freed."""
        raise ValueError(forked("OpenVINO"))

    def close(self) -> None:
        """Drop the compiled models and their threads."""
        self._queue = self._single = self._graph = None


def _precision(graph: Any, settings: EngineSettings) -> str:
    """Return what a graph computes in: quantisation is in it, bfloat16 is a setting."""
    if any(operator.get_type_name() == "FakeQuantize" for operator in graph.get_ops()):
        return "int8"
    return "bfloat16" if settings.precision == "bfloat16" else "float32"


def _lengths(shape: Any) -> tuple[int | None, ...]:
    return known(n.get_length() if n.is_static else None for n in shape)


def compile_graph(graph: Graph, settings: EngineSettings, samples: Any = None) -> Engine:
    """Return the engine of a graph; for int8 its ranges are taken from `samples`.

    For bfloat16 they tell what its biases make up for, if there are any.

    Raises:
        MissingExtraError: OpenVINO, or for int8 NNCF, is not installed.
    """
    if settings.precision == "int8":
        return OpenVINOEngine(int8_of(graph, samples), settings)
    if settings.precision == "bfloat16" and samples is not None:
        from keras_mobilenet.deploy.graphs.writers.quantization import (  # noqa: PLC0415
            bfloat16_graph,
        )

        graph = bfloat16_graph(simplified(graph), samples)
    return OpenVINOEngine(openvino_of(graph), settings)


def quantizes(_: Graph) -> bool:
    """Return True: every graph goes in int8."""
    return True


def int8_of(graph: Graph, samples: npt.NDArray[Any]) -> Any:
    """Return the OpenVINO model of a graph in int8, its biases made up for rounded kernels.

    Raises:
        MissingExtraError: OpenVINO or NNCF is not installed.
    """
    from keras_mobilenet.deploy.graphs.writers.quantization import (  # noqa: PLC0415
        quantized_graph,
    )

    if graph.pixels:
        samples = samples.astype(np.uint8)
    corrected = quantized_graph(simplified(graph), samples).graph
    return quantized(openvino_of(corrected), samples)


def openvino_of(graph: Graph) -> Any:
    """Return the OpenVINO model of a graph.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    import_openvino()
    from keras_mobilenet.deploy.graphs.writers.openvino import openvino_model  # noqa: PLC0415

    return openvino_model(simplified(graph))


def compile_model(model: Any, settings: EngineSettings, samples: Any) -> Engine:
    """Return the engine of a folded Keras model, its ranges taken from `samples` for int8.

    Raises:
        MissingExtraError: OpenVINO, or for int8 NNCF, is not installed.
    """
    from keras_mobilenet.deploy.graphs.traced.conversion import to_openvino  # noqa: PLC0415

    graph = to_openvino(model)
    if settings.precision == "int8":
        graph = quantized(graph, samples)
    return OpenVINOEngine(graph, settings)


def quantized(graph: Any, samples: npt.NDArray[Any]) -> Any:
    """Return an OpenVINO model in int8, its ranges taken from `samples`.

    Raises:
        MissingExtraError: NNCF is not installed.
    """
    nncf = _import_nncf()
    # GELU goes below zero by little: codes as many on either side of it would lose half of them.
    bends = any(operator.get_type_name() == "Gelu" for operator in graph.get_ops())
    presets = nncf.QuantizationPreset
    preset = presets.MIXED if bends else presets.PERFORMANCE
    with _silent(nncf):
        dataset = nncf.Dataset([sample[None] for sample in samples])
        return nncf.quantize(
            graph,
            dataset,
            subset_size=len(samples),
            preset=preset,
            ignored_scope=nncf.IgnoredScope(names=_products(graph)),
            # NNCF's own takes half a minute or, fast, leaves three times the error of ours.
            advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
        )


def _products(graph: Any) -> list[str]:
    """Return the names of an attention's products, which lose too much in int8."""
    found = []
    for operator in graph.get_ops():
        sources = [x.get_source_output().get_node() for x in operator.inputs()]
        computed = all(x.get_type_name() not in ("Constant", "Convert") for x in sources)
        if operator.get_type_name() == "MatMul" and computed:
            found.append(operator.get_friendly_name())
    return found


def _import_nncf() -> Any:
    try:
        with unreported():
            import nncf  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("int8 with OpenVINO", "openvino") from error
    return nncf


@contextmanager
def _silent(nncf: Any) -> Iterator[None]:
    """Keep NNCF from drawing bars and logging in this thread: its switches are the process'."""
    tracking = nncf.common.logging.track_progress.track
    if not hasattr(tracking.__init__, "__wrapped__"):
        tracking.__init__ = _without_bar(tracking.__init__)
        logging.getLogger("nncf").addFilter(lambda _: not _SILENT.get())
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


def _without_bar(init: Any) -> Any:
    @functools.wraps(init)
    def with_bar_or_without(*args: Any, disable: bool = False, **options: Any) -> None:
        init(*args, disable=disable or _SILENT.get(), **options)

    return with_bar_or_without


def _in_real_numbers(graph: Any, path: str) -> tuple[Any, Preprocessing | None]:
    """Return the graph of a file which takes and gives real numbers, or takes pixels.

    A quantised `.tflite` takes and gives codes, and OpenVINO leaves to the caller what they mean.
    How pixels become the codes that it takes is returned, too.
    """
    types = graph.input(0).element_type, graph.output(0).element_type
    if not path.lower().endswith(".tflite") or not any(x.is_integral() for x in types):
        return graph, None
    openvino = import_openvino()
    steps = openvino.preprocess.PrePostProcessor(graph)
    taken, given = _quantization(path)
    preprocessing = preprocessing_of_codes(types[0].to_dtype(), *taken)
    pixels = types[0] == openvino.Type.u8 and preprocessing is not None
    if types[0].is_integral() and not pixels:
        steps.input().tensor().set_element_type(openvino.Type.f32)
        steps.input().preprocess().custom(lambda x: _coded(x, *taken, types[0]).output(0))
    if types[1].is_integral():
        steps.output().postprocess().convert_element_type(openvino.Type.f32)
        if given[0]:
            steps.output().postprocess().custom(lambda y: _decoded(y, *given).output(0))
    return steps.build(), preprocessing


def _quantization(path: str) -> tuple[tuple[float, int], tuple[float, int]]:
    """Return scale and zero of what a `.tflite` file takes, and of what it gives."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - for quantised files only

    interpreter = Interpreter(model_path=path, num_threads=1)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    return taken["quantization"], given["quantization"]


def _coded(x: Any, scale: float, zero: int, kind: Any) -> Any:
    from openvino import opset13 as ops  # noqa: PLC0415 - an extra

    limits = np.iinfo(kind.to_dtype())
    codes = ops.add(ops.divide(x, np.float32(scale)), np.float32(zero)) if scale else x
    return ops.convert(ops.clamp(ops.round(codes, "half_to_even"), limits.min, limits.max), kind)


def _decoded(y: Any, scale: float, zero: int) -> Any:
    from openvino import opset13 as ops  # noqa: PLC0415 - an extra

    return ops.multiply(ops.subtract(y, np.float32(zero)), np.float32(scale))


def open_file(path: str, settings: EngineSettings) -> Engine:
    """Return the engine of an OpenVINO `.xml`, or of a `.tflite` or `.onnx` file.

    Raises:
        CheckpointError: the file is damaged, or has other than one input and one output.
        MissingExtraError: OpenVINO is not installed.
    """
    openvino = import_openvino()
    from keras_mobilenet.deploy.engines.checks.opening import check_openvino  # noqa: PLC0415 - of files

    check_openvino(path)
    try:
        graph = openvino.Core().read_model(path)
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise ValueError("it has not one input and one output")
        graph, preprocessing = _in_real_numbers(graph, path)
        engine = OpenVINOEngine(graph, settings)
        engine.input_preprocessing = preprocessing
        return engine
    except (CheckpointError, PrecisionError):
        raise
    except Exception as error:  # OpenVINO raises RuntimeError and types of its own
        remedy = "Export it again; an .xml file needs the .bin file that was written with it."
        message = f"cannot be opened by OpenVINO: {str(error).strip().splitlines()[-1]}."
        raise CheckpointError(fault(path, message, remedy)) from error
