"""The classes of images, in any form in which people and Keras' data sets write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Classes = tuple[int, ...]  # an image's class numbers, ascending; several or none where multi-label
_SHOWN = 3  # of a sort, in an error


@dataclass(frozen=True)
class Targets:
    """Each image's classes."""

    classes: tuple[Classes, ...]
    count: int  # of classes, as far as the targets tell it
    columns: bool  # whether `count` is exact: each class has a column
    names: tuple[str, ...] | None = None  # where the targets are names
    multi_label: bool = False


def read_targets(
    y: Any, argument: str, names: Sequence[str] | None = None, multi_label: bool | None = None
) -> Targets:
    """Return the classes that `y` tells.

    Args:
        y: Class numbers, `(n,)` or `(n, 1)`, also as bools or whole floats; names; rows with a 0 or
            1 for each class, `(n, classes)`; or lists of names.
        argument: What `y` is part of.
        names: The classes' names in order, where they are known.
        multi_label: Whether an image may be of several classes or none; None for whether a row is.

    Raises:
        ValueError: `y` is none of these.
    """
    if _is_name_lists(y):
        _check_permitted(multi_label, argument, "lists of names")
        return _of_name_lists(y, argument, names)
    values = _array(y, argument)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        return _of_rows(values, argument, multi_label)
    if multi_label:
        raise ValueError(
            f"With multi_label=True the classes of `{argument}` must be rows with a 0 or 1 for "
            f"each class, or lists of names. Received: {values.dtype} of shape {values.shape}"
        )
    if values.ndim == 1 and values.dtype.kind == "U":
        return _of_names(list(map(str, values)), argument, names)
    return _of_numbers(values, argument)


def _is_name_lists(y: Any) -> bool:
    if not isinstance(y, (list, tuple)) or not y:
        return False
    rows = all(isinstance(row, (list, tuple, set, frozenset)) for row in y)
    return rows and all(isinstance(name, str) for row in y for name in row) and any(y)


def _array(y: Any, argument: str) -> Array:
    """Return targets as an array of bools, integers, floats or text."""
    try:
        values = np.asarray(y)
        if values.dtype == object:  # as pandas has text
            values = np.array(
                [x.decode() if isinstance(x, bytes) else x for x in values.ravel().tolist()]
            ).reshape(values.shape)
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8")
    except (ValueError, TypeError) as error:
        raise ValueError(f"The classes of `{argument}` are not of one kind: {error}") from error
    if values.dtype.kind not in "biufU" or values.ndim not in (1, 2) or not len(values):
        raise ValueError(
            f"The classes of `{argument}` must be numbers from 0, names, or a 0 or 1 for each "
            f"class. Received: {values.dtype} of shape {values.shape}"
        )
    return values


def _of_numbers(values: Array, argument: str) -> Targets:
    numbers = values.astype(np.int64) if np.isfinite(values).all() else np.full(len(values), -1)
    if (numbers != values).any() or numbers.min() < 0:
        raise ValueError(
            f"The classes of `{argument}` must be whole numbers from 0. Received: {values.dtype} "
            f"from {values.min():g} to {values.max():g}"
        )
    names = ("False", "True") if values.dtype.kind == "b" else None
    classes = tuple((int(number),) for number in numbers)
    return Targets(classes, max(int(numbers.max()) + 1, len(names or ())), False, names)


def _of_names(values: Sequence[str], argument: str, names: Sequence[str] | None) -> Targets:
    index = _index(values, argument, names)
    return Targets(tuple((index[x],) for x in values), len(index), True, tuple(index))


def _of_name_lists(
    rows: Sequence[Sequence[str]], argument: str, names: Sequence[str] | None
) -> Targets:
    index = _index([name for row in rows for name in row], argument, names)
    classes = tuple(tuple(sorted({index[name] for name in row})) for row in rows)
    return Targets(classes, len(index), True, tuple(index), multi_label=True)


def _index(values: Sequence[str], argument: str, names: Sequence[str] | None) -> dict[str, int]:
    found = dict.fromkeys(values)
    ordered = sorted(found) if names is None else list(names)
    unknown = [name for name in found if name not in ordered]
    if unknown:
        raise ValueError(
            f"`{argument}` has classes without a label: {', '.join(unknown[:_SHOWN])}. The labels "
            f"are {', '.join(ordered)}."
        )
    return {name: i for i, name in enumerate(ordered)}


def _of_rows(values: Array, argument: str, multi_label: bool | None) -> Targets:
    """Return the classes of rows with a 0 or 1 for each class."""
    if values.dtype.kind == "U" or not np.isin(values, (0, 1)).all():
        what = "names" if values.dtype.kind == "U" else f"{values.min():g} to {values.max():g}"
        raise ValueError(
            f"The classes of `{argument}` must be 0 or 1 where each class has a column. Received: "
            f"{what}, {values.dtype} of shape {values.shape}"
        )
    rows = values.astype(bool)
    if not multi_label and (rows.sum(axis=1) != 1).any():
        some = int((rows.sum(axis=1) != 1).sum())
        _check_permitted(multi_label, argument, f"{some} rows of no class or of several")
        multi_label = True
    classes = tuple(tuple(map(int, np.flatnonzero(row))) for row in rows)
    return Targets(classes, rows.shape[1], True, multi_label=bool(multi_label))


def _check_permitted(multi_label: bool | None, argument: str, kind: str) -> None:
    if multi_label is False:
        raise ValueError(
            f"Each image of `{argument}` must be of one class, as multi_label=False says or the "
            f"images to train with are. Received: {kind}"
        )
