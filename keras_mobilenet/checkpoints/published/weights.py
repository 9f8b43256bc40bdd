"""Published weights as checkpoints: the file of a row of the table, checked before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from keras_mobilenet.checkpoints.load_errors import misfit
from keras_mobilenet.checkpoints.published.download import Progress, find_or_fetch
from keras_mobilenet.errors import CheckpointError, fault
from keras_mobilenet.formats.arrays import compare, shapes_of
from keras_mobilenet.formats.registry import MAX_BYTES, open_checkpoint, unpacked_limit
from keras_mobilenet.nets.net import Layer, arrays_of
from keras_mobilenet.nets.pretrained import Pretrained
from keras_mobilenet.nets.recognition import infer_origin


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
        check=partial(check_structure, layers=row.network(include_top)),
        max_bytes=row.max_bytes,
        progress=progress,
        force=force,
    )


def check_structure(path: str, layers: Sequence[Layer] | None = None) -> None:
    """Raise `CheckpointError` if the file at `path` does not hold the arrays of `layers`.

    Without `layers`, the file must hold those of some MobileNet. Values are not read.
    """
    expected = arrays_of(layers or ())
    with open_checkpoint(path, unpacked_limit(expected) if layers else MAX_BYTES) as checkpoint:
        found = shapes_of(checkpoint.arrays)
    origin = infer_origin(found)
    if layers is None and origin is None:
        remedy = "Pass another file."
        raise CheckpointError(fault(path, "its arrays are not those of a MobileNet V1.", remedy))
    if layers is not None:
        comparison = compare(expected, found)
        if len(comparison.fitting) < len(expected):
            raise CheckpointError(misfit(path, comparison, origin, expected))
