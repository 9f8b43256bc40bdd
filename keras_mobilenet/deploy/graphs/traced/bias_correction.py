"""Biases that make up for the rounding of weights, before a runtime rounds them.

Rounding shifts what a convolution puts out on average; a depthwise kernel has only 9 weights for
the errors to cancel in. The shift is measured on calibration images and taken from the bias.

Source: Nagel et al., 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", arXiv 1906.04721, section 4.2, here with data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import ml_dtypes
import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import evenly_spaced
from keras_mobilenet.deploy.graphs.traced.copies import copied
from keras_mobilenet.deploy.graphs.traced.folding import CHANNEL_AXES
from keras_mobilenet.models.frozen import layers_within

Rounding = Callable[[Any], npt.NDArray[np.float32]]  # from a layer to its kernel, rounded

_CORRECTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
_LEVELS = 127  # of an int8 weight on either side of zero
_IMAGES = 32  # more hardly change the shifts: each image has thousands of pixels
_BATCH = 8  # images that go through at once


def to_int8(layer: Any) -> npt.NDArray[np.float32]:
    """Return a kernel as int8 holds it: a scale for each output channel, symmetric about zero."""
    kernel = np.asarray(layer.kernel)
    channels = {axis % kernel.ndim for axis in CHANNEL_AXES[type(layer)]}
    others = tuple(axis for axis in range(kernel.ndim) if axis not in channels)
    largest = np.abs(kernel).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / _LEVELS, 1.0).astype(np.float32)
    return np.rint(kernel / scale) * scale


def to_bfloat16(layer: Any) -> npt.NDArray[np.float32]:
    """Return a kernel as bfloat16 holds it."""
    return np.asarray(layer.kernel).astype(ml_dtypes.bfloat16).astype(np.float32)


def to_float16(layer: Any) -> npt.NDArray[np.float32]:
    """Return a kernel as float16 holds it."""
    return np.asarray(layer.kernel).astype(np.float16).astype(np.float32)


def bias_corrected(model: Any, samples: npt.NDArray[Any], rounding: Rounding) -> keras.Model:
    """Return a copy of `model` whose weights can be rounded: other biases, the same kernels.

    A convolution's mean output is its kernel applied to its mean input, but for the borders, so
    that one pass over the images tells all shifts. One that is used several times gets the mean
    of all of them.

    Args:
        model: A functional Keras model without batch norm, which may have others nested in it.
        samples: Inputs of shape `(count, height, width, channels)`.
        rounding: What will be done to the kernels.
    """
    corrected = copied(model)
    inside = dict.fromkeys(layers_within(corrected))
    layers = [x for x in inside if type(x) in _CORRECTED and x.use_bias]
    for layer, mean in _mean_inputs(corrected, layers, samples):
        error = rounding(layer) - np.asarray(layer.kernel)
        layer.bias.assign(np.asarray(layer.bias) - _shift(layer, error, mean))
    return corrected


def _mean_inputs(
    model: Any, layers: list[Any], samples: npt.NDArray[Any]
) -> list[tuple[Any, npt.NDArray[np.float64]]]:
    """Return the layers that compute, each with the mean of each channel that goes into it."""
    some = evenly_spaced(samples, _IMAGES)
    means: dict[Any, list[npt.NDArray[np.float64]]] = {layer: [] for layer in layers}
    with _watched(means):
        for start in range(0, len(some), _BATCH):
            model(some[start : start + _BATCH], training=False)
    return [(layer, np.average(m, axis=0)) for layer, m in means.items() if m]


@contextmanager
def _watched(means: dict[Any, list[npt.NDArray[np.float64]]]) -> Iterator[None]:
    """Note the mean of each channel that goes into some layers, whatever model they are in."""

    def watch(layer: Any) -> Callable[..., Any]:
        def call(inputs: Any, *args: Any, **options: Any) -> Any:
            values = keras.ops.convert_to_numpy(inputs)
            if layer.data_format == "channels_first":
                values = np.moveaxis(values, 1, -1)
            # In double: sums of single precision are off by more than the shifts.
            mean = values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64)
            means[layer].append(mean)
            return type(layer).call(layer, inputs, *args, **options)

        return call

    try:
        for layer in means:
            vars(layer)["call"] = watch(layer)  # what Keras calls, in place of its class' method
        yield
    finally:
        for layer in means:
            vars(layer).pop("call", None)


def _shift(layer: Any, error: npt.NDArray[Any], mean: npt.NDArray[np.float64]) -> Any:
    """Return what an error of the kernel adds to each output channel, on average."""
    taps = error.sum(axis=(0, 1))  # (channels of a group, filters), or (channels, multiplier)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return (taps * mean[:, None]).reshape(-1)
    groups = np.split(taps, layer.groups, axis=-1)  # each filter sees those of its group
    return np.concatenate(
        [m @ t for m, t in zip(np.split(mean, layer.groups), groups, strict=True)]
    )
