"""Checks of the builders' arguments, made before any layer is.

A wrong value raises `ValueError` and names the remedy. A wrong value that Keras ignores, because
nothing reads it, is ignored here too, with one `UserWarning`.
"""

from __future__ import annotations

import functools
import math
import operator
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.conventions import Length, Padding
from keras_mobilenet.nets.families import v1
from keras_mobilenet.nets.families.registry import FAMILIES
from keras_mobilenet.nets.net import (
    MIN_SIZE,
    OUTPUT_STRIDES,
    RELU_MAXIMA,
    Family,
    Net,
    OutputStride,
    Size,
)
from keras_mobilenet.nets.published import table
from keras_mobilenet.nets.published.rows import Published

DataFormat = Literal["channels_last", "channels_first"]
IMAGENET = "imagenet"


@dataclass(frozen=True)
class Arguments:
    """A builder's arguments after the checks, with the defaults filled in."""

    family: Family
    input_shape: tuple[int | None, ...]  # without the batch, in the data format's order
    size: tuple[Length, Length]  # (height, width) in pixels, None where unknown
    layers: Callable[..., Net]  # from `padding` and `size`
    alpha: float
    dropout: float
    include_top: bool
    name: str | None
    published: pretrained.Pretrained | None  # the row of `weights="imagenet"`
    hub: Published | None  # the row of weights that a repository's name stands for
    weights: str | None  # a file of the user's own
    name_prefix: str

    def network(self, padding: Padding) -> Net:
        """Return the net under a padding, for the size that was asked for."""
        return self.layers(padding=padding, size=self.size)

    @property
    def known_size(self) -> Size | None:
        """The (height, width) in pixels, or None where one of them is unknown."""
        height, width = self.size
        return None if height is None or width is None else (height, width)


# What a builder takes where an argument is left out, of those that `check` has no default for.
DEFAULTS: Mapping[str, Any] = {
    "input_shape": None,
    "alpha": 1.0,
    "include_top": True,
    "pooling": None,
    "classes": 1000,
    "classifier_activation": "softmax",
}


def check(
    family: Family = v1.FAMILY,
    *,
    input_shape: Any,
    alpha: Any,
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
    blocks: Any = None,
    include_preprocessing: Any = False,
    name_prefix: Any = "",
    data_format: DataFormat = "channels_last",
    frames: int = 1,
    **options: Any,
) -> Arguments:
    """Return the checked arguments of a family's builder; `options` are those it alone takes.

    A warning names the line that called the function that is `frames` calls above this one.

    Raises:
        ValueError: an argument has a wrong type or value, or two of them disagree.
    """
    include_top = _flag("include_top", include_top, "True adds the classifier.")
    alpha = _alpha(alpha, family)
    options = _options(family, options)
    path = _weights(weights)
    if include_top:
        classes = positive_int("classes", classes, "Pass the number of classes, such as 1000.")
        dropout = share_dropped(dropout, family.dropout)
    else:
        _warn_if_ignored_pooling(pooling, frames)
    _check_conventions(family, padding, epsilon, activation)
    blocks = checked_blocks(blocks, alpha, family)
    shape, size, channels = _input_shape(input_shape, data_format, include_top, family)
    row = None
    if path == IMAGENET:
        row = _published(family, alpha, options, include_top, classes, blocks, size, frames)
    include_preprocessing = _flag(
        "include_preprocessing", include_preprocessing, "True makes the net take pixels."
    )
    hub = None if path is None or os.path.exists(path) else table.find(path)
    if hub:
        given = {"alpha": alpha, **options} | ({"classes": classes} if include_top else {})
        _check_hub(hub, family, given, blocks, include_preprocessing)
    layers = functools.partial(
        family.network,
        alpha=alpha,
        channels=channels,
        classes=classes,
        include_top=include_top,
        pooling=pooling if pooling in ("avg", "max") else None,
        output_stride=_output_stride(output_stride),
        blocks=blocks,
        include_preprocessing=include_preprocessing,
        name_prefix=_name_prefix(name_prefix),
        **options,
    )
    return Arguments(
        family=family,
        input_shape=shape,
        size=size,
        layers=layers,
        alpha=alpha,
        dropout=dropout,
        include_top=include_top,
        name=_name(name) or family.model_name(alpha, row.size if row else size[0]),
        published=row,
        hub=hub,
        weights=None if row or hub else path,
        name_prefix=name_prefix,
    )


def _options(family: Family, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a family's builder alone takes, with the defaults filled in."""
    options = {**family.options}
    for argument, value in given.items():
        if argument in options:
            options[argument] = _OPTIONS[argument](argument, value)
        elif argument not in _NEUTRAL:
            raise TypeError(f"{family.name} has no argument {argument!r}. Received: {value!r}")
        elif value != _NEUTRAL[argument]:
            takers = ", ".join(known.key for known in FAMILIES if argument in known.options)
            remedy = f"Only {takers} takes it."
            raise _wrong(argument, value, f"left out for {family.key}", remedy)
    return options


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


_OPTIONS: dict[str, Callable[[str, Any], Any]] = {
    "depth_multiplier": functools.partial(
        positive_int,
        remedy="It is the number of depthwise filters for each input channel. "
        "For a narrower or wider net pass `alpha`; for another resolution pass `input_shape`.",
    ),
    "minimalistic": functools.partial(
        _flag, remedy="True is for the net without 5 x 5 kernels, squeeze-excite and hard-swish."
    ),
}
_NEUTRAL = {name: value for known in FAMILIES for name, value in known.options.items()}


def _alpha(value: Any, family: Family) -> float:
    alpha = _finite_float(value)
    if alpha is None or alpha <= 0:
        known = pretrained.alphas(family.name)
        remedy = f"Published weights exist for {_listed(known)}." if known else "1 is the paper's."
        raise _wrong("alpha", value, "a positive number", remedy)
    if family.width(family.stem, alpha) < 1:
        least = 1 / family.stem
        remedy = (
            f"Below {least} the first layer, of {family.stem} filters, is left without channels."
        )
        raise _wrong("alpha", value, f"at least {least}", remedy)
    return alpha


def _listed(values: Sequence[object]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} and {last}" if first else last


def share_dropped(value: Any, argument: str = "dropout") -> float:
    """Return the value of `dropout` as a float in 0 to 1, or raise a `ValueError`."""
    rate = _finite_float(value)
    if rate is None or not 0 <= rate <= 1:
        raise _wrong(argument, value, "between 0 and 1", "It is the share of features dropped.")
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


def checked_blocks(value: Any, alpha: float, family: Family = v1.FAMILY) -> tuple[Any, ...]:
    """Return the blocks, those of the paper in place of None.

    Raises:
        ValueError: they are none, `alpha` is none, or leaves one of them without channels.
    """
    alpha = _alpha(alpha, family)
    if value is None:
        return family.blocks
    kind = type(family.blocks[0])
    blocks = tuple(value) if isinstance(value, Iterable) else ()
    if not blocks or not all(isinstance(block, kind) and block.is_sound() for block in blocks):
        wanted = f"a sequence of {kind.__module__}.{kind.__name__}(filters, stride)"
        raise _wrong("blocks", value, wanted, f"{family.blocks_name} are the paper's.")
    narrowest = min(block.filters for block in blocks)
    if family.width(narrowest, alpha) < 1:
        remedy = f"The narrowest block, of {narrowest} filters, is left without channels."
        raise _wrong("alpha", alpha, f"at least {1 / narrowest}", remedy)
    return blocks


def net_options(family: Family, **given: Any) -> dict[str, Any]:
    """Return what a net alone takes, such as V3's `minimalistic`, where it is not the default.

    Raises:
        ValueError: a value has a wrong type, or the net has no such option.
    """
    checked = _options(family, given)
    return {name: value for name, value in checked.items() if value != family.options[name]}


def _check_conventions(family: Family, padding: Any, epsilon: Any, activation: Any) -> None:
    if padding is not None and padding not in get_args(Padding):
        wanted = f"one of {', '.join(map(repr, get_args(Padding)))} or None"
        raise _wrong("padding", padding, wanted, "None follows the file of weights.")
    if epsilon is not None and ((number := _finite_float(epsilon)) is None or number <= 0):
        own = family.conventions.epsilon
        remedy = f"None follows the file of weights, and is {own:g} without one."
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
        path == IMAGENET
        or any(map(os.path.exists, (path, f"{path}.index")))
        or table.find(path) is not None
    ):
        return path
    remedy = "No file of that name exists." if isinstance(path, str) else "Pass a path as text."
    if isinstance(path, str) and table.looks_like_repository(path):
        remedy = (
            f"No file of that name exists, nor are such weights known. {table.why_unknown(path)}"
        )
    wanted = (
        "None (random values), 'imagenet' (published ones), the name of published ones such as "
        f"{table.ROWS[0].repository!r}, or the path of a file"
    )
    raise _wrong("weights", value, wanted, remedy)


def _warn_if_ignored_pooling(pooling: Any, frames: int) -> None:
    if pooling not in (None, "avg", "max"):
        warnings.warn(
            f"`pooling` has no effect: it can be None, 'avg' or 'max'. Received: "
            f"pooling={pooling!r}",
            UserWarning,
            stacklevel=frames + 3,  # the line that calls the builder
        )


def _input_shape(
    value: Any, data_format: DataFormat, include_top: bool, family: Family
) -> tuple[tuple[int | None, ...], tuple[int | None, int | None], int]:
    """Return the shape, the size and the channels that `input_shape` asks for."""
    last = data_format == "channels_last"
    if value is None:
        size: tuple[int | None, int | None] = (None, None)
        if include_top:
            size = (family.default_size, family.default_size)
        return ((*size, 3) if last else (3, *size)), size, 3
    axes = "(height, width, channels)" if last else "(channels, height, width)"
    wanted = f"three integers {axes}, sizes in pixels, at least {MIN_SIZE} or None"
    remedy = f"The data format is {data_format!r}."
    shape = _dimensions(value)
    if shape is None:
        raise _wrong("input_shape", value, wanted, remedy)
    *size_list, channels = shape if last else (*shape[1:], shape[0])
    too_small = any(n is not None and n < MIN_SIZE for n in size_list)
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


def _published(
    family: Family,
    alpha: float,
    options: Mapping[str, Any],
    include_top: bool,
    classes: int,
    blocks: tuple[Any, ...],
    size: tuple[Length, Length],
    frames: int,
) -> pretrained.Pretrained:
    """Return the row of the published weights, or raise if there is none of these dimensions."""
    if not pretrained.rows_of(family.name):
        wanted = f"None or the path of a file: Keras publishes no weights of {family.name}"
        raise _wrong("weights", IMAGENET, wanted, "Files of timm's are among those read.")
    remedy = "Pass weights=None or a file of your own for anything else."
    if blocks != family.blocks:
        raise _wrong("blocks", blocks, f"{family.blocks_name} with weights='imagenet'", remedy)
    if options.get("depth_multiplier", 1) != 1:
        wanted = "1 with weights='imagenet'"
        raise _wrong("depth_multiplier", options["depth_multiplier"], wanted, remedy)
    alphas = pretrained.alphas(family.name, **options)
    if alpha not in alphas:
        with_options = " and minimalistic=True" if options.get("minimalistic") else ""
        wanted = f"one of {', '.join(map(str, alphas))} with weights='imagenet'{with_options}"
        raise _wrong("alpha", alpha, wanted, remedy)
    if include_top and classes != pretrained.CLASSES:
        wanted = f"{pretrained.CLASSES} with weights='imagenet' and include_top=True"
        raise _wrong("classes", classes, wanted, "Pass include_top=False for other classes.")
    nearest = pretrained.nearest_size(size, family.name, alpha)
    # Keras also warns where no size was given: there is nothing wrong with that.
    if size != (None, None) and nearest != size[0]:
        sizes = ", ".join(map(str, pretrained.sizes(family.name, alpha)))
        warnings.warn(
            f"No weights were published for input of size {size}, only for squares of {sizes} "
            f"pixels. Those for {nearest} are taken.",
            UserWarning,
            stacklevel=frames + 3,  # the line that calls the builder
        )
    return pretrained.find(alpha, nearest, family.name, **options)


def _check_hub(
    row: Published,
    family: Family,
    given: Mapping[str, Any],
    blocks: tuple[Any, ...],
    include_preprocessing: bool,
) -> None:
    """Raise unless a builder's arguments are those of a row's net."""
    by_name = f"weights={row.repository!r}"
    if family is not row.family:
        remedy = f"These weights are of {row.family.name}; `from_pretrained` picks the builder."
        raise _wrong("weights", row.repository, f"those of a {family.name}", remedy)
    remedy = "`from_pretrained` passes the right ones. Or pass a file of your own."
    if blocks != family.blocks:
        raise _wrong("blocks", blocks, f"{family.blocks_name} with {by_name}", remedy)
    wanted = {**family.options, **row.arguments}
    for argument, value in given.items():
        if value != wanted[argument]:
            raise _wrong(argument, value, f"{wanted[argument]} with {by_name}", remedy)
    if include_preprocessing and not row.takes_minus_one_to_one:
        remedy = (
            "The layer would scale to -1..1, and these weights take another range. Pixels are "
            "scaled right by `Predictor`, and by `preprocessing_of(model).scaled`."
        )
        raise _wrong("include_preprocessing", True, f"False with {by_name}", remedy)
