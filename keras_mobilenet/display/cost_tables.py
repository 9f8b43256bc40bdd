"""A net's costs as tables: by layer, by part, by kind, for a device, and a choice of nets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal, get_args

from keras_mobilenet.display.text_tables import Format, check_format, written
from keras_mobilenet.nets.arguments import check_choice
from keras_mobilenet.nets.costs.latency import LatencyTable, estimate_latency
from keras_mobilenet.nets.costs.layers import PAPER_SLIP, PAPER_TABLE_2, LayerCost, cost_shares
from keras_mobilenet.nets.costs.memory import (
    BYTES,
    Runtime,
    WeightFormat,
    peak_memory,
    weight_bytes,
)
from keras_mobilenet.nets.costs.selection import Selection, Variant

By = Literal["layer", "part", "kind"]
_Records = list[dict[str, Any]]


def cost_table(costs: Sequence[LayerCost], *, by: By = "part", format: Format = "text") -> str:  # noqa: A002
    """Return a table of what `layer_costs` returned.

    Args:
        costs: The layers' costs.
        by: What a row stands for: a `"layer"`, a `"part"` (the stem, a block, the top), or a
            `"kind"` of layer, of V1 beside its paper's table 2.
        format: `"text"`, `"markdown"` or `"json"`.

    Raises:
        ValueError: `by` or `format` is unknown.
    """
    check_choice("by", by, get_args(By))
    check_format(format)
    makers: dict[By, Callable[[Sequence[LayerCost]], _Records]] = {
        "layer": _by_layer,
        "part": _by_part,
        "kind": _by_kind,
    }
    records = makers[by](costs)
    note = PAPER_SLIP if by == "kind" and not _is_another_net(costs) else ""
    if format == "json":
        return json.dumps(records, indent=2)
    headers = list(records[0])
    cells = [[_text(value) for value in record.values()] for record in records]
    table = written(headers, cells, format)
    return f"{table}\n\n{note}" if note else table


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
    if _is_another_net(costs):
        return [
            {"kind of layer": s.kind, "% of MACs": s.macs, "% of kernel params": s.params}
            for s in cost_shares(costs)
        ]
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


def _is_another_net(costs: Sequence[LayerCost]) -> bool:
    """Return whether a net has inverted residuals, of which V1's paper tells nothing."""
    return any(cost.role == "project" for cost in costs)


_WORDS: dict[str, str] = {
    "litert": "RAM in LiteRT",
    "tflite-micro": "RAM in TFLite Micro",
    "minimal": "RAM, input and output of a layer",
}


def device_table(
    layers: Sequence[LayerCost],
    *,
    latencies: LatencyTable | None = None,
    format: Format = "text",  # noqa: A002
) -> str:
    """Return peak memory, the weights' bytes in each format, and an estimate of the time.

    Args:
        layers: What `layer_costs` returned.
        latencies: Times measured on the machine, for the estimate; None for none.
        format: `"text"`, `"markdown"` or `"json"`.

    Raises:
        ValueError: `format` is unknown, or there are no layers.
    """
    check_format(format)
    records = [
        {"what": _WORDS[runtime], "in": dtype, "value": peak.bytes, "unit": "bytes",
         "where": peak.layer}
        for runtime in get_args(Runtime)
        for dtype in BYTES
        for peak in [peak_memory(layers, dtype, runtime=runtime)]
    ]  # fmt: skip
    for weights in get_args(WeightFormat):
        value = weight_bytes(layers, weights)
        records.append(
            {"what": "weights", "in": weights, "value": value, "unit": "bytes", "where": ""}
        )
    if latencies is not None:
        where = f"{latencies.engine}, {latencies.threads} threads, estimated"
        microseconds = round(1e6 * estimate_latency(layers, latencies))
        records.append({"what": "one image", "in": latencies.precision, "value": microseconds,
                        "unit": "microseconds", "where": where})  # fmt: skip
    if format == "json":
        return json.dumps(records, indent=2)
    cells = [
        [f"{v:,}" if isinstance(v, int) else str(v) for v in record.values()] for record in records
    ]
    return written(list(records[0]), cells, format, left=2)


def selection_table(selection: Selection, *, format: Format = "text") -> str:  # noqa: A002
    """Return a selection in words: the best, the runners-up, and what the next step up would cost.

    Raises:
        ValueError: `format` is unknown.
    """
    check_format(format)
    if format == "json":
        return json.dumps(asdict(selection), indent=2)
    marked = {
        "best": [selection.best],
        "fits too": selection.runners_up,
        "next up": [selection.next_up],
        "nearest": [selection.nearest],
    }
    rows = [
        [what, *_selection_cells(v)]
        for what, found in marked.items()
        for v in found
        if v is not None
    ]
    headers = ["", "net", "top-1, %", "MACs, M", "params", "RAM, kB", "flash, kB", "ms"]
    if all(row[-1] == "-" for row in rows):  # no machine's times were given
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    return "\n\n".join([written(headers, rows, format, left=2), *_remarks(selection)])


def _selection_cells(variant: Variant) -> list[str]:
    return [
        str(variant),
        f"{variant.top_1:.1f}",
        f"{variant.macs / 1e6:,.1f}",
        f"{variant.params:,}",
        f"{variant.ram / 1e3:,.1f}",
        f"{variant.flash / 1e3:,.1f}",
        "-" if variant.latency is None else f"{1e3 * variant.latency:.2f}",
    ]


def _remarks(selection: Selection) -> Sequence[str]:
    if selection.nearest is not None:
        return [f"No published net fits. The nearest {_misses(selection, selection.nearest)}."]
    if selection.best is None or selection.next_up is None:
        return ["It is the most accurate of the published nets."]
    gain = selection.next_up.top_1 - selection.best.top_1
    return [f"The next step up, {gain:.1f} % more, {_misses(selection, selection.next_up)}."]


def _misses(selection: Selection, variant: Variant) -> str:
    words = {
        "macs": "needs {:,.0f} MACs more",
        "params": "has {:,.0f} parameters more",
        "ram": "needs {:,.0f} bytes of RAM more",
        "flash": "needs {:,.0f} bytes of flash more",
        "top_1": "is {:.1f} % less accurate",
        "latency": "takes {:.2g} seconds more",
    }
    return " and ".join(words[f].format(miss) for f, miss in selection.excess(variant).items())
