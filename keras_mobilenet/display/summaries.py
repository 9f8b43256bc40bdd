"""Models as tables: rows read off a Keras model, written as text, Markdown or JSON.

Keras is not imported: a model is asked for its layers and operations, and that is all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from keras_mobilenet.display.text_tables import (
    LINE_LENGTH,
    UNKNOWN,
    Format,
    check_format,
    markdown_table,
    text_table,
)
from keras_mobilenet.nets.costs.layers import attention_macs, kernel_macs
from keras_mobilenet.nets.net import ATTENDING

_Shape = tuple[int | None, ...]
# Operations without weights whose work is products all the same, so that they are not free.
_PRODUCTS = (
    "Conv",
    "DepthwiseConv",
    "ConvTranspose",
    "Dot",
    "Einsum",
    "Inner",
    "Matmul",
    "Tensordot",
)


@dataclass(frozen=True)
class Row:
    """One layer of a Keras model, or one operation between its layers."""

    name: str
    kind: str  # the layer's class
    output_shape: _Shape | None  # with the batch; None where unknown or more than one
    output_shapes: tuple[_Shape, ...]  # of every output of every call, each shape once
    params: int
    trainable_params: int
    macs: int | None  # for one image; None where they depend on the input or are not known
    activation_bytes: int | None  # of the output for one image
    trains: str  # "yes", "no", "in part", or "" where there is nothing to train
    depth: int = 0  # how many models the layer is nested in


def layer_rows(model: Any, *, expand_nested: bool = False) -> list[Row]:
    """Return a row for each layer of a Keras model and each operation between them, in its order.

    A nested model is one row; with `expand_nested`, its layers follow it, one level deeper.
    """
    return list(_rows(model, expand_nested, 0))


def _rows(model: Any, expand_nested: bool, depth: int) -> Iterable[Row]:
    for layer in getattr(model, "operations", model.layers):
        yield _row(layer, _calls(model, layer), depth)
        if expand_nested and hasattr(layer, "layers"):
            yield from _rows(layer, expand_nested, depth + 1)


def _row(layer: Any, calls: Sequence[Sequence[_Shape]], depth: int) -> Row:
    known = calls or [_shapes_as_built(layer)]
    shape = known[0][0] if len(known[0]) == 1 and len(set(map(tuple, known))) == 1 else None
    return Row(
        name=layer.name,
        kind=type(layer).__name__,
        output_shape=shape,
        output_shapes=tuple(dict.fromkeys(shape for call in known for shape in call)),
        params=_count(_weights(layer)),
        trainable_params=_count(getattr(layer, "trainable_weights", ())),
        macs=_sum_if_known([_macs(layer, x[0] if len(x) == 1 else None) for x in calls or [()]]),
        activation_bytes=_activation_bytes(layer, shape),
        trains=_trains(layer),
        depth=depth,
    )


def _calls(model: Any, layer: Any) -> list[list[_Shape]]:
    """Return the output shapes of each call of `layer` in `model`: two calls of a shared layer."""
    # Keras' own summary asks a model's nodes too; there is no public way.
    by_depth = getattr(model, "_nodes_by_depth", {})  # the outputs' depth is 0
    in_order = (node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth])
    nodes = [node for node in in_order if node.operation is layer]
    outputs = [node.output_tensors for node in nodes] or [x for x in [_outputs(layer)] if x]
    return [[tuple(tensor.shape) for tensor in tensors] for tensors in outputs]


def _outputs(layer: Any) -> Sequence[Any]:
    try:
        outputs = layer.output
    except (AttributeError, ValueError):  # not called yet
        return ()
    return (outputs,) if hasattr(outputs, "shape") else tuple(outputs)


def _shapes_as_built(layer: Any) -> list[_Shape]:
    """Return the output shapes of a layer that no graph has, for the input that it was built for.

    The layers of a subclassed model are such; how often it calls them is not known.
    """
    config: dict[str, Any] = getattr(layer, "get_build_config", dict)() or {}
    arguments = config.get("shapes_dict") or {"input_shape": config.get("input_shape")}
    if None in arguments.values():
        return []
    try:
        if len(arguments) == 1:
            return _flat(layer.compute_output_shape(*arguments.values()))
        return _flat(layer.compute_output_shape(**arguments))
    except (NotImplementedError, TypeError, ValueError):  # a user's own layer may know none
        return []


def _flat(shapes: Any) -> list[_Shape]:
    """Return the shapes in a structure of them, as `compute_output_shape` may return."""
    if isinstance(shapes, dict):
        return [shape for value in shapes.values() for shape in _flat(value)]
    items = tuple(shapes)
    if all(item is None or isinstance(item, int) for item in items):
        return [items]
    return [shape for item in items for shape in _flat(item)]


def _weights(layer: Any) -> Sequence[Any]:
    """Return a layer's weights; an operation has none."""
    weights: Sequence[Any] = getattr(layer, "weights", ())
    return weights


def _count(weights: Iterable[Any]) -> int:
    return sum(prod(weight.shape) for weight in {id(w): w for w in weights}.values())


def _trains(layer: Any) -> str:
    # A batch norm's moving statistics never train, so that parameters cannot tell.
    answers = {bool(leaf.trainable_weights) for leaf in _leaves(layer) if _weights(leaf)}
    if len(answers) == 2:
        return "in part"
    return "" if not answers else "yes" if True in answers else "no"


def _leaves(layer: Any) -> Iterable[Any]:
    if not hasattr(layer, "layers"):
        return [layer]
    return (leaf for child in layer.layers for leaf in _leaves(child))


def _macs(layer: Any, shape: _Shape | None) -> int | None:
    if hasattr(layer, "layers"):
        return _sum_if_known([row.macs for row in layer_rows(layer)])
    if type(layer).__name__ == ATTENDING:
        return _products(layer)
    if not any(len(weight.shape) > 1 for weight in _weights(layer)):
        return None if type(layer).__name__ in _PRODUCTS else 0
    if shape is None or None in shape[1:]:
        return None
    positions = _positions(layer, shape)
    if positions is None:
        return None
    return kernel_macs(tuple(layer.kernel.shape), [n for n in positions if n is not None])


def _products(attention: Any) -> int | None:
    """Return the MACs of the layer between queries, keys and values; None of images of any size."""
    images = getattr(attention, "input", None) or ()
    shapes = [tuple(image.shape[1:]) for image in images]
    if len(shapes) != 3 or any(None in shape for shape in shapes):
        return None
    first = attention.data_format == "channels_first"
    queries, keys, _ = ((*x[1:], x[0]) if first else x for x in shapes)
    return attention_macs(queries, keys)


def _sum_if_known(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _positions(layer: Any, shape: _Shape) -> _Shape | None:
    """Return how often the kernel is applied along each axis; None for an unknown layer."""
    if type(layer).__name__ == "Dense":
        return shape[1:-1]
    if type(layer).__name__ in ("Conv2D", "DepthwiseConv2D"):
        return shape[2:] if layer.data_format == "channels_first" else shape[1:-1]
    return None


def _activation_bytes(layer: Any, shape: _Shape | None) -> int | None:
    sizes = [n for n in (shape or (None, None))[1:] if n is not None]
    if shape is None or len(sizes) < len(shape) - 1:
        return None
    dtype = getattr(layer, "compute_dtype", None) or next((x.dtype for x in _outputs(layer)), "")
    bits = "".join(filter(str.isdigit, str(dtype))) or "32"
    return prod(sizes) * int(bits) // 8


def summary(
    model: Any,
    *,
    format: Format = "text",  # noqa: A002 - the word that users look for
    costs: bool = False,
    show_trainable: bool = False,
    expand_nested: bool = False,
    line_length: int = LINE_LENGTH,
) -> str:
    """Return a model's layers, output shapes and parameters as one text.

    Args:
        model: A built Keras model.
        format: `"text"` is the layout of Keras 2's `model.summary()`; `"markdown"`; `"json"`.
        costs: Add columns for MACs and for the output's bytes, both for one image.
        show_trainable: Add a column that says how much of a layer trains.
        expand_nested: Show the layers of nested models too.
        line_length: Least width of the text in characters. A column is never cut: where its
            content needs more, the line is longer.

    Raises:
        ValueError: the model is not built, or the format is unknown.
    """
    check_format(format)
    if not getattr(model, "built", False):
        raise ValueError(
            f"Model {model.name!r} is not built, so its shapes are unknown. "
            "Call it on a batch, or pass it an input shape."
        )
    rows = layer_rows(model, expand_nested=expand_nested)
    totals = _totals(model)
    if format == "json":
        return _json(model, rows, totals)
    if not costs:
        del totals["macs"]
    cells = [_cells(row, costs, show_trainable) for row in rows]
    headers = ["Layer (type)", "Output Shape", "Param #"]
    headers += ["MACs", "Output bytes"] if costs else []
    headers += ["Trainable"] if show_trainable else []
    if format == "markdown":
        lines = [f"**{model.name}**", "", markdown_table(headers, cells, left=2), ""]
        return "\n".join([*lines, *(f"- {line}" for line in _total_lines(totals))])
    return _text(model.name, headers, cells, _total_lines(totals), line_length)


def _cells(row: Row, costs: bool, show_trainable: bool) -> list[str]:
    shape = ", ".join(map(str, row.output_shapes)) or UNKNOWN
    if row.kind == "InputLayer":
        shape = f"[{shape}]"
    cells = [f"{'  ' * row.depth}{row.name} ({row.kind})", shape, str(row.params)]
    if costs:
        cells += [_number(row.macs), _number(row.activation_bytes)]
    return [*cells, row.trains] if show_trainable else cells


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _totals(model: Any) -> dict[str, int | None]:
    total, trainable = _count(model.weights), _count(model.trainable_weights)
    optimizer = getattr(model, "optimizer", None)
    moments = _count(optimizer.variables) if optimizer is not None and optimizer.built else 0
    return {
        "total_params": total + moments,
        "trainable_params": trainable,
        "non_trainable_params": total - trainable,
        **({"optimizer_params": moments} if moments else {}),
        "macs": _macs(model, None),
    }


def _total_lines(totals: dict[str, int | None]) -> list[str]:
    names = {
        "total_params": "Total params",
        "trainable_params": "Trainable params",
        "non_trainable_params": "Non-trainable params",
        "optimizer_params": "Optimizer params",
        "macs": "MACs for one image",
    }
    return [f"{names[key]}: {_number(value)}" for key, value in totals.items()]


def _text(
    name: str,
    headers: Sequence[str],
    cells: Sequence[Sequence[str]],
    totals: Sequence[str],
    line_length: int,
) -> str:
    table = text_table(headers, cells, line_length, left=3).splitlines()
    thin, thick = "_" * len(table[0]), "=" * len(table[0])
    lines = [f'Model: "{name}"', thin, table[0], thick, *table[1:], thick, *totals, thin]
    return "\n".join(line.rstrip() for line in lines)


def _json(model: Any, rows: Sequence[Row], totals: dict[str, int | None]) -> str:
    layers = [vars(row) for row in rows]
    return json.dumps({"model": model.name, "layers": layers, **totals}, indent=2)
