"""The command `keras-mobilenet train`: a net from random weights, by the published recipe.

Keras is imported inside the command.
"""

from __future__ import annotations

import enum
import warnings
from pathlib import Path
from typing import Annotated

import typer

from keras_mobilenet import spec
from keras_mobilenet.cli_options import Alpha, Size
from keras_mobilenet.run_cli import drawn, resumable, start_up, tell, validation


class Schedule(enum.StrEnum):
    """How the rate falls."""

    PAPER = "paper"
    COSINE = "cosine"
    CONSTANT = "constant"


def train(
    folder: Annotated[Path, typer.Argument(help="A folder of class folders, or a CSV file.")],
    out: Annotated[Path, typer.Option(help="The folder of the run, to be made.")],
    val: Annotated[
        str, typer.Option(help="Pictures to validate with: a folder, a CSV file, or a share.")
    ] = "0.2",
    alpha: Alpha = 1.0,
    size: Size = spec.DEFAULT_SIZE,
    epochs: Annotated[int, typer.Option(help="How often each picture is shown.", min=1)] = 100,
    batch_size: Annotated[
        int, typer.Option(help="Pictures a step, of all workers together.", min=2)
    ] = 64,
    schedule: Annotated[
        Schedule, typer.Option(help="How the rate falls; 'paper': times 0.94 each 2.5 epochs.")
    ] = Schedule.PAPER,
    learning_rate: Annotated[float, typer.Option(help="The highest.")] = 0.045,
    warmup: Annotated[float, typer.Option(help="Epochs in which the rate rises.")] = 0.0,
    weight_decay: Annotated[float, typer.Option(help="None on depthwise kernels.")] = 4e-5,
    label_smoothing: Annotated[
        float, typer.Option(help="Share of each target spread over all classes.")
    ] = 0.0,
    ema: Annotated[
        float | None,
        typer.Option(
            help="What the weights' averages keep a step, 0 for none. [default: 0.9999, "
            "less in a short training]"
        ),
    ] = None,
    bn_momentum: Annotated[
        float | None,
        typer.Option(
            help="What batch norms keep a step. [default: 0.9997, less in a short training]"
        ),
    ] = None,
    least_area: Annotated[
        float, typer.Option(help="Share of a picture that a part of it shows at least.")
    ] = 0.35,
    mixed_precision: Annotated[
        bool, typer.Option("--mixed-precision", help="Compute in bfloat16.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Fixes split, weights, order and parts.", min=0)] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write for TensorBoard into --out, too.")
    ] = False,
) -> None:
    """Train a net from random weights, by the published recipe unless told otherwise.

    With TF_CONFIG set, the processes that it names train one net together.
    """
    with start_up():
        from keras_mobilenet.training.scratch import train as train_net  # noqa: PLC0415
    with resumable(out), drawn() as report, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about pictures; the run names them all
        run = train_net(
            folder, out=out, validation=validation(val), alpha=alpha, size=size, epochs=epochs,
            batch_size=batch_size, schedule=schedule.value, learning_rate=learning_rate,
            warmup=warmup, weight_decay=weight_decay, label_smoothing=label_smoothing, ema=ema,
            bn_momentum=bn_momentum, least_area=least_area, mixed_precision=mixed_precision,
            seed=seed, resume=resume, tensorboard=tensorboard, progress=report,
        )  # fmt: skip
    tell(run, out)
