"""Silence about what libraries write on their own, native code among them.

The redirection is the process': what other threads write meanwhile is hidden too.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import IO


class _Muted(io.TextIOBase):
    """A stream that keeps nothing open: loggers made under `quiet` go on writing to it later."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.notes: IO[str] | None = None

    def write(self, text: str) -> int:
        target = self.notes or getattr(sys, self._name)
        return len(text) if target is None or target is self else int(target.write(text))

    def flush(self) -> None:
        target = self.notes or getattr(sys, self._name)
        if target is not None and target is not self:
            target.flush()

    def writable(self) -> bool:
        return True


_STDOUT, _STDERR = _Muted("stdout"), _Muted("stderr")


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what the body writes on stdout and stderr; where it raises, show it on stderr."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as notes:
        try:
            with _redirected(notes):
                yield
        except BaseException:
            notes.seek(0)
            sys.stderr.write(notes.read())
            raise


@contextmanager
def _redirected(notes: IO[str]) -> Iterator[None]:
    with ExitStack() as stack:
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            if stream is not None:
                stream.flush()
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(notes.fileno(), number)
        # Notebooks and tests have streams of their own, which are no file descriptors.
        stack.callback(setattr, _STDOUT, "notes", _STDOUT.notes)
        stack.callback(setattr, _STDERR, "notes", _STDERR.notes)
        _STDOUT.notes = _STDERR.notes = notes
        stack.enter_context(redirect_stdout(_STDOUT))
        stack.enter_context(redirect_stderr(_STDERR))
        stack.callback(notes.flush)
        yield
