"""A model's file opened and run once in a process of its own, which may die of it.

Run as a script, `python trial.py RUNTIME PATH`: it needs the one runtime and nothing of this
package, so that it starts in a fraction of a second. It says what went wrong on stderr.
"""

from __future__ import annotations

import sys
from typing import Any

MAX_BYTES = 3 << 30  # of memory; a MobileNet takes a tenth of it
SECONDS = 60


def main(runtime: str, path: str) -> None:
    """Open a file and run it on zeros, within bounds."""
    _bound()
    {"litert": _litert, "onnxruntime": _onnxruntime, "openvino": _openvino}[runtime](path)


def _bound() -> None:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _litert(path: str) -> None:
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    interpreter = Interpreter(model_path=path, num_threads=1)
    zeros = {  # of the signature, where open lengths are -1: as a shape they are 1
        given["index"]: _zeros(given["shape_signature"], given["dtype"])
        for given in interpreter.get_input_details()
    }
    for index, values in zeros.items():
        interpreter.resize_tensor_input(index, values.shape)
    interpreter.allocate_tensors()
    for index, values in zeros.items():
        interpreter.set_tensor(index, values)
    interpreter.invoke()


def _onnxruntime(path: str) -> None:
    import onnxruntime  # noqa: PLC0415 - an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    inputs = {x.name: _zeros(x.shape, onnx_dtype(x.type)) for x in session.get_inputs()}
    session.run(None, inputs)


def onnx_dtype(kind: str) -> str:
    """Return NumPy's name of the type of an ONNX input, as in `"tensor(float)"`.

    Raises:
        ValueError: it is none that is read.
    """
    kinds = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    if kind not in kinds:
        raise ValueError(f"it takes {kind}, where {' or '.join(kinds)} is read")
    return kinds[kind]


def _openvino(path: str) -> None:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it reports each import
    import openvino  # noqa: PLC0415 - an extra

    graph = openvino.Core().read_model(path)
    shapes = [[n.get_length() if n.is_static else 0 for n in x.partial_shape] for x in graph.inputs]
    kinds = [x.element_type.to_dtype() for x in graph.inputs]
    request = openvino.Core().compile_model(graph, "CPU").create_infer_request()
    request.infer({i: _zeros(s, k) for i, (s, k) in enumerate(zip(shapes, kinds, strict=True))})


def _zeros(shape: Any, kind: Any) -> Any:
    """Return zeros of a shape, one image of 32 pixels where lengths are open."""
    import numpy as np  # noqa: PLC0415 - after the bound is set

    lengths = [n if isinstance(n, int) and n > 0 else 0 for n in map(_as_int, shape)]
    return np.zeros([n or (32 if axis else 1) for axis, n in enumerate(lengths)], kind)


def _as_int(length: Any) -> Any:
    return length if isinstance(length, str) or length is None else int(length)


if __name__ == "__main__":
    main(*sys.argv[1:])
