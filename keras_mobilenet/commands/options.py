"""What several commands share: options, notes on stderr, and silence about TensorFlow."""

from __future__ import annotations

import enum
import inspect
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_mobilenet.commands.quiet import native_hidden, quiet
from keras_mobilenet.errors import plain
from keras_mobilenet.images.pixel_scaling import TEXTS, Preprocessing, as_preprocessing
from keras_mobilenet.nets import v1
from keras_mobilenet.nets.net import Size as PixelSize


class Format(enum.StrEnum):
    """How a table is written."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


@dataclass(frozen=True)
class PictureSize:
    """The value of --size, in pixels; None where any length goes."""

    height: int | None = v1.DEFAULT_SIZE
    width: int | None = v1.DEFAULT_SIZE

    def __str__(self) -> str:
        lengths = dict.fromkeys("any" if n is None else str(n) for n in (self.height, self.width))
        return "x".join(lengths)

    @property
    def lengths(self) -> tuple[int | None, int | None]:
        """The (height, width)."""
        return self.height, self.width

    def known(self) -> PixelSize:
        """Return the (height, width).

        Raises:
            ValueError: one of them is not known.
        """
        if self.height is None or self.width is None:
            raise ValueError(f"--size must be known here, as in 224 or 224x320. Received: {self}")
        return self.height, self.width


DEFAULT_SIZE = PictureSize()
_NO_NOTES = "3"  # TensorFlow's highest level: fatal errors only
_CLEAR_LINE = "\r\x1b[K"


def picture_size(text: Any) -> PictureSize:
    """Return what a text such as `"224"`, `"224x320"`, `"any"` or `"anyx320"` stands for.

    Raises:
        typer.BadParameter: it is none of those.
    """
    if isinstance(text, PictureSize):  # the default
        return text
    length = r"(\d{1,9}|any)"
    match = re.fullmatch(rf"{length}(?:x{length})?", str(text), re.ASCII)
    if match is None:
        raise typer.BadParameter(f"one length, height x width, or any: 224, 224x320. Not {text!r}")
    height, width = (None if n == "any" else int(n) for n in (match[1], match[2] or match[1]))
    return PictureSize(height, width)


def preprocessing(text: Any) -> Preprocessing:
    """Return the preprocessing that a text stands for.

    Raises:
        typer.BadParameter: it stands for none.
    """
    try:
        return as_preprocessing(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def names_in(file: Path | None) -> list[str] | None:
    """Return the names of classes in a file, one a line; None where there is no file."""
    return None if file is None else file.read_text(encoding="utf-8").splitlines()


PreprocessingOption = Annotated[
    Preprocessing | None,
    typer.Option(
        parser=preprocessing,
        metavar="TEXT",
        help="What the model needs done with pixels, 0 to 255, where it does not say so itself: "
        f"{TEXTS}.",
    ),
]
Labels = Annotated[Path | None, typer.Option(help="A file with the name of a class a line.")]
Alpha = Annotated[float, typer.Option(help="Width multiplier.")]
Size = Annotated[int, typer.Option(help="Height and width of the input in pixels.")]
AnySize = Annotated[
    PictureSize,
    typer.Option(
        parser=picture_size,
        metavar="N|HxW|any",
        help="Of the input in pixels: one length, or height x width.",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How the table is written.")]
NoTop = Annotated[bool, typer.Option("--no-top", help="Without the classifier.")]


def say(text: str) -> None:
    """Print a result, without what a terminal would obey in names from outside."""
    typer.echo(plain(text))


def note(text: str) -> None:
    """Say something that is not the result: on stderr, so that the result can be piped."""
    typer.echo(plain(text), err=True)


def own_streams() -> None:
    """Let stdout and stderr say what the command says, in whatever encoding, and nothing else.

    Warnings of this package become notes; those of Pillow, Keras and others are not for users.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions:  # which Python's -W or PYTHONWARNINGS set
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", category=UserWarning, module="keras_mobilenet")
        warnings.showwarning = _note_warning  # type: ignore[assignment]


def _note_warning(message: Warning | str, *_: Any) -> None:
    note(f"warning: {message}")


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
    """Hide what TensorFlow writes when it is imported, unless the user asked to see it.

    The library writes some notes before it reads any setting, past Python's `sys.stderr`.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _NO_NOTES) != _NO_NOTES:
        yield
        return
    with quiet():
        yield


def native_notes_hidden() -> AbstractContextManager[None]:
    """Hide what native libraries write, unless the user asked to see it; the command's own goes on.

    TensorFlow's converter and LiteRT have notes that no setting of theirs switches off.
    """
    asked_for = os.environ.get("TF_CPP_MIN_LOG_LEVEL", _NO_NOTES) in ("0", "1")
    return nullcontext() if asked_for else native_hidden()


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


_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([kMG]|[KMG]i)?B?")


def bytes_in(option: str, text: str) -> int:
    """Return the bytes that a text names: `"256kB"` are 256,000, `"256KiB"` are 262,144.

    Raises:
        ValueError: the text is no number with one of those units; the error names `option`.
    """
    match = _BYTES.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{option} must be a number of bytes, as in 256kB, 1.5MB or 512KiB. Received: {text!r}"
        )
    return int(Fraction(match[1]) * _UNITS[match[2] or ""])  # 1.001 is no float
