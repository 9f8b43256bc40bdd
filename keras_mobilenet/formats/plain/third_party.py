"""Arrays under another library's names, and the configuration that may lie beside their file."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike, Rearranged, scaled, shortened
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.formats.plain import pytorch_names
from keras_mobilenet.formats.plain.pytorch_names import Source
from keras_mobilenet.nets.conventions import Activation, Conventions, Padding
from keras_mobilenet.nets.published.rows import CONFIG, CONFIG_BYTES

# Settings of Hugging Face's nets that make another net of the same arrays.
_FIXED = {"hidden_act": "relu6", "output_stride": 32, "first_layer_is_expansion": True}
# Arguments of timm's functions, as its configurations name them, and their values.
EPSILON, PADDING, ACTIVATION = "bn_eps", "pad_type", "act_layer"
PAD_TYPES: dict[str, Padding] = {"": "symmetric", "same": "same"}
_SAME_NET = ("num_classes", "in_chans", "global_pool", "drop_rate", "drop_path_rate", "bn_momentum")


def from_third_party(path: str, arrays: Mapping[str, ArrayLike], format_name: str) -> Checkpoint:
    """Return the checkpoint in the arrays of a file at `path`, told by their names.

    Names that the source does not have stay as they are, so that they fit no model.
    """
    try:
        source = pytorch_names.find(arrays.keys())
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if source is None:
        names = ", ".join(shortened(arrays)) or "none"
        raise CheckpointError(
            "the file was not written by keras_mobilenet (its metadata does not say so), and its "
            f"array names are of no source that is known, whose padding and epsilon differ: {names}"
        )
    ours = _renamed(source, arrays)
    candidates, notes = _conventions(source, path)
    one = next(iter(candidates.values())) if len(candidates) == 1 else None
    return Checkpoint(
        f"{format_name} ({source.name})",
        ours,
        one,
        _has_background(source, ours),
        notes,
        {} if one else candidates,
        foreign=True,
    )


def _has_background(source: Source, arrays: Mapping[str, ArrayLike]) -> bool:
    classifier = source.net.classifier
    bias = arrays.get(f"{classifier.name}/bias") if classifier else None
    return bias is not None and tuple(bias.shape) == (source.background_classes,)


def _renamed(source: Source, arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """Return the arrays in our order, under our names and with our axes; then the unknown ones."""
    ours: dict[str, ArrayLike] = {}
    for name, theirs in source.names.items():
        if theirs in arrays:
            ours[name] = _rearranged(theirs, arrays[theirs], source.axes[name])
    for name in ours.keys() & source.scales:
        ours[name] = _scaled(source.scales[name], arrays, ours[name])
    known = source.counters.union(source.names.values(), source.scales.values())
    for name in arrays:
        if name in ours:
            raise CheckpointError(f"{name} is in the file under {source.names[name]} as well")
        if name not in known:
            ours[name] = arrays[name]
    return ours


def to_third_party(
    source: Source, arrays: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return a net's arrays under a source's names, in its order of axes; the inverse of reading.

    Counters of training steps, which no net reads, are 0; factors that are parts of arrays here are
    1.
    """
    theirs: dict[str, np.ndarray[Any, Any]] = {}
    for name, values in arrays.items():
        axes = source.axes[name]
        kept = [n for n, axis in zip(values.shape, axes, strict=True) if axis is not None]
        order = np.argsort([axis for axis in axes if axis is not None])
        moved = values.reshape(kept).transpose(order)
        theirs[source.names[name]] = np.ascontiguousarray(moved)
        if name in source.scales:
            theirs[source.scales[name]] = np.ones(values.shape[-1], np.float32)
    counted = (x for x in source.counters if f"{x.rpartition('.')[0]}.weight" in theirs)
    return {**theirs, **{name: np.zeros((), np.int64) for name in counted}}


def _rearranged(name: str, array: ArrayLike, axes: pytorch_names.Axes) -> ArrayLike:
    rank = sum(axis is not None for axis in axes)
    if len(array.shape) != rank:
        raise CheckpointError(f"{name} has the shape {tuple(array.shape)}, not {rank} axes")
    return array if rank == 1 else Rearranged(array, axes)


def _scaled(scale: str, arrays: Mapping[str, ArrayLike], array: ArrayLike) -> ArrayLike:
    if scale not in arrays:
        raise CheckpointError(f"{scale} is missing, which multiplies what a block puts out")
    try:
        return scaled(array, arrays[scale])
    except ValueError as error:
        raise CheckpointError(f"{scale}: {error}") from error


def _conventions(source: Source, path: str) -> tuple[Mapping[str, Conventions], tuple[str, ...]]:
    """Return the conventions that may be the file's, and notes; one if something tells it."""
    candidates, notes = _told_conventions(source, path)
    arguments = _model_args(path) if source.name.startswith("timm,") else {}
    if not arguments:
        return candidates, notes
    changed = {name: _under(arguments, known) for name, known in candidates.items()}
    text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return changed, (*notes, f"{CONFIG} beside the file tells {text}")


def _model_args(path: str) -> dict[str, Any]:
    """Return the arguments of timm's function in a configuration, by which the net is another one.

    Raises:
        CheckpointError: one of them makes a net that there is none of here.
    """
    config = read_config(_beside(path))
    arguments = config.get("model_args") if isinstance(config, dict) else None
    if not isinstance(arguments, dict):
        return {}
    found = {name: x for name, x in arguments.items() if name not in _SAME_NET}
    if unknown := found.keys() - {EPSILON, PADDING, ACTIVATION}:
        name = sorted(unknown)[0]
        raise CheckpointError(
            f"{CONFIG} beside the file has {name}={found[name]!r} among its model_args, under "
            "which the net is another one"
        )
    return found


def _under(arguments: Mapping[str, Any], known: Conventions) -> Conventions:
    """Return what arguments of timm's make of its conventions."""
    epsilon = _epsilon(EPSILON, arguments.get(EPSILON, known.epsilon))
    activation = arguments.get(ACTIVATION, known.activation)
    padding = arguments.get(PADDING, "")
    if padding not in [*PAD_TYPES] or activation not in get_args(Activation):
        text = f"{PADDING}={padding!r}, {ACTIVATION}={activation!r}"
        raise CheckpointError(f"{CONFIG} beside the file has {text}, which no net here has")
    kept = PAD_TYPES[padding] if PADDING in arguments else known.padding
    return Conventions(epsilon, kept, activation)


def _told_conventions(
    source: Source, path: str
) -> tuple[Mapping[str, Conventions], tuple[str, ...]]:
    if len(source.conventions) > 1:
        return _of_named_net(source, path)
    if source.unlike:
        return source.conventions, _told_from(source, path)
    if source.model_type is None:
        return source.conventions, ()
    (defaults,) = source.conventions.values()
    config = read_config(_beside(path))
    if config is None:
        taken = ", ".join(f"{k}={v!r}" for k, v in vars(defaults).items())
        return source.conventions, (f"no {CONFIG} beside the file: took {taken}, the defaults",)
    try:
        return {"": _configured(source, defaults, config)}, ()
    except ValueError as error:
        raise CheckpointError(f"{CONFIG} beside the file: {error}") from error


def _of_named_net(source: Source, path: str) -> tuple[Mapping[str, Conventions], tuple[str, ...]]:
    """Return the conventions of the net that a configuration or the file's own name tells."""
    for where, name in _net_names(path):
        for beginning, conventions in source.conventions.items():
            if name.startswith(f"{beginning}_"):
                note = f"{where} tells that it is one of timm's {beginning}_*"
                return {beginning: conventions}, (note,)
    nets = " and ".join(f"{beginning}_*" for beginning in source.conventions)
    return source.conventions, (f"its names are those of {nets} alike, which compute differently",)


def _told_from(source: Source, path: str) -> tuple[str, ...]:
    """Return notes, of a net whose arrays others have too.

    Raises:
        CheckpointError: a configuration or the file's own name tells that it is one of these.
    """
    names = [*_net_names(path)]
    for where, name in names:
        for beginning, what in source.unlike.items():
            if name.startswith(f"{beginning}_"):
                raise CheckpointError(
                    f"{where} tells that it is one of timm's {beginning}_*: that has the arrays "
                    f"of {source.net_name}, but {what}, which no net here does"
                )
    if any(name.startswith("mobilenetv") for _, name in names):
        return ()
    nets = " or ".join(f"{beginning}_*" for beginning in source.unlike)
    return (f"its names are those of {source.net_name}; nothing tells that it is no {nets}",)


def _net_names(path: str) -> Iterator[tuple[str, str]]:
    """Yield where a name may stand that timm gave the net, and what stands there."""
    config = read_config(_beside(path))
    named = config.get("architecture") if isinstance(config, dict) else None
    if isinstance(named, str):
        yield f"{CONFIG} beside the file", named
    yield "the file's name", os.path.basename(path)


def _beside(path: str) -> str:
    return os.path.join(os.path.dirname(path), CONFIG)


def read_config(path: str) -> Any:
    """Return what the JSON at `path` holds, or None where there is no such file.

    Raises:
        CheckpointError: it is larger than it may be, or no JSON.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError(f"{CONFIG} beside the file is no file")
        with open(path, "rb") as file:
            text = file.read(CONFIG_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{CONFIG} beside the file cannot be read ({error})") from error
    if len(text) > CONFIG_BYTES:
        raise CheckpointError(f"{CONFIG} beside the file has more than {CONFIG_BYTES:,} bytes")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{CONFIG} beside the file is no JSON ({error})") from error


def _configured(source: Source, defaults: Conventions, config: Any) -> Conventions:
    """Return the conventions that Hugging Face's configuration tells.

    Raises:
        ValueError: it is of another net, or of one that cannot be built.
    """
    if not isinstance(config, dict):
        raise ValueError("it holds no settings")
    fixed = {"model_type": source.model_type} | _FIXED
    for key, only in fixed.items():
        if config.get(key, only) != only:
            raise ValueError(f"{key}={config[key]!r}, where {source.net_name} has {only!r}")
    epsilon = _epsilon("layer_norm_eps", config.get("layer_norm_eps", defaults.epsilon))
    tf_padding = config.get("tf_padding", True)
    if type(tf_padding) is not bool:
        raise ValueError(f"tf_padding={tf_padding!r} is neither true nor false")
    padding = defaults.padding if tf_padding else "symmetric"
    return replace(defaults, epsilon=epsilon, padding=padding)


def _epsilon(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not (math.isfinite(value) and 0 < value < 1):
        raise CheckpointError(f"{name}={value!r} is no epsilon of a batch norm")
    return float(value)
