"""The commands that train: finetune and train."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from keras_mobilenet.commands.terminal import completion
from keras_mobilenet.commands.terminal.options import (
    DEFAULT_NET,
    DEFAULT_SIZE,
    PUBLISHED_NAME,
    Alpha,
    AlphaOfWeights,
    AnySize,
    FormatOption,
    Minimalistic,
    NetKey,
    NetKeyOfWeights,
    NetOptions,
    Resume,
    note,
    say,
    size_of_weights,
)
from keras_mobilenet.commands.terminal.progress import bars, resumable
from keras_mobilenet.display.text_tables import Format, written
from keras_mobilenet.errors import plain_line

if TYPE_CHECKING:
    from keras_mobilenet.training.finetune.probing import ProbeScore


Images = Annotated[Path, typer.Argument(help="A folder of class folders, or a CSV file.")]
Validation = Annotated[
    str, typer.Option(help="Images to validate with: a folder, a CSV file, or a share.")
]
VALIDATION = "0.2"


def finetune(
    folder: Images,
    out: Annotated[Path | None, typer.Option(help="The folder of the run, to be made.")] = None,
    val: Validation = VALIDATION,
    train_from: Annotated[
        str,
        typer.Option(
            help="What trains: 'top', 'block_12' and all behind it, ..., 'all'.",
            autocompletion=completion.train_from,
        ),
    ] = "top",
    net: NetKeyOfWeights = None,
    alpha: AlphaOfWeights = None,
    minimalistic: Minimalistic = False,
    size: AnySize = DEFAULT_SIZE,
    grey: Annotated[bool, typer.Option("--grey", help="One channel instead of three.")] = False,
    weights: Annotated[
        str,
        typer.Option(
            help=f"'imagenet', {PUBLISHED_NAME}, a file of weights, or 'none'.",
            autocompletion=completion.weights,
        ),
    ] = "imagenet",
    epochs: Annotated[int | None, typer.Option(help="At most so many.", min=1)] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.", min=1)] = 32,
    learning_rate: Annotated[float | None, typer.Option(help="The highest.")] = None,
    views: Annotated[
        int | None,
        typer.Option(help="Views of an image: 1 whole, 2 also mirrored, more: parts.", min=1),
    ] = None,
    class_weight: Annotated[
        Literal["none", "balanced"],
        typer.Option(help="Whether each class counts as much as another."),
    ] = "none",
    seed: Annotated[int, typer.Option(help="Fixes split, views and order.", min=0)] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="A folder of computed features, for several runs.")
    ] = None,
    resume: Resume = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Only say which net, alpha and size suit the images.")
    ] = False,
    table: FormatOption = "text",
) -> None:
    """Train the net for your own classes, and save it with their names.

    With TF_CONFIG set, the processes that it names train one net together.
    """
    if probe:
        _probe(folder, seed, table)
        return
    if out is None:
        raise typer.BadParameter("--out RUN is needed: the folder that the model goes into.")
    use_onednn()
    from keras_mobilenet.training.finetune.finetuning import AUTO_CACHE  # noqa: PLC0415
    from keras_mobilenet.training.finetune.finetuning import finetune as train  # noqa: PLC0415

    weights_or_none = None if weights == "none" else weights
    chosen = NetOptions.of(net, alpha, minimalistic).of_weights(weights_or_none)
    pixels = size_of_weights(size, weights_or_none).known()
    with resumable(out), drawn() as report, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about images; the run names them all
        run = train(
            folder, out=out, validation=validation(val), train_from=train_from, net=chosen.net,
            alpha=chosen.alpha, size=pixels, channels=1 if grey else 3,
            weights=weights_or_none,
            epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, views=views,
            class_weight=None if class_weight == "none" else class_weight, seed=seed,
            cache=AUTO_CACHE if cache is None else cache, resume=resume, progress=report,
            minimalistic=chosen.minimalistic,
        )  # fmt: skip
    say_result(run, out)


def _probe(folder: Path, seed: int, table: Format) -> None:
    from keras_mobilenet.training.finetune.probing import probe  # noqa: PLC0415

    with drawn() as report, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        scores = probe(folder, seed=seed, progress=report)
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        note(message)
    say(_score_table(scores, table))


def _score_table(scores: tuple[ProbeScore, ...], table: Format) -> str:
    if table == "json":
        import json  # noqa: PLC0415

        return json.dumps([vars(score) for score in scores], indent=2)
    headers = ["net", "alpha", "size", "accuracy %", "+-", "images/s"]
    rows = [
        [f"{s.net}{' minimalistic' * s.minimalistic}", f"{s.alpha:g}", str(s.size),
         f"{100 * s.accuracy:.1f}", f"{100 * s.std:.1f}", f"{s.images_per_second:.0f}"]
        for s in scores
    ]  # fmt: skip
    return written(headers, rows, table)


if TYPE_CHECKING:
    from keras_mobilenet.training.runs import ProgressCallback, Run


def use_onednn() -> None:
    """Let TensorFlow use oneDNN, if it is not imported yet.

    On processors without AVX-512's VNNI it leaves oneDNN off by itself, and trains the whole net
    at 15 to 17 images a second where it could do 26.
    """
    if "tensorflow" not in sys.modules:  # which would not heed it, while child processes would
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def validation(text: str) -> Any:
    """Return what `--val` says: a share, or a path."""
    try:
        return text if os.path.exists(text) else float(text)
    except ValueError as error:
        raise typer.BadParameter(f"--val is neither a share nor a path: {text!r}") from error


@contextmanager
def drawn() -> Iterator[ProgressCallback]:
    """Yield a report of the training that draws a bar a stage."""
    with bars(first="reading the images") as show:
        yield lambda now: show(now.stage, now.done, now.total, now.unit, _values(now.values))


def _values(values: Any) -> str:
    shown = {"loss": "loss {:.3f}", "val_accuracy": "validation {:.1%}"}
    return ", ".join(text.format(values[key]) for key, text in shown.items() if key in values)


def say_result(run: Run, out: Path) -> None:
    """Print how good a run is, and where it is."""
    for problem in run.problems:
        note(plain_line(problem))
    if run.accuracy is not None:
        what = "accuracy (all classes right)" if run.multi_label else "accuracy"
        right = round(run.accuracy * len(run.validation))
        say(
            f"validation {what} {100 * run.accuracy:.1f} % "
            f"({right} of {len(run.validation)} images)"
        )
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in run.timings.items())
    note(f"time: {times}")
    say(f"wrote {out / 'model.keras'}")
    note(f"try: keras-mobilenet classify --model {shlex.quote(str(out / 'model.keras'))} IMAGE")


def train(
    folder: Images,
    out: Annotated[Path, typer.Option(help="The folder of the run, to be made.")],
    val: Validation = VALIDATION,
    net: NetKey = DEFAULT_NET,
    alpha: Alpha = 1.0,
    minimalistic: Minimalistic = False,
    size: AnySize = DEFAULT_SIZE,
    epochs: Annotated[int, typer.Option(help="How often each image is shown.", min=1)] = 100,
    batch_size: Annotated[
        int, typer.Option(help="Images a step, of all workers together.", min=2)
    ] = 64,
    schedule: Annotated[
        Literal["paper", "cosine", "constant"],
        typer.Option(help="How the rate falls; 'paper': times 0.94 each 2.5 epochs."),
    ] = "paper",
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
    min_area: Annotated[
        float, typer.Option(help="Share of an image that a part of it shows at least.")
    ] = 0.35,
    mixed_precision: Annotated[
        bool, typer.Option("--mixed-precision", help="Compute in bfloat16.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Fixes split, weights, order and parts.", min=0)] = 0,
    resume: Resume = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write for TensorBoard into --out, too.")
    ] = False,
) -> None:
    """Train a net from random weights, by the published recipe unless you say otherwise.

    With TF_CONFIG set, the processes that it names train one net together.
    """
    use_onednn()
    from keras_mobilenet.training.scratch.scratch import train as train_net  # noqa: PLC0415

    with resumable(out), drawn() as report, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about images; the run names them all
        run = train_net(
            folder, out=out, validation=validation(val), net=net, alpha=alpha, size=size.known(),
            epochs=epochs, batch_size=batch_size, schedule=schedule, learning_rate=learning_rate,
            warmup=warmup, weight_decay=weight_decay, label_smoothing=label_smoothing, ema=ema,
            bn_momentum=bn_momentum, min_area=min_area, mixed_precision=mixed_precision,
            seed=seed, resume=resume, tensorboard=tensorboard, progress=report,
            minimalistic=minimalistic,
        )  # fmt: skip
    say_result(run, out)
