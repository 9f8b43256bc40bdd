"""The command `keras-mobilenet evaluate`: how good a model is, alone or against another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keras_mobilenet.commands.terminal.options import (
    ENGINE,
    PUBLISHED_NAME,
    Calibration,
    ImageSize,
    Labels,
    Overwrite,
    PrecisionOption,
    PreprocessingOption,
    Resume,
    image_size,
    names_in,
    note,
    say,
)
from keras_mobilenet.commands.terminal.progress import bars, interruptible
from keras_mobilenet.errors import plain_line

if TYPE_CHECKING:
    from keras_mobilenet.evaluation.evaluating import Evaluation, ModelScore

_SHOWN = 20


def evaluate_command(
    model: Annotated[
        str,
        typer.Argument(
            help=f"A .keras file, a file of weights, what was exported, or {PUBLISHED_NAME}."
        ),
    ],
    folder: Annotated[
        str, typer.Argument(help="A folder of class folders, a CSV file, or a run's folder.")
    ],
    against: Annotated[
        str | None, typer.Option(help="Another model, to compare on the same images.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for metrics.json, report.html and each image's classes."),
    ] = None,
    ground_truth: Annotated[
        Path | None, typer.Option(help="The classes of a flat folder's images, as ImageNet's val.")
    ] = None,
    crop: Annotated[
        float | None, typer.Option(help="Share of each side to keep; by default the model's.")
    ] = None,
    crop_edges: Annotated[
        Literal["whole", "fractional"] | None,
        typer.Option(help="In pixels; fractional is Pillow's resize(box=)."),
    ] = None,
    size: Annotated[
        ImageSize | None,
        typer.Option(parser=image_size, metavar="N|HxW", help="By default the model's."),
    ] = None,
    interpolation: Annotated[
        Literal["bilinear", "bicubic"] | None, typer.Option(help="By default the model's.")
    ] = None,
    preprocessing: PreprocessingOption = None,
    labels: Labels = None,
    engine: Annotated[str, ENGINE] = "auto",
    precision: PrecisionOption = None,
    calibration: Calibration = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Say how many images a model gets right, and whether another gets more of them.

    --engine and --precision are MODEL's alone.
    """
    from keras_mobilenet.evaluation.evaluating import evaluate  # noqa: PLC0415 - loads NumPy

    if out is None and (resume or overwrite):
        raise typer.BadParameter("--resume and --overwrite need --out, the place for the results.")
    with interruptible(out), bars(first="opening the model") as show:
        found = evaluate(
            model, folder, against=against, out=out, ground_truth=ground_truth, crop=crop,
            crop_edges=crop_edges,
            size=None if size is None else size.known(), interpolation=interpolation,
            preprocessing=preprocessing, labels=names_in(labels), engine=engine,
            precision=precision, calibration=calibration, resume=resume, overwrite=overwrite,
            progress=lambda name, done, total: show(f"evaluating {name}", done, total, "images"),
        )  # fmt: skip
    _print(found)
    if out is not None:
        note(f"wrote {out}")
    if found.first.bad:
        raise typer.Exit(1)


def _print(found: Evaluation) -> None:
    for line in (*found.first.problems, *found.first.bad)[:_SHOWN]:
        note(plain_line(line))
    if found.first.bad:
        bad, all_ = len(found.first.bad), len(found.first.bad) + found.metrics.count
        note(f"not counted, since they cannot be read: {bad} of {all_} images")
    for name, scored in zip(found.names, (found.first, found.second), strict=False):
        if scored is not None:
            say(_line(name, scored))
    if found.comparison is None:
        return
    pair, (low, high) = found.comparison, found.comparison.interval
    say(
        f"alone right: {pair.first_alone} and {pair.second_alone} of {pair.count} images; "
        f"difference {100 * pair.difference:+.1f} % ({100 * low:+.1f} to {100 * high:+.1f}); "
        f"McNemar's p = {pair.p_value:.2g}"
    )


def _line(name: str, scored: ModelScore) -> str:
    metrics = scored.metrics
    parts = [f"top-1 {_share(metrics.accuracy, metrics.interval)}"]
    if metrics.top_5 is not None and metrics.top_5_interval is not None:
        parts.append(f"top-5 {_share(metrics.top_5, metrics.top_5_interval)}")
    parts.append(f"calibration error {100 * metrics.calibration_error:.1f} %")
    if scored.images_per_second is not None:
        parts.append(f"{scored.images_per_second:.0f} images/s")
    return f"{name}: {', '.join(parts)}"


def _share(share: float, interval: tuple[float, float]) -> str:
    return f"{100 * share:.1f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
