"""What several commands share: options, notes on stderr, and silence about TensorFlow."""

from __future__ import annotations

import enum
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

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


def parameters_of(function: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    """Return the parameters of a function, or of a dataclass, with their annotations resolved."""
    return inspect.signature(function, eval_str=True).parameters.values()


def with_signature(
    wrapper: Callable[..., None], parameters: Iterable[inspect.Parameter]
) -> Callable[..., None]:
    """Return `wrapper`, which takes anything by keyword, as a command with these options."""
    by_keyword = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
    wrapper.__signature__ = inspect.Signature(by_keyword)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in by_keyword}
    return wrapper


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
