"""Biases that make up for the rounding of weights, before a runtime rounds them.

Rounding shifts what a convolution puts out on average; a depthwise kernel has only 9 weights for
the errors to cancel in. The shift is measured on calibration pictures and taken from the bias.

Source: Nagel et al., 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", arXiv 1906.04721, section 4.2, here with data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import ml_dtypes
import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import spread
from keras_mobilenet.deploy.folding import CHANNEL_AXES

Rounding = Callable[[Any], npt.NDArray[np.float32]]  # from a layer to its kernel, rounded

_CORRECTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
_LEVELS = 127  # of an int8 weight on either side of zero
_PICTURES = 32  # more hardly change the shifts: each picture has thousands of pixels
_BATCH = 8  # pictures whose activations, of all layers, are held at once: 20 MB each


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
    that one pass over the pictures tells all shifts.

    Args:
        model: A functional Keras model without batch norm.
        samples: Inputs of shape `(count, height, width, channels)`.
        rounding: What will be done to the kernels.
    """
    corrected = keras.models.clone_model(model)
    corrected.set_weights(model.get_weights())
    layers = [x for x in corrected.layers if type(x) in _CORRECTED and x.use_bias]
    for layer, mean in zip(layers, _mean_inputs(corrected, layers, samples), strict=True):
        error = rounding(layer) - np.asarray(layer.kernel)
        layer.bias.assign(np.asarray(layer.bias) - _shift(layer, error, mean))
    return corrected


def _mean_inputs(model: Any, layers: list[Any], samples: npt.NDArray[Any]) -> list[Any]:
    """Return, for each of the layers, the mean of each channel that goes into it."""
    taps = keras.Model(model.input, [layer.input for layer in layers])
    some = spread(samples, _PICTURES)
    sums: list[Any] = [0.0] * len(layers)
    for start in range(0, len(some), _BATCH):
        batch = some[start : start + _BATCH]
        for i, values in enumerate(keras.tree.flatten(taps(batch))):
            channels = keras.ops.convert_to_numpy(values).reshape(-1, values.shape[-1])
            sums[i] += len(batch) * channels.mean(axis=0, dtype=np.float64)
    return [total / len(some) for total in sums]


def _shift(layer: Any, error: npt.NDArray[Any], mean: npt.NDArray[np.float64]) -> Any:
    """Return what an error of the kernel adds to each output channel, on average."""
    taps = error.sum(axis=(0, 1))  # (channels, filters), or (channels, multiplier)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return (taps * mean[:, None]).reshape(-1)
    return mean @ taps
