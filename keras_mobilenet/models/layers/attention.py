"""The attention between a MobileNetV4's convolutions: the only layer here that Keras has not."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

PACKAGE = "keras_mobilenet"  # under which Keras writes the class into files


@keras.saving.register_keras_serializable(package=PACKAGE)
class MultiQueryAttention(keras.layers.Layer):  # type: ignore[misc]
    """Several heads of queries that one head of keys and values answers, between images.

    It has no weights. It is called on a list of three images: the queries, whose channels are those
    of one head after another; the keys and the values, of as many channels as one head has. Each
    pixel of the queries takes from the values, in each of its heads, their mean weighed by the
    softmax of its products with the keys, over the square root of a head's channels.

    Args:
        data_format: Of all images, `"channels_last"` or `"channels_first"`; None for Keras' own.

    Source: Shazeer, 2019, arXiv 1911.02150.
    """

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.data_format = data_format or keras.config.image_data_format()

    def call(self, inputs: Any) -> Any:
        """Return the answers, an image of the queries' shape."""
        if self.data_format == "channels_last":
            return _answers(*inputs)
        answers = _answers(*(ops.transpose(x, (0, 2, 3, 1)) for x in inputs))
        return ops.transpose(answers, (0, 3, 1, 2))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the queries' shape."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return what makes the layer again."""
        return {**super().get_config(), "data_format": self.data_format}


def _answers(queries: Any, keys: Any, values: Any) -> Any:
    """Return what queries take from values, of images with their channels last."""
    batch, height, width, channels = ops.shape(queries)
    depth = keys.shape[-1]
    # One key is for all heads, so that the heads are so many rows more.
    asked, keys, values = (ops.reshape(x, (batch, -1, depth)) for x in (queries, keys, values))
    products = ops.matmul(asked * depth**-0.5, ops.transpose(keys, (0, 2, 1)))
    answers = ops.matmul(ops.softmax(products, axis=-1), values)
    return ops.reshape(answers, (batch, height, width, channels))
