"""What `bench` measured, as text, Markdown, JSON, or a chart by matplotlib (the extra `charts`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any, Literal

from keras_mobilenet.deploy.bench.report import BenchReport, Result
from keras_mobilenet.deploy.engines.choice import PRECISIONS
from keras_mobilenet.display.charts import new_figure, save_figure
from keras_mobilenet.display.text_tables import (
    UNKNOWN,
    Format,
    markdown_row,
    markdown_table,
    text_row,
)

_HEADERS = ["Candidate", "Precision", "Batch", "Median ms", "p95 ms", "Images/s", "x first",
            "Peak share", "Max error", "Same class"]  # fmt: skip
_LEFT = 2  # columns of words
_NUMBER = 8  # characters that a number may take


def bench_table(report: BenchReport, *, format: Format = "text") -> str:  # noqa: A002 - as in `summary`
    """Return a report as text, Markdown, or JSON that holds every single time."""
    if format == "json":
        return json.dumps(bench_record(report), indent=2)
    rows = [_row(report, i, format) for i in range(len(report.results))]
    return "\n".join([_head(report, format), *rows, _foot(report, format)])


def latest_lines(report: BenchReport, format: Literal["text", "markdown"]) -> str:  # noqa: A002
    """Return what a report adds to the table as it was before: its head, a row, or the notes.

    The lines of all reports that `bench` shows, one after the other, are those of `bench_table`.
    """
    if report.complete:
        return _foot(report, format)
    if report.results:
        return _row(report, len(report.results) - 1, format)
    return _head(report, format)


def _head(report: BenchReport, format: Format) -> str:  # noqa: A002
    heading = _heading(report)
    headers = _headers(report)
    if format == "markdown":
        return "\n\n".join([*heading, markdown_table(headers, [], left=_LEFT)])
    return "\n".join([*heading, "", text_row(headers, _widths(report), left=_LEFT)])


def _headers(report: BenchReport) -> list[str]:
    names = {"x first": "x Keras"} if report.keras_first else {}
    return [names.get(header, header) for header in _HEADERS]


def _row(report: BenchReport, i: int, format: Format) -> str:  # noqa: A002
    result, widths = report.results[i], _widths(report)
    cells = _cells(report, result)
    if format == "markdown":
        return markdown_row(cells)
    row = text_row(cells, widths, left=_LEFT)
    if i == 0 or report.results[i - 1].batch != result.batch:
        # Batches stand apart: rows are to be compared with others of the same batch only.
        row = f"{'-' * len(text_row(_HEADERS, widths, left=_LEFT))}\n{row}"
    return row


def _foot(report: BenchReport, format: Format) -> str:  # noqa: A002
    skipped = [f"{name} is not in the table: {why}" for name, why in report.skipped.items()]
    bullet = "- " if format == "markdown" else ""
    return "\n".join(["", *(f"{bullet}{note}" for note in (*report.notes, *skipped))])


def _widths(report: BenchReport) -> list[int]:
    """Return the columns' widths, which no result changes."""
    numbers = [max(_NUMBER, len(header)) for header in _HEADERS[_LEFT + 1 :]]
    columns = (report.names, PRECISIONS, map(str, report.plan.batches))
    words = [
        max(map(len, (header, *column)))
        for header, column in zip(_HEADERS[: _LEFT + 1], columns, strict=True)
    ]
    return [*words, *numbers]


def _heading(report: BenchReport) -> list[str]:
    work = "an unknown amount of work"
    if report.flops is not None:
        work = f"{report.flops / 1e9:.3g} GFLOP an image"
    peak, plan = report.peak, report.plan
    calls = f"{plan.seconds:g} s of calls a row"
    if plan.rounds is not None:
        calls = f"{plan.rounds} rounds in turns"
    return [
        f"{report.model}: {work}",
        str(report.machine),
        f"float32 peak {peak.gflops:.0f} GFLOP/s ({peak.library}, {peak.size} x {peak.size} "
        f"matrices); {calls}",
    ]


def _cells(report: BenchReport, result: Result) -> list[str]:
    share, apart = report.peak_share(result), result.difference
    return [
        result.name,
        result.precision,
        str(result.batch),
        f"{1000 * result.timings.median:.2f}",
        f"{1000 * result.timings.p95:.2f}",
        f"{result.rate:.1f}",
        f"{report.ratio(result):.2f}",
        UNKNOWN if share is None else f"{share:.1%}",
        "-" if apart is None else f"{apart.max_error:.2g}",
        "-" if apart is None else f"{apart.top1_agreement:.1%}",
    ]


def bench_record(report: BenchReport) -> dict[str, Any]:
    """Return a report as JSON's types, with every single time in the order of the calls."""
    return {
        "model": report.model,
        "machine": asdict(report.machine),
        "threads": report.machine.cores,
        "float32_peak": asdict(report.peak),
        "flops_per_image": report.flops,
        "seconds_a_row": None if report.plan.rounds is not None else report.plan.seconds,
        "rounds": report.plan.rounds,
        "images_compared": report.images,
        "compared_with": report.reference,
        "results": [_result_record(report, result) for result in report.results],
        "complete": report.complete,
        "skipped": report.skipped,
        "notes": list(report.notes),
    }


def _result_record(report: BenchReport, result: Result) -> dict[str, Any]:
    return {
        "candidate": result.name,
        "precision": result.precision,
        "batch": result.batch,
        "median_seconds": result.timings.median,
        "p95_seconds": result.timings.p95,
        "images_per_second": result.rate,
        "ratio_to_first": report.ratio(result),
        "share_of_float32_peak": report.peak_share(result),
        "difference": None if result.difference is None else asdict(result.difference),
        "seconds": list(result.timings.seconds),
    }


COLOURS = dict(zip(PRECISIONS, ("#4878a8", "#e49444", "#6a9f58"), strict=True))


def bench_chart(report: BenchReport, path: str | PathLike[str]) -> None:
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
    panels[0].invert_yaxis()  # the first on top, as in the table
    seen = {result.precision for result in report.results}
    handles = [Patch(color=COLOURS[name], label=name) for name in PRECISIONS if name in seen]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    machine = report.machine
    figure.suptitle(f"{report.model}\n{machine.processor}, {machine.cores} cores", fontsize=11)
    save_figure(figure, path)


def _panel(axes: Any, report: BenchReport, results: Sequence[Result]) -> None:
    """Draw the bars of one batch size, each with how many times as fast as the first it is."""
    colours = [COLOURS[result.precision] for result in results]
    bars = axes.barh(range(len(results)), [result.rate for result in results], color=colours)
    labels = [f"{report.ratio(result):.1f}x" for result in results]
    axes.bar_label(bars, labels, padding=2, fontsize=8)
    axes.set_yticks(range(len(results)), [f"{r.name} {r.precision}" for r in results], fontsize=8)
    axes.set_xlabel(f"images/s, batch {results[0].batch}")
    axes.margins(x=0.18)  # room for the labels
    axes.spines[["top", "right"]].set_visible(False)
