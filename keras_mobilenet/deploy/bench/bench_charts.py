"""What `bench` measured, as a chart drawn by matplotlib (the extra `charts`)."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from keras_mobilenet.deploy.bench.benchmarking import Report, Result
from keras_mobilenet.deploy.engines.choice import PRECISIONS
from keras_mobilenet.display.charts import new_figure, save_figure

COLOURS = dict(zip(PRECISIONS, ("#4878a8", "#e49444", "#6a9f58"), strict=True))


def bench_chart(report: Report, path: str | PathLike[str]) -> None:
    """Draw a bar of images a second for each candidate, a panel for each batch size.

    Args:
        report: What `bench` returned.
        path: The image to write; its suffix names the format, such as `.png`, `.svg`, `.pdf`.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: matplotlib cannot write the format.
        OSError: the file cannot be written; what was at `path` is as it was.
    """
    batches = list(dict.fromkeys(result.batch for result in report.results))
    rows = len(report.results) // len(batches)
    figure = new_figure(3 + 3.2 * len(batches), 1.8 + 0.32 * rows)
    from matplotlib.patches import Patch  # noqa: PLC0415 - an extra

    panels = figure.subplots(1, len(batches), sharey=True, squeeze=False)[0]
    for axes, batch in zip(panels, batches, strict=True):
        _panel(axes, report, [result for result in report.results if result.batch == batch])
    panels[0].invert_yaxis()  # Keras on top, as in the table
    seen = {result.precision for result in report.results}
    handles = [Patch(color=COLOURS[name], label=name) for name in PRECISIONS if name in seen]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    machine = report.machine
    figure.suptitle(f"{report.model}\n{machine.processor}, {machine.cores} cores", fontsize=11)
    save_figure(figure, path)


def _panel(axes: Any, report: Report, results: Sequence[Result]) -> None:
    """Draw the bars of one batch size, each with how many times as fast as Keras it is."""
    colours = [COLOURS[result.precision] for result in results]
    bars = axes.barh(range(len(results)), [result.rate for result in results], color=colours)
    labels = [f"{report.ratio(result):.1f}x" for result in results]
    axes.bar_label(bars, labels, padding=2, fontsize=8)
    axes.set_yticks(range(len(results)), [f"{r.name} {r.precision}" for r in results], fontsize=8)
    axes.set_xlabel(f"images/s, batch {results[0].batch}")
    axes.margins(x=0.18)  # room for the labels
    axes.spines[["top", "right"]].set_visible(False)
