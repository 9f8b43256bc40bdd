"""From a Keras model's configuration and its arrays to a graph of operations.

A configuration is read as data, that of a living model and that in a `.keras` file alike: nothing
in it is run, and Keras is not imported. Layers that act at inference in a way that is not known
here are refused, so that such a model goes through Keras.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from math import isclose, prod
from typing import Any

import numpy as np

from keras_mobilenet.deploy.graphs.net_graph import batch_norm
from keras_mobilenet.deploy.graphs.operations import (
    ACTIVATIONS,
    INPUT,
    Activation,
    Array,
    Graph,
    Kind,
    Operation,
    leading_to,
)
from keras_mobilenet.formats.arrays import ArrayLike
from keras_mobilenet.models.parts import find_net, leaves_of
from keras_mobilenet.nets.conventions import NO_ZEROS
from keras_mobilenet.nets.net import BATCH_NORM_ARRAYS, REGISTERED_ATTENTION

_Config = Mapping[str, Any]
_MODELS = ("Functional", "Sequential", "Model")
_PASSED = (  # what they do in training, they do not do at inference
    "ActivityRegularization",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout2D",
)
_DTYPES = ("float32", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16", "float64")
_SYNONYMS = {"hard_silu": "hard_swish"}  # as Keras serialises its own
_DAMAGES = (AttributeError, LookupError, TypeError, ValueError, RecursionError)
_MOST = 10_000  # operations; the largest MobileNet has some 300


class UnknownLayerError(Exception):
    """A model computes something that only Keras knows; the message says what."""


def graph_of_config(config: _Config, arrays: Mapping[str, ArrayLike]) -> Graph:
    """Return the graph of a model.

    Args:
        config: The model's, as Keras serialises it: `{"class_name": ..., "config": ...}`.
        arrays: Its arrays, by layer and variable, as in `"layer/kernel"`.

    Raises:
        UnknownLayerError: it has layers or links that are not known here, or is damaged.
    """
    try:
        return _Walk(arrays).graph(config)
    except _DAMAGES as error:
        raise UnknownLayerError(f"its configuration has an unusual form ({error})") from error


def graph_of_model(model: Any) -> Graph:
    """Return the graph of a Keras model that holds a MobileNet.

    Raises:
        UnknownLayerError: it holds none, or more than is known here.
    """
    from keras_mobilenet.models.backends import tensorflow_left_out  # noqa: PLC0415 - Keras

    if find_net(model) is None:
        raise UnknownLayerError("it holds no MobileNet")
    arrays: dict[str, ArrayLike] = {}
    for layer in leaves_of(model):
        for variable in layer.weights:
            name = f"{layer.name}/{variable.name}"
            if name in arrays:
                raise UnknownLayerError(f"two layers have a weight of the name {name}")
            arrays[name] = variable
    try:
        with warnings.catch_warnings(), tensorflow_left_out():
            warnings.simplefilter("ignore")  # of what cannot be saved; that is refused below
            config = json.loads(model.to_json())
    except Exception as error:  # a user's layer may raise anything
        raise UnknownLayerError(f"its configuration cannot be had ({error})") from error
    return graph_of_config(config, arrays)


class _Walk:
    """The operations of a model, as its layers are met."""

    def __init__(self, arrays: Mapping[str, ArrayLike]) -> None:
        self._arrays = arrays
        self._operations: dict[str, Operation] = {}
        self._shapes: dict[str, tuple[Any, ...]] = {}

    def graph(self, config: _Config) -> Graph:
        """Return the graph of a whole model."""
        shape, dtype = _input_of(config)
        _check(len(shape) == 4 and shape[3], f"its input has the shape {shape}")
        _check(dtype in (*_DTYPES, "uint8"), f"its input is {dtype}")
        self._shapes[INPUT] = tuple(shape[1:])
        output = self._model(config, INPUT)
        operations = leading_to(output, self._operations)
        name, (height, width, channels) = config["config"]["name"], shape[1:]
        return Graph(name, (height, width, channels), operations, pixels=dtype == "uint8")

    def _model(self, config: _Config, source: str) -> str:
        """Add a model that is called on a tensor, and return the tensor that comes out."""
        kind, own = config["class_name"], config["config"]
        _check(kind in _MODELS and _is_keras_own(config), f"{own.get('name')} is a {kind}")
        if kind == "Sequential":
            for layer in own["layers"]:
                if layer["class_name"] != "InputLayer":
                    source = self._layer(layer, [source])
            return source
        made: dict[str, str] = {}
        for layer in own["layers"]:
            name = layer["config"]["name"] if "name" not in layer else layer["name"]
            if layer["class_name"] == "InputLayer":
                _check(not made, "it has several inputs")
                made[name] = source
                continue
            nodes = layer["inbound_nodes"]
            _check(len(nodes) == 1, f"{name} is used {len(nodes)} times")
            made[name] = self._call(layer, nodes[0], made)
        return made[_only_tensor(own["output_layers"])]

    def _call(self, layer: _Config, node: _Config, made: Mapping[str, str]) -> str:
        """Add a layer as a model's graph calls it."""
        own = layer["config"]["name"]
        options = {k: v for k, v in node.get("kwargs", {}).items() if v is not None}
        training = options.pop("training", False)
        # Keras notes it with each call of an augmentation, and a model that predicts overrides it.
        augments = layer["class_name"].startswith("Random") and _is_keras_own(layer)
        _check(not training or augments, f"{own} always trains")
        _check(not options, f"{own} is called with {', '.join(options)}")
        arguments = node["args"]
        if len(arguments) == 1:
            first = arguments[0]
            taken = first if isinstance(first, (list, tuple)) else [first]
            return self._layer(layer, [made[_history(x)] for x in taken])
        return self._arithmetic(layer, arguments, made)

    def _arithmetic(self, layer: _Config, arguments: Sequence[Any], made: Mapping[str, str]) -> str:
        """Add an operation on a tensor and a number, such as `x / 255` makes."""
        kind, name = layer["class_name"], layer["config"]["name"]
        known = len(arguments) == 2 and "keras" in str(layer.get("module"))
        _check(known and kind in _ARITHMETIC, f"{name} is a {kind}")
        first, second = arguments
        tensor_first = isinstance(first, Mapping)
        tensor, number = (first, second) if tensor_first else (second, first)
        if isinstance(number, Mapping):  # two tensors
            _check(kind in ("Add", "Multiply"), f"{name} is a {kind} of two tensors")
            taken = [made[_history(x)] for x in arguments]
            return self._put(name, "add" if kind == "Add" else "multiply", taken)
        source = made[_history(tensor)]
        if kind == "Multiply" and (gated := self._hard_sigmoid_at(source, float(number))):
            return self._put(name, "none", [gated], activation="hard_sigmoid")
        scale, offset = _ARITHMETIC[kind](float(number), tensor_first)
        return self._scale(name, source, scale, offset)

    def _hard_sigmoid_at(self, name: str, share: float) -> str | None:
        """Return x where a tensor is relu6(x + 3), to be multiplied by 1 / 6; None elsewhere."""
        clipped = self._operations.get(name)
        if clipped is None or clipped.activation != "relu6" or clipped.kind != "none":
            return None
        moved = self._operations.get(clipped.inputs[0])
        if moved is None or moved.kind != "scale" or not isclose(share, 1 / 6, rel_tol=1e-6):
            return None
        by_three = bool((moved.kernel == 1).all() and (moved.bias == 3).all())
        return moved.inputs[0] if by_three else None

    def _layer(self, layer: _Config, taken: list[str]) -> str:
        """Add a layer that is called on tensors, and return the one that comes out."""
        kind, config = layer["class_name"], layer["config"]
        if kind in _MODELS:
            _check(len(taken) == 1, f"{config['name']} takes {len(taken)} inputs")
            return self._model(layer, taken[0])
        name = config["name"]
        ours = layer.get("registered_name") == REGISTERED_ATTENTION
        _check(ours or _is_keras_own(layer), f"{name} is a {kind} of the user's own")
        _check(_dtype(config.get("dtype")) in _DTYPES, f"{name} computes in {config.get('dtype')}")
        if ours:
            return self._attention(config, taken)
        if kind in ("Add", "Multiply"):
            _check(len(taken) == 2, f"{name} takes {len(taken)} inputs")
            return self._put(name, "add" if kind == "Add" else "multiply", taken)
        _check(len(taken) == 1, f"{name} takes {len(taken)} inputs")
        if kind in _PASSED or (kind.startswith("Random") and kind != "RandomCrop"):
            return self._put(name, "none", taken)
        make = _LAYERS.get(kind)
        if make is None:
            raise UnknownLayerError(f"{name} is a {kind}")
        return make(self, config, taken[0])

    def _attention(self, config: _Config, taken: list[str]) -> str:
        name = config["name"]
        _check(len(taken) == 3, f"{name} takes {len(taken)} inputs")
        for x in taken:
            self._image(config, x)
        queries, keys, values = (self._shapes[x] for x in taken)
        sound = keys == values and queries[-1] % keys[-1] == 0
        _check(sound, f"{name} takes unlike images")
        return self._put(name, "attention", taken)

    def _values(
        self, config: _Config, variable: str, shape: Sequence[int], number: int | None = None
    ) -> Array:
        """Return a layer's array, whose shape must be the one that its configuration says.

        Files of Keras have a `number` where others have the variable's name.
        """
        name = f"{config['name']}/{variable}"
        array = self._arrays.get(name, self._arrays.get(f"{config['name']}/{number}"))
        if array is None:
            raise UnknownLayerError(f"{name} is missing")
        found = tuple(array.shape)
        _check(found == tuple(shape), f"{name} is of shape {found}, not {shape}")
        return np.asarray(array)

    def _put(self, name: str, kind: Kind, taken: Sequence[str], **options: Any) -> str:
        """Add an operation, under a name that is free; the channels follow from its kernel."""
        if name in self._operations or name == INPUT:
            name = next(n for i in count(1) if (n := f"{name}_{i}") not in self._operations)
        _check(len(self._operations) < _MOST, "it has too many layers")
        before = [self._shapes[x] for x in taken]
        channels = options.pop("channels", before[0][-1])
        made = Operation(name, kind, tuple(taken), channels, **options)
        self._operations[name] = made
        self._shapes[name] = _checked_shape(made, before)
        return name

    def _convolution(self, config: _Config, source: str) -> str:
        depthwise = "depth_multiplier" in config
        name, inputs = config["name"], self._image(config, source)[-1]
        stride, dilation = _one(config["strides"]), _one(config["dilation_rate"])
        _check(config.get("groups", 1) == 1 and stride and dilation, f"{name} has several strides")
        _check(config["padding"] in ("same", "valid"), f"{name} pads {config['padding']!r}")
        last = config["depth_multiplier"] if depthwise else config["filters"]
        channels = inputs * last if depthwise else last
        return self._put(
            name, "depthwise" if depthwise else "convolution", [source],
            channels=channels,
            kernel=self._values(config, "kernel", (*config["kernel_size"], inputs, last)),
            bias=self._values(config, "bias", (channels,)) if config["use_bias"] else None,
            stride=stride,
            dilation=dilation,
            pads=None if config["padding"] == "same" else NO_ZEROS,
            activation=_activation(config),
        )  # fmt: skip

    def _dense(self, config: _Config, source: str) -> str:
        (inputs,), units = self._shapes[source], config["units"]
        return self._put(
            config["name"], "dense", [source],
            channels=units,
            kernel=self._values(config, "kernel", (inputs, units)),
            bias=self._values(config, "bias", (units,)) if config["use_bias"] else None,
            activation=_activation(config),
        )  # fmt: skip

    def _batch_norm(self, config: _Config, source: str) -> str:
        shape, axis = self._shapes[source], config["axis"]
        _check(_one(axis) in (-1, len(shape)), f"{config['name']} normalises axis {axis}")
        kept = {"gamma": config["scale"], "beta": config["center"]}
        names = [name for name in BATCH_NORM_ARRAYS if kept.get(name, True)]
        values = {name: self._values(config, name, (shape[-1],)) for name in names}
        made = batch_norm(config["name"], (source,), shape[-1], values, config["epsilon"])
        return self._scale(made.name, source, made.kernel, made.bias)

    def _scale(self, name: str, source: str, scale: Any, offset: Any) -> str:
        values = [np.atleast_1d(np.asarray(x, np.float64)) for x in (scale, offset)]
        channels = self._shapes[source][-1]
        for x in values:
            _check(x.ndim == 1 and x.size in (1, channels) and np.isfinite(x).all(), name)
        return self._put(name, "scale", [source], kernel=values[0], bias=values[1])

    def _rescaling(self, config: _Config, source: str) -> str:
        return self._scale(config["name"], source, config["scale"], config["offset"])

    def _normalization(self, config: _Config, source: str) -> str:
        axis, channels = config["axis"], self._shapes[source][-1]
        known = [config.get("mean"), config.get("variance")]
        if None in known:
            _check(_one(axis) in (-1, 3), f"{config['name']} normalises axis {axis}")
            names = enumerate(("mean", "variance"))
            known = [self._values(config, name, (channels,), number) for number, name in names]
        mean, variance = (np.ravel(np.asarray(x, np.float64)) for x in known)
        std = np.maximum(np.sqrt(variance), 1e-7)  # Keras' epsilon
        if config.get("invert"):
            return self._scale(config["name"], source, std, mean)
        return self._scale(config["name"], source, 1 / std, -mean / std)

    def _zero_padding(self, config: _Config, source: str) -> str:
        self._image(config, source)
        (top, bottom), (left, right) = config["padding"]
        pads = ((top, bottom), (left, right))
        _check(min(top, bottom, left, right) >= 0, f"{config['name']} crops")
        return self._put(config["name"], "pad", [source], pads=pads)

    def _relu(self, config: _Config, source: str) -> str:
        plain = not config.get("negative_slope") and not config.get("threshold")
        known = {None: "relu", 6.0: "relu6"}.get(config.get("max_value"))
        _check(plain and known, f"{config['name']} is a ReLU up to {config.get('max_value')}")
        return self._put(config["name"], "none", [source], activation=known)

    def _activate(self, config: _Config, source: str) -> str:
        return self._put(config["name"], "none", [source], activation=_activation(config))

    def _softmax(self, config: _Config, source: str) -> str:
        flat = len(self._shapes[source]) == 1
        _check(flat and config["axis"] in (-1, 1), f"{config['name']} is over another axis")
        return self._put(config["name"], "none", [source], activation="softmax")

    def _average(self, config: _Config, source: str) -> str:
        return self._pool("average", config, source)

    def _maximum(self, config: _Config, source: str) -> str:
        return self._pool("maximum", config, source)

    def _pool(self, kind: Kind, config: _Config, source: str) -> str:
        self._image(config, source)
        return self._put(config["name"], kind, [source], keepdims=bool(config.get("keepdims")))

    def _flatten(self, config: _Config, source: str) -> str:
        shape, name = self._shapes[source], config["name"]
        _check(None not in shape, f"{name} flattens an image of unknown size")
        whole = prod(n or 0 for n in shape)
        target = config.get("target_shape")
        _check(target is None or tuple(target) in ((whole,), (-1,)), f"{name} makes {target}")
        return self._put(name, "flatten", [source], channels=whole)

    def _image(self, config: _Config, source: str) -> tuple[Any, ...]:
        shape, name = self._shapes[source], config["name"]
        _check(len(shape) == 3, f"{name} takes no image")
        _check(config.get("data_format") == "channels_last", f"{name} has its channels first")
        return shape


_LAYERS: Mapping[str, Callable[[_Walk, _Config, str], str]] = {
    "Activation": _Walk._activate,
    "BatchNormalization": _Walk._batch_norm,
    "Conv2D": _Walk._convolution,
    "Dense": _Walk._dense,
    "DepthwiseConv2D": _Walk._convolution,
    "Flatten": _Walk._flatten,
    "GlobalAveragePooling2D": _Walk._average,
    "GlobalMaxPooling2D": _Walk._maximum,
    "Normalization": _Walk._normalization,
    "ReLU": _Walk._relu,
    "Rescaling": _Walk._rescaling,
    "Reshape": _Walk._flatten,
    "Softmax": _Walk._softmax,
    "ZeroPadding2D": _Walk._zero_padding,
}
_ARITHMETIC: Mapping[str, Callable[[float, bool], tuple[float, float]]] = {
    "Add": lambda number, _: (1.0, number),
    "Divide": lambda number, first: (1 / number if first else float("nan"), 0.0),
    "Multiply": lambda number, _: (number, 0.0),
    "Subtract": lambda number, first: (1.0, -number) if first else (-1.0, number),
    "TrueDivide": lambda number, first: (1 / number if first else float("nan"), 0.0),
}


def _check(sound: Any, what: str) -> None:
    if not sound:
        raise UnknownLayerError(what)


def _is_keras_own(layer: _Config) -> bool:
    module = str(layer.get("module") or "")
    return module.split(".", maxsplit=1)[0] == "keras" and not _is_registered(layer)


def _is_registered(layer: _Config) -> bool:
    """Return whether a class was registered under a name of its user's."""
    name = layer.get("registered_name")
    return name not in (None, layer["class_name"])


def _dtype(value: Any) -> Any:
    """Return the name of a layer's precision, in which Keras says it in several ways."""
    if isinstance(value, Mapping):
        return value["config"]["name"] if value["class_name"] == "DTypePolicy" else value
    return value


def _activation(config: _Config) -> Activation:
    name = config.get("activation")
    if name in (None, "linear"):
        return ""
    name = _SYNONYMS.get(name, name) if isinstance(name, str) else name
    if isinstance(name, str) and name in ACTIVATIONS:
        return name  # type: ignore[return-value]
    raise UnknownLayerError(f"{config['name']} activates by {name}")


def _one(numbers: Any) -> int:
    """Return the number that two axes have in common, 0 where they differ."""
    first, *others = numbers if isinstance(numbers, (list, tuple)) else [numbers]
    return int(first) if set(others) <= {first} else 0


def _history(tensor: Any) -> str:
    """Return the layer whose only output a configuration refers to."""
    _check(
        isinstance(tensor, Mapping) and tensor.get("class_name") == "__keras_tensor__",
        "a layer takes something else than tensors",
    )
    name, node, output = tensor["config"]["keras_history"]
    _check(node == 0 and output == 0, f"{name} is used twice")
    return str(name)


def _only_tensor(layers: Any) -> str:
    """Return the layer of a model's only output."""
    while isinstance(layers, (list, tuple)) and len(layers) == 1:
        (layers,) = layers
    _check(isinstance(layers, (list, tuple)) and len(layers) == 3, "it has several outputs")
    name, node, output = layers
    _check(isinstance(name, str) and (node, output) == (0, 0), "it has several outputs")
    return str(name)


def _input_of(config: _Config) -> tuple[Sequence[Any], str]:
    """Return the shape, with the batch's axis, and the type of a model's input."""
    own = config["config"]
    first = own["layers"][0]
    if first["class_name"] == "InputLayer":
        known = first["config"]
        shape = known.get("batch_shape") or known["batch_input_shape"]
        return shape, _dtype(known["dtype"])
    if first["class_name"] in _MODELS:
        return _input_of(first)
    _check("build_input_shape" in own, "its input's shape is not in its configuration")
    return own["build_input_shape"], "float32"


def _checked_shape(made: Operation, before: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    if len(before) == 2:
        one, other = before
        image = made.kind == "multiply" and len(one) == 3 and (1, 1) in (one[:2], other[:2])
        _check(one == other or (image and one[2] == other[2]), f"{made.name} adds unlike images")
    return made.shape_behind(before)
