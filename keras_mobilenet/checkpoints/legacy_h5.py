"""Keras' legacy H5 layout: files of weights, and whole models read for their weights only.

A list of layer names, a group a layer, and in it a list of weight names that are data sets below
the group. A whole-model file holds the same below `model_weights`. The model's configuration, which
may carry code, is never read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import h5py

from keras_mobilenet import naming
from keras_mobilenet.arrays import ArrayLike
from keras_mobilenet.checkpoints import hdf5
from keras_mobilenet.checkpoints.checkpoint import Checkpoint
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.files import HDF5_SIGNATURE

NAME = "Keras legacy H5"
WHOLE_MODEL = "model_weights"


def recognises(path: str, head: bytes) -> bool:
    """Return whether the file has this layout of HDF5."""
    if not head.startswith(HDF5_SIGNATURE):
        return False
    with hdf5.opened(path) as file:
        return WHOLE_MODEL in file or bool({"layer_names", "layer_names0"} & set(file.attrs))


@contextmanager
def read(path: str, max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the file at `path`; `max_bytes` is the caller's to hold."""
    with hdf5.opened(path) as file:
        whole = WHOLE_MODEL in file
        root = hdf5.group(file, WHOLE_MODEL) if whole else file
        kind = "whole model" if whole else "weights"
        yield Checkpoint(f"Keras legacy H5 ({kind})", _arrays(root), hdf5.conventions(file))


def _arrays(root: h5py.Group) -> dict[str, ArrayLike]:
    layers = hdf5.text_list(root, "layer_names")
    if layers is None:
        raise CheckpointError("the list of layers, `layer_names`, is missing")
    if len(layers) > hdf5.MAX_OBJECTS:
        raise CheckpointError(f"{len(layers)} layers are listed, more than any MobileNet has")
    arrays: dict[str, ArrayLike] = {}
    for layer in layers:
        for name, array in _layer_arrays(hdf5.group(root, layer), layer):
            if name in arrays:
                raise CheckpointError(f"{name} is in the file twice")
            arrays[name] = array
        if len(arrays) > hdf5.MAX_OBJECTS:
            raise CheckpointError(f"more than {hdf5.MAX_OBJECTS} arrays, which no MobileNet has")
    return arrays


def _layer_arrays(group: h5py.Group, layer: str) -> Iterator[tuple[str, ArrayLike]]:
    weights = hdf5.text_list(group, "weight_names")
    if weights is None and len(group):
        raise CheckpointError(f"the list of weights of {layer}, `weight_names`, is missing")
    names = naming.from_legacy_keras(layer, weights or ())
    for name, weight in zip(names, weights or (), strict=True):
        yield name, hdf5.values(group, weight)
