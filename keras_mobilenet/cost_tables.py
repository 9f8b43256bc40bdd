"""A net's costs as tables: a row a layer, a part of the net, or a kind of layer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from keras_mobilenet.costs import PAPER_SLIP, PAPER_TABLE_2, LayerCost, cost_shares
from keras_mobilenet.tables import Format, markdown_table, text_table

By = Literal["layer", "part", "kind"]
_Records = list[dict[str, Any]]


def cost_table(costs: Sequence[LayerCost], *, by: By = "part", format: Format = "text") -> str:  # noqa: A002
    """Return a table of what `layer_costs` returned.

    Args:
        costs: The layers' costs.
        by: What a row stands for: a `"layer"`, a `"part"` (the stem, a block, the top), or a
            `"kind"` of layer beside the paper's table 2.
        format: `"text"`, `"markdown"` or `"json"`.

    Raises:
        ValueError: `by` or `format` is unknown.
    """
    if by not in get_args(By):
        raise ValueError(f"`by` must be one of {', '.join(get_args(By))}. Received: by={by!r}")
    makers: dict[By, Callable[[Sequence[LayerCost]], _Records]] = {
        "layer": _by_layer,
        "part": _by_part,
        "kind": _by_kind,
    }
    records = makers[by](costs)
    note = PAPER_SLIP if by == "kind" else ""
    if format == "json":
        return json.dumps(records, indent=2)
    headers = list(records[0])
    cells = [[_text(value) for value in record.values()] for record in records]
    written = {"text": text_table, "markdown": markdown_table}[format](headers, cells)
    return f"{written}\n\n{note}" if note else written


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, (tuple, list)):
        return " x ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _record(name: str, costs: Sequence[LayerCost], all_macs: int) -> dict[str, Any]:
    macs = sum(cost.macs for cost in costs)
    return {
        "name": name,
        "output shape": costs[-1].output_shape,
        "params": sum(cost.params for cost in costs),
        "MACs": macs,
        "% of MACs": 100 * macs / all_macs,
        "activation bytes": sum(cost.activation_bytes for cost in costs),
    }


def _grouped(groups: dict[str, Sequence[LayerCost]]) -> _Records:
    every = [cost for group in groups.values() for cost in group]
    all_macs = sum(cost.macs for cost in every)
    records = [_record(name, group, all_macs) for name, group in groups.items()]
    return [*records, _record("total", every, all_macs)]


def _by_layer(costs: Sequence[LayerCost]) -> _Records:
    return _grouped({cost.name: [cost] for cost in costs})


def _by_part(costs: Sequence[LayerCost]) -> _Records:
    parts = dict.fromkeys(cost.part for cost in costs)
    return _grouped({part: [cost for cost in costs if cost.part == part] for part in parts})


def _by_kind(costs: Sequence[LayerCost]) -> _Records:
    return [
        {
            "kind of layer": ours.kind,
            "% of MACs": ours.macs,
            "paper, alpha 1.0 at 224": paper.macs,
            "% of kernel params": ours.params,
            "paper": paper.params,
        }
        for ours, paper in zip(cost_shares(costs), PAPER_TABLE_2, strict=True)
    ]
