"""What `bench` measured, as text, Markdown, or JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from keras_mobilenet.deploy.bench.benchmarking import Report, Result
from keras_mobilenet.display.text_tables import UNKNOWN, Format, markdown_table, text_table

_HEADERS = ["Candidate", "Precision", "Batch", "Median ms", "p95 ms", "Images/s", "x Keras",
            "Peak share", "Max error", "Same class"]  # fmt: skip
_LEFT = 2  # columns of words


def bench_table(report: Report, *, format: Format = "text") -> str:  # noqa: A002 - as in `summary`
    """Return a report as text, Markdown, or JSON that holds every single time."""
    if format == "json":
        return json.dumps(bench_record(report), indent=2)
    cells = [_cells(report, result) for result in report.results]
    if format == "markdown":
        table = markdown_table(_HEADERS, cells, left=_LEFT)
        return "\n\n".join([*_heading(report), table, "\n".join(f"- {x}" for x in _notes(report))])
    # A line apart: batches, whose rows are to be compared with each other only.
    lines = text_table(_HEADERS, cells, left=_LEFT).splitlines()
    rows = [lines[0]]
    for i, line in enumerate(lines[1:]):
        if i == 0 or report.results[i].batch != report.results[i - 1].batch:
            rows.append("-" * len(line))
        rows.append(line)
    return "\n".join([*_heading(report), "", *rows, "", *_notes(report)])


def _heading(report: Report) -> list[str]:
    work = "an unknown amount of work"
    if report.flops is not None:
        work = f"{report.flops / 1e9:.3g} GFLOP an image"
    peak = report.peak
    return [
        f"{report.model}: {work}",
        str(report.machine),
        f"float32 peak {peak.gflops:.0f} GFLOP/s ({peak.library}, {peak.size} x {peak.size} "
        f"matrices); {report.rounds} rounds in turns",
    ]


def _notes(report: Report) -> list[str]:
    skipped = [f"{name} is not in the table: {why}" for name, why in report.skipped.items()]
    return [*report.notes, *skipped]


def _cells(report: Report, result: Result) -> list[str]:
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


def bench_record(report: Report) -> dict[str, Any]:
    """Return a report as JSON's types, with every single time in the order of the calls."""
    return {
        "model": report.model,
        "machine": asdict(report.machine),
        "threads": report.machine.cores,
        "float32_peak": asdict(report.peak),
        "flops_per_image": report.flops,
        "rounds": report.rounds,
        "images_compared": report.images,
        "results": [_result_record(report, result) for result in report.results],
        "skipped": report.skipped,
        "notes": list(report.notes),
    }


def _result_record(report: Report, result: Result) -> dict[str, Any]:
    return {
        "candidate": result.name,
        "precision": result.precision,
        "batch": result.batch,
        "median_seconds": result.timings.median,
        "p95_seconds": result.timings.p95,
        "images_per_second": result.rate,
        "ratio_to_keras_predict": report.ratio(result),
        "share_of_float32_peak": report.peak_share(result),
        "difference_from_keras": None if result.difference is None else asdict(result.difference),
        "seconds": list(result.timings.seconds),
    }
