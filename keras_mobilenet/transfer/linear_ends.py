"""The end of a classifier, from its average pooling to its last activation, as matrices.

Most ends are linear. V3's and V4's, and a user's own with a hidden layer, have an activation
between two linear layers; there the end is taken to first order at an image, its Jacobian in closed
form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.models.cuts import backwards, tensors_at

Array = npt.NDArray[Any]
_POOL = "GlobalAveragePooling2D"
_ACTIVATIONS = ("Activation", "Softmax", "Sigmoid")  # of the outputs
_SAME = ("Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "AlphaDropout",
         "ActivityRegularization", "Identity", "Flatten", "Reshape")  # fmt: skip
_NORM = "BatchNormalization"
# What an activation makes of numbers, and its slope there.
Hidden = Callable[[Array], tuple[Array, Array]]


def _relu(z: Array, limit: float | None = None) -> tuple[Array, Array]:
    return np.clip(z, 0, limit), (z > 0) & (z < (np.inf if limit is None else limit))


def _hard_swish(z: Array) -> tuple[Array, Array]:
    return z * np.clip(z + 3, 0, 6) / 6, np.where(z > 3, 1.0, np.where(z > -3, (2 * z + 3) / 6, 0))


def _gelu(z: Array) -> tuple[Array, Array]:
    share = np.array([(1 + math.erf(x / math.sqrt(2))) / 2 for x in z])
    return z * share, share + z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


_HIDDEN: dict[Any, Hidden] = {
    keras.activations.relu: _relu,
    keras.activations.relu6: partial(_relu, limit=6.0),
    keras.activations.hard_silu: _hard_swish,
    keras.activations.gelu: _gelu,
}


@dataclass(frozen=True, eq=False)
class Stage:
    """Linear layers, and the activation behind them; None behind the last."""

    weights: Array  # (inputs, outputs)
    bias: Array  # (outputs,)
    activation: Hidden | None


@dataclass(frozen=True, eq=False)
class ClassifierEnd:
    """What is pooled, and how the pooled values become the logits."""

    features: Any  # the `KerasTensor` that is pooled, seen from the model's input
    stages: tuple[Stage, ...]
    channels_first: bool

    @property
    def is_linear(self) -> bool:
        """Whether the logits are linear in what is pooled."""
        return len(self.stages) == 1

    @property
    def classes(self) -> int:
        """The number of logits."""
        return len(self.stages[-1].bias)

    def at(self, pooled: Array) -> tuple[Array, Array]:
        """Return the matrix, `(features, classes)`, and the bias that give the logits at `pooled`.

        They are the end itself where it is linear; elsewhere they hold to first order around
        `pooled`, of shape `(features,)`, and give the very logits there.
        """
        x = pooled.astype(np.float64)
        jacobian = np.eye(len(x))
        for stage in self.stages:
            z, slope = x @ stage.weights + stage.bias, np.ones(len(stage.bias))
            if stage.activation:
                z, slope = stage.activation(z)
            x, jacobian = z, (jacobian @ stage.weights) * slope
        return jacobian.astype("float32"), (x - pooled @ jacobian).astype("float32")


def classifier_end(model: Any) -> ClassifierEnd:
    """Return the end of a classifier, of all its layers behind the average pooling one.

    Raises:
        ValueError: the model does not end so.
    """
    stages: list[Stage] = []
    kernel: Any = None
    bias: Any = 0.0
    activation: Hidden | None = None  # behind the stage that is being read
    seen: list[str] = []
    for path, node in backwards(model):
        layer, kind = node.operation, type(node.operation).__name__
        seen.append(layer.name)
        if kind == _POOL and kernel is not None:
            stages.insert(0, Stage(kernel, bias, activation))
            features = tensors_at(path, node.input_tensors[0])
            first = layer.data_format == "channels_first"
            return ClassifierEnd(features, tuple(stages), first)
        is_last = kernel is None and not stages
        if kind in _SAME or (kind in _ACTIVATIONS and is_last):
            continue
        linear = _linear(layer)
        hidden = None if is_last else _hidden(layer)
        if hidden and kernel is not None:
            stages.insert(0, Stage(kernel, bias, activation))
            kernel, bias, activation = None, 0.0, hidden
            if linear is None:
                continue
        if linear is None or not (is_last or hidden or _is_linear(layer)):
            break
        weights, shift = linear
        bias = shift if kernel is None else shift @ kernel + bias
        kernel = weights if kernel is None else weights @ kernel
    raise ValueError(
        "Only a model that ends in global average pooling, layers that are linear, and ReLU, "
        f"hard-swish or GELU between them has an activation map. Received {_ending(seen)}. Pass "
        "what MobileNet() or replace_top(..., pooling='avg') returned, or a base with "
        "GlobalAveragePooling2D and Dense on it."
    )


def _linear(layer: Any) -> tuple[Array, Array] | None:
    """Return the matrix `(inputs, outputs)` and the bias that a layer is; None if it is none."""
    kind = type(layer).__name__
    if kind == _NORM:
        return _normalising(layer)
    if kind not in ("Dense", "Conv2D") or getattr(layer, "groups", 1) != 1:
        return None
    if kind == "Conv2D" and tuple(layer.kernel_size) != (1, 1):
        return None
    *_, features, outputs = layer.kernel.shape
    kernel = np.asarray(layer.kernel, np.float64).reshape(features, outputs)
    bias = np.zeros(outputs) if layer.bias is None else np.asarray(layer.bias, np.float64)
    return kernel, bias


def _is_linear(layer: Any) -> bool:
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


def _hidden(layer: Any) -> Hidden | None:
    """Return the activation that a layer is or holds, where its slope is known."""
    if type(layer).__name__ == "ReLU":
        plain = not layer.negative_slope and not layer.threshold
        return partial(_relu, limit=layer.max_value) if plain else None
    return _HIDDEN.get(getattr(layer, "activation", None))


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
