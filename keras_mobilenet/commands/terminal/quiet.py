"""Silence about what native libraries write on their own, while the command goes on.

The redirection is the process': what other threads write past Python meanwhile is hidden too, so
that only commands do this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import IO, Any

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_ASKED_FOR = ("0", "1")  # its values with which notes are shown


def show_native_notes() -> None:
    """Let native libraries write their notes, in this process and in those that it starts."""
    if os.environ.get(_LEVEL) not in _ASKED_FOR:
        os.environ[_LEVEL] = _ASKED_FOR[0]


def native_notes_hidden() -> AbstractContextManager[None]:
    """Hide what native libraries write, unless the user asked to see it.

    TensorFlow notes some things before it reads any setting; its converter and LiteRT have notes
    that no setting switches off.
    """
    asked_for = os.environ.setdefault(_LEVEL, "3") in _ASKED_FOR  # 3: fatal errors only
    return nullcontext() if asked_for else native_hidden()


@contextmanager
def native_hidden() -> Iterator[None]:
    """Hide what native code writes past Python's `sys.stdout` and `sys.stderr`, which go on."""
    with ExitStack() as stack:
        for number, name in ((1, "stdout"), (2, "stderr")):
            stream: Any = getattr(sys, name)
            if stream is None:  # it was closed before Python started
                continue
            stream.flush()
            kept = os.dup(number)
            stack.callback(os.close, kept)
            if _number(stream) == number:
                stack.callback(setattr, sys, name, stream)
                setattr(sys, name, stack.enter_context(_moved(stream, kept)))
            stack.callback(os.dup2, kept, number)
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), number)
        yield


def _number(stream: Any) -> int | None:
    """Return a stream's file descriptor; those of notebooks and tests may have none."""
    try:
        return int(stream.fileno())
    except (AttributeError, OSError):
        return None


def _moved(stream: Any, number: int) -> IO[str]:
    return open(
        number, "w", encoding=stream.encoding, errors=stream.errors,
        buffering=1 if stream.line_buffering else -1, closefd=False,
    )  # fmt: skip
