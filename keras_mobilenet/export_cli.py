"""The command `keras-mobilenet export`: a model as a file for another runtime."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_mobilenet.arguments import IMAGENET
from keras_mobilenet.cli_options import (
    DEFAULT_SIZE,
    Alpha,
    AnySize,
    Labels,
    PictureSize,
    PreprocessingOption,
    names_in,
    note,
    say,
    start_up_notes_hidden,
)


class Batch(enum.StrEnum):
    """How many images a .tflite file takes at once."""

    ONE = "1"
    ANY = "any"


class Quantize(enum.StrEnum):
    """What the file's numbers are made smaller to."""

    FLOAT16 = "float16"
    DYNAMIC = "dynamic"
    INT8 = "int8"
    FULL_INT8 = "full_int8"


def export_command(
    model: Annotated[str, typer.Argument(help="A .keras file, 'imagenet', or a file of weights.")],
    to: Annotated[
        str, typer.Argument(help="Ends in .tflite, .onnx, .xml, or a slash for a SavedModel.")
    ],
    quantize: Annotated[Quantize | None, typer.Option(help="By default float32.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A folder of pictures: int8 ranges, and to compare on.")
    ] = None,
    include_preprocessing: Annotated[
        bool, typer.Option("--include-preprocessing", help="Let the file take pixels, 0 to 255.")
    ] = False,
    preprocessing: PreprocessingOption = None,
    labels: Labels = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Root mean square error allowed, of the outputs' own.")
    ] = None,
    batch: Annotated[Batch, typer.Option(help="Images that a .tflite takes at once.")] = Batch.ONE,
    alpha: Alpha = 1.0,
    size: AnySize = DEFAULT_SIZE,
) -> None:
    """Write a model for another runtime, and compare it there before it counts."""
    with start_up_notes_hidden():
        from keras_mobilenet.deploy.exporting import export  # noqa: PLC0415 - loads Keras
    names = names_in(labels)
    report = export(
        _model(model, alpha, size, names),
        to,
        quantize=None if quantize is None else quantize.value,
        calibration=calibration,
        include_preprocessing=include_preprocessing,
        labels=names,
        tolerance=tolerance,
        preprocessing=preprocessing,
        batch=1 if batch is Batch.ONE else None,
    )
    counts = (f"{count} {name}" for name, count in report.operators.items())
    note(f"operators: {', '.join(counts)}")
    say(str(report))


def _model(model: str, alpha: float, size: PictureSize, names: list[str] | None) -> Any:
    from keras_mobilenet.mobilenet import MobileNet  # noqa: PLC0415 - loads Keras
    from keras_mobilenet.model_files import SUFFIX, load_model  # noqa: PLC0415

    if model.endswith(SUFFIX):
        return load_model(model)
    classes = len(names) if names and model != IMAGENET else 1000
    return MobileNet((*size.lengths, 3), alpha=alpha, weights=model, classes=classes)
