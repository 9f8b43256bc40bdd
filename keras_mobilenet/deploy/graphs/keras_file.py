"""From a `.keras` file that this package wrote to a graph of operations, without Keras."""

from __future__ import annotations

import io
import json
import zipfile
from math import prod
from typing import Any

from keras_mobilenet.deploy.graphs.keras_graph import UnknownLayerError, graph_of_config
from keras_mobilenet.deploy.graphs.operations import Graph
from keras_mobilenet.errors import about_file
from keras_mobilenet.files import check_file
from keras_mobilenet.formats.arrays import shapes_of
from keras_mobilenet.formats.keras import keras_archive, keras_h5, zip_files
from keras_mobilenet.images.model_info import MAX_BYTES, MEMBER, ModelInfo, check_classes, info_from

_MOST_WEIGHT_BYTES = 256 << 20
_MOST_VALUES = _MOST_WEIGHT_BYTES // 4  # the largest MobileNet has 11 million
_REMEDY = "Pass a whole .keras file."


def graph_in_keras_file(path: str) -> tuple[Graph, ModelInfo]:
    """Return the graph of the model in a `.keras` file of ours, and the info beside it.

    Raises:
        UnknownLayerError: plain Keras wrote the file, it was edited, or its model has layers that
            only Keras knows.
        CheckpointError: it is damaged.
    """
    check_file(path, _REMEDY)
    with about_file(path, _REMEDY), zip_files.opened(path) as archive:
        names = archive.namelist()
        if MEMBER not in names:
            raise UnknownLayerError("no preprocessing is recorded in the file")
        if keras_archive.CONFIG not in names or keras_archive.MEMBER not in names:
            raise UnknownLayerError("it holds no Keras model")
        info = info_from(zip_files.text(archive, archive.getinfo(MEMBER), MAX_BYTES))
        graph = _graph(_config(archive), _weights(archive))
        scores = graph.shapes[graph.output]
        check_classes(info, scores[0] if len(scores) == 1 else None)
    return graph, info


def _config(archive: zipfile.ZipFile) -> Any:
    text = zip_files.text(
        archive, archive.getinfo(keras_archive.CONFIG), keras_archive.MAX_CONFIG_BYTES
    )
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnknownLayerError(f"{keras_archive.CONFIG} is damaged ({error})") from error


def _weights(archive: zipfile.ZipFile) -> bytes:
    member = archive.getinfo(keras_archive.MEMBER)
    content = zip_files.content(archive, member, _MOST_WEIGHT_BYTES)
    if len(content) > _MOST_WEIGHT_BYTES:
        raise UnknownLayerError(f"{keras_archive.MEMBER} is larger than any MobileNet's")
    return content


def _graph(config: Any, weights: bytes) -> Graph:
    with keras_h5.opened(io.BytesIO(weights), keras_archive.NAME) as checkpoint:
        values = sum(prod(shape) for shape in shapes_of(checkpoint.arrays).values())
        if values > _MOST_VALUES:  # packed, they may be far more than the file's bytes
            raise UnknownLayerError(f"it holds {values:,} values, more than any MobileNet")
        return graph_of_config(config, checkpoint.arrays)
