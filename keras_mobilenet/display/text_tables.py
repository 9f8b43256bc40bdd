"""Tables of text, aligned for a terminal or written as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from keras_mobilenet.nets.arguments import check_choice

Format = Literal["text", "markdown", "json"]
LINE_LENGTH = 120  # characters, at least
UNKNOWN = "?"


def check_format(value: object) -> None:
    """Raise ValueError unless `value` is a format of a table."""
    check_choice("format", value, get_args(Format))


def written(
    headers: Sequence[str],
    cells: Sequence[Sequence[str]],
    format: Format,  # noqa: A002 - as in `summary`
    *,
    left: int = 1,
) -> str:
    """Return a table as Markdown, or else as text; the first `left` columns are flush left."""
    draw = markdown_table if format == "markdown" else text_table
    return draw(headers, cells, left=left)


def text_table(
    headers: Sequence[str], cells: Sequence[Sequence[str]], line_length: int = 0, *, left: int = 1
) -> str:
    """Return a table whose columns are as wide as their content, and no line under `line_length`.

    The first `left` columns are flush left, the others flush right.
    """
    rows = [list(headers), *map(list, cells)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    spare = max(0, line_length - sum(widths) - 2 * (len(widths) - 1))
    stretched = max(left - 1, 1)  # the columns before the last flush-left one share what is spare
    for i in range(stretched):
        widths[i] += spare // stretched + (i < spare % stretched)
    return "\n".join(text_row(row, widths, left=left) for row in rows)


def text_row(cells: Sequence[str], widths: Sequence[int], *, left: int = 1) -> str:
    """Return one row of a table whose columns have these widths."""
    return "  ".join(
        cell.ljust(width) if i < left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )


def markdown_table(headers: Sequence[str], cells: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return a Markdown table; the first `left` columns are flush left, the others right."""
    rule = ["---" if i < left else "---:" for i in range(len(headers))]
    return "\n".join(markdown_row(row) for row in (headers, rule, *cells))


def markdown_row(cells: Sequence[str]) -> str:
    """Return one row of a Markdown table."""
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
