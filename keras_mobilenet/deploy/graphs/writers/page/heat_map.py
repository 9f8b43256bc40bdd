"""What a page needs for its heat map: the features that are pooled, and the weights behind them.

The weights are not written a second time: the page reads them where they lie in the model's file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_mobilenet.deploy.graphs.operations import INPUT, Graph, Operation, simplified
from keras_mobilenet.formats.runtimes import tflite_model

_HIDDEN = ("relu", "relu6", "hard_swish")  # activations whose slope the page knows
_TYPES = {"FLOAT32": "float32", "FLOAT16": "float16", "INT8": "int8", "INT32": "int32"}


@dataclass(frozen=True)
class Stage:
    """A linear layer behind the pooling."""

    name: str
    activation: str  # behind it, "" behind the last


def with_features(graph: Graph) -> Graph:
    """Return a graph that puts out the features that it pools, if its end is known."""
    graph = simplified(graph)
    end = _end(graph)
    return graph if end is None else replace(graph, features=end[0])


def heat_map_record(graph: Graph, content: bytes) -> dict[str, Any] | None:
    """Return the record by which a page computes the map; None where it cannot.

    Args:
        graph: What `with_features` returned.
        content: That of its `.tflite` file.
    """
    end = _end(graph)
    if graph.features is None or end is None:
        return None
    features, stages = end
    height, width, _ = graph.shapes[features]
    tensors = {x.name: x for x in tflite_model.parse(content).tensors if x.values is not None}
    start = np.frombuffer(content, np.uint8).ctypes.data
    records: list[dict[str, Any]] = []
    for stage in stages:
        kernel, bias = (_stored(tensors, f"{stage.name}/{part}") for part in ("kernel", "bias"))
        hidden = {"bias": _place(bias, start)} if stage is not stages[-1] else {}
        records.append({"kernel": _place(kernel, start), "activation": stage.activation, **hidden})
    return {"size": [height, width], "stages": records}


def _stored(tensors: dict[str, tflite_model.Tensor], name: str) -> tflite_model.Tensor:
    half = f"{name}/half"  # of float16
    return tensors[half if half in tensors else name]


def _place(tensor: tflite_model.Tensor, start: int) -> dict[str, Any]:
    """Return where a tensor's values lie in the file: rows of inputs, one for each output."""
    values = tensor.values
    assert values is not None  # noqa: S101 - asked by the caller
    shape = [values.shape[0], values.size // values.shape[0]]
    place = {"offset": values.ctypes.data - start, "type": _TYPES[tensor.type], "shape": shape}
    if tensor.quantization is not None:  # each row has a scale of its own
        place["scales"] = tensor.quantization.scale.ctypes.data - start
    return place


def _end(graph: Graph) -> tuple[str, Sequence[Stage]] | None:
    """Return the features that a simplified graph pools, and its layers behind them."""
    stages: list[Stage] = []
    activation = ""  # behind the layer that comes next on the way back
    name = graph.output
    while name != INPUT:
        operation = graph.by_name[name]
        if len(operation.inputs) != 1:
            return None
        if operation.kind == "average":
            plain = not operation.activation and not activation and stages
            return (operation.inputs[0], stages) if plain else None
        if stages or operation.kind in ("flatten", "none"):
            activation = operation.activation or activation
        if _is_linear(operation):
            hidden = activation if stages else ""
            if hidden not in ("", *_HIDDEN):
                return None
            stages.insert(0, Stage(operation.name, hidden))
            activation = ""
        elif operation.kind not in ("flatten", "none"):
            return None
        name = operation.inputs[0]
    return None


def _is_linear(operation: Operation) -> bool:
    plain = operation.window == (1, 1) and operation.stride == 1
    return operation.kind == "dense" or (operation.kind == "convolution" and plain)
