"""What a command shows while it works, and how it is resumed after Ctrl-C."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from keras_mobilenet.commands.options import note
from keras_mobilenet.errors import DownloadError, plain

INTERRUPTED = 130  # as the shell reports a command that Ctrl-C ended
_CLEAR_LINE = "\r\x1b[K"
Show = Callable[..., None]


@contextmanager
def bars(*, in_bytes: bool = False, hidden: bool = False) -> Iterator[Show]:
    """Yield `show(stage, done, total=None, unit="", values="")`, which draws a bar a stage.

    The bars are on stderr and only on a terminal, each with its rate and the time left.
    """
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TransferSpeedColumn() if in_bytes else TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
    )
    console = Console(stderr=True)
    disable = hidden or not console.is_terminal
    with Progress(*columns, console=console, disable=disable) as drawn:
        tasks: dict[str, int] = {}

        def show(
            stage: str, done: int, total: int | None = None, unit: str = "", values: str = ""
        ) -> None:
            if stage not in tasks:
                tasks[stage] = drawn.add_task(stage, total=total, rate="", values="")
            task = drawn.tasks[tasks[stage]]
            speed = task.finished_speed or task.speed
            rate = f"{speed:.0f} {unit}/s" if speed else ""
            drawn.update(task.id, completed=done, total=total, rate=rate, values=values)

        yield show


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yield what shows a line of what is being done, on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # A spinner would draw all the time, and so take part in what is timed.
    try:
        yield lambda text: typer.echo(f"{_CLEAR_LINE}{plain(text)}", nl=False, err=True)
    finally:
        typer.echo(_CLEAR_LINE, nl=False, err=True)


@contextmanager
def interruptible(out: str | Path | None) -> Iterator[None]:
    """On Ctrl-C, say how to resume what is written to `out`, if anything is."""
    try:
        yield
    except KeyboardInterrupt:
        note("\ninterrupted" if out is None else f"\ninterrupted; {to_resume(out)}")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """On Ctrl-C, or where the disk is full, say how to resume."""
    try:
        with interruptible(out):
            yield
    except DownloadError:  # an OSError, too, but nothing was begun
        raise
    except OSError:
        note(f"what was done is kept; {to_resume(out)}")
        raise


def to_resume(out: str | Path) -> str:
    """Return how to resume: the command as it was typed."""
    arguments = [a for a in sys.argv[1:] if a not in ("--overwrite", "--resume")]
    line = shlex.join(["keras-mobilenet", *arguments, "--resume"])
    return f"to resume {out}:\n  {line}"
