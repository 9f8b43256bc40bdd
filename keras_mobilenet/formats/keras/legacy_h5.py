"""Keras' legacy H5 layout: files of weights, and whole models read for their weights only.

A list of layer names, a group a layer, and in it a list of weight names that are data sets below
the group. A whole-model file holds the same below `model_weights`, and the model's configuration,
which tells what names do not. It is read as data: the code that it may carry is not run.

Files of Keras 1 are read as those of Keras 1.2, the only one that was there with MobileNet:
`running_std` holds the variance, epsilon is 1e-3. Theano's kernels, mirrored and in another axis
order, are refused, because their shapes do not always tell them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

import h5py

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.files import HDF5_SIGNATURE
from keras_mobilenet.formats.arrays import ArrayLike
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.keras import hdf5
from keras_mobilenet.formats.keras.whole_model import recognised
from keras_mobilenet.formats.keras_names import from_legacy_keras, is_keras_1
from keras_mobilenet.nets.families import v1

NAME = "Keras legacy H5"
WHOLE_MODEL, CONFIGURATION = "model_weights", "model_config"
_KERAS_1_NOTE = "read running_std of Keras 1 as moving_variance, which it holds"
_MIRRORED = "whose kernels are mirrored; load and save it with Keras on TensorFlow first"


def recognises(path: str, head: bytes) -> bool:
    """Return whether the file has this layout of HDF5."""
    return head.startswith(HDF5_SIGNATURE) and is_layout(path)


def is_layout(path: str | IO[bytes]) -> bool:
    """Return whether an HDF5 file, on disk or in memory, has this layout."""
    with hdf5.opened(path) as file:
        return WHOLE_MODEL in file or bool({"layer_names", "layer_names0"} & set(file.attrs))


@contextmanager
def read(path: str | IO[bytes], max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the file at `path`; `max_bytes` is the caller's to hold."""
    with hdf5.opened(path) as file:
        whole = WHOLE_MODEL in file
        root = hdf5.group(file, WHOLE_MODEL) if whole else file
        kind = "whole model" if whole else "weights"
        _check_backend(file, root)
        arrays, old = _arrays(root)
        if old:
            _check_keras_1(file, arrays, old)
        notes = (_KERAS_1_NOTE,) if old else ()
        conventions, info = hdf5.read_metadata(file)
        if whole and not conventions and (net := recognised(_configuration(file), arrays)):
            arrays, conventions = net
        yield Checkpoint(f"Keras legacy H5 ({kind})", arrays, conventions, notes=notes, info=info)


def _configuration(file: h5py.File) -> str:
    """Return the model's configuration, if it is one text."""
    texts = hdf5.text_list(file, CONFIGURATION) or []
    return texts[0] if len(texts) == 1 else ""


def _arrays(root: h5py.Group) -> tuple[dict[str, ArrayLike], dict[str, str]]:
    """Return the arrays, and of those that Keras 1 named, its names by ours."""
    layers = hdf5.text_list(root, "layer_names")
    if layers is None:
        raise CheckpointError("the list of layers, `layer_names`, is missing")
    if len(layers) > hdf5.MAX_OBJECTS:
        raise CheckpointError(f"{len(layers)} layers are listed, more than any MobileNet has")
    arrays: dict[str, ArrayLike] = {}
    old: dict[str, str] = {}
    for layer in layers:
        for name, weight, array in _layer_arrays(hdf5.group(root, layer), layer):
            if name in arrays:
                raise CheckpointError(f"{name} is in the file twice")
            arrays[name] = array
            if is_keras_1(weight):
                old[name] = weight
        if len(arrays) > hdf5.MAX_OBJECTS:
            raise CheckpointError(f"more than {hdf5.MAX_OBJECTS} arrays, which no MobileNet has")
    return arrays, old


def _layer_arrays(group: h5py.Group, layer: str) -> Iterator[tuple[str, str, ArrayLike]]:
    weights = hdf5.text_list(group, "weight_names")
    if weights is None and len(group):
        raise CheckpointError(f"the list of weights of {layer}, `weight_names`, is missing")
    names = from_legacy_keras(layer, weights or ())
    for name, weight in zip(names, weights or (), strict=True):
        yield name, weight, hdf5.values(group, weight)


def _check_backend(file: h5py.File, root: h5py.Group) -> None:
    """Refuse what Keras 2 wrote on Theano: Keras mirrors its kernels when it loads them."""
    if any(hdf5.text_list(group, "backend") == ["theano"] for group in (file, root)):
        raise CheckpointError(f"the file was written on Theano, {_MIRRORED}")


def _check_keras_1(
    file: h5py.File, arrays: Mapping[str, ArrayLike], old: Mapping[str, str]
) -> None:
    """Refuse a file of Keras 1 whose values may mean something else than today's."""
    version = (hdf5.text_list(file, "keras_version") or [""])[0]
    if re.match(r"0\.|1\.[01]\b", version):
        raise CheckpointError(
            f"the file was written by Keras {version[:20]}, whose batch norms had another "
            "epsilon, and in `running_std` at first the standard deviation; Keras 1.2's are read"
        )
    kernels = {layer.name: layer.kernel for layer in v1.network().convolutions}
    for name, weight in old.items():
        layer, _, variable = name.rpartition("/")
        if variable != "kernel" or layer not in kernels:
            continue
        size, shape = kernels[layer][:2], tuple(arrays[name].shape)
        if shape[:2] != size and shape[2:] == size:
            raise CheckpointError(
                f"{weight} has the shape {shape}: Theano's axis order (out, in, height, width), "
                "in which other kernels cannot be told from TensorFlow's"
            )
        if size != (1, 1) and ":" not in weight:  # TensorFlow's names end in ":0"
            raise CheckpointError(f"{weight} is a name that Keras 1 gave on Theano, {_MIRRORED}")
