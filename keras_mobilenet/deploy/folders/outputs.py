"""Files of results, by suffix: appended to while the job runs, whole when it is done.

`.csv` and `.jsonl` grow as they are. A `.parquet` file ends in a table of its contents, and so does
an `.npz` archive: neither can be appended to after a kill: their rows are kept in a hidden
folder beside them, in the same kind of file as `.jsonl`, and become the output in one step at the
end, in which it is there whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from keras_mobilenet.deploy.folders.append_log import AppendLog
from keras_mobilenet.deploy.folders.folders import Embedded
from keras_mobilenet.deploy.folders.records import (
    CsvLines,
    JsonLines,
    Lines,
    Result,
    arrow_table,
    classified_from,
    import_pyarrow,
)
from keras_mobilenet.errors import unicode_text
from keras_mobilenet.files import replacing

CLASSES = (".csv", ".jsonl", ".parquet")
FEATURES = (".npz", ".parquet")
_ROW_GROUP = 8192  # rows of a parquet file that are read at once


class Output:
    """A file that is its own log: `.csv` and `.jsonl`."""

    def __init__(self, out: str, lines: Lines) -> None:
        self.out = out
        self.lines = lines
        self.log = AppendLog(self._journal_path(), header=lines.header, quoted=lines.quoted)

    def begun(self) -> bool:
        """Return whether there are rows to resume from."""
        return self.log.exists()

    def finished(self) -> bool:
        """Return whether the output is there and nothing can be appended to it."""
        return False

    def rows(self) -> Iterator[tuple[str, str | None]]:
        """Yield path, as `Lines.named` has it, and fault of each row of a finished output."""
        raise NotImplementedError(f"{self.out} is never finished")

    def remove(self) -> None:
        """Remove everything of an earlier run."""
        with suppress(FileNotFoundError):
            os.unlink(self.out)

    def start(self, count: int, end: int) -> None:
        """Keep `count` rows, of which the last ends at `end`, and be ready to append."""
        self.log.truncate(end)

    def append(self, results: Sequence[Result]) -> None:
        """Write a batch of results."""
        self.log.append(b"".join(map(self.lines.encode, results)))

    def finish(self) -> None:
        """Make the output of what was appended."""
        self.close()

    def close(self) -> None:
        """Leave what was appended on the disk, to resume from later."""
        self.log.close()

    def _journal_path(self) -> str:
        return self.out


class JoinedOutput(Output):
    """A file that is written at the end, from rows in a hidden folder: `.parquet` of classes."""

    def __init__(self, out: str, top: int | None) -> None:
        self._top = top
        self._folder = unfinished_folder(out)
        super().__init__(out, JsonLines())

    def finished(self) -> bool:
        """Return whether the output is there."""
        return os.path.exists(self.out)

    def rows(self) -> Iterator[tuple[str, str | None]]:
        """Yield path, as `Lines.named` has it, and fault of each row of a finished output."""
        if self.out.endswith(".npz"):
            yield from _npz_rows(self.out)
        else:
            yield from parquet_rows(self.out)

    def remove(self) -> None:
        """Remove everything of an earlier run."""
        super().remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, count: int, end: int) -> None:
        """Keep `count` rows, of which the last ends at `end`, and be ready to append."""
        os.makedirs(self._folder, exist_ok=True)
        super().start(count, end)

    def finish(self) -> None:
        """Join the rows into the output."""
        self.close()
        with replacing(self.out) as temporary:
            self._join(temporary)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _journal_path(self) -> str:
        return os.path.join(self._folder, "rows.jsonl")

    def _join(self, path: str) -> None:
        write_parquet(path, self._results(), top=self._top)

    def _results(self) -> Iterator[Result]:
        return (classified_from(record) for record, _ in self.log.records())


class FeaturesOutput(JoinedOutput):
    """Features: their numbers in a file of their own, in the order of the rows without a fault."""

    def __init__(self, out: str, width: int) -> None:
        super().__init__(out, None)
        self._width = width
        self._numbers = AppendLog(os.path.join(self._folder, "features.f32"))

    def start(self, count: int, end: int) -> None:
        """Keep `count` rows, of which the last ends at `end`, and be ready to append."""
        super().start(count, end)
        kept = sum(fault is None for _, fault in self._rows()) if count else 0
        size = 4 * self._width * kept
        if kept and os.path.getsize(self._numbers.path) < size:  # after a power failure
            raise ValueError(
                f"{self._numbers.path} has fewer numbers than there are rows. "
                "Begin anew: pass overwrite (--overwrite)."
            )
        self._numbers.truncate(size)

    def append(self, results: Sequence[Any]) -> None:
        """Write a batch of results."""
        # Numbers first: no row is ever without its own.
        features = [r.features for r in results if r.features is not None]
        self._numbers.append(b"".join(row.astype("<f4").tobytes() for row in features))
        super().append(results)

    def close(self) -> None:
        """Leave what was appended on the disk, to resume from later."""
        self._numbers.close()
        super().close()

    def _join(self, path: str) -> None:
        if self.out.endswith(".npz"):
            self._write_npz(path)
        else:
            write_parquet(path, self._results(), width=self._width)

    def _rows(self) -> Iterator[tuple[str, str | None]]:
        return (self.lines.decode(record) for record, _ in self.log.records())

    def _results(self) -> Iterator[Embedded]:
        numbers = iter(self._matrix())
        for path, fault in self._rows():
            yield Embedded(path, None if fault else next(numbers), fault)

    def _matrix(self) -> Any:
        if not os.path.getsize(self._numbers.path):
            return np.empty((0, self._width), "<f4")  # an empty file cannot be mapped
        return np.memmap(self._numbers.path, "<f4", "r").reshape(-1, self._width)

    def _write_npz(self, path: str) -> None:
        good: list[tuple[str, str]] = []
        bad: list[tuple[str, str]] = []
        for name, fault in self._rows():
            (bad if fault else good).append((name, fault or ""))
        arrays = {
            "paths": np.array([name for name, _ in good], np.str_),
            "features": self._matrix(),
            "bad_paths": np.array([name for name, _ in bad], np.str_),
            "errors": np.array([fault for _, fault in bad], np.str_),
        }
        # As `np.savez` does, which would not let a file of another suffix than its own be written.
        with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
            for key, array in arrays.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


def unfinished_folder(out: str) -> str:
    """Return the hidden folder for the rows of an output that is joined at the end."""
    folder, name = os.path.split(out)
    return os.path.join(folder, f".{name}.unfinished")


def lock_of(out: str) -> str:
    """Return the hidden file that a job locks: its output is no such file, as it is replaced."""
    folder, name = os.path.split(out)
    return os.path.join(folder, f".{name}.lock")


def output_for(out: str, *, top: int | None = None, width: int = 0) -> Output:
    """Return the output of a path whose suffix `check_suffix` has passed.

    Args:
        out: The file to be written.
        top: Classes an image; None for features.
        width: Numbers of an image's features.

    Raises:
        MissingExtraError: the format needs a package that is not installed.
    """
    if out.endswith(".parquet"):
        import_pyarrow()
    if top is None:
        return FeaturesOutput(out, width)
    if out.endswith(".parquet"):
        return JoinedOutput(out, top)
    return Output(out, CsvLines(top) if out.endswith(".csv") else JsonLines())


def check_suffix(out: str, *, features: bool) -> None:
    """Raise unless results can be written to a file of that suffix.

    Raises:
        ValueError: they cannot.
        MissingExtraError: the format needs a package that is not installed.
    """
    suffixes = FEATURES if features else CLASSES
    if not out.endswith(suffixes):
        what = "Features" if features else "Classes"
        raise ValueError(f"{what} are written to {', '.join(suffixes)} files. Received: {out!r}")
    if out.endswith(".parquet"):
        import_pyarrow()


def _npz_rows(path: str) -> Iterator[tuple[str, str | None]]:
    with np.load(path) as arrays:
        yield from ((unicode_text(str(name)), None) for name in arrays["paths"])
        for name, error in zip(arrays["bad_paths"], arrays["errors"], strict=True):
            yield unicode_text(str(name)), str(error)


def parquet_rows(path: str) -> Iterator[tuple[str, str | None]]:
    """Yield path and fault of each row of a parquet file."""
    _, parquet = import_pyarrow()
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["path", "error"]):
            yield from zip(batch["path"].to_pylist(), batch["error"].to_pylist(), strict=True)


def write_parquet(
    path: str, results: Iterable[Result], *, top: int | None = None, width: int = 0
) -> None:
    """Write results, of `top` classes or of features of `width` numbers, as a parquet file."""
    _, parquet = import_pyarrow()
    empty = arrow_table([], top=top, width=width)
    remaining = iter(results)
    with parquet.ParquetWriter(path, empty.schema) as writer:
        while rows := list(islice(remaining, _ROW_GROUP)):
            writer.write_table(arrow_table(rows, top=top, width=width))
