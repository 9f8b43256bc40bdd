"""Functions of one number, known by their values at some points.

Exporters write one activation in many ways: hard-swish is a node of its own, or a product with a
HardSigmoid, or with a sum that is clipped and divided. Whatever the nodes, the values are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.runtimes.onnx.onnx_graph import Operation
from keras_mobilenet.nets.net import HARD_SIGMOID, HARD_SWISH, RELU_MAX

Curve = npt.NDArray[np.float64]  # (points,), or (channels, points)
# Around every place where an activation of ours bends, and far from it.
POINTS: Curve = np.array([-300, -7, -3.5, -3, -2.5, -1, 0, 0.5, 1, 2.5, 3, 3.5, 6, 6.5, 7, 300.0])
# Constants may be of float16, where 1/6 is right to 3e-4; TF-slim's own 1/6 is 0.16667.
_TOLERANCE = 5e-4
GATE_OF_SUM = "relu6(x) / 6"  # a hard-sigmoid whose 3 was added to the bias of the convolution
SIGMOID = "sigmoid"


def _relu6(x: Curve) -> Curve:
    return np.clip(x, 0, RELU_MAX)


_KNOWN: Mapping[str, Curve] = {
    "": POINTS,
    "relu": np.maximum(POINTS, 0),
    "relu6": _relu6(POINTS),
    HARD_SWISH: POINTS * _relu6(POINTS + 3) / 6,
    HARD_SIGMOID: _relu6(POINTS + 3) / 6,
    GATE_OF_SUM: _relu6(POINTS) / 6,
    SIGMOID: 1 / (1 + np.exp(-POINTS)),
}
BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Min": np.minimum,
    "Max": np.maximum,
}
UNARY = {"Relu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid"}


def name_of(curve: Curve) -> str | None:
    """Return the activation that a curve is, "" for none, None where it is no known one."""
    for name, known in _KNOWN.items():
        if curve.ndim == 1 and np.allclose(curve, known, rtol=_TOLERANCE, atol=_TOLERANCE):
            return name
    return None


def behind(node: Operation, x: Curve) -> Curve:
    """Return what a node of `UNARY` makes of values."""
    if node.type == "Relu":
        return np.maximum(x, 0)
    if node.type == "Sigmoid":
        return np.asarray(1 / (1 + np.exp(-x)))
    if node.type == "HardSwish":
        return x * _relu6(x + 3) / 6
    if node.type == "HardSigmoid":
        slope, offset = node.number("alpha", 0.2), node.number("beta", 0.5)
        return np.clip(slope * x + offset, 0, 1)
    low, high = (
        _single(node.numbers(index, name), default)
        for index, name, default in ((1, "min", -np.inf), (2, "max", np.inf))
    )
    return np.clip(x, low, high)


def _single(values: list[float] | None, default: float) -> float:
    if values is None:
        return default
    if len(values) != 1:
        raise CheckpointError("a Clip node has several ends")
    return values[0]


def scaling(curve: Curve) -> tuple[Curve, Curve] | None:
    """Return by what a curve multiplies and what it adds; None where it does something else."""
    at_0, at_1 = (curve[..., np.flatnonzero(n == POINTS)[0]] for n in (0, 1))
    scale, offset = np.asarray(at_1 - at_0), np.asarray(at_0)
    straight = scale[..., None] * POINTS + offset[..., None]
    return (scale, offset) if np.allclose(curve, straight, rtol=1e-6) else None
