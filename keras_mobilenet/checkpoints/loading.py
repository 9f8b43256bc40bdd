"""Weights between a model and a file: by name, strict, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from keras_mobilenet.checkpoints.hub_folders import read_hub_config, weights_in
from keras_mobilenet.checkpoints.load_errors import mismatch_message, other_conventions, undecided
from keras_mobilenet.checkpoints.model_weights import (
    assign,
    conventions_of,
    variables_of,
    windows_of,
)
from keras_mobilenet.checkpoints.published.hub import source_of
from keras_mobilenet.checkpoints.writing.weights_file import write_arrays
from keras_mobilenet.errors import CheckpointError, about_file, fault
from keras_mobilenet.formats.arrays import (
    ArrayLike,
    Comparison,
    by_order,
    checked_values,
    compare,
    shapes_of,
    shortened,
    without_conv_biases,
)
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.registry import open_checkpoint, unpacked_limit
from keras_mobilenet.images.model_info import ModelInfo, info_from
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.nets.families.registry import family, net_with_arrays, recognise
from keras_mobilenet.nets.net import KERAS, Net, Origin, Shape

_SLASHES = tuple(filter(None, (os.sep, os.altsep)))  # at a path's end: of a folder


@dataclass(frozen=True)
class LoadReport:
    """What a call of `load_weights` did, and what it found in the file."""

    path: str
    format: str
    origin: Origin | None  # the arguments the file was made with, where its shapes tell
    loaded: tuple[str, ...]
    missing: tuple[str, ...]  # in the model, not in the file: left as they were
    unexpected: tuple[str, ...]  # in the file, not in the model: passed over
    shape_differs: tuple[tuple[str, Shape, Shape], ...]  # name, file's, model's
    cast: tuple[str, ...]  # stored in another float type than the model's
    notes: tuple[str, ...] = ()  # what was changed on the way, by the reader or for the model

    def __str__(self) -> str:
        parts = [f"loaded {len(self.loaded)} arrays from {self.path} ({self.format}"]
        parts[0] += f", {self.origin})" if self.origin else ")"
        for label, names in (
            ("not in the file", self.missing),
            ("passed over", self.unexpected),
            ("shape differs", tuple(row[0] for row in self.shape_differs)),
            ("cast to the model's float type", self.cast),
        ):
            if names:
                parts.append(f"{label}: {', '.join(shortened(names))}")
        return "; ".join([*parts, *self.notes])


def load_weights(
    model: Any,
    path: str | PathLike[str],
    *,
    strict: bool = True,
    by_order: bool = False,
    adapt_channels: bool = False,
) -> LoadReport:
    """Load a file's weights into `model` and return a report of what was done.

    Arrays are matched by name. All of them are read and checked before the first one is assigned;
    on any error the model is as it was.

    Args:
        model: A built Keras model, flat or with models nested in it.
        path: A file in any of the readable formats, recognised by its content, or a folder such
            as the hub's repositories.
        strict: Whether every weight of the model must be in the file, with its shape, and every
            array of the file in the model. Into a model without a top a file loads all the same
            that has one, or layers of a user's own. False loads what fits, at least one array, and
            the report tells the rest.
        by_order: Match arrays by their position instead, for legacy H5 files whose layers have
            other names. The order of same-shaped layers cannot be checked then.
        adapt_channels: Make the stem's kernel fit a model with another number of input channels:
            summed for one, repeated and scaled for more.

    Raises:
        CheckpointError: the file cannot be read, does not fit, follows other conventions than the
            model, or holds values that are not finite, or negative variances.
    """
    path = weights_in(path)
    variables = variables_of(model)
    dtypes = {name: np.dtype(variable.dtype).name for name, variable in variables.items()}
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    with open_checkpoint(path, unpacked_limit(expected)) as checkpoint:
        _check_conventions(path, model, checkpoint)
        values, report = read_values(
            path, checkpoint, expected, dtypes,
            strict=strict, by_order=by_order, adapt_channels=adapt_channels,
        )  # fmt: skip
        saved = info_in(path, checkpoint)
    assign(variables, values)
    if saved is not None and not report.missing:
        from keras_mobilenet.models.model_files import set_info_of_net  # noqa: PLC0415 - Keras

        set_info_of_net(model, saved)
    return report


def info_in(path: str | PathLike[str], checkpoint: Checkpoint) -> ModelInfo | None:
    """Return what is said of a net's input and outputs in its file, or beside it in a folder.

    What stands beside it counts: a user can correct that. None stands for Keras' own, which need
    not be said. Of another library's file, and of a net whose publishers scale pixels each in
    their own way, nothing is taken for granted.

    Raises:
        CheckpointError: it is damaged.
    """
    source = source_of(path)
    config = read_hub_config(path)
    if config is not None:
        return replace(config.info, source=source or config.info.source)
    if checkpoint.info is not None:
        with about_file(path, "Save the weights again."):
            info = info_from(checkpoint.info)
            preprocessing = _of_net(info.preprocessing, checkpoint.scaling)
        return replace(info, preprocessing=preprocessing, source=source or info.source)
    if checkpoint.foreign:
        from keras_mobilenet.checkpoints.published.settings import info_beside  # noqa: PLC0415

        return replace(info_beside(path), source=source)
    origin = recognise(shapes_of(checkpoint.arrays))
    if origin is None or family(origin.net).publisher == KERAS:
        return None
    return ModelInfo(preprocessing=None, source=source)


def _of_net(known: Preprocessing | None, scaling: tuple[Any, Any] | None) -> Preprocessing | None:
    """Return what pixels become before a net whose file scales its input itself."""
    if known is None or scaling is None:
        return known
    numbers = (np.asarray(x, np.float64).ravel().tolist() for x in scaling)
    try:
        return known.then(Preprocessing(*(x[0] if len(x) == 1 else tuple(x) for x in numbers)))
    except ValueError as error:
        raise CheckpointError(f"its graph scales its input as no net does ({error})") from error


def read_values(
    path: str | PathLike[str],
    checkpoint: Checkpoint,
    expected: Mapping[str, Shape],
    dtypes: Mapping[str, str],
    *,
    strict: bool = True,
    by_order: bool = False,
    adapt_channels: bool = False,
) -> tuple[dict[str, np.ndarray[Any, Any]], LoadReport]:
    """Return what a file holds of the arrays of these shapes, in these types, and what was done.

    The options are those of `load_weights`.

    Raises:
        CheckpointError: the file does not fit, or holds values that are not finite, or negative
            variances.
    """
    arrays, notes = adapted(checkpoint, expected, channels=adapt_channels)
    if by_order:
        arrays = _in_model_order(path, expected, arrays)
    comparison = compare(expected, shapes_of(arrays))
    origin = recognise(shapes_of(checkpoint.arrays))
    if not comparison.fitting or (strict and not _fits(comparison, expected)):
        raise CheckpointError(mismatch_message(path, comparison, origin, expected))
    values = _read(path, comparison.fitting, arrays, dtypes)
    cast = [name for name in values if arrays[name].dtype != values[name].dtype]
    return values, LoadReport(
        path=os.fspath(path),
        format=checkpoint.format,
        origin=origin,
        loaded=comparison.fitting,
        missing=comparison.missing,
        unexpected=comparison.unexpected,
        shape_differs=comparison.shape_differs,
        cast=tuple(cast),
        notes=(*checkpoint.notes, *notes),
    )


def save_weights(model: Any, path: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Write a model's weights and conventions to a file, under their layers' names.

    What pixels become before the net, and the classes' names, go with them, so that the file alone
    is enough for `Predictor` and `export`. The file is read back and compared before it takes the
    place of whatever `path` held.

    Into a folder goes what Hugging Face's hub takes: `model.safetensors`, `config.json`, from
    which the model is built again, and the model card, `README.md`. `from_pretrained(path)`,
    `Predictor(path)` and `weights=path` open it.

    Args:
        model: A built Keras model. For a folder one whole MobileNet, under its own top or one of
            `replace_top`, or without, and nothing else.
        path: `.safetensors`, `.weights.h5` (Keras 3) or `.h5` (Keras' legacy layout). Or a
            folder: one that is there, or a name that ends in a slash.
        overwrite: Whether to replace what a folder has of these files; its others stay.

    Raises:
        ValueError: `path` has another end, a layer does not fit the format, the folder has such
            files already, or the model is more or less than a MobileNet.
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    from keras_mobilenet.models.model_files import info_of_net  # noqa: PLC0415 - Keras

    if os.path.isdir(path) or os.fspath(path).endswith(_SLASHES):
        from keras_mobilenet.checkpoints.writing.hub_folder import (  # noqa: PLC0415 - reads, too
            write_hub_folder,
        )

        write_hub_folder(model, path, overwrite=overwrite)
        return
    arrays = {name: np.asarray(variable) for name, variable in variables_of(model).items()}
    write_arrays(path, arrays, conventions_of(model), info=info_of_net(model))


def _check_conventions(path: str | PathLike[str], model: Any, checkpoint: Checkpoint) -> None:
    file = [*checkpoint.candidates.values()]
    file += [checkpoint.conventions] if checkpoint.conventions else []
    if not file:
        return
    ours, met = conventions_of(model), windows_of(model)
    if any(known.fits(ours, *met) for known in file):
        return
    if checkpoint.candidates:
        raise CheckpointError(undecided(path, checkpoint.candidates))
    raise CheckpointError(other_conventions(path, file[0], ours))


def _in_model_order(
    path: str | PathLike[str], expected: Mapping[str, Shape], arrays: Mapping[str, ArrayLike]
) -> dict[str, ArrayLike]:
    try:
        return by_order(expected, arrays)
    except ValueError as error:
        remedy = "Build the model that the file was made from, or pass another file."
        raise CheckpointError(fault(path, f"{error}.", remedy)) from error


def _read(
    path: str | PathLike[str],
    names: Sequence[str],
    arrays: Mapping[str, ArrayLike],
    dtypes: Mapping[str, str],
) -> dict[str, np.ndarray[Any, Any]]:
    """Read and check the arrays; all faults of the file come in one error."""
    values: dict[str, np.ndarray[Any, Any]] = {}
    faults: list[str] = []
    for name in names:
        try:
            values[name] = checked_values(name, arrays[name], dtypes[name])
        except ValueError as error:
            faults.append(str(error))
    if faults:
        remedy = "The file is damaged. Fetch or export it again."
        raise CheckpointError(fault(path, "; ".join(shortened(faults)) + ".", remedy))
    return values


def _fits(comparison: Comparison, expected: Mapping[str, Shape]) -> bool:
    net = net_with_arrays([*expected, *comparison.unexpected])
    below_top = {layer.name for layer in net if layer.part != "top"}

    def is_of_net(name: str) -> bool:
        return name.rpartition("/")[0] in below_top

    only_net = all(map(is_of_net, expected))
    surplus = [n for n in comparison.unexpected if not only_net or is_of_net(n)]
    return not (comparison.missing or comparison.shape_differs or surplus)


def adapted(
    checkpoint: Checkpoint, expected: Mapping[str, Shape], *, channels: bool
) -> tuple[dict[str, ArrayLike], list[str]]:
    """Return a file's arrays as a model wants them, and what was changed.

    A background class that the model has no place for is dropped, and biases of convolutions that
    it has no place for go into the moving means. With `channels`, the stem's kernel is adapted to
    the model's number of input channels.
    """
    arrays: dict[str, ArrayLike] = dict(checkpoint.arrays)
    notes: list[str] = []
    net = net_with_arrays(expected)
    if checkpoint.background and _is_longer_by_one(arrays, expected, top_arrays(net)):
        arrays, notes = without_background(arrays, top_arrays(net))
    plain = without_conv_biases(arrays, net.batch_norm_names())
    biases = arrays.keys() - plain.keys()
    if biases and not biases & expected.keys():
        arrays = plain
        notes.append("took the convolutions' biases off the moving means behind them")
    stem = f"{net.stem.name}/kernel"
    if channels and stem in arrays and stem in expected:
        file, model = tuple(arrays[stem].shape), expected[stem]
        if len(file) == 4 and file != model and (file[:2], file[3]) == (model[:2], model[3]):
            arrays[stem] = adapted_stem(np.asarray(arrays[stem]), model[2])
            notes.append(f"adapted the stem from {file[2]} input channels to {model[2]}")
    return arrays, notes


def top_arrays(net: Net) -> tuple[str, ...]:
    """Return the arrays of a net's classifier."""
    return tuple(net.classifier.arrays()) if net.classifier else ()


def without_background(
    arrays: Mapping[str, ArrayLike], names: Sequence[str]
) -> tuple[dict[str, ArrayLike], list[str]]:
    """Return arrays of which those of the top have lost class 0, and a note that says so."""
    top = {n: np.asarray(arrays[n])[..., 1:] for n in names if n in arrays}
    if not top:
        return dict(arrays), []
    count = next(iter(top.values())).shape[-1]
    note = f"dropped class 0, the background: {count + 1} classes became {count}"
    return {**arrays, **top}, [note]


def adapted_stem(kernel: np.ndarray[Any, Any], channels: int) -> np.ndarray[Any, Any]:
    """Return the stem's kernel, `(3, 3, in, filters)`, for another number of input channels.

    For one channel the kernels are summed: a grey image then gives exactly what its repetition
    in all channels gave. For more they are repeated in turn, cut, and scaled by in / channels,
    which keeps the size of the outputs, as timm's `adapt_input_conv` does.
    """
    if channels == 1:
        return np.asarray(kernel.sum(axis=2, keepdims=True))
    before = kernel.shape[2]
    repeated = np.take(kernel, np.arange(channels) % before, axis=2)
    return np.asarray(repeated * (before / channels), kernel.dtype)


def _is_longer_by_one(
    arrays: Mapping[str, ArrayLike], expected: Mapping[str, Shape], names: Sequence[str]
) -> bool:
    if not names or any(name not in arrays or name not in expected for name in names):
        return False
    return all(
        tuple(arrays[name].shape) == (*expected[name][:-1], expected[name][-1] + 1)
        for name in names
    )
