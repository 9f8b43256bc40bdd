"""The command `keras-mobilenet classify`: a few images on the screen, or a folder into a file.

Keras, NumPy and the engines are imported when images are classified, so that `--help` answers at
once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from keras_mobilenet.commands.terminal.classify_options import (
    DEFAULT_ADDRESS,
    ClassifyCommand,
    Job,
    check,
)
from keras_mobilenet.commands.terminal.options import (
    names_in,
    note,
    parameters_of,
    say,
    with_signature,
)
from keras_mobilenet.commands.terminal.progress import bars, doing, interruptible
from keras_mobilenet.display.text_tables import text_table
from keras_mobilenet.errors import plain_line
from keras_mobilenet.nets.arguments import IMAGENET

if TYPE_CHECKING:
    from keras_mobilenet.deploy.folders.classification import Classified
    from keras_mobilenet.deploy.folders.folder_job import FolderReport
    from keras_mobilenet.deploy.predictor import Predictor

_BAR = 30  # characters
_FEW = 16  # images: LiteRT opens a net in half the time that OpenVINO takes


def _classify(ctx: typer.Context, **options: Any) -> None:
    """Print what each image shows, the most probable class first; with --out, write it."""
    job = Job(**options)
    given = [o for o in options if ctx.get_parameter_source(o).name == "COMMANDLINE"]  # type: ignore[union-attr]
    check(job, given)
    with interruptible(job.out):
        if job.ray is not None:
            _finish(job, _on_ray(job))
        elif job.out is not None:
            _finish(job, _into_file(job, job.out))
        else:
            _show(job)


app = typer.Typer(add_completion=False)
app.command(cls=ClassifyCommand)(
    with_signature(_classify, [next(iter(parameters_of(_classify))), *parameters_of(Job)])
)


def _net(job: Job) -> Any:
    """Return the model that the options describe: a path, or a builder's net.

    With --features it is a Keras model where only Keras can cut it.
    """
    names = names_in(job.labels)
    top: dict[str, Any] = {} if names is None else {"classes": len(names)}
    if job.features and job.weights != IMAGENET:
        top = {"include_top": False, "pooling": "avg"}  # whatever classes the file has, or none
    job.size.known()
    model = job.model or job.net_options.with_weights(job.weights, job.size, **top)
    if not job.features:
        return model
    from keras_mobilenet.deploy.folders.embedding import features_of  # noqa: PLC0415

    return features_of(model)


def _keras_net(job: Job) -> Any:
    """Return the same as what workers open for themselves: a path, or a Keras model."""
    if job.model is not None and not job.features:
        return job.model
    from keras_mobilenet.deploy.opened import open_model  # noqa: PLC0415
    from keras_mobilenet.models.model_files import set_info  # noqa: PLC0415 - Keras

    opened = open_model(_net(job)).in_keras()
    if job.crop is not None:
        set_info(opened.model, replace(opened.info, crop=job.crop))
    return opened.model


def _predictor(job: Job, images: int | None = None) -> Predictor:
    """Return what classifies; a few `images` are done before a faster engine would be ready."""
    from keras_mobilenet.deploy.opened import is_exported  # noqa: PLC0415
    from keras_mobilenet.deploy.predictor import Predictor  # noqa: PLC0415

    model, options = _net(job), job.predictor_options()
    few = images is not None and images <= _FEW and job.precision is None
    if few and job.engine is None and not is_exported(model):
        options["engine"] = "litert"
    predictor = Predictor(model, **options)
    if job.crop is not None:
        predictor.info = replace(predictor.info, crop=job.crop)
    return predictor


def _into_file(job: Job, out: str) -> FolderReport:
    from keras_mobilenet.deploy.folders.folder_job import check_output, write_results  # noqa: PLC0415

    writing: dict[str, Any] = {
        "features": job.features, "resume": job.resume, "overwrite": job.overwrite
    }  # fmt: skip
    check_output(out, **writing)  # before the seconds that it takes to compile
    _check_sources(job)
    with _progress(job) as progress, _predictor(job) as predictor:
        return write_results(
            predictor, job.images, out, top=job.top, workers=job.workers, progress=progress,
            **writing,
        )  # fmt: skip


def _check_sources(job: Job) -> None:
    missing = [name for name in job.images if not os.path.exists(name)]
    if missing:
        raise ValueError(f"No file or folder of the name {missing[0]!r} exists.")


def _on_ray(job: Job) -> FolderReport:
    from keras_mobilenet.deploy.folders.ray_job import classify_with_ray  # noqa: PLC0415

    _check_sources(job)
    if job.crop is not None and job.model is not None:
        raise typer.BadParameter("--crop cannot be changed with --ray; the --model says it.")
    with _progress(job) as progress:
        return classify_with_ray(
            job.images,
            str(job.out),
            model=_keras_net(job),
            address=None if job.ray == DEFAULT_ADDRESS else job.ray,
            top=job.top,
            features=job.features,
            resume=job.resume,
            overwrite=job.overwrite,
            progress=progress,
            **job.predictor_options(),
        )


def _finish(job: Job, report: FolderReport) -> None:
    """Say what was written, and exit with 1 where images could not be read."""
    before = f", {report.resumed} of them there before" if report.resumed else ""
    note(f"wrote {job.out}: {report.done} images{before}")
    for path, fault in report.faults:
        note(plain_line(f"{path}: {fault}"))
    if report.bad:
        if (more := report.bad - len(report.faults)) > 0:
            note(f"... and {more} more")
        note(f"{report.bad} of {report.done} images could not be read")
        raise typer.Exit(1)


@contextmanager
def _progress(job: Job) -> Iterator[Callable[[int], None]]:
    """Yield what draws a bar, whose end is known once the images are counted."""
    totals: list[int] = []
    if sys.stderr.isatty():
        _count_meanwhile(job.images, totals.append)
    with bars(first=_opening(job)) as show:
        yield lambda done: show("classifying", done, totals[0] if totals else None, "images")


def _opening(job: Job) -> str:
    net = job.net_options
    file = os.path.basename((job.model or job.weights).rstrip("/"))
    from_file = job.model or net.is_guess(job.weights)  # which net it is
    return plain_line(f"opening {file if from_file else f'{net}, {file}'}")


def _count_meanwhile(sources: list[str], tell: Callable[[int], None]) -> None:
    """Count the images while the first are done: in a million files that takes seconds."""
    import threading  # noqa: PLC0415

    from keras_mobilenet.images.listing import list_images  # noqa: PLC0415

    def count() -> None:
        with suppress(Exception):  # what is wrong, the job itself tells
            tell(sum(1 for _ in list_images(sources)))

    threading.Thread(target=count, daemon=True).start()


# On the screen


def _show(job: Job) -> None:
    from keras_mobilenet.images.listing import list_images, no_image  # noqa: PLC0415

    paths = list(list_images(job.images))
    if not paths:
        raise no_image(job.images)
    failed = _print(_results(job, paths), as_json=job.as_json)
    if failed:
        note(f"{failed} of {len(paths)} images could not be read")
        raise typer.Exit(1)


def _results(job: Job, paths: list[str]) -> Iterator[Classified]:
    with doing(_opening(job)):
        predictor = _predictor(job, len(paths))
    with predictor, bars(hidden=len(paths) == 1) as draw:
        for done, result in enumerate(predictor.classify(paths, top=job.top)):
            draw("classifying", done, len(paths), "images")
            yield result


def _print(results: Iterable[Classified], *, as_json: bool) -> int:
    """Print the results and return how many images could not be read."""
    shown = list(results) if as_json else results
    if as_json:
        say(json.dumps([_record(result) for result in shown], indent=2))
    failed = 0
    for result in shown:
        if result.fault:
            failed += 1
            note(result.fault)
        elif not as_json:
            _print_bars(result)
    return failed


def _record(result: Classified) -> dict[str, Any]:
    if result.fault:
        return {"image": result.path, "error": result.fault}
    classes = [{"id": key, "name": name, "score": p} for key, name, p in result.predictions]
    return {"image": result.path, "classes": classes}


def _print_bars(result: Classified) -> None:
    rows = [
        [f" {plain_line(name)}", _bar(score), f"{100 * score:.1f} %"]
        for _, name, score in result.predictions
    ]
    say(plain_line(result.path))
    say(text_table(rows[0], rows[1:], left=2))


def _bar(share: float) -> str:
    """Return a bar of `_BAR` characters, of which this share is filled, to an eighth of one."""
    full, eighths = divmod(int(min(max(share, 0.0), 1.0) * _BAR * 8), 8)
    return ("█" * full + " ▏▎▍▌▋▊▉"[eighths])[:_BAR].ljust(_BAR)
