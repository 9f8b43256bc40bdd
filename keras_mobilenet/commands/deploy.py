"""The commands that ship a model and time it: export, bench and latency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from keras_mobilenet.checkpoints.published.local_files import copies
from keras_mobilenet.commands.terminal import completion
from keras_mobilenet.commands.terminal.options import (
    DEFAULT_NET,
    DEFAULT_SIZE,
    ENGINE,
    PUBLISHED_NAME,
    AlphaOfWeights,
    AnySize,
    Calibration,
    Chart,
    FormatOption,
    ImageSize,
    Labels,
    Minimalistic,
    NetKeyOfWeights,
    NetOptions,
    PreprocessingOption,
    names_in,
    note,
    say,
    size_of_weights,
    tells_its_net,
)
from keras_mobilenet.commands.terminal.progress import doing, drawing, interruptible, progress_line
from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.display.text_tables import Format
from keras_mobilenet.files import replacing
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.arguments import IMAGENET
from keras_mobilenet.nets.costs.layers import layer_costs
from keras_mobilenet.nets.families.registry import family

if TYPE_CHECKING:
    from keras_mobilenet.deploy.bench.report import BenchReport

_NONE, _RANDOM = "none", "random"  # what --model calls random weights, and what a builder does
_SUFFIX = ".keras"
Quantize = Literal["float16", "dynamic", "int8", "full_int8"]  # the converter's, which loads Keras


def bench_command(
    model: Annotated[
        str | None,
        typer.Option(
            help=f"'imagenet', 'none' for random weights, {PUBLISHED_NAME}, or a .keras file. "
            "By default 'imagenet' where the file is here, else 'none'.",
            show_default=False,
        ),
    ] = None,
    net: NetKeyOfWeights = None,
    alpha: AlphaOfWeights = None,
    minimalistic: Minimalistic = False,
    size: AnySize = DEFAULT_SIZE,
    engines: Annotated[
        str | None,
        typer.Option(
            help="Some of keras, litert, openvino, onnxruntime, with commas between; by default "
            "litert and openvino, where installed, then Keras. Engines alone import no Keras.",
            autocompletion=completion.engines,
            show_default=False,
        ),
    ] = None,
    precisions: Annotated[
        str | None,
        typer.Option(
            help="Some of float32, bfloat16, int8; by default float32 and int8.",
            autocompletion=completion.precisions,
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every engine installed in every precision it has.")
    ] = False,
    batch: Annotated[str, typer.Option(help="How many images a call gets.")] = "1,8",
    seconds: Annotated[float, typer.Option(help="Seconds of timed calls a row.", min=0.01)] = 1.0,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="Instead of --seconds, let all take turns, this many each (made even): fairer on "
            "a machine that is not idle, but the rows of a batch come together.",
            min=1,
        ),
    ] = None,
    calibration: Calibration = None,
    images: Annotated[
        Path | None, typer.Option(help="A folder of images to compare the outputs on.")
    ] = None,
    table: FormatOption = "text",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every single time into this file.")
    ] = None,
    chart: Chart = None,
) -> None:
    """Print how fast a model is in the engines here and in Keras, and how far apart, row by row.

    Ctrl-C ends it, and what was measured stays.
    """
    from keras_mobilenet.deploy.bench.plan import Plan  # noqa: PLC0415 - loads NumPy

    plan = Plan(
        engines=_names(engines),
        precisions=_names(precisions),
        everything=everything,
        batches=batch_sizes(batch),
        seconds=seconds,
        rounds=rounds,
    )
    timed = _Timed.of(model, NetOptions.of(net, alpha, minimalistic), size)
    note(plan.estimate(timed.macs, **_counted(images)))  # before the seconds that the imports take
    with interruptible(None), progress_line() as progress:
        from keras_mobilenet.deploy.bench.benchmarking import bench  # noqa: PLC0415

        with _rows(table, json_file, progress) as show:
            report = bench(
                timed.model(),
                plan,
                name=timed.name,
                calibration=calibration,
                images=images,
                progress=progress,
                show=show,
            )
    if chart is not None:
        with drawing(chart):
            from keras_mobilenet.deploy.bench.bench_output import bench_chart  # noqa: PLC0415

            bench_chart(report, chart)


def _counted(images: Path | None) -> dict[str, int]:
    """Return how many of a folder's images outputs are compared on, for an estimate."""
    if images is None:
        return {}
    from keras_mobilenet.deploy.graphs.calibration import MOST  # noqa: PLC0415 - loads NumPy
    from keras_mobilenet.images.listing import list_images  # noqa: PLC0415 - loads Pillow

    return {"images": sum(1 for _ in islice(list_images(images), MOST))}


@contextmanager
def _rows(
    table: Format, json_file: Path | None, progress: Callable[[str], None]
) -> Iterator[Callable[[BenchReport], None]]:
    """Yield what prints each part of a report as it comes; JSON comes last, of what there is."""
    from keras_mobilenet.deploy.bench.bench_output import (  # noqa: PLC0415 - loads NumPy
        bench_table,
        latest_lines,
    )

    latest: list[BenchReport] = []

    def show(report: BenchReport) -> None:
        latest[:] = [report]
        progress("")
        if table != "json":
            say(latest_lines(report, table))

    try:
        yield show
    finally:  # Ctrl-C and errors keep what was measured
        for report in latest:
            progress("")
            record = bench_table(report, format="json")
            if table == "json":
                say(record)
            if json_file is not None:
                with replacing(json_file) as temporary:
                    Path(temporary).write_text(record + "\n", encoding="utf-8")
                note(f"wrote {json_file}")


def batch_sizes(text: str) -> tuple[int, ...]:
    """Return the numbers in a text such as `"1,8,64"`.

    Raises:
        ValueError: they are not positive integers with commas between.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise ValueError(
            f"--batch takes positive integers with commas between, such as 1,8,64. Received: {text}"
        )
    return tuple(dict.fromkeys(map(int, parts)))


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


@dataclass(frozen=True)
class _Timed:
    """What `bench` times: a file, or a net with its weights."""

    builder: NetOptions
    size: ImageSize
    file: str | None = None
    trained: bool = False
    named: str | None = None  # weights on the hub, or in a folder for it

    @classmethod
    def of(cls, model: str | None, builder: NetOptions, size: ImageSize) -> _Timed:
        """Return what --model and the options of the net stand for."""
        if model is not None and model.endswith(_SUFFIX):
            return cls(builder, size, file=model)
        if model not in (None, IMAGENET, _NONE):
            if tells_its_net(model):
                return cls(builder.of_weights(model), size_of_weights(size, model), named=model)
            raise ValueError(
                f"--model takes '{IMAGENET}', '{_NONE}', {PUBLISHED_NAME}, or a {_SUFFIX} file. "
                f"Received: {model}"
            )
        trained = model == IMAGENET or (model is None and _weights_are_here(builder, size.known()))
        if model is None and not trained:
            note("the ImageNet weights are not here, so the weights are random; --model imagenet "
                 "fetches them")  # fmt: skip
        return cls(builder, size, trained=trained)

    @property
    def name(self) -> str:
        """Words for it that say where its weights come from."""
        if self.file is not None:
            return self.file
        height, width = self.size.known()
        if self.named:
            return f"{self.named}, {height} x {width}"
        weights = "ImageNet weights" if self.trained else "random weights"
        return f"{self.builder}, {height} x {width}, {weights}"

    @property
    def macs(self) -> int | None:
        """The multiply-accumulates of an image; None for a file, which is not open yet."""
        if self.file is not None:
            return None
        costs = layer_costs(
            self.builder.alpha,
            net=self.builder.net,
            size=self.size.known(),
            **self.builder.options,
        )
        return sum(cost.macs for cost in costs)

    def model(self) -> Any:
        """Return a file's path, or a net that is not built yet."""
        if self.file is not None:
            return self.file
        if self.named:
            return self.builder.with_weights(self.named, self.size)
        weights = IMAGENET if self.trained else _RANDOM
        return self.builder.builder((*self.size.known(), 3), weights=weights)


def _weights_are_here(builder: NetOptions, size: tuple[int, int]) -> bool:
    net = family(builder.net).name
    if pretrained.nearest_size(size, net, builder.alpha) != size[0]:
        return False  # none were published
    try:
        row = pretrained.find(builder.alpha, size[0], net, **builder.options)
    except LookupError:  # none were published
        return False
    return any(copies(row.file_name(include_top=True)))


def export_command(
    model: Annotated[
        str,
        typer.Argument(
            help=f"A .keras file, 'imagenet', {PUBLISHED_NAME}, or a file of weights.",
            autocompletion=completion.model,
        ),
    ],
    to: Annotated[
        str,
        typer.Argument(
            help="Ends in .tflite, .onnx, .xml, page/ for a web page, or another slash for a "
            "SavedModel."
        ),
    ],
    quantize: Annotated[Quantize | None, typer.Option(help="By default float32.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A folder of images: int8 ranges, and to compare on.")
    ] = None,
    include_preprocessing: Annotated[
        bool, typer.Option("--include-preprocessing", help="Let the file take pixels, 0 to 255.")
    ] = False,
    preprocessing: PreprocessingOption = None,
    labels: Labels = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Root mean square error allowed, of the outputs' own.")
    ] = None,
    batch: Annotated[
        Literal["1", "any"], typer.Option(help="Images that a .tflite takes at once.")
    ] = "1",
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="For a page: a folder with LiteRT.js, to put its files into the page, which then "
            "works offline; by default it loads them from a CDN."
        ),
    ] = None,
    net: NetKeyOfWeights = None,
    alpha: AlphaOfWeights = None,
    minimalistic: Minimalistic = False,
    size: AnySize = DEFAULT_SIZE,
) -> None:
    """Write a model for another runtime, and compare it there before it counts."""
    from keras_mobilenet.deploy.exporting import export  # noqa: PLC0415 - loads NumPy

    names = names_in(labels)
    with doing(f"writing {to}, and comparing it with {model}"):
        report = export(
            _model(model, NetOptions.of(net, alpha, minimalistic), size, names),
            to,
            quantize=quantize,
            calibration=calibration,
            include_preprocessing=include_preprocessing,
            labels=names,
            tolerance=tolerance,
            preprocessing=preprocessing,
            batch=1 if batch == "1" else None,
            runtime=runtime,
        )
    counts = (f"{count} {name}" for name, count in report.operators.items())
    note(f"operators: {', '.join(counts)}")
    say(str(report))
    if report.is_page:
        note(f"to see it: python -m http.server --bind 127.0.0.1 --directory {report.path}")


def _model(model: str, builder: NetOptions, size: ImageSize, names: list[str] | None) -> Any:
    tells = Path(model).is_file() and size is DEFAULT_SIZE and builder.is_guess(model)
    if model.endswith(_SUFFIX) or tells:  # a file of weights, where no option says its net
        return model
    classes = {"classes": len(names)} if names and model != IMAGENET else {}
    return builder.with_weights(model, size, **classes)


def latency_command(
    to: Annotated[Path, typer.Argument(help="The file to write, for `cost --latency`.")],
    engine: Annotated[str, ENGINE] = "auto",
    precision: Annotated[Precision, typer.Option(help="What to compute in.")] = "float32",
    threads: Annotated[int | None, typer.Option(help="By default one a processor.", min=1)] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each net.", min=1)] = 10,
    nets: Annotated[
        list[str] | None,
        typer.Option(
            "--net",
            help="Time these nets instead of V1's 16; may be given repeatedly.",
            autocompletion=completion.net,
        ),
    ] = None,
) -> None:
    """Time the published nets on this machine, an image at a time, and write the table."""
    from keras_mobilenet.deploy.bench.latencies import (  # noqa: PLC0415 - loads NumPy
        measure_latencies,
        published,
    )

    with replacing(to) as temporary:  # before the minute that it takes
        with progress_line() as progress:
            table = measure_latencies(
                nets=published(*(nets or [DEFAULT_NET])),
                engine=engine,
                precision=precision,
                threads=threads,
                rounds=rounds,
                progress=progress,
            )
        Path(temporary).write_text(table.to_text() + "\n", encoding="utf-8")
    for row in table.rows:
        name = pretrained.label(family(row.net).name, row.alpha)
        say(f"{name} at {row.size}: {1e3 * row.seconds:7.2f} ms")
    note(f"wrote {to}")
