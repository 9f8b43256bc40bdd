"""A folder's results into a file, so that the job can be stopped at any moment and resumed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from keras_mobilenet.deploy.folders.folders import classify_paths, embed_paths
from keras_mobilenet.deploy.folders.job_file import (
    JobSettings,
    check_settings,
    settings_of,
    write_settings,
)
from keras_mobilenet.deploy.folders.outputs import (
    Output,
    check_suffix,
    lock_of,
    output_for,
    unfinished_folder,
)
from keras_mobilenet.deploy.folders.records import Result, error_of
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.files import briefly_locked, check_around
from keras_mobilenet.images.listing import list_images, no_image
from keras_mobilenet.images.prefetch import BATCH

Path = str | os.PathLike[str]
Progress = Callable[[int], None]  # gets how many images are done
_MOST_FAULTS = 20


@dataclass
class FolderReport:
    """What became of a job's images."""

    done: int = 0  # all in the output, bad ones and those of earlier runs too
    resumed: int = 0  # how many of them were there before
    bad: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)  # the first: path, what is wrong

    def add(self, images: Iterable[tuple[str, str | None]]) -> None:
        """Count images, each a path and what is wrong with it."""
        for path, fault in images:
            self.done += 1
            if fault:
                self.bad += 1
                if len(self.faults) < _MOST_FAULTS:
                    self.faults.append((path, fault))


def write_results(
    predictor: Predictor,
    source: Path | Iterable[Path],
    out: Path,
    *,
    top: int = 5,
    features: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> FolderReport:
    """Write the classes, or features, of each image in a folder to a file, and return a report.

    However the process ends, what it wrote is kept, and `resume` goes on from there: the file then
    is, byte for byte, the one of a run without a break (`.csv` and `.jsonl`). A JSON file beside
    it says what made it.

    Args:
        predictor: A classifier whose classes have names; for features of a `features_model`.
        source: A folder, a `.txt` or `.lst` file of paths, or an iterable of paths, the same
            ones in the same order at each `resume`.
        out: The file: `.csv`, `.jsonl` or `.parquet` for classes, `.npz` or `.parquet` for
            features.
        top: How many classes an image.
        features: Write the model's outputs themselves.
        resume: Resume what an earlier run left, if it left anything.
        overwrite: Remove what an earlier run left.
        workers: Threads that decode; None for one a processor.
        progress: Called with the number of images done, after each batch.

    Raises:
        ValueError: an argument is wrong, `out` is there and neither `resume` nor `overwrite` is
            asked for, it was made from other images or in another way, or another process
            writes it.
        OSError: `out` cannot be written.
        MissingExtraError: the format needs a package that is not installed.
    """
    out = os.fspath(out)
    check_output(out, features=features, resume=resume, overwrite=overwrite)
    paths = list_images(source)
    first = next(paths, None)
    if first is None:
        raise no_image(source)
    classes = None if features else min(top, len(predictor.labels()))
    settings = settings_of(predictor, top=classes)
    output = output_for(out, top=classes, width=settings["width"])

    def results(rest: Iterator[str]) -> Any:
        if features:
            return embed_paths(predictor, rest, workers=workers)
        return classify_paths(predictor, rest, top=top, workers=workers)

    return run_job(
        output, settings, chain([first], paths), results, overwrite=overwrite, progress=progress
    )


def run_job(
    output: Output,
    settings: JobSettings,
    paths: Iterator[str],
    results_of: Callable[[Iterator[str]], Any],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FolderReport:
    """Write the results of image files to an output, after those that are there, and report.

    Args:
        output: Where to; what is there is resumed unless `overwrite` is set.
        settings: What the results depend on beside the images.
        paths: The images, the same ones in the same order at each resume.
        results_of: Makes a generator of results of the paths that are left.
        overwrite: Remove what an earlier run left.
        progress: Called with the number of images done, after each batch.
    """
    out, report = output.out, FolderReport()
    with briefly_locked(
        lock_of(out), f"{out} is being written by another process. Wait for it, or end it."
    ):
        start = _prepare(output, settings, paths, report, overwrite=overwrite)
        if start is None:
            return report
        with closing(results_of(start.rest)) as results, closing(output):
            _write(output, start, results, report, progress)
    return report


def check_output(out: str, *, features: bool, resume: bool, overwrite: bool) -> None:
    """Raise unless results can be written to `out`; nothing is left there.

    Raises:
        ValueError: the suffix is of no format, or there is something and neither `resume`
            nor `overwrite` is asked for.
        OSError: the folder is missing or cannot be written to.
        MissingExtraError: the format needs a package that is not installed.
    """
    check_suffix(out, features=features)
    if os.path.isdir(out):
        raise ValueError(f"{out} is a folder. Pass the name of a file.")
    check_around(out)
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(out) or "."):
            pass
    except OSError as error:  # it names a file that the user has never heard of
        raise OSError(error.errno, error.strerror, out) from error
    there = next(filter(os.path.exists, (out, unfinished_folder(out))), None)
    check_consent("a file", there and f"{there} exists", resume=resume, overwrite=overwrite)


def check_consent(place: str, there: str | None, *, resume: bool, overwrite: bool) -> None:
    """Raise unless results may be written where `there` says that there are some already.

    Raises:
        ValueError: both of `resume` and `overwrite` are asked for, or neither where one is needed.
    """
    if resume and overwrite:
        raise ValueError(
            f"resume keeps what is in {place}, overwrite removes it. Pass one of the two."
        )
    if there and not (resume or overwrite):
        raise ValueError(f"{there}. Pass resume (--resume), or overwrite (--overwrite).")


@dataclass(frozen=True)
class _Start:
    """Where a job begins: what is kept of an earlier run, and the images that are left."""

    kept: int  # rows
    position: int  # where the last of them ends
    rest: Iterator[str]


def _prepare(
    output: Output,
    settings: JobSettings,
    paths: Iterator[str],
    report: FolderReport,
    *,
    overwrite: bool,
) -> _Start | None:
    """Return where to begin, or None where everything is done already."""
    begun = output.begun() or output.finished()
    if begun and not overwrite:
        check_settings(output.out, settings)
        if output.finished():
            _compare_finished(output, paths, report)
            return None
        return _resumed(output, paths, report)
    output.remove()
    write_settings(output.out, settings)
    return _Start(0, 0, paths)


def _resumed(output: Output, paths: Iterator[str], report: FolderReport) -> _Start:
    """Return where to go on: behind the last whole batch, so that batches are as they would be.

    Raises:
        ValueError: the rows written are not those of the first of `paths`.
    """
    kept = position = 0
    tail: list[tuple[str, str | None]] = []
    for number, (record, end) in enumerate(output.log.records(), 1):
        name, fault = _decoded(output, record, number)
        path = next(paths, None)
        _check_same(output, number, name, path)
        tail.append((path or name, fault))
        if len(tail) == BATCH:
            report.add(tail)
            kept, position = number, end
            tail.clear()
    following = next(paths, None)
    if following is None and tail:  # the last batch, which need not be a whole one
        kept, position = number, end
        report.add(tail)
        tail.clear()
    report.resumed = report.done
    rest = [path for path, _ in tail] + ([] if following is None else [following])
    return _Start(kept, position, chain(rest, paths))


def _decoded(output: Output, record: bytes, number: int) -> tuple[str, str | None]:
    try:
        return output.lines.decode(record)
    except ValueError as error:
        raise ValueError(
            f"{output.log.path} cannot be resumed: record {number} is damaged ({error}). "
            "Begin anew: pass overwrite (--overwrite)."
        ) from error


def _check_same(output: Output, number: int, name: str, path: str | None) -> None:
    expected = None if path is None else output.lines.named(path)
    if name != expected:
        due = "there are no more images" if expected is None else f"{expected!r} is due"
        raise ValueError(
            f"{output.out} was made from other images: its number {number} is {name!r}, where "
            f"{due}. Pass the same images, or begin anew: overwrite (--overwrite)."
        )


def _compare_finished(output: Output, paths: Iterator[str], report: FolderReport) -> None:
    """Raise unless a complete output has just the images of `paths`, in whatever order."""
    rows = dict(output.rows())
    expected = set(map(output.lines.named, paths))
    if rows.keys() != expected:
        examples = sorted(rows.keys() ^ expected)[:3]
        raise ValueError(
            f"{output.out} is complete, with {len(rows)} images, and there are {len(expected)} "
            f"now; in one of the two only: {', '.join(map(repr, examples))}. "
            "Pass another output, or begin anew: overwrite (--overwrite)."
        )
    report.add(rows.items())
    report.resumed = report.done


def _write(
    output: Output,
    start: _Start,
    results: Iterator[Result],
    report: FolderReport,
    progress: Progress | None,
) -> None:
    with _faults_of_writing(output.out, report):
        output.start(start.kept, start.position)
    while batch := list(islice(results, BATCH)):
        with _faults_of_writing(output.out, report):
            output.append(batch)
        report.add((result.path, error_of(result)) for result in batch)
        if progress is not None:
            progress(report.done)
    with _faults_of_writing(output.out, report):
        output.finish()


@contextmanager
def _faults_of_writing(out: str, report: FolderReport) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{out} cannot be written after {report.done} images: {error.strerror or error}. "
            "What was written is kept: make room, then pass resume (--resume)."
        ) from error
