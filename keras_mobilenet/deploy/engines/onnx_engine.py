"""ONNX Runtime."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.engines.checks.trial import onnx_dtype
from keras_mobilenet.deploy.engines.engine import Engine, EngineSettings, chunks, known
from keras_mobilenet.deploy.engines.runtimes import import_onnxruntime
from keras_mobilenet.deploy.graphs.operations import Graph, simplified
from keras_mobilenet.errors import CheckpointError, MissingExtraError, fault
from keras_mobilenet.formats.tensorflow.protobuf_wire import part, parts, text

NAME = "onnxruntime"
_BATCH = 16
_GRAPH, _NODES, _OPERATOR = 7, 1, 4  # fields of ModelProto, GraphProto and NodeProto
_INTEGER = frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
                      "QuantizeLinear", "DynamicQuantizeLinear"})  # fmt: skip


class ONNXEngine(Engine):
    """A session of ONNX Runtime on the processor."""

    def __init__(self, source: str | bytes, settings: EngineSettings) -> None:
        self._source, self._settings = source, settings  # the file's path, or what it holds
        runtime = import_onnxruntime("The engine ONNX Runtime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(source, options, ["CPUExecutionProvider"])
        (tensor,), (output,) = self._session.get_inputs(), self._session.get_outputs()
        self._names = [output.name], tensor.name
        self._batch = settings.batch_size or _BATCH
        self.input_shape = known(tensor.shape[1:])
        self.input_dtype = np.dtype(onnx_dtype(tensor.type))
        self.output_shape = known(output.shape[1:])
        self.precision = _precision(source)

    def run(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the outputs for `x`."""
        outputs, name = self._names
        parts = [
            self._session.run(outputs, {name: x[rows]})[0] for rows in chunks(len(x), self._batch)
        ]
        return np.concatenate(parts)

    def renewed(self) -> Engine:
        """Return the same net with a session and threads of this process."""
        return ONNXEngine(self._source, self._settings)

    def close(self) -> None:
        """Drop the session."""
        del self._session


def _precision(source: str | bytes) -> str:
    """Return what a file's operators compute in."""
    content = Path(source).read_bytes() if isinstance(source, str) else source
    graph = part(memoryview(content), _GRAPH)
    operators = {text(node, _OPERATOR) for node in parts(graph, _NODES)}
    return "int8" if operators & _INTEGER else "float32"


def compile_graph(graph: Graph, settings: EngineSettings) -> Engine:
    """Return the engine of a graph.

    Raises:
        MissingExtraError: ONNX or its runtime is not installed.
    """
    import_onnxruntime("The engine ONNX Runtime")
    return ONNXEngine(onnx_of(graph), settings)


def onnx_of(graph: Graph) -> bytes:
    """Return the content of a graph's ONNX file.

    Raises:
        MissingExtraError: ONNX is not installed.
    """
    try:
        import onnx  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtraError("Writing ONNX files", "onnx") from error
    from keras_mobilenet.deploy.graphs.writers.onnx import onnx_content  # noqa: PLC0415

    return onnx_content(simplified(graph))


def compile_model(model: Any, settings: EngineSettings, samples: Any) -> Engine:
    """Return the engine of a folded Keras model; it takes no `samples`.

    Raises:
        MissingExtraError: ONNX or its runtime is not installed.
    """
    from keras_mobilenet.deploy.graphs.traced.conversion import to_onnx  # noqa: PLC0415

    import_onnxruntime("The engine ONNX Runtime")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(model, path)
        return ONNXEngine(path.read_bytes(), settings)


def open_file(path: str, settings: EngineSettings) -> Engine:
    """Return the engine of an `.onnx` file.

    Raises:
        CheckpointError: the file is damaged, or has other than one input and one output.
        MissingExtraError: ONNX Runtime is not installed.
    """
    import_onnxruntime("The engine ONNX Runtime")
    from keras_mobilenet.deploy.engines.checks.opening import check_onnx  # noqa: PLC0415 - of files

    check_onnx(path, NAME)
    try:
        return ONNXEngine(path, settings)
    except Exception as error:  # ONNX Runtime's exceptions have no common type
        remedy = "Export it again, or fetch it again."
        message = f"cannot be opened by ONNX Runtime: {error}."
        raise CheckpointError(fault(path, message, remedy)) from error
