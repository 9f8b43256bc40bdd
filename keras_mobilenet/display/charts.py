"""Charts of numbers, drawn by matplotlib (the extra `charts`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from typing import Any

from keras_mobilenet.errors import MissingExtraError
from keras_mobilenet.files import replacing
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.costs.layers import (
    KINDS,
    SQUEEZE_EXCITE,
    LayerCost,
    kind_of,
    layer_costs,
)
from keras_mobilenet.nets.families.registry import FAMILIES
from keras_mobilenet.nets.pretrained import Pretrained

COLOURS = dict(
    zip(
        (*KINDS, "depthwise 5x5", SQUEEZE_EXCITE),
        ("#4878a8", "#e49444", "#6a9f58", "#a87c9f", "#d1615d", "#857aab"),
        strict=True,
    )
)
_ANOTHER_KIND = "#8c8c8c"  # of a net of one's own


def cost_chart(costs: Sequence[LayerCost], path: str | PathLike[str], *, title: str = "") -> None:
    """Draw where the work and the parameters are: a bar for each part, coloured by kind of layer.

    Args:
        costs: What `layer_costs` returned.
        path: The image to write; its suffix names the format, such as `.png`, `.svg`, `.pdf`.
        title: Words ahead of the totals in the image's heading.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: matplotlib cannot write the format.
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    figure = new_figure(10, 5.2)
    from matplotlib.patches import Patch  # noqa: PLC0415 - an extra

    work, weights = figure.subplots(1, 2, sharey=True)
    kernels = [cost for cost in costs if cost.macs]
    _bars(work, kernels, [cost.macs / 1e6 for cost in kernels], "million MACs")
    thousands = [cost.params / 1e3 for cost in kernels]
    _bars(weights, kernels, thousands, "thousand parameters, batch norm left out")
    work.invert_yaxis()  # the input on top, as in the summary
    kinds = dict.fromkeys((*KINDS, *map(kind_of, kernels)))
    handles = [Patch(color=_colour(kind), label=kind) for kind in kinds]
    weights.legend(handles=handles, loc="upper right", frameon=False)
    macs, params = sum(c.macs for c in costs), sum(c.params for c in costs)
    figure.suptitle(f"{title}{macs / 1e6:,.1f} million MACs, {params:,} parameters")
    save_figure(figure, path)


def accuracy_chart(path: str | PathLike[str]) -> None:
    """Draw the published weights' top-1 accuracy against MACs, a colour for each net.

    A line joins the sizes of one alpha, or alphas of which weights were published at one size. The
    V1 paper's figure 4 shows the same of its own training; its numbers were never printed. The
    accuracies here are those in `pretrained`, the MACs are counted.

    Args:
        path: The image to write; its suffix names the format, such as `.png`, `.svg`, `.pdf`.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: matplotlib cannot write the format.
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    figure = new_figure(9, 6)
    axes = figure.subplots()
    for known, colour in zip(FAMILIES, COLOURS.values(), strict=False):
        for i, rows in enumerate(_lines(pretrained.rows_of(known.name))):
            # Neighbouring lines have their words on either side.
            beside = {"xytext": (-4, 4), "ha": "right"} if i % 2 else {"xytext": (4, -8)}
            _line(axes, rows, colour, known.name if i == 0 else None, beside)
    axes.set_xscale("log")
    ticks = (10, 20, 50, 100, 200, 500)
    axes.set_xticks(ticks, map(str, ticks))
    axes.set_xticks([], minor=True)
    axes.set_xlabel(
        "million MACs, on a logarithmic scale; at each point the alpha and the image's size"
    )
    axes.set_ylabel("ImageNet top-1, %, central crop of 87.5 %")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, os.fspath(path))


def _lines(rows: Sequence[Pretrained]) -> list[list[Pretrained]]:
    """Return what a line joins: the sizes of an alpha, or the alphas that have one size each."""
    several = {row.alpha for row in rows if len({r.size for r in rows if r.alpha == row.alpha}) > 1}
    groups: dict[tuple[float | None, bool], list[Pretrained]] = {}
    for row in rows:
        group = (row.alpha if row.alpha in several else None, row.minimalistic)
        groups.setdefault(group, []).append(row)
    return list(groups.values())


def _line(
    axes: Any, rows: Sequence[Pretrained], colour: str, label: str | None, beside: dict[str, Any]
) -> None:
    macs = [
        sum(c.macs for c in layer_costs(row.alpha, net=row.net, size=row.size, **row.options)) / 1e6
        for row in rows
    ]
    marker = "x-" if rows[0].minimalistic else "o-"
    axes.plot(macs, [row.top_1 for row in rows], marker, color=colour, label=label, markersize=4)
    look = {"textcoords": "offset points", "fontsize": 6, "color": colour, **beside}
    for x, row in zip(macs, rows, strict=True):
        words = f"{row.alpha:g}-{row.size}{' min.' if row.minimalistic else ''}"
        axes.annotate(words, (x, row.top_1), **look)


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches; a missing matplotlib is named."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("The chart", "charts") from error
    return Figure(figsize=(width, height), layout="constrained")


def _colour(kind: str) -> str:
    return COLOURS.get(kind, _ANOTHER_KIND)


def _bars(axes: Any, costs: Sequence[LayerCost], values: Sequence[float], label: str) -> None:
    """Draw a bar for each part, put together from the parts' layers."""
    parts = list(dict.fromkeys(cost.part for cost in costs))
    ends = [0.0] * len(parts)
    for cost, value in zip(costs, values, strict=True):
        row = parts.index(cost.part)
        axes.barh(row, value, left=ends[row], color=_colour(kind_of(cost)))
        ends[row] += value
    axes.set_yticks(range(len(parts)), [part.replace("_", " ") for part in parts])
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Any, path: str | PathLike[str]) -> None:
    """Write a matplotlib figure in the format that the suffix of `path` names.

    Raises:
        ValueError: matplotlib cannot write the format.
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    with replacing(path) as temporary:
        # Without a date the same numbers give the same file.
        metadata = {"Date": None} if os.fspath(path).endswith(".svg") else None
        figure.savefig(temporary, dpi=150, metadata=metadata)
