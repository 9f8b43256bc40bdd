"""Published weights as checkpoints: the file of a row of the table, checked before it is used."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from keras_mobilenet.checkpoints.hub_folders import weights_in
from keras_mobilenet.checkpoints.load_errors import mismatch_message
from keras_mobilenet.checkpoints.published.download import Progress, find_or_fetch
from keras_mobilenet.checkpoints.published.hub import hub_file, repository_file
from keras_mobilenet.checkpoints.published.names import keras_file, repository, row_name
from keras_mobilenet.errors import CheckpointError, fault
from keras_mobilenet.formats.arrays import compare, shapes_of
from keras_mobilenet.formats.registry import MAX_BYTES, open_checkpoint, unpacked_limit
from keras_mobilenet.nets.arguments import Arguments
from keras_mobilenet.nets.families.registry import recognise
from keras_mobilenet.nets.net import Net
from keras_mobilenet.nets.pretrained import Pretrained
from keras_mobilenet.nets.published import table


def path_of(checked: Arguments) -> str | None:
    """Return the path of the file that a builder's `weights` ask for; None for random values.

    Raises:
        DownloadError: published weights are neither at hand nor to be fetched.
        CheckpointError: a file in one of the user's own folders does not hold the row's arrays.
        MissingExtraError: they are on the hub, and its client is not installed.
    """
    if checked.published:
        return weights_file(checked.published, checked.include_top)
    return hub_file(checked.hub) if checked.hub else checked.weights


def local_weights(weights: Any) -> Any:
    """Return a builder's `weights`, with a file in place of its published name, or of a folder.

    The name is Keras' own, or that of a repository of the hub that no row describes.

    Raises:
        DownloadError: it is neither at hand nor to be fetched.
        MissingExtraError: the hub's client is not installed.
        ValueError: no repository can have that name.
    """
    if named := keras_file(weights):
        return weights_file(*named)
    asked = repository(weights)
    if asked:
        return repository_file(asked.name, asked.revision)
    is_folder = isinstance(weights, (str, os.PathLike)) and os.path.isdir(weights)
    return weights_in(weights) if is_folder else row_name(weights)


def file_of(name: str, *, force: bool = False) -> str:
    """Return the path of the file of weights that a published name stands for.

    With `force` it is fetched even if it is there.

    Raises:
        DownloadError: it is neither at hand nor to be fetched.
        MissingExtraError: the hub's client is not installed.
        ValueError: no such weights are known.
    """
    if named := keras_file(name):
        return weights_file(*named, force=force)
    asked = repository(name)
    if asked:
        return repository_file(asked.name, asked.revision, force=force)
    return hub_file(table.get(row_name(name)), force=force)


def weights_file(
    row: Pretrained, include_top: bool, *, progress: Progress | None = None, force: bool = False
) -> str:
    """Return the path of a row's file, found or fetched, whose hash or structure was checked.

    Raises:
        DownloadError: the file is in no folder and cannot be fetched, or it is not the right one.
        CheckpointError: a file in one of the user's own folders does not hold the row's arrays.
    """
    return find_or_fetch(
        row.file_name(include_top),
        row.known_sha256(include_top),
        known_md5=row.known_md5(include_top),
        check=partial(check_structure, net=row.network(include_top)),
        max_bytes=row.max_bytes,
        progress=progress,
        force=force,
    )


def check_structure(path: str, net: Net | None = None) -> None:
    """Raise `CheckpointError` if the file at `path` does not hold the arrays of `net`.

    Without `net`, the file must hold those of some MobileNet. Values are not read.
    """
    expected = net.arrays() if net else {}
    with open_checkpoint(path, unpacked_limit(expected) if net else MAX_BYTES) as checkpoint:
        shapes = shapes_of(checkpoint.arrays)
    origin = recognise(shapes)
    if net is None and origin is None:
        remedy = "Pass another file."
        raise CheckpointError(fault(path, "its arrays are not those of a MobileNet.", remedy))
    if net is not None:
        comparison = compare(expected, shapes)
        if len(comparison.fitting) < len(expected):
            raise CheckpointError(mismatch_message(path, comparison, origin, expected))
