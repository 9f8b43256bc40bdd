"""Folders such as the hub's repositories: arrays in safetensors, and `config.json` beside them.

What this package writes there is enough to build the net again: its builder's arguments, how
pixels become its input, and its classes' names. Nothing in it is code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from keras_mobilenet.errors import CheckpointError, about_file, fault
from keras_mobilenet.formats.plain.third_party import read_config
from keras_mobilenet.images.model_info import ModelInfo, check_classes, info_from
from keras_mobilenet.nets import arguments as builder_arguments
from keras_mobilenet.nets.families.registry import BY_KEY, family
from keras_mobilenet.nets.published.rows import CONFIG, WEIGHTS

LIBRARY = "keras-mobilenet"
CARD = "README.md"
_VERSION = 1
_REMEDY = f"Write the folder again, or move its {WEIGHTS} elsewhere and pass that by itself."
# Without a value, each is what its builder has by default.
_ARGUMENTS: Mapping[str, Any] = {
    **builder_arguments.DEFAULTS, "include_preprocessing": False, "output_stride": 32
}  # fmt: skip


@dataclass(frozen=True)
class HubConfig:
    """What `config.json` says of a folder of ours."""

    net: str  # key of its family
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of its builder
    # Of the net's own input: a layer that scales pixels is one of the builder's arguments.
    info: ModelInfo = field(default_factory=ModelInfo)

    def to_text(self) -> str:
        """Return it as JSON."""
        preprocessing = json.loads(self.info.to_text())
        labels = preprocessing.pop("labels")
        record = {
            "library_name": LIBRARY,
            "version": _VERSION,
            "net": self.net,
            "arguments": dict(self.arguments),
            "preprocessing": preprocessing,
            "labels": labels,
        }
        return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def is_hub_folder(path: Any) -> bool:
    """Return whether a path is a folder with arrays in it as the hub's repositories have them.

    Raises:
        CheckpointError: it is one of ours, and damaged or without its arrays.
    """
    is_path = isinstance(path, (str, PathLike))
    return is_path and os.path.isdir(path) and weights_in(path) != os.fspath(path)


def weights_in(path: str | PathLike[str]) -> str:
    """Return the file of weights in such a folder; any other path as it is.

    Raises:
        CheckpointError: it is a folder of ours that is damaged, or has lost its weights.
    """
    folder = os.fspath(path)
    weights = os.path.join(folder, WEIGHTS)
    if os.path.isfile(weights):
        return weights
    if os.path.isdir(folder) and read_hub_config(weights) is not None:
        found = f"it has a {CONFIG} of keras-mobilenet, and no {WEIGHTS}."
        raise CheckpointError(fault(folder, found, "Write the folder again, or fetch it whole."))
    return folder


def read_hub_config(weights: str | PathLike[str]) -> HubConfig | None:
    """Return what a folder of ours says of its file of weights; None of any other file.

    Raises:
        CheckpointError: it is damaged, or of a later version.
    """
    folder, name = os.path.split(os.fspath(weights))
    path = os.path.join(folder, CONFIG)
    if name != WEIGHTS:
        return None
    with about_file(path, _REMEDY):
        record = read_config(path)
        if not isinstance(record, dict) or record.get("library_name") != LIBRARY:
            return None
        try:
            return _config(record)
        except (AttributeError, KeyError, TypeError) as error:
            raise CheckpointError(f"what it says of the net is damaged ({error})") from error


def _config(record: Mapping[str, Any]) -> HubConfig:
    if record["version"] != _VERSION:
        raise CheckpointError("it was written by a later version of keras-mobilenet")
    net, arguments = record["net"], dict(record["arguments"])
    if net not in BY_KEY:
        raise CheckpointError(f"net={net!r} is none of {', '.join(BY_KEY)}")
    if isinstance(arguments.get("input_shape"), list):
        arguments["input_shape"] = tuple(arguments["input_shape"])
    _check(net, arguments)
    info = info_from(json.dumps({**record["preprocessing"], "labels": record["labels"]}))
    if arguments.get("include_top", True):
        check_classes(info, arguments.get("classes"))
    return HubConfig(net, arguments, info)


def _check(net: str, arguments: Mapping[str, Any]) -> None:
    """Raise unless a net can be built with these arguments."""
    known = family(net)
    if unknown := arguments.keys() - {*_ARGUMENTS, *known.options}:
        raise CheckpointError(f"{known.name} has no argument {sorted(unknown)[0]!r}")
    given = {**_ARGUMENTS, **arguments}
    activation = given.pop("classifier_activation")
    if activation is not None and not isinstance(activation, str):
        raise CheckpointError(f"classifier_activation={activation!r} is no name")
    try:
        builder_arguments.check(known, **given)
    except ValueError as error:
        raise CheckpointError(f"no net can be built of it: {error}") from error
