"""What several commands share: options, notes on stderr, and silence about TensorFlow."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from keras_mobilenet.quiet import quiet


class Format(enum.StrEnum):
    """How a table is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


Alpha = Annotated[float, typer.Option(help="Width multiplier.")]
Size = Annotated[int, typer.Option(help="Height and width of the input in pixels.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the table is written.")]
NoTop = Annotated[bool, typer.Option("--no-top", help="Without the classifier.")]


def note(text: str) -> None:
    """Say something that is not the result: on stderr, so that the result can be piped."""
    typer.echo(text, err=True)


@contextmanager
def start_up_notes_hidden() -> Iterator[None]:
    """Hide what TensorFlow writes when it is imported, unless the user asked for a log level.

    The library writes some notes before it reads any setting, past Python's `sys.stderr`.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with quiet():
        yield
