"""The command `keras-mobilenet finetune`: a net for the user's own classes, trained and saved.

Keras is imported inside the command.
"""

from __future__ import annotations

import enum
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_mobilenet import spec, tables
from keras_mobilenet.cli_options import (
    Alpha,
    Format,
    FormatOption,
    Size,
    note,
    say,
    start_up_notes_hidden,
)
from keras_mobilenet.run_cli import drawn, resumable, start_up, tell, validation

if TYPE_CHECKING:
    from keras_mobilenet.transfer.probing import ProbeScore


class Balance(enum.StrEnum):
    """How much the pictures of each class count."""

    NONE = "none"
    BALANCED = "balanced"


def finetune(
    folder: Annotated[Path, typer.Argument(help="A folder of class folders, or a CSV file.")],
    out: Annotated[Path | None, typer.Option(help="The folder of the run, to be made.")] = None,
    val: Annotated[
        str, typer.Option(help="Pictures to validate with: a folder, a CSV file, or a share.")
    ] = "0.2",
    train_from: Annotated[
        str, typer.Option(help="What trains: 'top', 'block_12' and all behind it, ..., 'all'.")
    ] = "top",
    alpha: Alpha = 1.0,
    size: Size = spec.DEFAULT_SIZE,
    grey: Annotated[bool, typer.Option("--grey", help="One channel instead of three.")] = False,
    weights: Annotated[
        str, typer.Option(help="'imagenet', a file of weights, or 'none'.")
    ] = "imagenet",
    epochs: Annotated[int | None, typer.Option(help="At most so many.", min=1)] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures a step.", min=1)] = 32,
    learning_rate: Annotated[float | None, typer.Option(help="The highest.")] = None,
    augment: Annotated[
        int | None,
        typer.Option(help="Views of a picture: 1 whole, 2 also mirrored, more: parts.", min=1),
    ] = None,
    class_weight: Annotated[
        Balance, typer.Option(help="Whether each class counts as much as another.")
    ] = Balance.NONE,
    seed: Annotated[int, typer.Option(help="Fixes split, views and order.", min=0)] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="A folder of computed features, for several runs.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Only say which alpha and size suit the pictures.")
    ] = False,
    table: FormatOption = Format.TEXT,
) -> None:
    """Train the net for your own classes, and save it with their names.

    With TF_CONFIG set, the processes that it names train one net together.
    """
    if probe:
        _probe(folder, seed, table)
        return
    if out is None:
        raise typer.BadParameter("--out RUN is needed: the folder that the model goes into.")
    with start_up():
        from keras_mobilenet.transfer.finetuning import AUTO_CACHE  # noqa: PLC0415
        from keras_mobilenet.transfer.finetuning import finetune as train  # noqa: PLC0415
    with resumable(out), drawn() as report, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about pictures; the run names them all
        run = train(
            folder, out=out, validation=validation(val), train_from=train_from, alpha=alpha,
            size=size, channels=1 if grey else 3, weights=None if weights == "none" else weights,
            epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, augment=augment,
            class_weight=None if class_weight is Balance.NONE else class_weight.value, seed=seed,
            cache=AUTO_CACHE if cache is None else cache, resume=resume, progress=report,
        )  # fmt: skip
    tell(run, out)


def _probe(folder: Path, seed: int, table: Format) -> None:
    with start_up_notes_hidden():
        from keras_mobilenet.transfer.probing import probe  # noqa: PLC0415
    with drawn() as report, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        scores = probe(folder, seed=seed, progress=report)
    for message in dict.fromkeys(str(warning.message) for warning in told):
        note(message)
    say(_score_table(scores, table))


def _score_table(scores: tuple[ProbeScore, ...], table: Format) -> str:
    if table is Format.JSON:
        import json  # noqa: PLC0415

        return json.dumps([vars(score) for score in scores], indent=2)
    headers = ["alpha", "size", "accuracy %", "+-", "pictures/s"]
    rows = [
        [f"{s.alpha:g}", str(s.size), f"{100 * s.accuracy:.1f}", f"{100 * s.deviation:.1f}",
         f"{s.pictures_per_second:.0f}"]
        for s in scores
    ]  # fmt: skip
    draw = tables.markdown_table if table is Format.MARKDOWN else tables.text_table
    return draw(headers, rows)
