"""Charts of numbers, drawn by matplotlib (the extra `charts`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from typing import Any

from keras_mobilenet.costs import KINDS, LayerCost, kind_of
from keras_mobilenet.errors import MissingExtraError
from keras_mobilenet.files import replacing

COLOURS = dict(zip(KINDS, ("#4878a8", "#e49444", "#6a9f58", "#a87c9f"), strict=True))


def cost_chart(costs: Sequence[LayerCost], path: str | PathLike[str], *, title: str = "") -> None:
    """Draw where the work and the parameters are: a bar for each part, coloured by kind of layer.

    Args:
        costs: What `layer_costs` returned.
        path: The picture to write; its suffix names the format, such as `.png`, `.svg`, `.pdf`.
        title: Words ahead of the totals in the picture's heading.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: matplotlib cannot write the format.
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
        from matplotlib.patches import Patch  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("The chart", "charts") from error
    figure = Figure(figsize=(10, 5.2), layout="constrained")
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
