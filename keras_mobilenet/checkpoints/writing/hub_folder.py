"""A model as a folder for the hub: arrays in safetensors, `config.json`, and a model card."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from keras_mobilenet.checkpoints.hub_folders import CARD, HubConfig
from keras_mobilenet.checkpoints.model_weights import conventions_of, variables_of
from keras_mobilenet.checkpoints.net_weights import Builder, NetWeights, builder_of, net_weights
from keras_mobilenet.checkpoints.writing.model_card import Background, card_of
from keras_mobilenet.checkpoints.writing.weights_file import write_arrays
from keras_mobilenet.files import filling
from keras_mobilenet.formats.keras.model_config import KERAS_ACTIVATIONS
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE
from keras_mobilenet.models.parts import FoundNet, activation_of, find_net, kind_of, leaves_of
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families.registry import recognise
from keras_mobilenet.nets.net import (
    OUTPUT_STRIDES,
    Layer,
    Net,
    Origin,
    Pooling,
    relu_max,
)
from keras_mobilenet.nets.published.rows import CONFIG, WEIGHTS

FILES = (WEIGHTS, CONFIG, CARD)
_POOLINGS: dict[str, Pooling] = {
    "GlobalAveragePooling2D": "avg",
    "GlobalMaxPooling2D": "max",
}


def check_new(folder: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Raise unless a folder has none of the files that are to be written, or they may go.

    Raises:
        ValueError: it has one.
    """
    there = [name for name in FILES if os.path.lexists(os.path.join(folder, name))]
    if there and not overwrite:
        raise ValueError(
            f"{os.fspath(folder)} has {', '.join(there)} already. Pass overwrite=True "
            "(--overwrite) to replace what it has of such files, or another folder."
        )


def write_hub_folder(
    model: Any,
    folder: str | PathLike[str],
    background: Background | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a Keras model as a folder that the hub takes, and that opens without a question.

    It is read back before any file appears.

    Args:
        model: One whole MobileNet, under its own top or one of `replace_top`, or without.
        folder: Made, or filled; its other files stay.
        background: What the card says beside the net: where it comes from, and how good it is.
        name: What opens it once it is on the hub, for the card's code; None for the folder itself.
        overwrite: Whether to replace what the folder has of such files.

    Raises:
        ValueError: the model is something else or has other layers, or the folder is not new.
        OSError: the files cannot be written, or do not hold what was written.
    """
    from keras_mobilenet.models.model_files import info_of_net  # noqa: PLC0415 - Keras

    check_new(folder, overwrite=overwrite)
    net, arguments = _builder_of_model(model)
    info = info_of_net(model) or ModelInfo(preprocessing=None)
    arrays = {name: np.asarray(variable) for name, variable in variables_of(model).items()}
    conventions = conventions_of(model)
    _write(folder, net, arguments, arrays, conventions, info, background, name)


def write_hub_folder_of_net(
    builder: Builder,
    weights: NetWeights,
    folder: str | PathLike[str],
    background: Background | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a net and its arrays as such a folder, without Keras.

    Args:
        builder: What the weights were read by.
        weights: With what their file says of the net's input and outputs.
        folder: As for `write_hub_folder`, and likewise what follows.
        background: What the card says beside the net.
        name: What opens it once it is on the hub.
        overwrite: Whether to replace what the folder has of such files.

    Raises:
        ValueError: the folder is not new.
        OSError: the files cannot be written, or do not hold what was written.
    """
    check_new(folder, overwrite=overwrite)
    info = weights.saved or ModelInfo(preprocessing=None)
    arguments = {k: x for k, x in builder.arguments.items() if k != "weights"}
    if arguments["include_top"]:
        arguments["classifier_activation"] = weights.classifier_activation
        info = info.ending_in(weights.classifier_activation or "linear")
    _write(
        folder, builder.net, arguments, weights.arrays, weights.conventions, info, background, name
    )


def _write(
    folder: str | PathLike[str],
    net: str,
    arguments: Mapping[str, Any],
    arrays: Mapping[str, Any],
    conventions: Conventions,
    info: ModelInfo,
    background: Background | None,
    name: str | None,
) -> None:
    # The activation is one of the arguments; the weights by themselves are to know it, too.
    config = HubConfig(net, arguments, replace(info, activation=None))
    background = background or Background.of_source(config.info.source)
    with filling(folder) as place:
        write_arrays(os.path.join(place, WEIGHTS), arrays, conventions, info=info)
        Path(place, CONFIG).write_text(config.to_text(), encoding="utf-8")
        written = _read_back(place, arrays, conventions, config.info)
        card = card_of(config, written.net, background, name or os.path.normpath(folder))
        Path(place, CARD).write_text(card, encoding="utf-8")


def _read_back(
    place: str, arrays: Mapping[str, Any], conventions: Conventions, info: ModelInfo
) -> NetWeights:
    """Return what a folder opens as.

    Raises:
        OSError: that is not what was written.
    """
    found = net_weights(builder_of(place))
    same = found.arrays.keys() == arrays.keys() and all(
        np.array_equal(found.arrays[name], np.asarray(arrays[name], np.float32)) for name in arrays
    )
    fits = found.conventions.fits(conventions, found.net.windows(found.size), found.family.zeros)
    if not (same and fits and found.saved == info):
        raise OSError(f"{place}: the folder does not open as the model that was written")
    return found


def _builder_of_model(model: Any) -> tuple[str, dict[str, Any]]:
    """Return the key of the net that a model is, and what its builder makes it from.

    Raises:
        ValueError: it is not one whole MobileNet, or has other layers.
    """
    net = find_net(model)
    origin = recognise({name: tuple(x.shape) for name, x in variables_of(model).items()})
    known = origin is not None and net is not None and origin.net == net.family.name
    if net is None or net.stem is None or origin is None or not known:
        what = (
            "It is none or several, a part of one, a folded one, or one with `blocks` of its own."
        )
        raise _refusal(model, what)
    arguments: dict[str, Any] = {**origin.arguments(), "input_shape": _shape(model, net)}
    stride = _output_stride(model, net, origin)
    if stride != OUTPUT_STRIDES[-1]:
        arguments["output_stride"] = stride
    scaling, pool = _beside(model, net)
    if scaling:
        arguments["include_preprocessing"] = True
    if net.top:
        arguments["classifier_activation"] = _activation(model, net)
    elif pool:
        arguments["pooling"] = _POOLINGS[kind_of(pool[0])]
    return net.family.key, arguments


def _refusal(model: Any, what: str) -> ValueError:
    return ValueError(
        "A folder for the hub holds one whole MobileNet, which its builder's arguments tell, and "
        f"model {model.name!r} is another one. {what} Save it with model.save, or its weights "
        "as .safetensors."
    )


def _beside(model: Any, net: FoundNet) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the layer that scales pixels ahead of a net, and the pool behind one without top.

    Raises:
        ValueError: there is anything else in the model, or the net is no single line of it.
    """
    ahead, behind = net.ahead, net.behind
    if ahead is None or behind is None or len(model.outputs) != 1:
        raise _refusal(model, "It has other branches, inputs or outputs.")
    scaling = tuple(x for x in ahead[:1] if _scales_as_ours(x))
    pool = () if net.top else tuple(x for x in behind[:1] if kind_of(x) in _POOLINGS)
    others = [*ahead[len(scaling) :], *behind[len(net.top or pool) :]]
    known = {id(layer) for layer in (*net.layers.values(), *ahead, *behind)}
    others += [x for x in leaves_of(model) if id(x) not in known and kind_of(x) != "InputLayer"]
    if others or (pool and pool[0].keepdims):
        raise _refusal(model, f"It has {(others or pool)[0].name!r} beside the net.")
    return scaling, pool


def _output_stride(model: Any, net: FoundNet, origin: Origin) -> int:
    """Return the output stride under which a net is the one that its arrays tell.

    Raises:
        ValueError: there is none: its strides or activations are the user's own.
    """
    arguments = {"alpha": origin.alpha, **origin.options}
    for stride in reversed(OUTPUT_STRIDES):
        if not _unlike(net, net.family.network(**arguments, output_stride=stride)):
            return stride
    name = _unlike(net, net.family.network(**arguments))
    raise _refusal(model, f"Layer {name!r} is as `blocks` of its own make it.")


def _unlike(found: FoundNet, net: Net) -> str | None:
    """Return the first layer of a net that a model has not, or has with another function."""
    for known in net:
        if known.part in ("input", "top") or not (known.window or known.activation):
            continue
        layer = found.layers.get(known.name)
        if layer is None or not _is_like(layer, known):
            return known.name
    return None


def _is_like(layer: Any, known: Layer) -> bool:
    if known.window:
        steps = (*layer.strides, *layer.dilation_rate)
        return tuple(steps) == (*[known.stride] * 2, *[known.dilation] * 2)
    if known.kind == "ReLU":
        return bool(layer.max_value == relu_max(known.activation))
    name = known.activation or ""
    return activation_of(layer) == KERAS_ACTIVATIONS.get(name, name)


def _shape(model: Any, net: FoundNet) -> tuple[int | None, ...]:
    shape = tuple(model.inputs[0].shape[1:])
    first = net.stem is not None and net.stem.data_format == "channels_first"
    return (*shape[1:], shape[0]) if first else shape


def _activation(model: Any, net: FoundNet) -> str | None:
    """Return the name of what the last layer applies; None for nothing."""
    name = net.top_activation
    if name is None or kind_of(net.top[-1]) == "Softmax":
        raise _refusal(model, f"Its last layer, {net.top[-1].name!r}, is none of a MobileNet's.")
    return None if name == "linear" else name


def _scales_as_ours(layer: Any) -> bool:
    if kind_of(layer) != "Rescaling" or np.ndim(layer.scale) or np.ndim(layer.offset):
        return False
    ours = MINUS_ONE_TO_ONE
    return bool(np.isclose(layer.scale, ours.scale, 1e-6, 0) and layer.offset == ours.offset)
