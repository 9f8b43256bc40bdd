"""`.keras` files, held against what they can be before Keras opens them.

Keras makes what the configuration says, and unpacks what the archive holds, before it compares the
two: a file of a megabyte takes gigabytes. Here the configuration is built without values first.
"""

from __future__ import annotations

import io
import json
import math
import random
import zipfile
from typing import Any

import keras
from keras.src.backend.common.global_state import set_global_attribute

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.keras import hdf5, zip_files
from keras_mobilenet.formats.keras.keras_archive import CONFIG, MAX_CONFIG_BYTES
from keras_mobilenet.formats.keras.keras_archive import MEMBER as WEIGHTS

_MAX_OTHER_BYTES = 64 << 20  # of all else in the archive, such as the words of a lookup
_MAX_MEMBERS = 100
_MAX_OBJECTS = 50_000  # in the configuration: a layer, its initializers and policies are some six
_SPARE_BYTES = 256 << 20
_PACKING = 4  # floats hardly shrink: what unpacks to many times its size holds none
_SPARE_VALUES = 4 << 20  # beside twice what the file holds: states that Keras does not save
_MODELS = ("Functional", "Sequential", "Model")


def check_archive(path: str) -> None:
    """Raise unless a `.keras` file holds a model, and about as much as its configuration declares.

    Raises:
        CheckpointError: it does not, is damaged, or unpacks to far more than a model needs.
    """
    with zip_files.opened(path) as archive:
        _check_members(archive)
        config = _config(archive)
        stored = _held_values(archive)
    if (declared := _declared_values(config)) > 2 * stored + _SPARE_VALUES:
        raise CheckpointError(
            f"its configuration declares {declared:,} weights, and the file holds {stored:,}"
        )


def _check_members(archive: zipfile.ZipFile) -> None:
    members = {member.filename: member for member in archive.infolist()}
    if len(members) < len(archive.infolist()):
        raise CheckpointError("the archive holds two files of one name")
    for name in (CONFIG, WEIGHTS):
        if name not in members:
            raise CheckpointError(f"the archive holds no {name}, so this is no Keras model")
    weights = members.pop(WEIGHTS)
    _check_size(weights.file_size, _SPARE_BYTES + _PACKING * weights.compress_size, WEIGHTS)
    _check_size(members[CONFIG].file_size, MAX_CONFIG_BYTES, CONFIG)
    largest = max(members, key=lambda name: members[name].file_size)
    names = f"{len(members)} other files, such as {largest}"
    _check_size(sum(member.file_size for member in members.values()), _MAX_OTHER_BYTES, names)
    if len(members) > _MAX_MEMBERS:
        raise CheckpointError(f"the archive holds {names}, which no model of images has")


def _check_size(size: int, most: int, what: str) -> None:
    if size > most:
        raise CheckpointError(
            f"{what} in the archive would unpack to {size:,} bytes, far more than a model needs "
            f"({most:,})"
        )


def _config(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Return the model's configuration, if its root is a model."""
    content = zip_files.content(archive, archive.getinfo(CONFIG), MAX_CONFIG_BYTES)
    if content.count(b'"class_name"') > _MAX_OBJECTS:
        raise CheckpointError(f"{CONFIG} declares more than {_MAX_OBJECTS:,} objects")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{CONFIG} is damaged ({error})") from error
    if not isinstance(config, dict) or not _is_model(config):
        root = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(
            f"its root is {root!r:.80}, which is no model: {', '.join(_MODELS)} or a class of your "
            "own that is registered with Keras"
        )
    return config


def _is_model(config: dict[str, Any]) -> bool:
    if config.get("class_name") in _MODELS:
        return True
    names = (config.get("registered_name"), config.get("class_name"))
    known = [keras.saving.get_registered_object(name) for name in names if isinstance(name, str)]
    return any(isinstance(kind, type) and issubclass(kind, keras.Model) for kind in known)


def _held_values(archive: zipfile.ZipFile) -> int:
    member = archive.getinfo(WEIGHTS)
    content = zip_files.content(archive, member, member.file_size)
    with hdf5.opened(io.BytesIO(content)) as file:
        return hdf5.held_values(file)


def _declared_values(config: dict[str, Any]) -> int:
    """Return how many weights Keras would make of a configuration. None of them is made.

    Raises:
        CheckpointError: Keras cannot make a model of it.
    """
    before = random.getstate()  # Keras draws seeds from it, and shall draw the same afterwards
    config = {key: value for key, value in config.items() if key != "compile_config"}
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise CheckpointError(f"its root is a {type(model).__name__}, which is no model")
        return sum(math.prod(variable.shape) for variable in model.variables)
    finally:
        random.setstate(before)
        set_global_attribute("uninitialized_variables", [])  # or Keras would make them later
