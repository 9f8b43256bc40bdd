"""Keras 3's `.weights.h5`: a tree of groups, numbered by class, each with its layer's name.

A layer's variables lie in a group `vars` as `0`, `1`, ...; the layer's own name is an attribute of
that group, so that layers are matched by name where Keras itself goes by number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import h5py

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.files import HDF5_SIGNATURE
from keras_mobilenet.formats.arrays import ArrayLike
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.keras import hdf5
from keras_mobilenet.formats.keras_names import keras_3_variables

NAME = "Keras 3 .weights.h5"
ROOT = "layers"
VARIABLES = "vars"


def recognises(path: str, head: bytes) -> bool:
    """Return whether the file has this layout of HDF5."""
    if not head.startswith(HDF5_SIGNATURE):
        return False
    with hdf5.opened(path) as file:
        return ROOT in file


@contextmanager
def read(path: str | IO[bytes], max_bytes: int) -> Iterator[Checkpoint]:
    """Yield the checkpoint in the file at `path`; `max_bytes` is the caller's to hold."""
    with opened(path, "Keras 3 weights H5") as checkpoint:
        yield checkpoint


@contextmanager
def opened(path: str | IO[bytes], format_name: str) -> Iterator[Checkpoint]:
    """Yield the checkpoint in a file of this layout, on disk or in memory."""
    with hdf5.opened(path) as file:
        arrays: dict[str, ArrayLike] = {}
        for class_name, variables in _layers(hdf5.group(file, ROOT)):
            _add_layer(arrays, class_name, variables)
        conventions, info = hdf5.read_metadata(file)
        yield Checkpoint(format_name, arrays, conventions, info=info)


def _layers(root: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """Yield each layer's class in snake case and its group of variables, nested models included."""
    for count, (path, group) in enumerate(hdf5.groups(root), start=1):
        if count > hdf5.MAX_OBJECTS:
            raise CheckpointError(f"more than {hdf5.MAX_OBJECTS} groups, which no MobileNet has")
        parent, _, name = path.rpartition("/")
        if name == VARIABLES:
            yield parent.rpartition("/")[2].rstrip("0123456789").rstrip("_"), group


def _add_layer(arrays: dict[str, ArrayLike], class_name: str, group: h5py.Group) -> None:
    numbers = sorted(hdf5.names(group), key=lambda number: (len(number), number))
    if not numbers:
        return
    layers = hdf5.text_list(group, "name")
    if layers is None or len(layers) != 1:
        raise CheckpointError(
            f"{group.name} does not tell its layer's name, as files of Keras before 3.8 do not"
        )
    variables = keras_3_variables(class_name, len(numbers))
    for number, variable in zip(numbers, variables, strict=True):
        name = f"{layers[0]}/{variable}"
        if name in arrays:
            raise CheckpointError(f"{name} is in the file twice")
        arrays[name] = hdf5.values(group, number)
