"""The commands that look at a net: summary, plot, cost, sizes, select and paper."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_mobilenet.commands.terminal.options import (
    DEFAULT_NET,
    DEFAULT_SIZE,
    Alpha,
    AnySize,
    Chart,
    FormatOption,
    ImageSize,
    Minimalistic,
    NetKey,
    NetOptions,
    NoTop,
    bytes_in,
    count_in,
    image_size,
    parameters_of,
    say,
    with_signature,
)
from keras_mobilenet.commands.terminal.progress import drawing
from keras_mobilenet.display import paper_tables, sizes
from keras_mobilenet.display.cost_tables import By, cost_table, device_table, selection_table
from keras_mobilenet.display.summaries import summary as model_summary
from keras_mobilenet.nets.conventions import Padding
from keras_mobilenet.nets.costs import latency
from keras_mobilenet.nets.costs import layers as costs
from keras_mobilenet.nets.costs.memory import DType, Runtime
from keras_mobilenet.nets.costs.selection import select_variant
from keras_mobilenet.nets.net import Pooling


@dataclass(frozen=True)
class Net:
    """The options that describe a net; see `takes_net`."""

    net: NetKey = DEFAULT_NET
    alpha: Alpha = 1.0
    minimalistic: Minimalistic = False
    size: AnySize = DEFAULT_SIZE
    depth_multiplier: Annotated[
        int, typer.Option(help="Depthwise filters for each input channel, V1 only.")
    ] = 1
    channels: Annotated[int, typer.Option(help="Channels of the input.")] = 3
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 1000
    no_top: NoTop = False
    pooling: Annotated[Pooling | None, typer.Option(help="With --no-top.")] = None
    output_stride: Annotated[
        int, typer.Option(help="Of the last block: 32, or 16 or 8 by dilation.")
    ] = 32
    padding: Annotated[Padding, typer.Option(help="Of the strided convolutions.")] = "keras"

    def costs(self) -> tuple[costs.LayerCost, ...]:
        """Return the net's costs, without building it."""
        known = self.size.known()
        return costs.layer_costs(**self._arguments(), size=known, channels=self.channels)

    def build(self) -> Any:
        """Return the net as a Keras model with random weights."""
        arguments = self._arguments()
        builder = NetOptions(*map(arguments.pop, ("net", "alpha", "minimalistic")))
        shape = (*self.size.lengths, self.channels)
        return builder.build(shape, weights=None, **arguments)

    def _arguments(self) -> dict[str, Any]:
        names = ("net", "alpha", "minimalistic", "depth_multiplier", "classes", "pooling",
                 "output_stride", "padding")  # fmt: skip
        return {name: getattr(self, name) for name in names} | {"include_top": not self.no_top}


def takes_net(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Net` in place of its parameter `net`."""

    @functools.wraps(command)
    def wrapper(**options: Any) -> None:
        net = Net(**{field.name: options.pop(field.name) for field in fields(Net)})
        command(net=net, **options)

    parameters = [p for p in parameters_of(command) if p.name != "net"]
    return with_signature(wrapper, [*parameters, *parameters_of(Net)])


@takes_net
def summary(
    net: Net,
    show_costs: Annotated[bool, typer.Option("--costs", help="Add MACs and bytes.")] = False,
    table: FormatOption = "text",
    plot: Annotated[Path | None, typer.Option(help="Draw the net into this file too.")] = None,
) -> None:
    """Print the layers, their output shapes and parameters."""
    model = net.build()
    say(model_summary(model, format=table, costs=show_costs))
    if plot is not None:
        _draw(model, plot, full=False)


@takes_net
def plot_command(
    net: Net,
    to_file: Annotated[Path, typer.Argument(help="The image to write: .png, .svg, ...")],
    full: Annotated[bool, typer.Option("--full", help="A box a layer, not a block.")] = False,
) -> None:
    """Draw the net: a box a block, which fits a page, or a box a layer."""
    _draw(net.build(), to_file, full=full)


def _draw(model: Any, to_file: Path, *, full: bool) -> None:
    with drawing(to_file):
        from keras_mobilenet.display.diagrams import plot_model  # noqa: PLC0415

        plot_model(model, to_file, compact=not full, show_shapes=full, show_layer_names=full)


@takes_net
def cost(
    net: Net,
    by: Annotated[By, typer.Option(help="What a row stands for.")] = "part",
    device: Annotated[
        bool, typer.Option("--device", help="What it needs of a device: memory and room.")
    ] = False,
    latencies: Annotated[
        Path | None,
        typer.Option("--latency", help="With an estimate of the time, from `latency`'s FILE."),
    ] = None,
    table: FormatOption = "text",
    chart: Chart = None,
) -> None:
    """Print parameters, MACs and activation bytes, counted without building the net."""
    layers = net.costs()
    if device or latencies is not None:
        measured = None if latencies is None else latency.read_latencies(latencies)
        text = device_table(layers, latencies=measured, format=table)
    else:
        text = cost_table(layers, by=by, format=table)
    say(text)
    if chart is not None:
        height, width = net.size.known()
        name = NetOptions(net.net, net.alpha, net.minimalistic)
        with drawing(chart):
            from keras_mobilenet.display.charts import cost_chart  # noqa: PLC0415 - matplotlib

            cost_chart(layers, chart, title=f"{name}, {height} x {width}: ")


def sizes_command(
    inputs: Annotated[
        list[ImageSize] | None,
        typer.Argument(
            parser=image_size, metavar="[N|HxW|any]...", help="By default some examples."
        ),
    ] = None,
    net: NetKey = DEFAULT_NET,
    minimalistic: Minimalistic = False,
    padding: Annotated[Padding | None, typer.Option(help="By default all three.")] = None,
    output_stride: Annotated[int, typer.Option(help="32, 16 or 8.")] = 32,
    table: FormatOption = "text",
) -> None:
    """Print the image's size after each stride, and where paddings make one function."""
    text = sizes.size_table(
        [size.lengths for size in inputs] if inputs else sizes.EXAMPLES,
        net=net,
        minimalistic=minimalistic,
        paddings=sizes.PADDINGS if padding is None else (padding,),
        output_stride=output_stride,  # type: ignore[arg-type]  # checked there
        format=table,
    )
    say(text)


def select(
    ram: Annotated[str | None, typer.Option(help="For activations, as in 256kB or 1MiB.")] = None,
    flash: Annotated[str | None, typer.Option(help="For weights, as in 1MB.")] = None,
    macs: Annotated[
        str | None, typer.Option(help="Multiply-accumulates an image, as in 300M.")
    ] = None,
    params: Annotated[
        str | None, typer.Option(help="Parameters, as `cost` counts them, as in 3.5M.")
    ] = None,
    top1: Annotated[float | None, typer.Option(help="Least ImageNet top-1 accuracy in %.")] = None,
    dtype: Annotated[DType, typer.Option(help="Of weights and activations.")] = "int8",
    runtime: Annotated[
        Runtime,
        typer.Option(help="What RAM is counted for; 'minimal': input and output of a layer."),
    ] = "litert",
    publisher: Annotated[
        str | None, typer.Option(help="Only 'keras', or an owner on the hub, such as 'timm'.")
    ] = None,
    latencies: Annotated[
        Path | None, typer.Option("--latency", help="Estimate times, from `latency`'s FILE.")
    ] = None,
    ms: Annotated[
        float | None, typer.Option(help="With --latency: milliseconds an image, at most.")
    ] = None,
    table: FormatOption = "text",
) -> None:
    """Print the most accurate of all published nets within a budget, and what comes next."""
    selection = select_variant(
        max_macs=None if macs is None else count_in("--macs", macs),
        max_params=None if params is None else count_in("--params", params),
        max_ram=None if ram is None else bytes_in("--ram", ram),
        max_flash=None if flash is None else bytes_in("--flash", flash),
        min_top1=top1,
        dtype=dtype,
        runtime=runtime,
        publisher=publisher,
        latencies=None if latencies is None else latency.read_latencies(latencies),
        max_latency=None if ms is None else ms / 1000,
    )
    say(selection_table(selection, format=table))
    if selection.best is None:
        raise typer.Exit(1)


def paper(
    net: NetKey = DEFAULT_NET,
    number: Annotated[
        int | None, typer.Option("--table", help="One table only; 0 is a page, of V2 and V3.")
    ] = None,
    table: FormatOption = "text",
    figure: Annotated[
        Path | None, typer.Option(help="Draw accuracy against MACs into this file.")
    ] = None,
) -> None:
    """Print a paper's tables beside what the architecture gives, and why they differ."""
    titles = paper_tables.paper_of(net).titles
    tables = [paper_tables.paper_table(n, net) for n in (titles if number is None else (number,))]
    say(paper_tables.written(tables, net=net, format=table))
    if figure is not None:
        with drawing(figure):
            from keras_mobilenet.display.charts import accuracy_chart  # noqa: PLC0415 - matplotlib

            accuracy_chart(figure)
