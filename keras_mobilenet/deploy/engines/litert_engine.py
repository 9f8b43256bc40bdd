"""LiteRT (TensorFlow Lite): the fast engine of the default install."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.engines.engine import Engine, EngineSettings, empty, known
from keras_mobilenet.deploy.graphs.operations import FEATURES, Graph, simplified
from keras_mobilenet.errors import CheckpointError, fault
from keras_mobilenet.images.pixel_scaling import NAMED, PIXELS, Preprocessing
from keras_mobilenet.nets.net import Shape

NAME = "litert"
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")  # operators of values and weights
_ROUNDING = 0.02  # of the input's range: 1/128 for 1/127.5, a range that calibration cut short


class LiteRTEngine(Engine):
    """One interpreter with all threads for single images, one a thread for more.

    An image at a time in each thread is faster than a batch: its activations stay in the cache.
    """

    def __init__(self, content: bytes, settings: EngineSettings) -> None:
        self._content, self._settings = content, settings
        self._threads = settings.threads
        self._wide = _Interpreter(content, settings.threads)
        self._narrow: list[_Interpreter] = []  # made when the first batch comes
        self._pool: ThreadPoolExecutor | None = None
        self.input_shape = self._wide.input_shape
        self.input_dtype = self._wide.input_dtype
        self.input_preprocessing = self._wide.input_preprocessing
        self.output_shape = self._wide.output_shape
        self.precision = self._wide.precision

    def run(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the outputs for `x`."""
        first = self._wide.run(x[:1])
        y = empty(len(x), first.shape[1:])
        y[:1] = first
        if len(x) == 2 or self._threads == 1:
            for i in range(1, len(x)):
                y[i] = self._wide.run(x[i : i + 1])[0]
        elif len(x) > 2:
            self._run_side_by_side(x, y)
        return y

    def _run_side_by_side(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
        if self._pool is None:
            self._narrow = [_Interpreter(self._content, 1) for _ in range(self._threads)]
            self._pool = ThreadPoolExecutor(self._threads, "litert")
        rows = itertools.count(1)  # the next row to do; counting is atomic

        def work(interpreter: _Interpreter) -> None:
            while (i := next(rows)) < len(x):
                y[i] = interpreter.run(x[i : i + 1])[0]

        for future in [self._pool.submit(work, interpreter) for interpreter in self._narrow]:
            future.result()

    def renewed(self) -> Engine:
        """Return the same net with interpreters and threads of this process."""
        return LiteRTEngine(self._content, self._settings)

    def close(self) -> None:
        """Stop the threads and drop the interpreters."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None
        self._narrow.clear()
        del self._wide


class _Interpreter:
    """LiteRT's interpreter of a net of one input and one output, in real numbers."""

    def __init__(self, content: bytes, threads: int) -> None:
        self._content, self._threads = content, threads
        self._prepare(None)
        self.precision = _precision(self._interpreter)
        self.input_shape = known(int(n) for n in self._input["shape_signature"][1:])
        self.output_shape = known(int(n) for n in self._output["shape_signature"][1:])
        self.input_preprocessing = preprocessing_of_codes(
            self._input["dtype"], *self._input["quantization"]
        )
        pixels = self._input["dtype"] == np.uint8 and self.input_preprocessing is not None
        self.input_dtype = np.dtype("uint8" if pixels else "float32")

    def _prepare(self, shape: Shape | None) -> None:
        """Make an interpreter for inputs of a shape; one that has run cannot always be resized."""
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

        self._interpreter = Interpreter(model_content=self._content, num_threads=self._threads)
        (self._input,) = self._interpreter.get_input_details()
        if shape is not None:
            self._interpreter.resize_tensor_input(self._input["index"], shape)
        elif None not in known(self._input["shape_signature"][1:].tolist()):
            shape = tuple(self._input["shape"])
        if shape is not None:
            self._interpreter.allocate_tensors()
        self._output = _result(self._interpreter.get_output_details())
        self._shape = shape  # None before it is known

    def run(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the output for one image, `x` of shape `(1, height, width, channels)`."""
        if x.shape != self._shape:
            self._prepare(x.shape)
        self._interpreter.set_tensor(self._input["index"], self._coded(x))
        self._interpreter.invoke()
        return self._decoded(self._interpreter.get_tensor(self._output["index"]))

    def _coded(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        dtype = np.dtype(self._input["dtype"])
        if x.dtype == dtype:
            return x
        scale, zero = self._input["quantization"]
        limits = np.iinfo(dtype)
        coded: npt.NDArray[Any] = np.rint(x / scale + zero)
        return coded.clip(limits.min, limits.max).astype(dtype)

    def _decoded(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        scale, zero = self._output["quantization"]
        return (y.astype(np.float32) - zero) * np.float32(scale) if scale else y


def _result(outputs: Sequence[Any]) -> Any:
    """Return the details of a net's one output; a page's has its last features beside it."""
    (output,) = (x for x in outputs if len(outputs) == 1 or x["name"] != FEATURES)
    return output


def _precision(interpreter: Any) -> str:
    """Return what the convolutions of a net compute in."""
    types = {d["index"]: np.dtype(d["dtype"]) for d in interpreter.get_tensor_details()}
    pairs = [
        [types.get(int(number), np.dtype("float32")).kind for number in operator["inputs"][:2]]
        for operator in interpreter._get_ops_details()  # the only list there is
        if operator["op_name"] in _WEIGHTED
    ]
    if any(values in "iu" for values, _ in pairs):
        return "int8"
    return "dynamic" if any(weights in "iu" for _, weights in pairs) else "float32"


def preprocessing_of_codes(dtype: Any, scale: float, zero: int) -> Preprocessing | None:
    """Return how pixels become an input of int8 or uint8, whose 256 codes they are, then.

    Its quantisation says what the codes stand for. It is believed where that is one of the usual
    ranges; others are those of values that were normalised channel by channel.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.uint8, np.int8):
        return None
    if not scale:  # the codes are the values
        return PIXELS if dtype == np.uint8 else None
    scaling = Preprocessing(scale, scale * (np.iinfo(dtype).min - zero))
    return scaling if any(scaling.is_close(x, _ROUNDING) for x in NAMED.values()) else None


def compile_graph(graph: Graph, settings: EngineSettings, samples: Any = None) -> Engine:
    """Return the engine of a graph; for int8 its ranges are taken from `samples`."""
    if settings.precision == "int8":
        return LiteRTEngine(int8_of(graph, samples), settings)
    from keras_mobilenet.deploy.graphs.writers.tflite import tflite_content  # noqa: PLC0415

    return LiteRTEngine(tflite_content(simplified(graph)), settings)


def quantizes(graph: Graph) -> bool:
    """Return whether a graph is written in int8 here; of others TensorFlow's converter is asked."""
    from keras_mobilenet.deploy.graphs.writers.tflite_int8 import can_quantize  # noqa: PLC0415

    return can_quantize(simplified(graph))


def int8_of(
    graph: Graph, samples: Any, *, batch: int | None = None, takes: str = "float32",
    gives: str = "float32",
) -> bytes:  # fmt: skip
    """Return the content of a `.tflite` file in int8, its ranges taken from `samples`.

    `takes` and `gives` are the types of the input and of the output.
    """
    from keras_mobilenet.deploy.graphs.writers.quantization import (  # noqa: PLC0415
        quantized_graph,
    )
    from keras_mobilenet.deploy.graphs.writers.tflite_int8 import int8_content  # noqa: PLC0415

    known: Any = {"takes": takes, "gives": gives}
    return int8_content(quantized_graph(simplified(graph), samples), batch=batch, **known)


def compile_model(model: Any, settings: EngineSettings, samples: Any) -> Engine:
    """Return the engine of a folded Keras model, quantised on `samples` for int8."""
    from keras_mobilenet.deploy.graphs.traced.conversion import (  # noqa: PLC0415 - TensorFlow
        Quantize,
        to_tflite,
    )

    quantize: Quantize | None = "int8" if settings.precision == "int8" else None
    return LiteRTEngine(to_tflite(model, quantize, samples), settings)


def open_file(path: str, settings: EngineSettings) -> Engine:
    """Return the engine of a `.tflite` file.

    Raises:
        CheckpointError: the file is damaged, or has other than one input and one output.
    """
    from keras_mobilenet.deploy.engines.checks.opening import check_tflite  # noqa: PLC0415 - of files

    content = check_tflite(path, NAME)
    try:
        return LiteRTEngine(content, settings)
    except (ValueError, RuntimeError) as error:
        remedy = "Export it again, or fetch it again."
        raise CheckpointError(
            fault(path, f"cannot be opened by LiteRT: {error}", remedy)
        ) from error
