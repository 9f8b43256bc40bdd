"""What `classify` takes, and which of its options go together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from keras_mobilenet.commands.terminal import completion
from keras_mobilenet.commands.terminal.options import (
    DEFAULT_SIZE,
    ENGINE,
    PUBLISHED_NAME,
    AlphaOfWeights,
    AnySize,
    Calibration,
    Labels,
    Minimalistic,
    NetKeyOfWeights,
    NetOptions,
    Overwrite,
    PrecisionOption,
    PreprocessingOption,
    Resume,
    names_in,
)
from keras_mobilenet.images.model_info import EVALUATION_CROP

# Options that say what a --model knows itself.
_OF_NET = ("net", "alpha", "minimalistic", "size", "weights")
_ADDRESS = re.compile(r"auto|local|ray://.+|[\w.-]+:\d+")
DEFAULT_ADDRESS = "default"  # what `--ray` alone stands for: Ray's own choice


@dataclass(frozen=True)
class Job:
    """The command's arguments and options."""

    images: Annotated[
        list[str], typer.Argument(help="Image files, folders, .txt files with a path a line.")
    ]
    net: NetKeyOfWeights = None
    alpha: AlphaOfWeights = None
    minimalistic: Minimalistic = False
    size: AnySize = DEFAULT_SIZE
    weights: Annotated[
        str,
        typer.Option(
            help=f"'imagenet', {PUBLISHED_NAME}, or a file of weights, which tells its net.",
            autocompletion=completion.model,
        ),
    ] = "imagenet"
    top: Annotated[int, typer.Option(help="How many classes an image.", min=1)] = 5
    crop: Annotated[
        float | None,
        typer.Option(
            help="Share of each side that a central crop keeps; "
            f"{EVALUATION_CROP}, or what the --model says."
        ),
    ] = None
    labels: Labels = None
    preprocessing: PreprocessingOption = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
    model: Annotated[
        str | None, typer.Option(help="A .keras file, or anything that was exported.")
    ] = None
    engine: Annotated[str | None, ENGINE] = None
    precision: PrecisionOption = None
    calibration: Calibration = None
    out: Annotated[
        str | None,
        typer.Option(help="Write .csv, .jsonl, .parquet; with --features .npz, .parquet."),
    ] = None
    resume: Resume = False
    overwrite: Overwrite = False
    features: Annotated[
        bool, typer.Option("--features", help="The pooled embedding, not classes.")
    ] = False
    workers: Annotated[
        int | None, typer.Option(help="Threads that decode images; one a processor.", min=1)
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="On a Ray cluster: auto, HOST:PORT or ray://...; alone, what RAY_ADDRESS says, "
            "or this machine. --out is a folder, which all workers reach.",
        ),
    ] = None

    @property
    def net_options(self) -> NetOptions:
        """Which MobileNet the options name."""
        return NetOptions.of(self.net, self.alpha, self.minimalistic)

    def predictor_options(self) -> dict[str, Any]:
        """Return the arguments of `Predictor` beside the model."""
        return {
            "engine": self.engine or "auto",
            "precision": self.precision,
            "calibration": None if self.calibration is None else str(self.calibration),
            "preprocessing": self.preprocessing,
            "labels": None if self.features else names_in(self.labels),
        }


class ClassifyCommand(TyperCommand):
    """A command whose option `--ray` may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return the arguments left over by the parser, after giving `--ray` a value."""
        return super().parse_args(ctx, _with_address(args))


def _with_address(arguments: list[str]) -> list[str]:
    given = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        given.append(argument)
        if argument == "--ray" and not _ADDRESS.fullmatch(following):
            given.append(DEFAULT_ADDRESS)
    return given


def check(job: Job, given: list[str]) -> None:
    """Raise where options do not go together.

    Args:
        job: The options.
        given: Names of those that the user typed.

    Raises:
        typer.BadParameter: they do not.
    """
    if job.out is None:
        needing = ("resume", "overwrite", "features", "ray")
        for name in needing:
            if getattr(job, name):
                raise typer.BadParameter(f"--{name} needs --out, the place for the results.")
    elif job.ray and job.workers:
        raise typer.BadParameter("--workers is for one machine; with --ray, Ray says how many.")
    elif job.as_json:
        raise typer.BadParameter("--json prints; --out writes. Pass --out FILE.jsonl for JSON.")
    twice = [name for name in given if name in _OF_NET]
    if job.model is not None and twice:
        raise typer.BadParameter(f"--model knows its own {', '.join(twice)}. Pass one of the two.")
