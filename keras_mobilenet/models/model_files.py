"""Whole models in Keras' `.keras` files, with the info that belongs to them.

A model is built by `MobileNet` or by the user. What is recorded of it is kept beside it while it
lives, and in a member of its own in the archive, which Keras passes over; what is not recorded is
read off its graph.
"""

from __future__ import annotations

import os
import weakref
import zipfile
from dataclasses import replace
from os import PathLike
from typing import Any

import keras

from keras_mobilenet.errors import CheckpointError, about_file, fault
from keras_mobilenet.files import check_file, replacing
from keras_mobilenet.formats.checkpoint import NET_MEMBER
from keras_mobilenet.formats.keras import zip_files
from keras_mobilenet.images.labels import imagenet_classes
from keras_mobilenet.images.model_info import (
    MAX_BYTES,
    MEMBER,
    ModelInfo,
    as_saved,
    check_classes,
    info_from,
)
from keras_mobilenet.images.pixel_scaling import (
    MINUS_ONE_TO_ONE,
    Preprocessing,
    as_preprocessing,
)
from keras_mobilenet.models.frozen import (
    batch_norms_of,
    freeze_batch_norms,
    is_known,
    layers_within,
)
from keras_mobilenet.models.input_scaling import net_at_input, preprocessing_in_graph
from keras_mobilenet.models.keras_check import check_archive
from keras_mobilenet.models.layers.attention import MultiQueryAttention
from keras_mobilenet.nets.net import REGISTERED_ATTENTION

SUFFIX = ".keras"
_infos: weakref.WeakKeyDictionary[Any, ModelInfo] = weakref.WeakKeyDictionary()


def info_of(model: Any) -> ModelInfo:
    """Return a model's info: the one set for it, else what its graph tells."""
    recorded = _infos.get(model)
    if recorded is not None:
        return recorded
    labels = imagenet_classes() if _is_of_imagenet(model) else None
    return ModelInfo(_size_of(model), preprocessing=preprocessing_in_graph(model), labels=labels)


def info_of_net(model: Any) -> ModelInfo | None:
    """Return a model's info as that of the net within it, for a file of the net's weights.

    What the model's graph does to pixels ahead of the net is taken as done. None where no
    MobileNet is the first in the model, or nothing is known of what it takes.
    """
    info, in_graph = info_of(model), preprocessing_in_graph(model)
    net = net_at_input(model)
    if net is None or info.preprocessing is None or in_graph is None:
        return None
    scaling = MINUS_ONE_TO_ONE
    if not info.preprocessing.is_close(in_graph):
        scaling = info.preprocessing.then(in_graph.inverse()).then(scaling)
    return replace(info, preprocessing=scaling).ending_in(net.top_activation)


def set_info_of_net(model: Any, saved: ModelInfo) -> None:
    """Remember what a file of the weights of a model's net says, if that is the first in it.

    Of a file that does not say how pixels become the input, what was set before stays.
    """
    if saved.preprocessing is None and model in _infos:
        return
    if net_at_input(model) is not None:
        channels = model.inputs[0].shape[1 if _channels_first(model) else -1]
        known = replace(info_of(model), preprocessing=preprocessing_in_graph(model))
        set_info(model, as_saved(known, saved, classes=classes_of(model), channels=channels))


def preprocessing_of(model: Any) -> Preprocessing | None:
    """Return how pixels become a Keras model's input; None where it is not known.

    It is what was set with `set_preprocessing`, or came with the model's file. Else it is read off
    the graph: a model that scales its input takes pixels, and a MobileNet takes -1 to 1.
    """
    return info_of(model).preprocessing


def set_preprocessing(model: Any, preprocessing: Preprocessing | str) -> None:
    """Record how pixels become a model's input, in place of what its graph tells.

    `Predictor`, `export` and all that shows images to the model go by it, and files keep it.

    Args:
        model: A Keras model.
        preprocessing: A `Preprocessing`, or a text that its `from_text` takes, such as `"0..1"`.

    Raises:
        ValueError: it is neither.
    """
    known = as_preprocessing(preprocessing)
    set_info(model, replace(info_of(model), preprocessing=known))


def set_info(model: Any, info: ModelInfo) -> None:
    """Remember what goes with a model, for as long as it lives."""
    _infos[model] = info


def save_model(model: Any, path: str | PathLike[str]) -> None:
    """Save a model and its info as `.keras`, which plain Keras opens too.

    What the net within takes is recorded beside it, for whoever takes the file for its weights.

    Raises:
        ValueError: `path` does not end in `.keras`.
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    if not os.fspath(path).endswith(SUFFIX):
        raise ValueError(f"`path` must end in {SUFFIX}. Received: path={os.fspath(path)!r}")
    with replacing(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(MEMBER, info_of(model).to_text())
            of_net = info_of_net(model)
            if of_net is not None:
                archive.writestr(NET_MEMBER, of_net.to_text())


def load_model(path: str | PathLike[str]) -> keras.Model:
    """Return the model in a `.keras` file, with the info that `save_model` left there.

    Code in the file is never run: Keras' safe mode is on. Batch norms that were saved as not
    trainable are frozen, as `freeze` leaves them; `freeze(model, batch_norm="train")` undoes it.

    Raises:
        CheckpointError: the file is damaged, is of another kind, or needs code that is not here.
    """
    path = os.fspath(path)
    check_file(path, "Pass a whole .keras file.")
    info = _read_info(path)
    try:
        with keras.saving.custom_object_scope({REGISTERED_ATTENTION: MultiQueryAttention}):
            check_archive(path)
            model = keras.saving.load_model(path, safe_mode=True)
        if info is not None:
            check_classes(info, classes_of(model))
    except Exception as error:  # Keras raises nearly any type at a damaged or foreign file
        remedy = "Save the model again with the same version of Keras, or pass another file."
        raise CheckpointError(fault(path, f"cannot be opened: {error}", remedy)) from error
    _freeze_again(model)
    if info is not None:
        set_info(model, info)
    return model


def _freeze_again(model: Any) -> None:
    """Freeze the batch norms that were: in the file they are Keras' own, as not trainable."""
    saved = [x for x in batch_norms_of(model) if is_known(x) and not x.trainable]
    freeze_batch_norms(saved)


def _read_info(path: str) -> ModelInfo | None:
    """Return the info in the archive; None in a file that plain Keras wrote."""
    with about_file(path, "Pass a whole .keras file."), zip_files.opened(path) as archive:
        if MEMBER not in archive.namelist():
            return None
        return info_from(zip_files.text(archive, archive.getinfo(MEMBER), MAX_BYTES))


def _size_of(model: Any) -> tuple[int, int] | None:
    inputs: Any = getattr(model, "inputs", None)
    if not inputs:
        return None
    shape = inputs[0].shape
    size = shape[2:] if _channels_first(model) else shape[1:3]
    return None if len(size) != 2 or None in size else (size[0], size[1])


def _channels_first(model: Any) -> bool:
    formats = {getattr(layer, "data_format", "channels_last") for layer in model.layers}
    return "channels_first" in formats


def classes_of(model: Any) -> int | None:
    """Return how many classes a Keras model's output has, None if it is no vector of scores."""
    shape = model.outputs[0].shape
    return shape[-1] if len(shape) == 2 else None


def _is_of_imagenet(model: Any) -> bool:
    """Return whether a model is a MobileNet up to its own classifier of ImageNet's classes."""
    net = net_at_input(model)
    if net is None or not net.top:
        return False
    *_, last = (layer for layer in layers_within(model) if layer.weights)
    units = getattr(last, "filters", None) or getattr(last, "units", None)  # V2's is dense
    return last in net.top and units == len(imagenet_classes())
