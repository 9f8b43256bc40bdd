"""Where figures come from: the model's files by their hashes, and the versions that computed."""

from __future__ import annotations

import glob
import os
import platform
from collections.abc import Iterator
from os import PathLike
from typing import Any

from keras_mobilenet.checkpoints.net_weights import Builder
from keras_mobilenet.checkpoints.published.hashes import sha256_of
from keras_mobilenet.checkpoints.published.names import is_name
from keras_mobilenet.checkpoints.published.weights import file_of
from keras_mobilenet.deploy.engines.choice import packages_of, version_of
from keras_mobilenet.images.listing import walk

_PACKAGES = ("keras-mobilenet", "numpy", "pillow")


def hashes_of(model: Any) -> dict[str, str]:
    """Return the SHA-256 of each file that a model is read from, by the file's name.

    Args:
        model: What `Predictor` takes. Of a Keras model, which is no file, there are none.
    """
    if isinstance(model, Builder):
        model = model.arguments.get("weights")
    if not isinstance(model, (str, PathLike)):
        return {}
    path = os.path.normpath(file_of(os.fspath(model)) if is_name(model) else model)
    folder = os.path.dirname(path)
    return {os.path.relpath(part, folder or "."): sha256_of(part) for part in sorted(_parts(path))}


def versions_of(engine: str) -> dict[str, str]:
    """Return the versions of what an engine's answers depend on."""
    known = {name: version_of(name) for name in (*_PACKAGES, *packages_of(engine))}
    return {"python": platform.python_version()} | {k: v for k, v in known.items() if v}


def _parts(path: str) -> Iterator[str]:
    """Yield the files that hold a model whose path is given."""
    if os.path.isdir(path):
        yield from (entry.path for entry in walk(path))
    elif not os.path.exists(path):
        yield from glob.iglob(f"{glob.escape(path)}.*")  # a checkpoint of several files
    else:
        yield path
        stem, suffix = os.path.splitext(path)
        if suffix == ".xml":
            yield f"{stem}.bin"
        if suffix == ".json":
            yield from _shards(path)


def _shards(path: str) -> Iterator[str]:
    from keras_mobilenet.formats.runtimes.tfjs_manifest import parsed  # noqa: PLC0415 - rare

    with open(path, "rb") as file:
        groups = parsed(file.read())
    yield from (os.path.join(os.path.dirname(path), name) for x in groups for name in x.paths)
