"""Texts from outside - names of files, labels - made fit for a screen, a page or a table."""

from __future__ import annotations

from itertools import chain

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


def plain(text: str) -> str:
    """Return a text of one or more lines without what a terminal or a browser would obey."""
    return unicode_text(text).translate(_HIDDEN)


def plain_line(text: str) -> str:
    """Return `plain` text in one line: a name with a line feed in it is not two names."""
    return unicode_text(text).translate(_IN_ONE_LINE)
