"""Arrays to a file in the format that its name's end asks for, read back before it counts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any

import h5py
import numpy as np
from safetensors.numpy import save_file

from keras_mobilenet.files import replacing
from keras_mobilenet.formats.checkpoint import INFO, describe
from keras_mobilenet.formats.keras import hdf5, keras_h5
from keras_mobilenet.formats.keras_names import KERAS_3_CLASSES, to_legacy_keras
from keras_mobilenet.formats.registry import open_checkpoint
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families.registry import net_with_arrays
from keras_mobilenet.nets.net import BATCH_NORM_ARRAYS, Net

Arrays = Mapping[str, np.ndarray[Any, Any]]
Writer = Callable[[str, Arrays, Mapping[str, str]], None]


def write_arrays(
    path: str | PathLike[str],
    arrays: Arrays,
    conventions: Conventions,
    origin: Mapping[str, str] | None = None,
    info: ModelInfo | None = None,
) -> None:
    """Write arrays under our names to `path`, read them back, and only then let the file appear.

    Args:
        path: `.safetensors`, `.weights.h5` (Keras 3) or `.h5` (Keras' legacy layout).
        arrays: The values.
        conventions: Those that the values go with; they are recorded in the file.
        origin: Words on where the values come from, recorded too.
        info: What the net's input and outputs mean, recorded too.

    Raises:
        ValueError: the name's end is none of the three, or a layer is not MobileNet's and the
            format needs its class.
        OSError: the file cannot be written, or does not hold what was written; what was at
            `path` is as it was.
    """
    path = os.fspath(path)
    writer = _writer(path)
    metadata = describe(conventions, origin) | ({INFO: info.to_text()} if info else {})
    with replacing(path) as temporary:
        writer(temporary, arrays, metadata)
        if not _holds(temporary, arrays, conventions):
            raise OSError(f"{path}: the file does not hold what was written to it")


def _writer(path: str) -> Writer:
    for suffix, writer in WRITERS.items():
        if path.endswith(suffix):
            return writer
    raise ValueError(
        f"`path` must end in {', '.join(WRITERS)}, or be a folder, which ends in a slash. For a "
        f"whole model call model.save. "
        f"Received: path={path!r}"
    )


def _holds(path: str, arrays: Arrays, conventions: Conventions) -> bool:
    """Return whether a file holds just these arrays, bit for bit, and tells the conventions."""
    with open_checkpoint(path) as written:
        same = written.conventions == conventions and written.arrays.keys() == arrays.keys()
        return same and all(_equal(written.arrays[name], arrays[name]) for name in arrays)


def _equal(array: Any, expected: np.ndarray[Any, Any]) -> bool:
    values = np.asarray(array)
    return values.dtype == expected.dtype and values.tobytes() == expected.tobytes()


def _write_safetensors(path: str, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(contiguous, path, dict(metadata))


@contextmanager
def _new_hdf5(path: str) -> Iterator[h5py.File]:
    """Yield a file that is written as a whole: HDF5 ends the process where a disk is full."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        yield file
    with open(path, "wb") as target:
        target.write(content.getbuffer())


def _write_legacy_h5(path: str, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    net = net_with_arrays(arrays)
    layers = _by_layer(arrays, net)
    with _new_hdf5(path) as file:
        hdf5.write_metadata(file, metadata)
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, variables in layers.items():
            group = file.create_group(layer)
            depthwise = layer in net.by_name and net.by_name[layer].kind == "DepthwiseConv2D"
            names = to_legacy_keras(layer, list(variables), depthwise=depthwise)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, variables.values(), strict=True):
                group.create_dataset(name, data=array)


def _write_keras_h5(path: str, arrays: Arrays, metadata: Mapping[str, str]) -> None:
    with _new_hdf5(path) as file:
        hdf5.write_metadata(file, metadata)
        add_keras_layers(file, arrays, net_with_arrays(arrays))


def add_keras_layers(file: h5py.File, arrays: Arrays, net: Net) -> None:
    """Write a net's arrays into a file in the layout of Keras 3.

    Raises:
        ValueError: an array is of none of the net's layers, whose classes the layout needs.
    """
    counts: dict[str, int] = {}
    for layer, variables in _by_layer(arrays, net).items():
        if layer not in net.by_name:
            raise ValueError(
                f"{layer} is no layer of MobileNet, and .weights.h5 needs its class. "
                "Write .safetensors or .h5 instead."
            )
        class_name = KERAS_3_CLASSES[net.by_name[layer].kind]
        number = counts[class_name] = counts.get(class_name, -1) + 1
        suffix = f"_{number}" if number else ""
        group = file.create_group(f"{keras_h5.ROOT}/{class_name}{suffix}/{keras_h5.VARIABLES}")
        group.attrs["name"] = layer
        for i, array in enumerate(variables.values()):
            group.create_dataset(str(i), data=array)


def _by_layer(arrays: Arrays, net: Net) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """Return the arrays by layer and variable, both in the order that Keras goes by."""
    order = {layer.name: i for i, layer in enumerate(net)}
    variables = ("kernel", "bias", *BATCH_NORM_ARRAYS)
    layers: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for name in sorted(arrays, key=lambda name: order.get(name.rpartition("/")[0], len(order))):
        layer, _, variable = name.rpartition("/")
        layers.setdefault(layer, {})[variable] = arrays[name]
    rank = {variable: i for i, variable in enumerate(variables)}
    return {
        layer: dict(sorted(values.items(), key=lambda item: rank.get(item[0], len(rank))))
        for layer, values in layers.items()
    }


# The longer ends first: the last would match the second too.
WRITERS: dict[str, Writer] = {
    ".safetensors": _write_safetensors,
    ".weights.h5": _write_keras_h5,
    ".h5": _write_legacy_h5,
}
