"""The exceptions of this package, and texts from outside made fit for a screen or a page.

    ValueError
    ├── AccuracyError       a folded or exported model that does not compute what it should
    ├── CheckpointError     a file of weights that cannot be read, or does not fit the model
    ├── ImageError          a file that is no image, or a damaged one
    └── PrecisionError      numbers that a file or the processor cannot compute with
    OSError
    ├── DownloadError       published weights that are neither at hand nor to be fetched
    └── UploadError         a folder that the hub does not take
    ImportError
    ├── BackendError        a feature that needs TensorFlow under another Keras backend
    └── MissingExtraError   an optional part that is not installed

    UserWarning
    └── AgreementWarning    int8 or bfloat16 that often names another class than float32

A wrong argument raises a plain `ValueError`, as Keras does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from os import PathLike


class AccuracyError(ValueError):
    """A folded, quantised or exported model computes something else than the original."""


class CheckpointError(ValueError):
    """A file of weights cannot be read, or does not fit the model."""


class ImageError(ValueError):
    """A file is not an image that can be decoded."""


class PrecisionError(ValueError):
    """A file or the processor cannot compute in the precision that was asked for."""


class AgreementWarning(UserWarning):
    """A compiled int8 or bfloat16 model often names another class than the float32 one."""


class DownloadError(OSError):
    """Published weights are neither at hand nor to be fetched."""


class UploadError(OSError):
    """A folder cannot be pushed to the hub."""


class MissingExtraError(ImportError):
    """An optional part of the package is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs a part that is not installed. "
            f"Run: pip install 'keras-mobilenet[{extra}]'"
        )


class BackendError(ImportError):
    """A feature needs TensorFlow as Keras' backend, and Keras was imported with another one."""

    def __init__(self, feature: str, backend: str, remedy: str = "") -> None:
        super().__init__(
            f"{feature} needs TensorFlow as Keras' backend. Found: {backend!r}. "
            f"{remedy}Set KERAS_BACKEND=tensorflow before Keras is imported; a model goes into "
            "such a process as a .keras file."
        )


def fault(path: str | PathLike[str], found: str, remedy: str) -> str:
    """Return a message about one file: which, what was found in it, and what to do."""
    return f"{path}: {found}\n{remedy}"


@contextmanager
def about_file(path: str | PathLike[str], remedy: str) -> Iterator[None]:
    """Name the file, and what to do, in a `CheckpointError` of the body that does not yet."""
    try:
        yield
    except CheckpointError as error:
        if str(error).startswith(os.fspath(path)):
            raise
        raise CheckpointError(fault(path, f"{error}.", remedy)) from error


@contextmanager
def damage_as_error(what: str, faults: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn what reading a damaged file raises into a `CheckpointError` about `what`."""
    try:
        yield
    except CheckpointError:  # a ValueError, too
        raise
    except faults as error:
        raise CheckpointError(f"{what} is truncated or damaged ({error})") from error


# All controls but tab and line feed, and those that show a name in another order than its own: a
# terminal obeys them, and HTML forbids most.
_CONTROLS = (range(9), range(11, 32), range(127, 160))
_TURNS = (range(0x202A, 0x202F), range(0x2066, 0x206A))
_HIDDEN = dict.fromkeys(chain(*_CONTROLS, *_TURNS), "\N{REPLACEMENT CHARACTER}")
_IN_ONE_LINE = _HIDDEN | {ord("\n"): "\N{REPLACEMENT CHARACTER}"}


def unicode_text(text: str) -> str:
    """Return a text that every encoding of Unicode can hold.

    A file's name may be bytes that are no UTF-8. Python keeps them as lone surrogates; they are
    written as Python would escape them.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_ESCAPED = re.compile(r"\\udc([89a-f][0-9a-f])")  # as `unicode_text` writes a byte that is no UTF-8


def path_of_text(text: str) -> str:
    """Return the path of the file that `unicode_text` wrote, or the text where there is none."""
    if "\\udc" not in text or os.path.lexists(text):
        return text
    path = _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text)
    return path if os.path.lexists(path) else text


def plain(text: str) -> str:
    """Return a text of one or more lines without what a terminal or a browser would obey."""
    return unicode_text(text).translate(_HIDDEN)


def plain_line(text: str) -> str:
    """Return `plain` text in one line: a name with a line feed in it is not two names."""
    return unicode_text(text).translate(_IN_ONE_LINE)
