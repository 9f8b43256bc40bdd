"""Silence about what libraries write on their own, native code among them, for commands.

The redirection is the process': what other threads write meanwhile is hidden too, so that no
call of the library is made under it.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from typing import IO, Any

_NO_NOTES = "3"  # TensorFlow's highest level: fatal errors only


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
    """Hide what the body writes on stdout and stderr; where it raises, show it on stderr.

    Threads may be quiet at once: the last one to leave puts the streams back.
    """
    _HIDING.enter()
    try:
        yield
    except BaseException:
        _HIDING.leave(failed=True)
        raise
    _HIDING.leave()


class _Hiding:
    """The one redirection of the process, and how many bodies run under it."""

    def __init__(self) -> None:
        self._lock, self._thread = threading.Lock(), threading.local()
        self._bodies, self._failed = 0, False
        self._stack = ExitStack()
        self._notes: IO[str]

    def enter(self) -> None:
        """Hide, unless another body does already."""
        with self._lock:
            if not self._bodies:
                with ExitStack() as stack:
                    self._notes = stack.enter_context(
                        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
                    )
                    stack.enter_context(_redirected(self._notes))
                    self._stack = stack.pop_all()
            self._bodies += 1
        self._thread.depth = self._depth() + 1

    def leave(self, failed: bool = False) -> None:
        """Show again, after the last body; what was hidden, too, if one has failed.

        A body within another of its thread has not failed for good: the outer one may go on.
        """
        self._thread.depth = self._depth() - 1
        with self._lock:
            self._failed |= failed and not self._depth()
            self._bodies -= 1
            if not self._bodies:
                self._show()

    def _depth(self) -> int:
        depth: int = getattr(self._thread, "depth", 0)
        return depth

    def _show(self) -> None:
        failed, self._failed = self._failed, False
        with self._stack:  # is left on an error, too
            text = ""
            if failed:
                sys.stdout.flush()
                sys.stderr.flush()
                self._notes.flush()
                self._notes.seek(0)
                text = self._notes.read()
        if sys.stderr is not None:
            sys.stderr.write(text)


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


_HIDING = _Hiding()


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
