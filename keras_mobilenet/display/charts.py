"""Charts of numbers, drawn by matplotlib (the extra `charts`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from typing import Any

from keras_mobilenet.errors import MissingExtraError
from keras_mobilenet.files import replacing
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.costs.layers import KINDS, LayerCost, kind_of, layer_costs

COLOURS = dict(zip(KINDS, ("#4878a8", "#e49444", "#6a9f58", "#a87c9f"), strict=True))


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
    kernels = [cost for cost in costs if cost.kernel]
    _bars(work, kernels, [cost.macs / 1e6 for cost in kernels], "million MACs")
    thousands = [cost.params / 1e3 for cost in kernels]
    _bars(weights, kernels, thousands, "thousand parameters, batch norm left out")
    work.invert_yaxis()  # the input on top, as in the summary
    handles = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items()]
    weights.legend(handles=handles, loc="upper right", frameon=False)
    macs, params = sum(c.macs for c in costs), sum(c.params for c in costs)
    figure.suptitle(f"{title}{macs / 1e6:,.1f} million MACs, {params:,} parameters")
    save_figure(figure, path)


def accuracy_chart(path: str | PathLike[str]) -> None:
    """Draw the published weights' top-1 accuracy against MACs, a line for each alpha.

    The paper's figure 4 shows the same of its own training; its numbers were never printed. The
    accuracies here are those in `pretrained`, the MACs are counted.

    Args:
        path: The image to write; its suffix names the format, such as `.png`, `.svg`, `.pdf`.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: matplotlib cannot write the format.
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    figure = new_figure(8, 5.2)
    axes = figure.subplots()
    for alpha, colour in zip(pretrained.alphas(), COLOURS.values(), strict=True):
        rows = [row for row in pretrained.rows_of("MobileNet") if row.alpha == alpha]
        macs = [sum(c.macs for c in layer_costs(alpha, size=row.size)) / 1e6 for row in rows]
        axes.plot(macs, [row.top_1 for row in rows], "o-", color=colour, label=f"alpha {alpha:g}")
        above = (-18, 5) if alpha == 0.75 else (5, -11)  # its line crosses its neighbours'
        look = {"textcoords": "offset points", "fontsize": 8, "color": colour}
        for x, row in zip(macs, rows, strict=True):
            axes.annotate(str(row.size), (x, row.top_1), xytext=above, **look)
    axes.set_xscale("log")
    ticks = (10, 20, 50, 100, 200, 500)
    axes.set_xticks(ticks, map(str, ticks))
    axes.set_xticks([], minor=True)
    axes.set_xlabel("million MACs, on a logarithmic scale; at each point the image's size")
    axes.set_ylabel("ImageNet top-1, %, central crop of 87.5 %")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, os.fspath(path))


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches; a missing matplotlib is named."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("The chart", "charts") from error
    return Figure(figsize=(width, height), layout="constrained")


def _bars(axes: Any, costs: Sequence[LayerCost], values: Sequence[float], label: str) -> None:
    """Draw a bar for each part, put together from the parts' layers."""
    parts = list(dict.fromkeys(cost.part for cost in costs))
    ends = [0.0] * len(parts)
    for cost, value in zip(costs, values, strict=True):
        row = parts.index(cost.part)
        axes.barh(row, value, left=ends[row], color=COLOURS[kind_of(cost)])
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
