"""The runtimes as an expert calls them by hand, on the very files that `Predictor` converts to.

Each peer is a few lines of the runtime's own interface and checks nothing: what `Predictor` adds to
them is what it costs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from keras_mobilenet import fold_batch_norm
from keras_mobilenet.deploy.bench.candidates import Array, Candidate
from keras_mobilenet.deploy.engines.openvino_engine import quantized
from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.deploy.graphs.operations import INPUT, OUTPUT
from keras_mobilenet.deploy.graphs.traced.conversion import (
    to_onnx,
    to_openvino,
    to_tflite,
)
from keras_mobilenet.images.prefetch import all_cores

PER_REQUEST = (1, 4)  # images in each of OpenVINO's asynchronous requests
STREAMS = 2


def by_hand(model: Any, samples: Array) -> Iterator[Candidate]:
    """Yield the peers of every engine: float32, and int8 with its ranges from `samples`."""
    folded = fold_batch_norm(model)
    yield Candidate("LiteRT by hand", "float32", litert(to_tflite(folded)))
    yield Candidate("LiteRT by hand", "int8", litert(to_tflite(folded, "int8", samples)))
    graph = to_openvino(folded)
    graphs: dict[Precision, Any] = {
        "float32": graph,
        "bfloat16": graph,
        "int8": quantized(graph.clone(), samples),
    }
    for precision, converted in graphs.items():
        for images in PER_REQUEST:
            predict = openvino(converted, precision, images)
            yield Candidate(f"OpenVINO by hand, requests of {images}", precision, predict)
    yield Candidate("ONNX Runtime by hand", "float32", onnx_runtime(folded))


def litert(content: bytes) -> Callable[[Array], Array]:
    """Return the interpreter's call on a whole batch, an interpreter for each size of batch."""
    from ai_edge_litert.interpreter import Interpreter

    @cache
    def interpreter(batch: int) -> tuple[Any, int, int]:
        made = Interpreter(model_content=content, num_threads=all_cores())
        (inputs,), (outputs,) = made.get_input_details(), made.get_output_details()
        made.resize_tensor_input(inputs["index"], [batch, *inputs["shape"][1:]])
        made.allocate_tensors()
        return made, inputs["index"], outputs["index"]

    def predict(x: Array) -> Array:
        made, inputs, outputs = interpreter(len(x))
        made.set_tensor(inputs, x)
        made.invoke()
        return made.get_tensor(outputs)

    return predict


def openvino(graph: Any, precision: Precision, images: int) -> Callable[[Array], Array]:
    """Return a request with all threads for one image, and a queue of requests for more."""
    import openvino as runtime

    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": str(all_cores()),
    }

    def compiled(batch: int, options: dict[str, str]) -> Any:
        fixed = graph.clone()
        fixed.reshape([batch, *fixed.input(0).partial_shape[1:]])
        return runtime.Core().compile_model(fixed, "CPU", hints | options)

    request = compiled(1, {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    queue = runtime.AsyncInferQueue(compiled(images, {"NUM_STREAMS": str(STREAMS)}), STREAMS)
    classes = request.model_outputs[0].shape[1]

    def many(x: Array) -> Array:
        y = np.empty((len(x), classes), np.float32)

        def keep(done: Any, start: int) -> None:
            y[start : start + images] = done.get_output_tensor().data

        queue.set_callback(keep)
        for start in range(0, len(x), images):
            queue.start_async({0: x[start : start + images]}, start, share_inputs=True)
        queue.wait_all()
        return y

    def predict(x: Array) -> Array:
        if len(x) % images == 0 and len(x) > 1:
            return many(x)
        outputs = [request.infer({0: row[None]}, share_inputs=True)[0].copy() for row in x]
        return np.concatenate(outputs)

    return predict


def onnx_runtime(folded: Any) -> Callable[[Array], Array]:
    """Return the session's call on a whole batch."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_onnx(folded, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = all_cores()
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return lambda x: session.run([OUTPUT], {INPUT: x})[0]


def timm_net(alpha: float) -> Candidate:
    """Return timm's MobileNet V1 in PyTorch, with random weights: another net of the same work.

    Raises:
        ImportError: timm or PyTorch is not installed.
        ValueError: timm has no MobileNet V1 of that width.
    """
    import timm
    import torch

    name = f"mobilenetv1_{round(100 * alpha):03d}"
    if name not in timm.list_models("mobilenetv1_*"):
        raise ValueError(f"timm has no {name}")
    torch.set_num_threads(all_cores())
    net = timm.create_model(name, pretrained=False).eval().to(memory_format=torch.channels_last)

    def predict(x: Array) -> Array:
        with torch.inference_mode():
            # The same memory, seen as NCHW: that is what channels_last is.
            return net(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()

    return Candidate("timm (PyTorch)", "float32", predict, same_net=False)
