"""The end of a classifier that is linear from its average pooling to its last activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.models.cuts import backwards, tensors_at

_POOL = "GlobalAveragePooling2D"
_ACTIVATIONS = ("Activation", "Softmax", "Sigmoid")  # of the outputs
_SAME = ("Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "AlphaDropout",
         "ActivityRegularization", "Identity", "Flatten", "Reshape")  # fmt: skip
_NORM = "BatchNormalization"


@dataclass(frozen=True, eq=False)
class LinearEnd:
    """What is pooled, and how the pooled values become the logits."""

    features: Any  # the `KerasTensor` that is pooled, seen from the model's input
    weights: npt.NDArray[np.float32]  # (features, classes)
    bias: npt.NDArray[np.float32]  # (classes,)
    channels_first: bool


def linear_end(model: Any) -> LinearEnd:
    """Return the end of a classifier, of all its layers behind the average pooling one.

    Raises:
        ValueError: the model does not end so.
    """
    kernel: Any = None
    bias: Any = 0.0
    seen: list[str] = []
    for path, node in backwards(model):
        layer, kind = node.operation, type(node.operation).__name__
        seen.append(layer.name)
        if kind == _POOL and kernel is not None:
            features = tensors_at(path, node.input_tensors[0])
            first = layer.data_format == "channels_first"
            return LinearEnd(features, kernel.astype("float32"), bias.astype("float32"), first)
        if kind in _SAME or (kind in _ACTIVATIONS and kernel is None):
            continue
        linear = _linear(layer, is_last=kernel is None)
        if linear is None:
            break
        weights, shift = linear
        bias = shift if kernel is None else shift @ kernel + bias
        kernel = weights if kernel is None else weights @ kernel
    raise ValueError(
        "Only a model that ends in global average pooling and layers that are linear until the "
        f"last activation has an exact activation map. Received {_ending(seen)}. Pass what "
        "MobileNet() or replace_top(..., pooling='avg') returned, or a base with "
        "GlobalAveragePooling2D and Dense on it."
    )


def _linear(layer: Any, *, is_last: bool) -> tuple[Any, Any] | None:
    """Return the matrix `(inputs, outputs)` and the bias that a layer is; None if it is none."""
    kind = type(layer).__name__
    if kind == _NORM:
        return _normalising(layer)
    if kind not in ("Dense", "Conv2D") or getattr(layer, "groups", 1) != 1:
        return None
    if kind == "Conv2D" and tuple(layer.kernel_size) != (1, 1):
        return None
    if not is_last and layer.activation is not keras.activations.linear:
        return None
    *_, features, outputs = layer.kernel.shape
    kernel = np.asarray(layer.kernel, np.float64).reshape(features, outputs)
    bias = np.zeros(outputs) if layer.bias is None else np.asarray(layer.bias, np.float64)
    return kernel, bias


def _normalising(norm: Any) -> tuple[Any, Any]:
    values = {variable.name: np.asarray(variable, np.float64) for variable in norm.weights}
    scale = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + norm.epsilon)
    return np.diag(scale), values.get("beta", 0.0) - values["moving_mean"] * scale


def _ending(seen: list[str]) -> str:
    """Return what to say of the layers that were looked at, the last of them first."""
    return (
        f"one that ends in: {', '.join(reversed(seen[:6]))}"
        if seen
        else "none whose graph is known"
    )
