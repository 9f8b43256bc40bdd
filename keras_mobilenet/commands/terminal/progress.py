"""What a command shows while it works, and how it is resumed after Ctrl-C."""

from __future__ import annotations

import importlib.util
import logging
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import typer

from keras_mobilenet.commands.terminal.options import note
from keras_mobilenet.errors import DownloadError, plain_line

INTERRUPTED = 130  # as the shell reports a command that Ctrl-C ended
EVERY = 10.0  # seconds between two lines of progress on a pipe, whose reader keeps them all
_CLEAR_LINE = "\r\x1b[K"
Show = Callable[..., None]
# What is drawn on the terminal now, the innermost last: each shows another text for a while.
_drawn: list[Callable[[str], AbstractContextManager[None]]] = []

_BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
# Packages that take half a second to import, or many.
_SLOW = ("keras", "tensorflow", "nncf", "ray")
_OPENED = "keras_mobilenet.deploy.opened"  # which tells why Keras opens a model


@contextmanager
def bars(*, in_bytes: bool = False, hidden: bool = False, first: str = "") -> Iterator[Show]:
    """Yield `show(stage, done, total=None, unit="", values="")`, which draws a bar a stage.

    The bars are on stderr, each with its rate and the time left. Until there is one, `first` says
    what is being done. Where stderr is no terminal, a line says how far it is, now and then.
    """
    if not sys.stderr.isatty():
        yield _ignored if hidden else _line_of_stage(_Lines(), in_bytes=in_bytes)
        return
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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TransferSpeedColumn() if in_bytes else TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=hidden) as drawn:
        tasks: dict[str, int] = {}
        waiting = [drawn.add_task(first, total=None, rate="", values="")] if first else []

        @contextmanager
        def another(text: str) -> Iterator[None]:
            task = drawn.add_task(text, total=None, rate="", values="", visible=bool(text))
            try:
                yield
            finally:
                drawn.update(task, visible=False)

        def show(
            stage: str, done: int, total: int | None = None, unit: str = "", values: str = ""
        ) -> None:
            while waiting:
                drawn.update(waiting.pop(), visible=False)
            if stage not in tasks:
                tasks[stage] = drawn.add_task(stage, total=total, rate="", values="")
            task = drawn.tasks[tasks[stage]]
            speed = task.finished_speed or task.speed
            rate = f"{speed:.0f} {unit}/s" if speed else ""
            drawn.update(task.id, completed=done, total=total, rate=rate, values=values)

        with _innermost(another, drawn=not hidden):
            yield show


class _Lines:
    """Says what is being done in lines of their own, the first and each other after a while."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._said >= EVERY

    def __call__(self, text: str) -> None:
        if text and self.is_due:
            note(plain_line(text))
            self._said = time.monotonic()


def _ignored(*_: object, **__: object) -> None:
    """Show nothing."""


def _line_of_stage(lines: _Lines, *, in_bytes: bool) -> Show:
    """Return a `show` that says in lines how far each stage is, and how fast it was so far."""
    began: dict[str, tuple[float, int]] = {}

    def show(
        stage: str, done: int, total: int | None = None, unit: str = "", values: str = ""
    ) -> None:
        start, before = began.setdefault(stage, (time.monotonic(), done))
        if not lines.is_due:
            return
        scale, unit = (1e6, "MB") if in_bytes else (1, unit)
        of = "" if total is None else f" of {total / scale:,.0f}"
        speed = (done - before) / scale / max(time.monotonic() - start, 1e-3)
        digits = ",.0f" if speed >= 10 else ".2g"
        rate = f"{speed:{digits}} {unit}/s" if speed else ""
        said = (f"{stage}: {done / scale:,.0f}{of} {unit}".rstrip(), rate, values)
        lines(", ".join(part for part in said if part))

    return show


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yield what shows a line of what is being done, on stderr.

    Where that is no terminal, it is a line of its own now and then.
    """
    if not sys.stderr.isatty():
        yield _Lines()
        return
    shown = ""

    # A spinner would draw all the time, and so take part in what is timed.
    def show(text: str) -> None:
        nonlocal shown
        shown = text
        line = plain_line(text)[: shutil.get_terminal_size().columns - 1]  # or it would wrap
        typer.echo(f"{_CLEAR_LINE}{line}", nl=False, err=True)

    @contextmanager
    def another(text: str) -> Iterator[None]:
        before = shown
        show(text)
        try:
            yield
        finally:
            show(before)

    with _innermost(another):
        try:
            yield show
        finally:
            show("")


@contextmanager
def doing(text: str) -> Iterator[None]:
    """Say on a terminal what is being done, until it is."""
    with progress_line() as show:
        show(text)
        yield


@contextmanager
def drawing(file: Path) -> Iterator[None]:
    """Say that an image is drawn, and then that it is written."""
    with doing(f"drawing {file}"):
        yield
    note(f"wrote {file}")


@contextmanager
def _innermost(
    another: Callable[[str], AbstractContextManager[None]], *, drawn: bool = True
) -> Iterator[None]:
    if not drawn:
        yield
        return
    _drawn.append(another)
    try:
        yield
    finally:
        _drawn.remove(another)


@contextmanager
def meanwhile(text: str) -> Iterator[None]:
    """Say what is being done, in the line or among the bars that are drawn now.

    Where nothing is drawn, it has a line of its own, which stays where stderr is no terminal.
    """
    if _drawn:
        with _drawn[-1](text):
            yield
    elif sys.stderr.isatty():
        with doing(text):
            yield
    else:
        if text:
            note(f"{text} ...")
        yield


@contextmanager
def waits_told() -> Iterator[None]:
    """Say when a package is imported that takes long, and why Keras opens a model."""
    finder, handler, logger = _SlowImports(), _Notes(logging.INFO), logging.getLogger(_OPENED)
    level = logger.level
    sys.meta_path.insert(0, finder)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        sys.meta_path.remove(finder)


class _Notes(logging.Handler):
    """Says each record above what is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        if _drawn:
            with meanwhile(""):
                note(record.getMessage())
        else:
            note(record.getMessage())


class _SlowImports:
    """Finds no module, but has the first import of a slow package said while it runs."""

    def __init__(self) -> None:
        self._busy = False  # what a slow package imports is a part of it

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if self._busy or name not in _SLOW:
            return None
        self._busy = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._busy = False
        if spec is not None and spec.loader is not None:
            self._say_while(spec.loader, f"importing {_words(name)}")
        return spec

    def _say_while(self, loader: object, text: str) -> None:
        run: Callable[[ModuleType], None] = loader.exec_module  # type: ignore[attr-defined]

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # type: ignore[attr-defined] # the loader's own is back
            self._busy = True
            try:
                with meanwhile(text):
                    run(module)
            finally:
                self._busy = False

        loader.exec_module = exec_module  # type: ignore[attr-defined]


def _words(package: str) -> str:
    if package != "keras":
        return {"tensorflow": "TensorFlow", "ray": "Ray", "nncf": "NNCF"}.get(package, package)
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    return f"Keras and {_BACKENDS.get(backend, backend)}"


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
