"""The command `keras-mobilenet latency`: times the published nets here, for estimates of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_mobilenet.classify_options import Precision
from keras_mobilenet.cli_options import note, progress_line, say, start_up_notes_hidden
from keras_mobilenet.files import replacing


def latency_command(
    to: Annotated[Path, typer.Argument(help="The file to write, for `cost --latency`.")],
    engine: Annotated[str, typer.Option(help="auto, litert, openvino, onnxruntime or keras.")] = (
        "auto"
    ),
    precision: Annotated[Precision, typer.Option(help="What to compute in.")] = Precision.FLOAT32,
    threads: Annotated[int | None, typer.Option(help="By default one a processor.", min=1)] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each net.", min=1)] = 10,
) -> None:
    """Time the 16 published nets on this machine, a picture at a time, and write the table."""
    with start_up_notes_hidden():
        from keras_mobilenet.deploy.latencies import measure_latencies  # noqa: PLC0415 - Keras
    with replacing(to) as temporary:  # before the minute that it takes
        with progress_line() as progress:
            table = measure_latencies(
                engine=engine,
                precision=precision.value,
                threads=threads,
                rounds=rounds,
                progress=progress,
            )
        Path(temporary).write_text(table.to_text() + "\n", encoding="utf-8")
    for row in table.rows:
        say(f"alpha {row.alpha:<4g} at {row.size}: {1e3 * row.seconds:7.2f} ms")
    note(f"wrote {to}")
