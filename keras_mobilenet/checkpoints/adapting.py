"""Changes to a file's arrays that a model asks for, each of them exact and each of them said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_mobilenet import naming, spec
from keras_mobilenet.arrays import ArrayLike, without_conv_biases
from keras_mobilenet.checkpoints.checkpoint import Checkpoint

STEM_KERNEL = "conv1/kernel"
TOP_KERNEL, TOP_BIAS = f"{naming.TOP_LAYER}/kernel", f"{naming.TOP_LAYER}/bias"


def adapted(
    checkpoint: Checkpoint, expected: Mapping[str, spec.Shape], *, channels: bool
) -> tuple[dict[str, ArrayLike], list[str]]:
    """Return a file's arrays as a model wants them, and what was changed.

    A background class that the model has no place for is dropped, and biases of convolutions that
    it has no place for go into the moving means. With `channels`, the stem's kernel is adapted to
    the model's number of input channels.
    """
    arrays: dict[str, ArrayLike] = dict(checkpoint.arrays)
    notes: list[str] = []
    if checkpoint.background and _is_longer_by_one(arrays, expected):
        arrays, notes = without_background(arrays)
    plain = without_conv_biases(arrays)
    biases = arrays.keys() - plain.keys()
    if biases and not biases & expected.keys():
        arrays = plain
        notes.append("took the convolutions' biases off the moving means behind them")
    if channels and STEM_KERNEL in arrays and STEM_KERNEL in expected:
        file, model = tuple(arrays[STEM_KERNEL].shape), expected[STEM_KERNEL]
        if len(file) == 4 and file != model and (file[:2], file[3]) == (model[:2], model[3]):
            arrays[STEM_KERNEL] = adapted_stem(np.asarray(arrays[STEM_KERNEL]), model[2])
            notes.append(f"adapted the stem from {file[2]} input channels to {model[2]}")
    return arrays, notes


def without_background(
    arrays: Mapping[str, ArrayLike],
) -> tuple[dict[str, ArrayLike], list[str]]:
    """Return arrays whose top has lost its class 0, and a note that says so."""
    top = {n: np.asarray(arrays[n])[..., 1:] for n in (TOP_KERNEL, TOP_BIAS) if n in arrays}
    if not top:
        return dict(arrays), []
    count = next(iter(top.values())).shape[-1]
    note = f"dropped class 0, the background: {count + 1} classes became {count}"
    return {**arrays, **top}, [note]


def adapted_stem(kernel: np.ndarray[Any, Any], channels: int) -> np.ndarray[Any, Any]:
    """Return the stem's kernel, `(3, 3, in, filters)`, for another number of input channels.

    For one channel the kernels are summed: a grey picture then gives exactly what its repetition
    in all channels gave. For more they are repeated in turn, cut, and scaled by in / channels,
    which keeps the size of the outputs, as timm's `adapt_input_conv` does.
    """
    if channels == 1:
        return np.asarray(kernel.sum(axis=2, keepdims=True))
    before = kernel.shape[2]
    repeated = np.take(kernel, np.arange(channels) % before, axis=2)
    return np.asarray(repeated * (before / channels), kernel.dtype)


def _is_longer_by_one(arrays: Mapping[str, ArrayLike], expected: Mapping[str, spec.Shape]) -> bool:
    if any(name not in arrays or name not in expected for name in (TOP_KERNEL, TOP_BIAS)):
        return False
    return all(
        tuple(arrays[name].shape) == (*expected[name][:-1], expected[name][-1] + 1)
        for name in (TOP_KERNEL, TOP_BIAS)
    )
