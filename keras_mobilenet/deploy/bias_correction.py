"""Biases that make up for the rounding of int8 weights, before a converter rounds them.

Rounding shifts what a convolution puts out on average; a depthwise kernel has only 9 weights for
the errors to cancel in. The shift is measured on calibration pictures and taken from the bias.

Source: Nagel et al., 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", arXiv 1906.04721, section 4.2, here with data.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import spread
from keras_mobilenet.deploy.folding import CHANNEL_AXES

_LEVELS = 127  # of an int8 weight on either side of zero
_PICTURES = 64  # the averages hardly change with more


def bias_corrected(model: Any, samples: npt.NDArray[np.float32]) -> keras.Model:
    """Return a copy of `model` for a converter to int8: other biases, the same kernels.

    Args:
        model: A functional Keras model without batch norm.
        samples: Inputs of shape `(count, height, width, channels)`.
    """
    samples = spread(samples, _PICTURES)
    corrected, rounded = (keras.models.clone_model(model) for _ in range(2))
    for copy in (corrected, rounded):
        copy.set_weights(model.get_weights())
    names = [layer.name for layer in model.layers if type(layer) in CHANNEL_AXES and layer.use_bias]
    for name in names:
        layer = rounded.get_layer(name)
        layer.kernel.assign(_rounded(layer))
    # In the order of the graph: each layer is measured on what the ones before it now put out.
    for name in names:
        shift = _mean_output(rounded, name, samples) - _mean_output(model, name, samples)
        for copy in (corrected, rounded):
            bias = copy.get_layer(name).bias
            bias.assign(np.asarray(bias) - shift)
    return corrected


def _rounded(layer: Any) -> npt.NDArray[np.float32]:
    """Return a kernel as int8 holds it: a scale for each output channel, symmetric about zero."""
    kernel = np.asarray(layer.kernel)
    channels = {axis % kernel.ndim for axis in CHANNEL_AXES[type(layer)]}
    others = tuple(axis for axis in range(kernel.ndim) if axis not in channels)
    largest = np.abs(kernel).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / _LEVELS, 1.0).astype(np.float32)
    return np.rint(kernel / scale) * scale


def _mean_output(model: Any, name: str, samples: npt.NDArray[np.float32]) -> Any:
    layer = model.get_layer(name)
    output = keras.ops.convert_to_numpy(keras.Model(model.input, layer.output)(samples))
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    channel = output.ndim - 1 if last else 1
    others = tuple(axis for axis in range(output.ndim) if axis != channel)
    return output.mean(axis=others, dtype=np.float64)
