"""Ctrl-C for a program that a test starts."""

import signal
from contextlib import contextmanager


@contextmanager
def heard():
    """Let a process that the body starts hear Ctrl-C.

    What a shell starts in the background is deaf to it, and so is what that starts.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
