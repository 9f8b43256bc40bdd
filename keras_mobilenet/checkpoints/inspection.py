"""What a file of weights is, without building a model; and the same values in another format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from os import PathLike

from keras_mobilenet.checkpoints.hub_folders import weights_in
from keras_mobilenet.checkpoints.load_errors import undecided
from keras_mobilenet.checkpoints.loading import info_in, top_arrays, without_background
from keras_mobilenet.checkpoints.net_weights import builder_of, net_weights, published_builder
from keras_mobilenet.checkpoints.published.hashes import sha256_of
from keras_mobilenet.checkpoints.published.names import is_name, row_name
from keras_mobilenet.checkpoints.published.weights import file_of
from keras_mobilenet.checkpoints.writing.timm_folder import write_timm_folder
from keras_mobilenet.checkpoints.writing.weights_file import write_arrays
from keras_mobilenet.errors import CheckpointError, fault
from keras_mobilenet.formats.arrays import checked_values, shapes_of, shortened
from keras_mobilenet.formats.registry import open_checkpoint
from keras_mobilenet.images.model_info import Label, ModelInfo
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.nets.arguments import check_choice
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families.registry import family, net_with_arrays, recognise
from keras_mobilenet.nets.net import Origin, Shape
from keras_mobilenet.nets.published import table
from keras_mobilenet.nets.published.rows import WEIGHTS

_TIMM = "timm"


@dataclass(frozen=True)
class Inspection:
    """What `inspect_weights` found in a file."""

    path: str
    format: str
    origin: Origin | None  # MobileNet's arguments, where the shapes tell them
    conventions: Conventions | None  # None where the file does not tell: then its builder's
    background: bool  # whether class 0 is a background class
    dtypes: tuple[str, ...]
    params: int  # values in all arrays
    sha256: str | None  # None for a folder, or a checkpoint of several files
    arrays: Mapping[str, Shape]  # by our names, in the file's order
    notes: tuple[str, ...]


def inspect_weights(path: str | PathLike[str]) -> Inspection:
    """Return what a file of weights is. Its headers are read, and no model is built.

    The name of weights on the hub stands for their file, which is fetched if it is not here.

    Raises:
        CheckpointError: the file cannot be read, or is of no known format.
        DownloadError: it is on the hub, and neither at hand nor to be fetched.
    """
    path = file_of(os.fspath(path)) if is_name(path) else weights_in(path)
    with open_checkpoint(path) as checkpoint:
        shapes = shapes_of(checkpoint.arrays)
        return Inspection(
            path=os.fspath(path),
            format=checkpoint.format,
            origin=recognise(shapes),
            conventions=checkpoint.conventions,
            background=checkpoint.background,
            dtypes=tuple(sorted({str(array.dtype) for array in checkpoint.arrays.values()})),
            params=sum(map(prod, shapes.values())),
            sha256=_sha256(path),
            arrays=shapes,
            notes=checkpoint.notes,
        )


def convert_weights(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    to: str | None = None,
    preprocessing: Preprocessing | str | None = None,
    labels: Sequence[Label] | None = None,
) -> Inspection:
    """Write the values of one file into another format, and return what was written.

    The new file is read back and compared before it takes its place. It tells where its values
    come from: the source's name, format, SHA-256 and conventions. A background class is dropped.

    Args:
        source: A file in any readable format, or the name of published weights on the hub.
        target: `.safetensors`, `.weights.h5` (Keras 3) or `.h5` (Keras' legacy layout). With
            `to="timm"` a folder, for `model.safetensors` and `config.json`.
        to: `"timm"` for its names, order of axes and settings: it opens the folder by
            `timm.create_model("local-dir:FOLDER", pretrained=True)`, and puts out the same logits.
        preprocessing: How pixels become the net's input, in place of what the source says. Of a
            file that says nothing it is -1 to 1 for timm.
        labels: The classes' names, in place of those that the source tells.

    Raises:
        CheckpointError: the source cannot be read, is no MobileNet, or holds values that are
            not finite, or negative variances.
        ValueError: the target's name has another end, timm has no such net, or there are not as
            many labels as classes.
        DownloadError: the source is published, and neither at hand nor to be fetched.
        OSError: the target cannot be written; what was there is as it was.
    """
    if to is not None:
        check_choice("to", to, (_TIMM,))
        return _to_timm(source, target, preprocessing, labels)
    source = file_of(os.fspath(source)) if is_name(source) else weights_in(source)
    with open_checkpoint(source) as checkpoint:
        origin = recognise(shapes_of(checkpoint.arrays))
        if origin is None:
            remedy = "Only files of one whole MobileNet are converted."
            names = ", ".join(shortened(checkpoint.arrays))
            raise CheckpointError(fault(source, f"unexpected arrays: {names}.", remedy))
        if checkpoint.candidates:
            raise CheckpointError(undecided(source, checkpoint.candidates))
        arrays, notes = dict(checkpoint.arrays), list(checkpoint.notes)
        if checkpoint.background:
            arrays, dropped = without_background(arrays, top_arrays(net_with_arrays(arrays)))
            notes += dropped
        try:
            values = {n: checked_values(n, array, "float32") for n, array in arrays.items()}
        except ValueError as error:
            remedy = "The file is damaged. Fetch or export it again."
            raise CheckpointError(fault(source, f"{error}.", remedy)) from error
        about = {
            "source": os.path.basename(os.path.normpath(source)),
            "source_format": checkpoint.format,
            "source_sha256": _sha256(source) or "",
            "notes": "; ".join(notes),
        }
        conventions = checkpoint.conventions or family(origin.net).conventions
        info = info_in(source, checkpoint)
    if preprocessing is not None or labels is not None:
        info = (info or ModelInfo()).given(preprocessing, labels, origin.classes)
    write_arrays(target, values, conventions, {k: v for k, v in about.items() if v}, info)
    return inspect_weights(target)


def _to_timm(
    source: str | PathLike[str],
    folder: str | PathLike[str],
    preprocessing: Preprocessing | str | None,
    labels: Sequence[Label] | None,
) -> Inspection:
    name = os.fspath(source)
    row = table.find(row_name(name)) if is_name(name) else None
    weights = net_weights(published_builder(name, {}) if is_name(name) else builder_of(name))
    classifier = weights.net.classifier
    classes = classifier.channels if classifier else None
    info = weights.info.given(preprocessing, labels, classes)
    written = write_timm_folder(folder, weights, info, row.licence if row else None)
    found = inspect_weights(os.path.join(folder, WEIGHTS))
    return replace(found, notes=(*written.notes, *found.notes))


def _sha256(path: str | PathLike[str]) -> str | None:
    return sha256_of(path) if os.path.isfile(path) else None
