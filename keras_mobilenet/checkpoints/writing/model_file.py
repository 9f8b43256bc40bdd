"""A net and its arrays as a `.keras` file, which Keras opens as a whole model; without Keras."""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from os import PathLike

import h5py
import numpy as np

from keras_mobilenet.checkpoints.writing.weights_file import add_keras_layers
from keras_mobilenet.files import replacing
from keras_mobilenet.formats.checkpoint import NET_MEMBER
from keras_mobilenet.formats.keras import keras_archive
from keras_mobilenet.formats.keras.model_config import ModelSettings, model_config
from keras_mobilenet.images.model_info import MEMBER, ModelInfo
from keras_mobilenet.nets.net import Net, Size


def write_model_file(
    path: str | PathLike[str],
    net: Net,
    arrays: Mapping[str, np.ndarray],
    *,
    name: str,
    size: Size,
    settings: ModelSettings,
    info: ModelInfo,
) -> None:
    """Write a net and its arrays as the `.keras` file that Keras would write of its model.

    Args:
        path: The file.
        net: The net, for images of `size`.
        arrays: All of its arrays, by the names that `net.arrays()` gives.
        name: The model's.
        size: `(height, width)` of the images in pixels.
        settings: What is neither in the layers' shapes nor in their order.
        info: How an image becomes the input, and the classes' names.

    Raises:
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    wanted = {n: np.asarray(arrays[n], np.float32) for n in net.arrays()}
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        add_keras_layers(file, wanted, net)
    config = model_config(net, size, name, settings)
    saved = datetime.datetime.now().astimezone()
    metadata = {"keras_version": version("keras"), "date_saved": f"{saved:%Y-%m-%d@%H:%M:%S}"}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(keras_archive.METADATA, json.dumps(metadata))
        archive.writestr(keras_archive.CONFIG, json.dumps(config))
        archive.writestr(keras_archive.MEMBER, weights.getvalue())
        archive.writestr(MEMBER, info.to_text())
        if info.preprocessing is not None:  # no layer of these nets scales pixels
            of_net = info.ending_in(settings.classifier_activation)
            archive.writestr(NET_MEMBER, of_net.to_text())
