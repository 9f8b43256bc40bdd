r"""Results as lines and as table rows; every file that holds results has its layout from here.

A row has the columns `path`, `error` (empty where the image was read), and then either
`class_1`, `name_1`, `score_1`, `class_2` and so on, the best class first, or `features`.

All files are UTF-8. Bytes of a name that are none are written as Python escapes them (`\udcff`).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from keras_mobilenet.deploy.folders.classification import Classified
from keras_mobilenet.deploy.folders.folders import Embedded
from keras_mobilenet.errors import MissingExtraError, unicode_text

Result = Classified | Embedded
_FORMULA = ("=", "+", "-", "@")
_CRLF = "\r\n"


class Lines(Protocol):
    """Results as lines of a text file, from which path and fault can be read back."""

    header: bytes
    quoted: bool  # whether a line feed between quotes does not end a record

    def encode(self, result: Result) -> bytes:
        """Return the record of a result, with the line feed at its end."""

    def decode(self, record: bytes) -> tuple[str, str | None]:
        """Return path, as `named` has it, and fault in a record.

        Raises:
            ValueError: it is no such record.
        """

    def named(self, path: str) -> str:
        """Return a path as a record has it."""


class CsvLines:
    """Comma-separated values.

    Spreadsheets compute a cell that begins with `=`, `+`, `-` or `@`, whoever wrote it.
    So a path that does begins with `./` here, and another text, unless it is a number, with an
    apostrophe. JSON lines and parquet have texts as they are.
    """

    quoted = True

    def __init__(self, top: int) -> None:
        self._top = top
        self._columns = len(columns(top))
        self.header = _csv_record(columns(top))

    def encode(self, result: Result) -> bytes:
        """Return the record of a result, with the line feed at its end."""
        path, *cells = class_row(result, self._top)
        return _csv_record([self.named(path), *map(_harmless, cells)])

    def named(self, path: str) -> str:
        """Return a path as a record has it."""
        return unicode_text(f".{os.sep}{path}" if path.startswith(_FORMULA) else path)

    def decode(self, record: bytes) -> tuple[str, str | None]:
        """Return path and fault in a record."""
        text = io.StringIO(record.decode("utf-8"), newline="")
        rows = list(csv.reader(text))
        if len(rows) != 1 or len(rows[0]) != self._columns:
            raise ValueError(f"{len(rows)} rows, not one of {self._columns} columns")
        path, error = rows[0][:2]
        return path, error or None


class JsonLines:
    """A JSON object a line: `path` and either `error` or `classes` (id, name and score)."""

    header = b""
    quoted = False

    def encode(self, result: Result) -> bytes:
        """Return the record of a result, with the line feed at its end."""
        record: dict[str, Any] = {"path": self.named(result.path)}
        if result.fault:
            record["error"] = error_of(result)
        elif isinstance(result, Classified):
            record["classes"] = [
                {"id": unicode_text(key), "name": unicode_text(name), "score": shortest(score)}
                for key, name, score in result.predictions
            ]
        return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8")

    def named(self, path: str) -> str:
        """Return a path as a record has it."""
        return unicode_text(path)

    def decode(self, record: bytes) -> tuple[str, str | None]:
        """Return path and fault in a record."""
        row = json.loads(record)
        if not isinstance(row, dict) or not isinstance(row.get("path"), str):
            raise ValueError("no object with a path")
        return row["path"], row.get("error")


def classified_from(record: bytes) -> Classified:
    """Return the result that a record of `JsonLines` tells."""
    row = json.loads(record)
    classes = [(c["id"], c["name"], c["score"]) for c in row.get("classes", ())]
    return Classified(row["path"], classes, row.get("error"))


def columns(top: int) -> list[str]:
    """Return the names of the columns for `top` classes an image."""
    ranks = range(1, top + 1)
    return ["path", "error", *(f"{part}_{i}" for i in ranks for part in ("class", "name", "score"))]


def class_row(result: Any, top: int) -> list[Any]:
    """Return the cells of a `Classified`, None where there is nothing to tell."""
    cells = [
        cell
        for key, name, p in result.predictions
        for cell in (unicode_text(key), unicode_text(name), shortest(p))
    ]
    return [result.path, error_of(result), *cells, *[None] * (3 * top - len(cells))]


def error_of(result: Result) -> str | None:
    """Return what is wrong with an image in one line, without its path."""
    if not result.fault:
        return None
    return unicode_text(" ".join(result.fault.removeprefix(f"{result.path}: ").split()))


def shortest(score: float) -> float:
    """Return a score, computed in single precision, as the number with the fewest digits for it."""
    return float(str(np.float32(score)))


def _csv_record(cells: Iterable[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=_CRLF).writerow(cells)  # it quotes what is in the terminator
    return text.getvalue().removesuffix(_CRLF).encode("utf-8") + b"\n"


def _harmless(cell: Any) -> Any:
    """Return a cell that no program takes for a formula."""
    if not isinstance(cell, str) or not cell.startswith((*_FORMULA, "\t", "\r")):
        return cell
    return cell if _is_number(cell) else f"'{cell}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def import_pyarrow() -> tuple[Any, Any]:
    """Return the packages `pyarrow` and `pyarrow.parquet`.

    Raises:
        MissingExtraError: they are not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("Writing .parquet files", "parquet") from error
    return pyarrow, parquet


def arrow_table(results: Sequence[Any], *, top: int | None = None, width: int = 0) -> Any:
    """Return results as a table of Arrow: of `top` classes, or of features of `width` numbers."""
    arrow, _ = import_pyarrow()
    text = arrow.string()
    fields = [("path", text), ("error", text)]
    if top is None:
        fields.append(("features", arrow.list_(arrow.float32(), width)))
        rows = [[r.path, error_of(r), r.features] for r in results]
    else:
        types = {"class": text, "name": text, "score": arrow.float32()}
        fields += [(name, types[name.partition("_")[0]]) for name in columns(top)[2:]]
        rows = [class_row(r, top) for r in results]
    for row in rows:
        row[0] = unicode_text(row[0])
    values = zip(*rows, strict=True) if rows else [()] * len(fields)
    arrays = [arrow.array(list(v), kind) for v, (_, kind) in zip(values, fields, strict=True)]
    return arrow.Table.from_arrays(arrays, schema=arrow.schema(fields))
