"""Options that several commands take, and notes on stderr."""

from __future__ import annotations

import enum
from typing import Annotated

import typer


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
