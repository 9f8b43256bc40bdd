"""The papers' tables beside what the architecture gives, and why the two differ where they do.

Sources of the published numbers here, as printed:

- V1: Howard et al., 2017, arXiv 1704.04861, tables 1 and 3 to 9; table 2 is in `costs`. The later
  tables are of other data sets and other heads: nothing there can be derived.
- V2: Sandler et al., 2018, arXiv 1801.04381, table 4; TF-slim's page `mobilenet/README.md`.
- V3: Howard et al., 2019, arXiv 1905.02244, table 3; the page that Keras' docstring prints.

Multiply-adds and parameters are in millions, top-1 in % on ImageNet.

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
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.costs.layers import PAPER_SLIP, LayerCost, layer_costs
from keras_mobilenet.nets.families import v1, v2, v3
from keras_mobilenet.nets.families.registry import family
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
    slips: Mapping[str, str] = field(default_factory=dict)  # "MACs", "params": why they are others


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
class Paper:
    """What was printed about a net; number 0 is a page, of which there is one a net."""

    titles: Mapping[int, str]
    entries: Mapping[int, tuple[Entry, ...]]
    rest: str  # what else there is to say where all tables are shown


_V2 = v2.FAMILY.key
# Millions of MACs on TF-slim's page, for the sizes that it has.
_SLIM_SIZES = (224, 192, 160, 128, 96)
_SLIM_MACS: dict[float, tuple[int, ...]] = {
    1.4: (582,),
    1.3: (509,),
    1.0: (300, 221, 154, 99, 56),
    0.75: (209, 153, 107, 69, 39),
    0.5: (97, 71, 50, 32, 18),
    0.35: (59, 43, 30, 20, 11),
}
_SLIM_PARAMS = {1.4: "6.06", 1.3: "5.34", 1.0: "3.47", 0.75: "2.61", 0.5: "1.95", 0.35: "1.66"}
_SLIM = tuple(
    Entry(
        f"{alpha:g} MobileNetV2-{size}",
        str(macs),
        _SLIM_PARAMS[alpha],
        f"{pretrained.find(alpha, size, v2.FAMILY.name).top_1:.1f}",
        {"net": _V2, "alpha": alpha, "size": size},
    )
    for alpha, row in _SLIM_MACS.items()
    for size, macs in zip(_SLIM_SIZES, row, strict=False)
)
_EARLY = "that of an early version of the paper, whose last convolution has 1280 filters"
_SMALL, _LARGE = v3.SMALL_FAMILY.key, v3.LARGE_FAMILY.key
PAPERS = {
    v1.FAMILY.key: Paper(TITLES, ENTRIES, REST),
    _V2: Paper(
        {4: "Performance on ImageNet", 0: "The page of TF-slim"},
        {
            4: (
                Entry("MobileNetV2", "300", "3.4", "72.0", {"net": _V2}),
                Entry(
                    "MobileNetV2 (1.4)", "585", "6.9", "74.7", {"net": _V2, "alpha": 1.4},
                    slips={
                        "MACs": "a slip of the paper's",
                        "params": "a slip of the paper's, as no way of counting gives it",
                    },
                ),
            ),
            0: _SLIM,
        },
        "The paper's text counts 19 bottlenecks; its table 2 has 17, and so has the net.",
    ),
    _SMALL: Paper(
        {3: "Floating-point performance", 0: "The page of Keras"},
        {
            3: (Entry("V3-Small 1.0", "56", "2.5", "67.4", {"net": _SMALL}),),
            0: (
                Entry(
                    "small 1.0", "66", "2.9", "68.1", {"net": _SMALL},
                    slips={
                        "MACs": "from an early version of the paper, whose net has 57 M",
                        "params": _EARLY,
                    },
                ),
                Entry(
                    "small 0.75", "44", "2.4", "65.4", {"net": _SMALL, "alpha": 0.75},
                    slips={"MACs": _EARLY, "params": _EARLY},
                ),
                Entry(
                    "small minimalistic 1.0", "65", "2.0", "61.9",
                    {"net": _SMALL, "minimalistic": True},
                    slips={"MACs": "a slip of the page's"},
                ),
            ),
        },
        "An early version's table 2 marks squeeze-excite at the 1 x 1 convolution of 576 filters; "
        "no net has it there.",
    ),
    _LARGE: Paper(
        {3: "Floating-point performance", 0: "The page of Keras"},
        {
            3: (
                Entry(
                    "V3-Large 1.0", "219", "5.4", "75.2", {"net": _LARGE},
                    slips={"MACs": "a slip of the paper's"},
                ),
            ),
            0: (
                Entry("large 1.0", "217", "5.4", "75.6", {"net": _LARGE}),
                Entry("large 0.75", "155", "4.0", "73.3", {"net": _LARGE, "alpha": 0.75}),
                Entry(
                    "large minimalistic 1.0", "209", "3.9", "72.3",
                    {"net": _LARGE, "minimalistic": True},
                ),
            ),
        },
        "",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table of a paper, or of a page, number 0, beside what is derived."""

    number: int
    title: str
    rows: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...]  # why the two differ


def paper_of(net: str) -> Paper:
    """Return the paper of a net.

    Raises:
        ValueError: there is no such net, or none of its paper's tables is here.
    """
    key = family(net).key
    if key not in PAPERS:
        raise ValueError(
            f"`net` must be one of {', '.join(PAPERS)}: of the others no table is here. "
            f"Received: net={net!r}"
        )
    return PAPERS[key]


def paper_table(number: int, net: str = "mobilenet") -> Table:
    """Return the table of that number in a net's paper beside what is derived.

    Number 0 is of V2 the rows of TF-slim's page, of V3 those of Keras'.

    Raises:
        ValueError: there is no such table, or nothing in it can be derived, or no such net.
    """
    paper = paper_of(net)
    if number not in paper.titles:
        raise ValueError(
            f"`number` must be one of {', '.join(map(str, paper.titles))}: in the others nothing "
            f"can be derived from the architecture. Received: number={number!r}"
        )
    makers = {1: _body, 2: _shares}
    rows, notes = (
        makers[number]()
        if number in makers
        else _nets(paper.entries[number], by="paper" if number else "page")
    )
    return Table(number, paper.titles[number], tuple(rows), tuple(dict.fromkeys(notes)))


def written(
    tables: Sequence[Table],
    *,
    net: str = "mobilenet",
    format: Format = "text",  # noqa: A002
) -> str:
    """Return the tables as text, Markdown or JSON; where it is all of a net's, what the rest hold.

    Raises:
        ValueError: `format` or `net` is unknown.
    """
    check_format(format)
    if format == "json":
        return json.dumps([vars(table) for table in tables], indent=2)
    sections = []
    for table in tables:
        cells = [list(row.values()) for row in table.rows]
        title = f"Table {table.number}. {table.title}" if table.number else table.title
        sections.append(f"## {title}" if format == "markdown" else title)
        sections.append(text_tables.written(list(table.rows[0]), cells, format))
        sections += table.notes
    paper = paper_of(net)
    if len(tables) == len(paper.titles) and paper.rest:
        sections.append(paper.rest)
    return "\n\n".join(sections)


_Rows = tuple[list[dict[str, str]], list[str]]


def _nets(entries: Sequence[Entry], by: str) -> _Rows:
    rows, notes = [], []
    for entry in entries:
        row = {"net": entry.label, "printed MACs, M": entry.macs, "derived MACs, M": ""}
        row |= {
            "printed params, M": entry.params,
            "derived params, M": "",
            "printed top-1, %": entry.top_1,
        }
        row["published weights' top-1, %"] = _top_1(entry)
        if entry.net is not None:
            costs = [c for c in layer_costs(**entry.net) if entry.part in ("", c.part)]
            macs, params = sum(c.macs for c in costs), sum(prod(c.kernel) for c in _kernels(costs))
            row["derived MACs, M"] = f"{macs / 1e6:.2f}"
            row["derived params, M"] = f"{params / 1e6:.2f}"
            notes += _explained(f"{entry.label}: MACs", entry.macs, macs, _without_top(costs),
                                entry.slips.get("MACs"), by)  # fmt: skip
            notes += _explained(f"{entry.label}: params", entry.params, params, params,
                                entry.slips.get("params"), by)  # fmt: skip
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
    options: dict[str, Any] = {"alpha": 1.0, "size": DEFAULT_SIZE, "net": v1.FAMILY.key}
    options |= entry.net
    row = pretrained.find(**options | {"net": family(options["net"]).name})
    return f"{row.top_1:.1f}"


def _explained(
    what: str,
    printed: str,
    value: int,
    without_top: int,
    slip: str | None = None,
    by: str = "paper",
) -> list[str]:
    """Return why the paper prints other digits than the net has; nothing where it does not."""
    decimals = len(printed.partition(".")[2])
    unit = 10 ** (6 - decimals)
    digits = int(printed.replace(".", ""))
    exact = f"{what}: {value / 1e6:.3f} M, the {by} prints {printed}"
    if round(value / unit) == digits:
        return []
    if value // unit == digits:
        return [f"{exact}: cut off, not rounded."]
    if round(without_top / unit) == digits:
        top = (value - without_top) / 1e6
        return [f"{exact}: without the classifier's {top:.3f} M, which its other rows count."]
    return [f"{exact}: {slip or 'not explained'}."]


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
