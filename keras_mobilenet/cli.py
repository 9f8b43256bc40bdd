"""The command `keras-mobilenet`: parses, calls, prints. Only it and the other `_cli`s print.

Keras and TensorFlow are imported inside the commands that build a net, so that `--help` and `cost`
answer at once.
"""

from __future__ import annotations

import enum
import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_mobilenet import costs, finetune_cli, spec, tables, weights_cli
from keras_mobilenet.cli_options import (
    Alpha,
    Format,
    FormatOption,
    NoTop,
    Size,
    note,
    start_up_notes_hidden,
)
from keras_mobilenet.cost_tables import cost_table
from keras_mobilenet.recipes import EVALUATION_CROP

if TYPE_CHECKING:
    from keras_mobilenet.classification import Classified

app = typer.Typer(
    help="MobileNet V1 for Keras: look at the net, count what it costs, classify pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(weights_cli.app, name="weights")
app.command()(finetune_cli.finetune)


class By(enum.StrEnum):
    """What a row of the cost table stands for."""

    LAYER = "layer"
    PART = "part"
    KIND = "kind"


class Pooling(enum.StrEnum):
    """What follows the last block of a net without a top."""

    AVG = "avg"
    MAX = "max"


@dataclass(frozen=True)
class Net:
    """The options that describe a net; see `takes_net`."""

    alpha: Alpha = 1.0
    size: Size = spec.DEFAULT_SIZE
    depth_multiplier: Annotated[
        int, typer.Option(help="Depthwise filters for each input channel.")
    ] = 1
    channels: Annotated[int, typer.Option(help="Channels of the input.")] = 3
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 1000
    no_top: NoTop = False
    pooling: Annotated[Pooling | None, typer.Option(help="With --no-top.")] = None

    def costs(self) -> tuple[costs.LayerCost, ...]:
        """Return the net's costs, without building it."""
        return costs.layer_costs(**self._arguments(), size=self.size, channels=self.channels)

    def build(self) -> Any:
        """Return the net as a Keras model with random weights."""
        _load_tensorflow()
        from keras_mobilenet.mobilenet import MobileNet  # noqa: PLC0415

        shape = (self.size, self.size, self.channels)
        return MobileNet(**self._arguments(), input_shape=shape, weights=None)

    def _arguments(self) -> dict[str, Any]:
        names = ("alpha", "depth_multiplier", "classes", "pooling")
        return {name: getattr(self, name) for name in names} | {"include_top": not self.no_top}


def takes_net(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Net` in place of its parameter `net`."""

    @functools.wraps(command)
    def wrapper(**options: Any) -> None:
        net = Net(**{field.name: options.pop(field.name) for field in fields(Net)})
        command(net=net, **options)

    own = [p for p in _parameters(command) if p.name != "net"]
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own, *_parameters(Net))]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _parameters(function: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    return inspect.signature(function, eval_str=True).parameters.values()


@app.command()
@takes_net
def summary(
    net: Net,
    show_costs: Annotated[bool, typer.Option("--costs", help="Add MACs and bytes.")] = False,
    table: FormatOption = Format.TEXT,
    plot: Annotated[Path | None, typer.Option(help="Draw the net into this file too.")] = None,
) -> None:
    """Print the layers, their output shapes and parameters."""
    model = net.build()
    typer.echo(tables.summary(model, format=table.value, costs=show_costs))
    if plot is not None:
        _draw(model, plot, full=False)


@app.command("plot")
@takes_net
def plot_command(
    net: Net,
    to_file: Annotated[Path, typer.Argument(help="The picture to write: .png, .svg, ...")],
    full: Annotated[bool, typer.Option("--full", help="A box a layer, not a block.")] = False,
) -> None:
    """Draw the net: a box a block, which fits a page, or a box a layer."""
    _draw(net.build(), to_file, full=full)


def _draw(model: Any, to_file: Path, *, full: bool) -> None:
    from keras_mobilenet.diagrams import plot_model  # noqa: PLC0415

    plot_model(model, to_file, compact=not full, show_shapes=full, show_layer_names=full)
    note(f"wrote {to_file}")


@app.command()
@takes_net
def cost(
    net: Net,
    by: Annotated[By, typer.Option(help="What a row stands for.")] = By.PART,
    table: FormatOption = Format.TEXT,
    chart: Annotated[Path | None, typer.Option(help="Draw a chart into this file.")] = None,
) -> None:
    """Print parameters, MACs and activation bytes, counted without building the net."""
    layers = net.costs()
    typer.echo(cost_table(layers, by=by.value, format=table.value))
    if chart is not None:
        from keras_mobilenet.charts import cost_chart  # noqa: PLC0415 - loads matplotlib

        cost_chart(layers, chart, title=f"alpha {net.alpha:g}, {net.size} x {net.size}: ")
        note(f"wrote {chart}")


@app.command()
def classify(
    pictures: Annotated[list[str], typer.Argument(help="Picture files.")],
    alpha: Alpha = 1.0,
    size: Size = spec.DEFAULT_SIZE,
    weights: Annotated[str, typer.Option(help="'imagenet', or a file of weights.")] = "imagenet",
    top: Annotated[int, typer.Option(help="How many classes a picture.", min=1)] = 5,
    crop: Annotated[
        float, typer.Option(help="Share of each side that a central crop keeps.")
    ] = EVALUATION_CROP,
    labels: Annotated[
        Path | None, typer.Option(help="A file with the name of a class a line.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what each picture shows, the most probable class first."""
    _load_tensorflow()
    from keras_mobilenet.classification import classify_pictures  # noqa: PLC0415
    from keras_mobilenet.mobilenet import MobileNet  # noqa: PLC0415

    names = None if labels is None else labels.read_text(encoding="utf-8").splitlines()
    model = MobileNet(
        (size, size, 3), alpha=alpha, weights=weights, classes=len(names) if names else 1000
    )
    results = classify_pictures(
        model, pictures, size=(size, size), crop=crop, top=top, labels=names
    )
    failed = _show(_with_progress(results, len(pictures)), as_json=as_json)
    if failed:
        note(f"{failed} of {len(pictures)} pictures could not be read")
        raise typer.Exit(1)


def _with_progress(results: Iterable[Classified], total: int) -> Iterator[Classified]:
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.progress import track  # noqa: PLC0415

    console = Console(stderr=True)
    hidden = total == 1 or not console.is_terminal
    yield from track(results, "classifying", total, console=console, disable=hidden)


def _show(results: Iterable[Classified], *, as_json: bool) -> int:
    """Print the results and return how many pictures could not be read."""
    shown = list(results) if as_json else results
    if as_json:
        typer.echo(json.dumps([_record(result) for result in shown], indent=2))
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
        return {"picture": result.path, "error": result.fault}
    classes = [{"id": key, "name": name, "score": p} for key, name, p in result.predictions]
    return {"picture": result.path, "classes": classes}


def _print_bars(result: Classified) -> None:
    from rich.bar import Bar  # noqa: PLC0415 - not needed for --help
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=result.path, title_justify="left", box=None, show_header=False)
    table.add_column()
    table.add_column()
    table.add_column(justify="right")
    for _, name, score in result.predictions:
        table.add_row(name, Bar(1.0, 0.0, score, width=30), f"{100 * score:.1f} %")
    Console(highlight=False).print(table)


def _load_tensorflow() -> None:
    with start_up_notes_hidden():
        import keras  # noqa: F401, PLC0415


def main() -> None:
    """Run the command; an error of the user's is one message on stderr and exit code 1."""
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        note(f"error: {error}")
        sys.exit(1)
