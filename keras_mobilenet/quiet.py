"""Silence about what native libraries write past Python's own streams.

The redirection is the process': what other threads write meanwhile is hidden too.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import IO


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
        stack.enter_context(redirect_stdout(notes))
        stack.enter_context(redirect_stderr(notes))
        stack.callback(notes.flush)
        yield
