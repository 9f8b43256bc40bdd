"""What the commands that train share: bars, Ctrl-C, and what is said of a finished run."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from keras_mobilenet.cli_options import note, say, start_up_notes_hidden
from keras_mobilenet.errors import DownloadError
from keras_mobilenet.texts import plain_line

if TYPE_CHECKING:
    from keras_mobilenet.transfer.progress import Report
    from keras_mobilenet.transfer.runs import Run

INTERRUPTED = 130  # as the shell reports a command that Ctrl-C ended


@contextmanager
def start_up() -> Iterator[None]:
    """Have TensorFlow, imported within, hide its notes and use oneDNN.

    On processors without AVX-512's VNNI it leaves oneDNN off by itself, and trains the whole net
    at 15 to 17 pictures a second where it could do 26.
    """
    if "tensorflow" not in sys.modules:  # which would not heed it, while child processes would
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with start_up_notes_hidden():
        yield


def validation(text: str) -> Any:
    """Return what `--val` says: a share, or a path."""
    try:
        return text if os.path.exists(text) else float(text)
    except ValueError as error:
        raise typer.BadParameter(f"--val is neither a share nor a path: {text!r}") from error


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """On Ctrl-C, or where the disk is full, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"interrupted; {to_resume(out)}")
        raise typer.Exit(INTERRUPTED) from None
    except DownloadError:  # an OSError, too, but nothing was begun
        raise
    except OSError:
        note(f"what was done is kept; {to_resume(out)}")
        raise


def to_resume(out: Path) -> str:
    """Return how to go on: the command as it was typed."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    line = shlex.join(["keras-mobilenet", *arguments, "--resume"])
    return f"to go on with {out}:\n  {line}"


@contextmanager
def drawn() -> Iterator[Report]:
    """Yield a report that draws a bar a stage on stderr, with its rate and the time left."""
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def report(now: Any) -> None:
            if now.stage not in tasks:
                tasks[now.stage] = bars.add_task(now.stage, total=now.total, rate="", values="")
            task = tasks[now.stage]
            speed = bars.tasks[task].finished_speed or bars.tasks[task].speed
            rate = f"{speed:.0f} {now.unit}/s" if speed else ""
            bars.update(task, completed=now.done, rate=rate, values=_values(now.values))

        yield report


def _values(values: Any) -> str:
    shown = {"loss": "loss {:.3f}", "val_accuracy": "validation {:.1%}"}
    return ", ".join(text.format(values[key]) for key, text in shown.items() if key in values)


def tell(run: Run, out: Path) -> None:
    """Print how good a run is, and where it is."""
    for problem in run.problems:
        note(plain_line(problem))
    if run.accuracy is not None:
        what = "accuracy (all classes right)" if run.multi_label else "accuracy"
        right = round(run.accuracy * len(run.validation))
        say(
            f"validation {what} {100 * run.accuracy:.1f} % "
            f"({right} of {len(run.validation)} pictures)"
        )
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in run.timings.items())
    note(f"time: {times}")
    say(f"wrote {out / 'model.keras'}")
    note(f"try: keras-mobilenet classify --model {shlex.quote(str(out / 'model.keras'))} PICTURE")
