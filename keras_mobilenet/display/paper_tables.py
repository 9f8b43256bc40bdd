"""The paper's tables beside what the architecture gives, and why the two differ where they do.

Source of every published number here: Howard et al., 2017, arXiv 1704.04861, tables 1 and 3 to 9,
as printed; table 2 is in `costs`. Multiply-adds and parameters are in millions, top-1 in % on
ImageNet. The later tables are of other data sets and other heads: nothing there can be derived.

Parameters are counted as the paper counts them: kernels only, no batch norm and no bias.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from keras_mobilenet.display import text_tables
from keras_mobilenet.display.cost_tables import cost_table
from keras_mobilenet.display.text_tables import Format, check_format
from keras_mobilenet.nets import pretrained, v1
from keras_mobilenet.nets.costs.layers import PAPER_SLIP, LayerCost, layer_costs
from keras_mobilenet.nets.net import DEFAULT_SIZE


@dataclass(frozen=True)
class Entry:
    """One row of a table as printed: its words, its digits, and the net that it is about."""

    label: str
    macs: str  # millions, with the digits that the paper prints
    params: str
    top_1: str = ""
    net: Mapping[str, Any] | None = field(default_factory=dict)  # None: not a MobileNet
    part: str = ""  # of the net, where the row is about one block


_BLOCK = "block_7"  # the first of those with 512 channels in and out on 14 x 14
_RHO = 160  # of 224 is the 0.714 of table 3
_FULL = {"blocks": v1.FULL_BLOCKS}

TITLES = {
    1: "Body architecture",
    2: "Share of each kind of layer",
    3: "One block of 512 channels on 14 x 14",
    4: "Depthwise separable against full convolutions",
    5: "Narrow against shallow",
    6: "Width multiplier",
    7: "Resolution",
    8: "Against popular models",
    9: "A smaller MobileNet against popular models",
}
ENTRIES = {
    3: (
        Entry("convolution", "462", "2.36", net=_FULL, part=_BLOCK),
        Entry("depthwise separable convolution", "52.3", "0.27", part=_BLOCK),
        Entry("alpha = 0.75", "29.6", "0.15", net={"alpha": 0.75}, part=_BLOCK),
        Entry("rho = 0.714", "15.1", "0.15", net={"alpha": 0.75, "size": _RHO}, part=_BLOCK),
    ),
    4: (
        Entry("Conv MobileNet", "4866", "29.3", "71.7", _FULL),
        Entry("MobileNet", "569", "4.2", "70.6"),
    ),
    5: (
        Entry("0.75 MobileNet", "325", "2.6", "68.4", {"alpha": 0.75}),
        Entry("Shallow MobileNet", "307", "2.9", "65.3", {"blocks": v1.SHALLOW_BLOCKS}),
    ),
    6: (
        Entry("1.0 MobileNet-224", "569", "4.2", "70.6"),
        Entry("0.75 MobileNet-224", "325", "2.6", "68.4", {"alpha": 0.75}),
        Entry("0.5 MobileNet-224", "149", "1.3", "63.7", {"alpha": 0.5}),
        Entry("0.25 MobileNet-224", "41", "0.5", "50.6", {"alpha": 0.25}),
    ),
    7: (
        Entry("1.0 MobileNet-224", "569", "4.2", "70.6"),
        Entry("1.0 MobileNet-192", "418", "4.2", "69.1", {"size": 192}),
        Entry("1.0 MobileNet-160", "290", "4.2", "67.2", {"size": 160}),
        Entry("1.0 MobileNet-128", "186", "4.2", "64.4", {"size": 128}),
    ),
    8: (
        Entry("1.0 MobileNet-224", "569", "4.2", "70.6"),
        Entry("GoogleNet", "1550", "6.8", "69.8", None),
        Entry("VGG 16", "15300", "138", "71.5", None),
    ),
    9: (
        Entry("0.50 MobileNet-160", "76", "1.32", "60.2", {"alpha": 0.5, "size": 160}),
        Entry("Squeezenet", "1700", "1.25", "57.5", None),
        Entry("AlexNet", "720", "60", "57.2", None),
    ),
}
# The one cell of table 1 that the net does not have, as the table's own sizes there show.
TABLE_1_STRIDES = {("block_13", "depthwise"): 2}
REST = (
    "Tables 10 to 14 are of other data sets and heads; nothing in them follows from the "
    "architecture. Table 10 has a top-1 of 84 % for Inception V3 on Stanford Dogs, and 83.3, 81.9, "
    "81.9 and 80.5 % for MobileNets. The baseline of table 12 has 7.5 M parameters there and 75 M "
    "in the text: one of the two is a slip, and the paper does not tell which."
)


@dataclass(frozen=True)
class Table:
    """A table of the paper beside what is derived."""

    number: int
    title: str
    rows: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...]  # why the two differ


def paper_table(number: int) -> Table:
    """Return the paper's table of that number beside what is derived.

    Raises:
        ValueError: the paper has no such table, or nothing in it can be derived.
    """
    if number not in TITLES:
        raise ValueError(
            f"`number` must be one of {', '.join(map(str, TITLES))}: in the others nothing can be "
            f"derived from the architecture. Received: number={number!r}"
        )
    makers = {1: _body, 2: _shares}
    rows, notes = makers[number]() if number in makers else _nets(ENTRIES[number])
    return Table(number, TITLES[number], tuple(rows), tuple(dict.fromkeys(notes)))


def written(tables: Sequence[Table], *, format: Format = "text") -> str:  # noqa: A002
    """Return the tables as text, Markdown or JSON; where it is all of them, what the rest hold.

    Raises:
        ValueError: `format` is unknown.
    """
    check_format(format)
    if format == "json":
        return json.dumps([vars(table) for table in tables], indent=2)
    sections = []
    for table in tables:
        cells = [list(row.values()) for row in table.rows]
        title = f"Table {table.number}. {table.title}"
        sections.append(f"## {title}" if format == "markdown" else title)
        sections.append(text_tables.written(list(table.rows[0]), cells, format))
        sections += table.notes
    if len(tables) == len(TITLES):
        sections.append(REST)
    return "\n\n".join(sections)


_Rows = tuple[list[dict[str, str]], list[str]]


def _nets(entries: Sequence[Entry]) -> _Rows:
    rows, notes = [], []
    for entry in entries:
        row = {"net": entry.label, "paper: MACs, M": entry.macs, "derived MACs, M": ""}
        row |= {
            "paper: params, M": entry.params,
            "derived params, M": "",
            "paper: top-1, %": entry.top_1,
        }
        row["published weights' top-1, %"] = _top_1(entry)
        if entry.net is not None:
            costs = [c for c in layer_costs(**entry.net) if entry.part in ("", c.part)]
            macs, params = sum(c.macs for c in costs), sum(prod(c.kernel) for c in _kernels(costs))
            row["derived MACs, M"] = f"{macs / 1e6:.2f}"
            row["derived params, M"] = f"{params / 1e6:.2f}"
            notes += _explained(f"{entry.label}: MACs", entry.macs, macs, _without_top(costs))
            notes += _explained(f"{entry.label}: params", entry.params, params, params)
        rows.append(row)
    if not any(entry.top_1 for entry in entries):
        rows = [{k: v for k, v in row.items() if "top-1" not in k} for row in rows]
    return rows, notes


def _kernels(costs: Sequence[LayerCost]) -> list[LayerCost]:
    return [cost for cost in costs if cost.kernel]


def _without_top(costs: Sequence[LayerCost]) -> int:
    return sum(cost.macs for cost in costs if cost.part != "top")


def _top_1(entry: Entry) -> str:
    """Return the accuracy of TF-slim's published weights, another training than the paper's."""
    if entry.net is None or entry.part or "blocks" in entry.net:
        return ""
    row = pretrained.find(entry.net.get("alpha", 1.0), entry.net.get("size", DEFAULT_SIZE))
    return f"{row.top_1:.1f}"


def _explained(what: str, printed: str, value: int, without_top: int) -> list[str]:
    """Return why the paper prints other digits than the net has; nothing where it does not."""
    decimals = len(printed.partition(".")[2])
    unit = 10 ** (6 - decimals)
    digits = int(printed.replace(".", ""))
    exact = f"{what}: {value / 1e6:.3f} M, the paper prints {printed}"
    if round(value / unit) == digits:
        return []
    if value // unit == digits:
        return [f"{exact}: cut off, not rounded."]
    if round(without_top / unit) == digits:
        top = (value - without_top) / 1e6
        return [f"{exact}: without the classifier's {top:.3f} M, which its other rows count."]
    return [f"{exact}: not explained."]


def _body() -> _Rows:
    """Return a row for each layer that the paper lists: kernels, the pooling and the softmax."""
    costs = layer_costs()
    rows, notes, shape = [], [], costs[0].output_shape
    for cost in costs:
        others = {
            "GlobalAveragePooling2D": f"pool {_times(shape[:2])}",
            "Activation": "classifier",
        }
        filters = others.get(cost.kind, "")
        if cost.kernel or filters:
            stride = cost.stride
            paper = TABLE_1_STRIDES.get((cost.part, cost.role), stride)
            rows.append(
                {
                    "layer": cost.name,
                    "paper: stride": str(paper),
                    "stride": str(stride),
                    "filter": filters or _times(cost.kernel),
                    "input": _times(shape),
                }
            )
            if paper != stride:
                sizes = f"{_times(shape)} goes in and {_times(cost.output_shape)} comes out"
                printed = f"{cost.name}: the paper prints stride {paper}"
                notes.append(f"{printed}, but {sizes}: it is {stride}.")
        if cost.kind not in ("ZeroPadding2D", "Reshape"):
            shape = cost.output_shape
    return rows, notes


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _shares() -> _Rows:
    records = json.loads(cost_table(layer_costs(), by="kind", format="json"))
    rows = [
        {name: value if isinstance(value, str) else f"{value:.2f}" for name, value in row.items()}
        for row in records
    ]
    return rows, [PAPER_SLIP]
