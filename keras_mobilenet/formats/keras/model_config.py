"""The configuration of a net's Keras model, as Keras 3 writes it into a `.keras` file.

Keras is not imported: for the dozen kinds of layers that a net has, its configurations are few and
known. A test holds them against those of the installed Keras.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.net import (
    ATTENDING,
    ATTENTION_MODULE,
    HARD_SIGMOID,
    REGISTERED_ATTENTION,
    Layer,
    Net,
    Shape,
    Size,
    relu_max,
)

_Config = dict[str, Any]
_FLOAT32 = {
    "module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"},
    "registered_name": None,
}  # fmt: skip
KERAS_ACTIVATIONS = {"hard_swish": "hard_silu"}  # Keras' own names of activations
_SHIFT, _SHARE = 3.0, 1.0 / 6.0  # of a hard sigmoid, around its ReLU
_BUILT = ("Conv2D", "DepthwiseConv2D", "Dense", "BatchNormalization", "ZeroPadding2D", "Flatten",
          "Add", "Multiply", ATTENDING)  # fmt: skip
_CALLED_WITH = {"BatchNormalization": {"mask": None}, "Dropout": {"training": False}}


@dataclass(frozen=True)
class ModelSettings:
    """What a net's layers need beside their shapes and their order."""

    conventions: Conventions
    bn_momentum: float
    classifier_activation: str
    dropout: float = 0.0
    frozen: Collection[str] = ()  # layers that do not train
    scaling: tuple[Any, Any] = (1.0, 0.0)  # scale and offset of a layer that scales pixels


def model_config(net: Net, size: Size, name: str, settings: ModelSettings) -> _Config:
    """Return the configuration of a functional model for images of a known size."""
    walk = _Walk(net, size, settings)
    layers = [made for layer in net for made in walk.layers(layer)]
    first, last = layers[0]["name"], walk.outputs[net.layers[-1].name]
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": name,
            "trainable": True,
            "layers": layers,
            "input_layers": [first, 0, 0],
            "output_layers": [last, 0, 0],
        },
        "registered_name": "Functional",
        "build_config": {"input_shape": None},
        "compile_config": {},
    }


class _Walk:
    """The layers of a net, in turn, and under which names their outputs go on."""

    def __init__(self, net: Net, size: Size, settings: ModelSettings) -> None:
        self._net, self._settings = net, settings
        self._size = size
        self._shapes = net.shapes(size)
        self._numbers: dict[str, int] = {}  # of operations that Keras counts
        self.outputs: dict[str, str] = {}

    def layers(self, layer: Layer) -> Sequence[_Config]:
        """Return a net's layer as what Keras makes of it, which may be several, or none."""
        if layer.kind == "InputLayer":
            self.outputs[layer.name] = layer.name
            return [self._input(layer)]
        before = self._net.inputs[layer.name]
        if layer.optional and not self._settings.dropout:
            self.outputs[layer.name] = self.outputs[before[0].name]
            return []
        taken = [self._tensor(x) for x in before]
        if layer.activation == HARD_SIGMOID:
            return self._hard_sigmoid(layer, taken[0])
        self.outputs[layer.name] = layer.name
        return [self._layer(layer, taken)]

    def _input(self, layer: Layer) -> _Config:
        shape = [None, *self._size, layer.channels]
        config = {"batch_shape": shape, "dtype": "float32", "sparse": False, "ragged": False,
                  "name": layer.name, "optional": False}  # fmt: skip
        return _entry("keras.layers", layer.kind, config, [])

    def _layer(self, layer: Layer, taken: Sequence[_Config]) -> _Config:
        trains = layer.name not in self._settings.frozen
        own = _OWN[layer.kind](layer, self._settings)
        config = {"name": layer.name, "trainable": trains, "dtype": _FLOAT32, **own}
        several = len(taken) > 1
        options = _CALLED_WITH.get(layer.kind, {})
        node = {"args": [[*taken] if several else taken[0]], "kwargs": options}
        ours = layer.kind == ATTENDING
        module = ATTENTION_MODULE if ours else "keras.layers"
        entry = _entry(module, layer.kind, config, [node])
        if layer.kind == "BatchNormalization":
            entry["registered_name"] = layer.kind
        elif ours:
            entry["registered_name"] = REGISTERED_ATTENTION
        if layer.kind in _BUILT:
            shapes = [tensor["config"]["shape"] for tensor in taken]
            entry["build_config"] = {"input_shape": shapes if several else shapes[0]}
        return entry

    def _hard_sigmoid(self, layer: Layer, taken: _Config) -> Sequence[_Config]:
        """Return a ReLU between an addition and a multiplication, which are no layers."""
        shape = taken["config"]["shape"]
        added = self._operation("Add", taken, _SHIFT)
        relu = self._layer(layer, [_tensor(added["name"], shape)])
        share = self._operation("Multiply", _tensor(layer.name, shape), _SHARE)
        self.outputs[layer.name] = share["name"]
        return added, relu, share

    def _operation(self, kind: str, taken: _Config, number: float) -> _Config:
        count = self._numbers[kind] = self._numbers.get(kind, -1) + 1
        name = kind.lower() + (f"_{count}" if count else "")
        node = {"args": [taken, number], "kwargs": {}}
        entry = _entry("keras.src.ops.numpy", kind, {"name": name}, [node])
        entry["registered_name"] = kind
        return entry

    def _tensor(self, layer: Layer) -> _Config:
        return _tensor(self.outputs[layer.name], [None, *self._shape(layer)])

    def _shape(self, layer: Layer) -> Shape:
        return self._shapes[layer.name]


def _entry(module: str, kind: str, config: _Config, nodes: list[Any]) -> _Config:
    return {
        "module": module,
        "class_name": kind,
        "config": config,
        "registered_name": None,
        "name": config["name"],
        "inbound_nodes": nodes,
    }


def _tensor(name: str, shape: Sequence[int | None]) -> _Config:
    config = {"shape": [*shape], "dtype": "float32", "keras_history": [name, 0, 0]}
    return {"class_name": "__keras_tensor__", "config": config}


def _initializer(kind: str, config: Mapping[str, Any] | None = None) -> _Config:
    return {
        "module": "keras.initializers",
        "class_name": kind,
        "config": dict(config or {}),
        "registered_name": None,
    }


_GLOROT = _initializer("GlorotUniform", {"seed": None, "input_axes": None, "output_axes": None})
_ZEROS, _ONES = _initializer("Zeros"), _initializer("Ones")
_LAST = {"data_format": "channels_last"}


def _window(layer: Layer) -> _Config:
    return {
        "kernel_size": [*layer.window],
        "strides": [layer.stride] * 2,
        "padding": layer.padding,
        **_LAST,
        "dilation_rate": [layer.dilation] * 2,
    }


def _variables(kind: str, bias: bool) -> _Config:
    """Return how a layer's arrays begin, and that nothing holds them back."""
    names = [f"{kind}_initializer", "bias_initializer"]
    return {
        "activation": "linear",
        "use_bias": bias,
        **dict(zip(names, (_GLOROT, _ZEROS), strict=True)),
        f"{kind}_regularizer": None,
        "bias_regularizer": None,
        "activity_regularizer": None,
        f"{kind}_constraint": None,
        "bias_constraint": None,
    }


def _convolution(layer: Layer, _: ModelSettings) -> _Config:
    return {
        "filters": layer.channels,
        **_window(layer),
        "groups": 1,
        **_variables("kernel", layer.bias),
    }


def _depthwise(layer: Layer, _: ModelSettings) -> _Config:
    return {
        "depth_multiplier": layer.kernel[3],
        **_window(layer),
        **_variables("depthwise", layer.bias),
    }


def _dense(layer: Layer, settings: ModelSettings) -> _Config:
    activation = layer.activation or settings.classifier_activation
    plain = _variables("kernel", layer.bias)
    del plain["activity_regularizer"]
    return {
        "units": layer.channels,
        **plain,
        "activation": KERAS_ACTIVATIONS.get(activation, activation),
        "quantization_config": None,
    }


def _batch_norm(_: Layer, settings: ModelSettings) -> _Config:
    return {
        "axis": -1,
        "momentum": settings.bn_momentum,
        "epsilon": settings.conventions.epsilon,
        "center": True,
        "scale": True,
        "beta_initializer": _ZEROS,
        "gamma_initializer": _ONES,
        "moving_mean_initializer": _ZEROS,
        "moving_variance_initializer": _ONES,
        "beta_regularizer": None,
        "gamma_regularizer": None,
        "beta_constraint": None,
        "gamma_constraint": None,
        "synchronized": False,
        "renorm": False,
        "renorm_clipping": None,
        "renorm_momentum": 0.99,
    }


def _relu(layer: Layer, settings: ModelSettings) -> _Config:
    limit = relu_max(layer.activation or settings.conventions.activation)
    return {"max_value": limit, "negative_slope": 0.0, "threshold": 0.0}


def _activation(layer: Layer, settings: ModelSettings) -> _Config:
    name = layer.activation or settings.classifier_activation
    return {"activation": KERAS_ACTIVATIONS.get(name, name)}


def _pool(layer: Layer, _: ModelSettings) -> _Config:
    return {**_LAST, "keepdims": layer.keepdims}


def _dropout(_: Layer, settings: ModelSettings) -> _Config:
    return {"rate": settings.dropout, "seed": None, "noise_shape": None}


_OWN: Mapping[str, Any] = {
    "Activation": _activation,
    "Add": lambda *_: {},
    "BatchNormalization": _batch_norm,
    "Conv2D": _convolution,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "Dropout": _dropout,
    "Flatten": lambda *_: _LAST,
    "GlobalAveragePooling2D": _pool,
    "GlobalMaxPooling2D": _pool,
    "Multiply": lambda *_: {},
    ATTENDING: lambda *_: _LAST,
    "ReLU": _relu,
    "Rescaling": lambda _, settings: dict(zip(("scale", "offset"), settings.scaling, strict=True)),
    "Reshape": lambda layer, _: {"target_shape": [layer.channels]},
    "ZeroPadding2D": lambda layer, _: {"padding": [[*x] for x in layer.pad], **_LAST},
}
