"""The preprocessing that a model's own graph tells, from its input to its first convolution.

The scaling found on the way is put together to one affine function, through nested models,
augmentation and resizing. A step that divides pixels shows that pixels come in; what a MobileNet
takes is known; from either follows what the input must be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE, NAMED, PIXELS, Preprocessing
from keras_mobilenet.models.parts import FoundNet, find_nets, nodes_of

_DIVIDES = 1 / 50  # a scale this small or smaller is that of pixels: nothing else is as large
_SHIFTS = 50.0  # likewise a mean that is subtracted, in models that are not scaled
_ROUNDING = 1e-2  # of an input's range: 127 for 127.5, 256 for 255, what bfloat16 rounds off
# Layers that change no value at inference, or only where it stands. All of Keras' random ones too.
_PASSED = (
    "ActivityRegularization", "AlphaDropout", "AugMix", "AveragePooling2D", "CenterCrop",
    "Concatenate", "Cropping2D", "CutMix", "Dropout", "GaussianDropout", "GaussianNoise",
    "Identity", "InputLayer", "MaxNumBoundingBoxes", "MaxPooling2D", "MixUp", "Permute",
    "RandAugment", "Reshape", "Resizing", "SpatialDropout2D", "UpSampling2D",
)  # fmt: skip
_PASSED_OPERATIONS = ("Cast", "Identity", "Stack", "Transpose")
_UNKNOWN = object()  # in the place of a layer


@dataclass(frozen=True)
class _Walk:
    """What was found between a model's input and a place in its graph."""

    done: Preprocessing = PIXELS  # what has become of the input's values, in place of pixels'
    anchor: Preprocessing = PIXELS  # the same before the shifts that came last
    divided: bool = False  # pixels were divided behind `anchor`
    end: Any = None  # the first layer that is no preprocessing, None at the model's end

    def then(self, step: Preprocessing) -> _Walk:
        """Return the walk with one more step."""
        done, scales = self.done.then(step), np.abs(step.scale)
        if scales.max() <= _DIVIDES:
            return replace(self, done=done, divided=True)
        only_shifted = (scales == 1).all() and step != PIXELS
        return replace(self, done=done, anchor=self.anchor if only_shifted else done)

    @property
    def shifted(self) -> bool:
        """Whether what was subtracted last is the mean of pixels."""
        apart = np.subtract(self.done.offset, self.anchor.offset)
        return bool(np.abs(apart).max() >= _SHIFTS)


def preprocessing_in_graph(model: Any) -> Preprocessing | None:
    """Return how pixels become a Keras model's input, as its graph tells; None if it does not.

    Where the graph divides pixels, or subtracts their mean, they come in as they are. Where a
    MobileNet is the first, what is left to do of its own preprocessing, to -1 to 1.
    """
    walk = _walk(model, _Walk())
    if walk.divided or walk.shifted:
        return _named(walk.anchor.inverse())
    if _net(model, walk) is not None:
        return _range(MINUS_ONE_TO_ONE.then(walk.done.inverse()))
    return None


def net_at_input(model: Any) -> FoundNet | None:
    """Return the MobileNet that is the first in a model, behind preprocessing at most."""
    return _net(model, _walk(model, _Walk(), whole=True))


def _net(model: Any, walk: _Walk) -> FoundNet | None:
    nets = find_nets(model) if walk.end is not None else []
    return next((net for net in nets if net.stem is not None and net.first is walk.end), None)


def _walk(model: Any, walk: _Walk, *, whole: bool = False) -> _Walk:
    """Return the walk through a model, up to the first layer that is no preprocessing.

    It ends earlier where pixels are divided, unless it is to be the `whole` way.
    """
    for operation, arguments in _chain(model):
        if walk.divided and not whole:
            break
        if hasattr(operation, "layers"):
            walk = _walk(operation, walk, whole=whole)
            if walk.end is not None:
                return walk
            continue
        step = _step(operation, arguments)
        if step is None:
            return replace(walk, end=operation)
        walk = walk.then(step)
    return walk


def _chain(model: Any) -> Any:
    """Yield (operation, its arguments) from a model's input on, as far as one leads to the next."""
    inputs: Any = getattr(model, "inputs", None) or ()
    nodes = nodes_of(model)
    if not nodes or len(inputs) != 1:
        yield _UNKNOWN, ()  # a graph that is not known, or of several inputs
        return
    tensors = [inputs[0]]
    while users := [node for node in nodes if _is_any(node.input_tensors, tensors)]:
        outputs = [tensor for node in users for tensor in node.outputs]
        if _kinds(users) == {"GetItem"}:  # channels taken out one by one
            tensors = outputs
            continue
        if len(outputs) != 1 or not all(_is_any([x], tensors) for x in users[0].input_tensors):
            yield _UNKNOWN, ()
            return
        (node,), tensors = users, outputs
        yield node.operation, (*node.arguments.args, *node.arguments.kwargs.values())


def _is_any(some: Any, tensors: Any) -> bool:
    return any(x is tensor for x in some for tensor in tensors)


def _kinds(nodes: Any) -> set[str]:
    return {type(node.operation).__name__ for node in nodes}


def _step(operation: Any, arguments: Any) -> Preprocessing | None:
    """Return what an operation does with each value; None for one that is no preprocessing."""
    kind = type(operation).__name__
    if isinstance(operation, keras.Layer):
        return _layer_step(operation, kind)
    if kind in _PASSED_OPERATIONS:
        return PIXELS
    constants = [x for x in arguments if x is not None and not keras.backend.is_keras_tensor(x)]
    if kind not in _ARITHMETIC or len(constants) != 1 or len(arguments) != 2:
        return None
    constant = _numbers(constants[0])
    first = keras.backend.is_keras_tensor(arguments[0])
    return None if constant is None else _ARITHMETIC[kind](constant, first)


def _layer_step(layer: Any, kind: str) -> Preprocessing | None:
    if type(layer) is not getattr(keras.layers, kind, None):
        return None  # a user's own: whatever it is called, what it does is not known
    if kind == "Rescaling":
        return _affine(_numbers(layer.scale), _numbers(layer.offset))
    if kind == "Normalization":
        return _normalization(layer)
    return PIXELS if kind in _PASSED or kind.startswith("Random") else None


def _normalization(layer: Any) -> Preprocessing | None:
    mean, variance = _numbers(layer.mean), _numbers(layer.variance)
    if mean is None or variance is None:
        return None
    std = np.maximum(np.sqrt(variance), keras.config.epsilon())
    forward = _affine(1 / std, -mean / std)
    return forward.inverse() if forward is not None and layer.invert else forward


def _numbers(value: Any) -> Any:
    """Return a constant as one number, or one for each channel; None if it is neither."""
    try:
        array = np.asarray(keras.ops.convert_to_numpy(value), np.float64)
    except (TypeError, ValueError):
        return None
    return array.ravel() if array.size == max((1, *array.shape)) else None


def _affine(scale: Any, offset: Any) -> Preprocessing | None:
    if scale is None or offset is None:
        return None
    try:
        return Preprocessing(*(_few(np.asarray(x)) for x in (scale, offset)))
    except ValueError:  # a scale of 0, or no finite numbers
        return None


def _few(numbers: Any) -> Any:
    return tuple(numbers.ravel()) if numbers.size > 1 else float(numbers.ravel()[0])


def _divided(constant: Any, first: bool) -> Preprocessing | None:
    return _affine(1 / constant, 0.0) if first and np.all(constant) else None


def _subtracted(constant: Any, first: bool) -> Preprocessing | None:
    return _affine(1.0, -constant) if first else _affine(-1.0, constant)


_ARITHMETIC = {  # by the classes' names in Keras: (the constant, whether the tensor comes first)
    "Add": lambda constant, first: _affine(1.0, constant),
    "Divide": _divided,
    "Multiply": lambda constant, first: _affine(constant, 0.0),
    "Subtract": _subtracted,
    "TrueDivide": _divided,
}


def _named(preprocessing: Preprocessing) -> Preprocessing:
    """Return a preprocessing's round numbers, if it has any but for rounding."""
    near = (known for known in NAMED.values() if preprocessing.is_close(known, 1e-4))
    return next(near, preprocessing)


def _range(preprocessing: Preprocessing) -> Preprocessing | None:
    """Return which of the three usual ranges it is; None for another, which would be a guess."""
    return next(
        (known for known in NAMED.values() if preprocessing.is_close(known, _ROUNDING)), None
    )
