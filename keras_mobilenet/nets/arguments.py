"""Checks of `MobileNet`'s arguments, made before any layer is.

A wrong value raises `ValueError` and names the remedy. A wrong value that Keras ignores, because
nothing reads it, is ignored here too, with one `UserWarning`.
"""

from __future__ import annotations

import functools
import math
import operator
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from keras_mobilenet.nets import pretrained, v1
from keras_mobilenet.nets.net import OUTPUT_STRIDES, RELU_MAXIMA, Net, OutputStride, Padding, Size

DataFormat = Literal["channels_last", "channels_first"]
IMAGENET = "imagenet"


@dataclass(frozen=True)
class Arguments:
    """`MobileNet`'s arguments after the checks, with the defaults filled in."""

    input_shape: tuple[int | None, ...]  # without the batch, in the data format's order
    size: tuple[int | None, int | None]  # (height, width) in pixels, None where unknown
    network: Callable[[Padding], Net]  # the layers under a padding
    alpha: float
    dropout: float
    include_top: bool
    name: str

    @property
    def known_size(self) -> Size | None:
        """The (height, width) in pixels, or None where one of them is unknown."""
        height, width = self.size
        return None if height is None or width is None else (height, width)


def check(
    *,
    input_shape: Any,
    alpha: Any,
    depth_multiplier: Any,
    include_top: Any,
    pooling: Any,
    classes: Any,
    dropout: Any = 0.0,
    weights: Any = None,
    name: Any = None,
    padding: Any = None,
    epsilon: Any = None,
    activation: Any = None,
    output_stride: Any = 32,
    blocks: Any = v1.BLOCKS,
    include_preprocessing: Any = False,
    name_prefix: Any = "",
    data_format: DataFormat = "channels_last",
) -> Arguments:
    """Return the checked arguments of `MobileNet`.

    Raises:
        ValueError: an argument has a wrong type or value, or two of them disagree.
    """
    include_top = _flag("include_top", include_top, "True adds the classifier.")
    alpha = _alpha(alpha)
    depth_multiplier = positive_int("depth_multiplier", depth_multiplier, _DEPTH_MULTIPLIER_HINT)
    imagenet = _weights(weights) == IMAGENET
    if include_top:
        classes = positive_int("classes", classes, "Pass the number of classes, such as 1000.")
        dropout = share_dropped(dropout)
    else:
        _warn_if_ignored_pooling(pooling)
    _check_conventions(padding, epsilon, activation)
    blocks = checked_blocks(blocks, alpha)
    shape, size, channels = _input_shape(input_shape, data_format, include_top)
    if imagenet:
        _check_imagenet(alpha, depth_multiplier, include_top, classes, blocks)
        _warn_if_unpublished_size(size)
    network = functools.partial(
        v1.network,
        alpha,
        depth_multiplier,
        channels,
        classes,
        include_top,
        pooling if pooling in ("avg", "max") else None,
        output_stride=_output_stride(output_stride),
        blocks=blocks,
        include_preprocessing=_flag(
            "include_preprocessing", include_preprocessing, "True makes the net take pixels."
        ),
        name_prefix=_name_prefix(name_prefix),
    )
    rows = pretrained.nearest_size(size) if imagenet else size[0]
    default_name = f"mobilenet_{alpha:0.2f}_{rows}"
    return Arguments(
        input_shape=shape,
        size=size,
        network=network,
        alpha=alpha,
        dropout=dropout,
        include_top=include_top,
        name=_name(name) or default_name,
    )


def check_training(bn_momentum: Any, weight_decay: Any) -> None:
    """Check what only training reads.

    Raises:
        ValueError: one of the two has a wrong type or value.
    """
    momentum = _finite_float(bn_momentum)
    if momentum is None or not 0 <= momentum <= 1:
        remedy = "It is the share of the moving statistics that a step of training keeps."
        raise _wrong("bn_momentum", bn_momentum, "between 0 and 1", remedy)
    decay = 0.0 if weight_decay is None else _finite_float(weight_decay)
    if decay is None or decay < 0:
        remedy = "The published weights were trained with 0.00004."
        raise _wrong("weight_decay", weight_decay, "a number of at least 0, or None", remedy)


_DEPTH_MULTIPLIER_HINT = (
    "It is the number of depthwise filters for each input channel. "
    "For a narrower or wider net pass `alpha`; for another resolution pass `input_shape`."
)


def _wrong(argument: str, value: object, wanted: str, remedy: str) -> ValueError:
    return ValueError(f"`{argument}` must be {wanted}. {remedy} Received: {argument}={value!r}")


def as_int(value: Any) -> int | None:
    """Return an int or NumPy integer as int; None for everything else, bool included."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def positive_int(argument: str, value: Any, remedy: str) -> int:
    """Return `value` as an int of at least 1, or raise a `ValueError` that names `argument`."""
    number = as_int(value)
    if number is None or number < 1:
        raise _wrong(argument, value, "a positive integer", remedy)
    return number


def check_choice(argument: str, value: object, choices: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of the choices."""
    known = tuple(choices)
    if value not in known:
        raise ValueError(
            f"`{argument}` must be one of {', '.join(known)}. Received: {argument}={value!r}"
        )


def _finite_float(value: Any) -> float | None:
    """Return a real number as float; None for text, bool, NaN, infinity and the rest."""
    if isinstance(value, (bool, str, bytes)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _flag(argument: str, value: Any, remedy: str) -> bool:
    # Keras goes by truth, where include_top="no" and include_top="False" both mean True.
    if isinstance(value, bool) or as_int(value) in (0, 1) or type(value).__name__ == "bool":
        return bool(value)
    raise _wrong(argument, value, "True or False", remedy)


def _alpha(value: Any) -> float:
    alpha = _finite_float(value)
    if alpha is None or alpha <= 0:
        remedy = "Published weights exist for 0.25, 0.5, 0.75 and 1.0."
        raise _wrong("alpha", value, "a positive number", remedy)
    stem = v1.STEM.filters
    if v1.width(stem, alpha) < 1:
        remedy = f"Below {1 / stem} the first layer, of {stem} filters, is left without channels."
        raise _wrong("alpha", value, f"at least {1 / stem}", remedy)
    return alpha


def share_dropped(value: Any) -> float:
    """Return the value of `dropout` as a float in 0 to 1, or raise a `ValueError`."""
    rate = _finite_float(value)
    if rate is None or not 0 <= rate <= 1:
        raise _wrong("dropout", value, "between 0 and 1", "It is the share of features dropped.")
    return rate


def _name(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and "/" not in value):
        return value
    raise _wrong("name", value, "a string without '/', or None", "None gives Keras' name.")


def _name_prefix(value: Any) -> str:
    if isinstance(value, str) and "/" not in value:
        return value
    remedy = "It goes before the name of each layer, as in 'left_' for 'left_conv1'."
    raise _wrong("name_prefix", value, "a string without '/'", remedy)


def _output_stride(value: Any) -> OutputStride:
    for known in OUTPUT_STRIDES:
        if as_int(value) == known:
            return known
    wanted = f"one of {', '.join(map(str, OUTPUT_STRIDES))}"
    remedy = "It is the input's size over that of the last block's output."
    raise _wrong("output_stride", value, wanted, remedy)


def checked_blocks(value: Any, alpha: float) -> tuple[v1.Block, ...]:
    """Return the blocks.

    Raises:
        ValueError: they are none, `alpha` is none, or leaves one of them without channels.
    """
    alpha = _alpha(alpha)
    blocks = tuple(value) if isinstance(value, Iterable) else ()
    sound = bool(blocks) and all(isinstance(block, v1.Block) for block in blocks)
    for block in blocks if sound else ():
        numbers = (as_int(block.filters), as_int(block.stride))
        sound &= all(n is not None and n > 0 for n in numbers) and isinstance(block.separable, bool)
    if not sound:
        wanted = "a sequence of keras_mobilenet.nets.v1.Block(filters, stride)"
        raise _wrong("blocks", value, wanted, "spec.BLOCKS are the paper's thirteen.")
    narrowest = min(block.filters for block in blocks)
    if v1.width(narrowest, alpha) < 1:
        remedy = f"The narrowest block, of {narrowest} filters, is left without channels."
        raise _wrong("alpha", alpha, f"at least {1 / narrowest}", remedy)
    return blocks


def _check_conventions(padding: Any, epsilon: Any, activation: Any) -> None:
    if padding is not None and padding not in get_args(Padding):
        wanted = f"one of {', '.join(map(repr, get_args(Padding)))} or None"
        raise _wrong("padding", padding, wanted, "None follows the file of weights.")
    if epsilon is not None and ((number := _finite_float(epsilon)) is None or number <= 0):
        remedy = "None follows the file of weights, and is 0.001 without one."
        raise _wrong("epsilon", epsilon, "a positive number or None", remedy)
    if activation is not None and activation not in tuple(RELU_MAXIMA):
        wanted = f"one of {', '.join(map(repr, RELU_MAXIMA))} or None"
        remedy = "None follows the file of weights, and is 'relu6' without one."
        raise _wrong("activation", activation, wanted, remedy)


def _weights(value: Any) -> str | None:
    if value is None:
        return None
    try:
        path = os.fspath(value)
    except TypeError:
        path = None
    # A TensorFlow checkpoint goes by what its files' names begin with.
    if isinstance(path, str) and (
        path == IMAGENET or any(map(os.path.exists, (path, f"{path}.index")))
    ):
        return path
    remedy = "No file of that name exists." if isinstance(path, str) else "Pass a path as text."
    wanted = "None (random values), 'imagenet' (published ones) or the path of a file"
    raise _wrong("weights", value, wanted, remedy)


def _warn_if_ignored_pooling(pooling: Any) -> None:
    if pooling not in (None, "avg", "max"):
        warnings.warn(
            f"`pooling` has no effect: it can be None, 'avg' or 'max'. Received: "
            f"pooling={pooling!r}",
            UserWarning,
            stacklevel=4,  # the line that calls MobileNet
        )


def _input_shape(
    value: Any, data_format: DataFormat, include_top: bool
) -> tuple[tuple[int | None, ...], tuple[int | None, int | None], int]:
    """Return the shape, the size and the channels that `input_shape` asks for."""
    last = data_format == "channels_last"
    if value is None:
        size: tuple[int | None, int | None] = (None, None)
        if include_top:
            size = (v1.DEFAULT_SIZE, v1.DEFAULT_SIZE)
        return ((*size, 3) if last else (3, *size)), size, 3
    axes = "(height, width, channels)" if last else "(channels, height, width)"
    wanted = f"three integers {axes}, sizes in pixels, at least {v1.MIN_SIZE} or None"
    remedy = f"The data format is {data_format!r}."
    shape = _dimensions(value)
    if shape is None:
        raise _wrong("input_shape", value, wanted, remedy)
    *size_list, channels = shape if last else (*shape[1:], shape[0])
    too_small = any(n is not None and n < v1.MIN_SIZE for n in size_list)
    if too_small or channels is None or channels < 1:
        raise _wrong("input_shape", value, wanted, remedy)
    return shape, (size_list[0], size_list[1]), channels


def _dimensions(value: Any) -> tuple[int | None, ...] | None:
    """Return `value` as three dimensions, or None if it is not three integers or Nones."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return None
    items = tuple(value)
    numbers = tuple(as_int(item) for item in items)
    sound = all(
        number is not None or item is None for item, number in zip(items, numbers, strict=True)
    )
    return numbers if sound and len(numbers) == 3 else None


def _check_imagenet(
    alpha: float,
    depth_multiplier: int,
    include_top: bool,
    classes: int,
    blocks: tuple[v1.Block, ...],
) -> None:
    """Raise if no published file has these dimensions."""
    remedy = "Pass weights=None or a file of your own for anything else."
    if blocks != v1.BLOCKS:
        raise _wrong("blocks", blocks, "spec.BLOCKS with weights='imagenet'", remedy)
    if depth_multiplier != 1:
        raise _wrong("depth_multiplier", depth_multiplier, "1 with weights='imagenet'", remedy)
    if alpha not in pretrained.ALPHAS:
        published = ", ".join(map(str, pretrained.ALPHAS))
        raise _wrong("alpha", alpha, f"one of {published} with weights='imagenet'", remedy)
    if include_top and classes != pretrained.CLASSES:
        wanted = f"{pretrained.CLASSES} with weights='imagenet' and include_top=True"
        raise _wrong("classes", classes, wanted, "Pass include_top=False for other classes.")


def _warn_if_unpublished_size(size: tuple[int | None, int | None]) -> None:
    # Keras also warns where no size was given: there is nothing wrong with that.
    if size != (None, None) and pretrained.nearest_size(size) != size[0]:
        sizes = ", ".join(map(str, pretrained.SIZES))
        warnings.warn(
            f"No weights were published for input of size {size}, only for squares of {sizes} "
            f"pixels. Those for {v1.DEFAULT_SIZE} are taken.",
            UserWarning,
            stacklevel=4,  # the line that calls MobileNet
        )
