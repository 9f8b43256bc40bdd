"""export(): a model as a file for another runtime, opened there and compared before it counts."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import (
    Difference,
    difference,
    evenly_spaced,
    generated_images,
    variation,
)
from keras_mobilenet.deploy.engines.checks import saved_models
from keras_mobilenet.deploy.engines.choice import engine_module
from keras_mobilenet.deploy.engines.engine import Engine, EngineSettings
from keras_mobilenet.deploy.engines.runtimes import import_openvino
from keras_mobilenet.deploy.graphs.calibration import calibration_samples
from keras_mobilenet.deploy.graphs.operations import Graph
from keras_mobilenet.deploy.graphs.staging import check_place, staged
from keras_mobilenet.deploy.graphs.writers.files import write_graph, writes
from keras_mobilenet.deploy.graphs.writers.page.heat_map import with_features
from keras_mobilenet.deploy.graphs.writers.page.page import (
    MODEL,
    Page,
    is_page,
    page_folder,
    write_page,
)
from keras_mobilenet.deploy.graphs.writers.page.runtime import find_runtime
from keras_mobilenet.deploy.metadata import write_info
from keras_mobilenet.deploy.opened import Opened, open_model
from keras_mobilenet.errors import AccuracyError
from keras_mobilenet.formats.runtimes import tflite_model
from keras_mobilenet.images.model_info import Label, ModelInfo
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.images.prefetch import all_cores
from keras_mobilenet.nets.net import Shape

logger = logging.getLogger(__name__)

# Root mean square error allowed, of that of the outputs. Rounding alone makes 1e-6 in float32,
# up to 0.02 with float16 weights; int8 makes 0.05 to 0.2 of a trained net, a broken export over 1.
TOLERANCE: Mapping[str | None, float] = {
    None: 1e-4,
    "float16": 0.05,
    "dynamic": 0.5,
    "int8": 0.5,
    "full_int8": 0.5,
}
_INT8 = ("int8", "full_int8")
_FOLDER = "/"  # of a SavedModel, in place of a suffix
_GENERATED = 16  # images, where none are given
_COMPARED = 64  # images at most
_UNKNOWN_SIZE = 224  # pixels, of the images that a model of any size is compared on


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far it is from the Keras model."""

    path: str
    quantize: str | None
    bytes: int
    operators: Mapping[str, int]  # the file's operators, and how many there are of each
    difference: Difference  # between the file's outputs and the model's
    images: int  # how many were compared
    generated: bool  # whether they were made up, where no calibration was given
    tolerance: float  # what the root mean square error was held against
    variation: float  # of the model's outputs from image to image, as a share of them
    against: str = "Keras"  # what the model's outputs were computed with, or NumPy
    is_page: bool = False  # whether `path` is the folder of a web page

    @property
    def tells(self) -> bool:
        """Whether a file that puts out the same for every image would have been refused."""
        return self.variation > self.tolerance

    def __str__(self) -> str:
        kind = f" ({self.quantize})" if self.quantize else ""
        source = "generated" if self.generated else "calibration"
        against = f"{self.images} {source} images against {self.against}"
        remark = f"on {against}: {self.difference}" if self.tells else self._doubt(against)
        return f"wrote {self.path}{kind}, {self.bytes:,} bytes; {remark}"

    def _doubt(self, against: str) -> str:
        return (
            f"{against} do not tell whether it computes the same: its outputs differ by "
            f"{self.variation:.2g} of their size from one to another, and an error of "
            f"{self.tolerance:g} is allowed (found: {self.difference.rms_error:.2g}). Pass "
            "`calibration`, images that the model tells apart"
        )


@dataclass(frozen=True)
class _Format:
    """How a kind of file is written and looked into."""

    suffix: str  # of the model's file; _FOLDER for a SavedModel
    engine: str  # that opens it again
    quantize: tuple[str | None, ...]
    operators: Callable[[Path], Sequence[str]]
    replaces: Callable[[Path], bool] | None = None  # of a folder: whether one may be replaced
    model: str = ""  # the name of the model's file in the folder


@dataclass(frozen=True)
class _Order:
    """What file is asked for."""

    path: Path
    format: _Format
    quantize: str | None
    tolerance: float
    batch: int | None
    runtime: Mapping[str, Path] | None = None  # what a page runs its model with

    @property
    def is_page(self) -> bool:
        """Whether it is the folder of a web page, with the model in it."""
        return self.format is _PAGE


@dataclass(frozen=True)
class _Samples:
    """The images that an export is compared on, as each takes them that sees them."""

    keras: npt.NDArray[Any]
    file: npt.NDArray[Any]
    converter: npt.NDArray[Any]  # takes int8 ranges from them
    generated: bool = False
    outputs: npt.NDArray[Any] | None = None  # Keras', where they are known already


def export(
    model: Any,
    path: str | PathLike[str],
    *,
    quantize: str | None = None,
    calibration: Any = None,
    include_preprocessing: bool = False,
    labels: Sequence[Label] | None = None,
    tolerance: float | None = None,
    preprocessing: Preprocessing | str | None = None,
    batch: int | None = 1,
    runtime: str | PathLike[str] | None = None,
) -> ExportReport:
    """Write `model`, its batch norms folded, as a file for another runtime.

    The file is opened in that runtime and compared with the model before it takes its place: with
    Keras, or for a file that came in without it with what NumPy works out of its net.
    It says how images become its input and how its classes are called; `Predictor` reads that.
    Its tensors are called `input` and `output`.

    Args:
        model: A Keras model, a `.keras` file, or a file of weights, with one input of images and
            one output.
        path: Ends in `.tflite` (LiteRT), `.onnx`, `.xml` (OpenVINO; its weights go into a `.bin`
            beside it), in `page/` or `/index.html`, for a folder with a web page that runs the
            model in the browser, or in another slash, for a SavedModel folder.
        quantize: None for float32; for LiteRT `"float16"`, `"dynamic"` (int8 weights), `"int8"` or
            `"full_int8"` (input and output too); for OpenVINO `"float16"` or `"int8"`.
        calibration: Images for int8, and to compare on: a folder, paths, an array of pixels,
            `uint8`, or of inputs.
        include_preprocessing: Whether the file takes pixels, `uint8` from 0 to 255. A model that
            scales them itself does so once.
        labels: The classes' names; None for those that go with the model, if any.
        tolerance: Root mean square error allowed, as a share of the outputs' own; None for
            1e-4 in float32, 0.05 in float16 and 0.5 in int8.
        preprocessing: How pixels become the model's input: a `Preprocessing`, or a text such as
            `"0..1"`. None stands for what is recorded with the model, or found in its graph.
        batch: Images that a `.tflite` file takes at once: 1, as interpreters in browsers and on
            small machines need it, or None for any count. Other files take any count.
        runtime: For a page, a folder with the files of LiteRT.js, which are copied into it: it
            works offline then. None for those on a CDN, whose hashes the page checks.

    Raises:
        ValueError: an argument is wrong, int8 is asked for without calibration images, pixels are
            to be scaled, and how they become the input is not known, the model computes with
            operators that the format has not, or a page's model is no classifier of images.
        AccuracyError: the file's outputs are too far from the model's; nothing is written.
        MissingExtraError: the runtime or the converter is not installed.
        OSError: the file cannot be written; what was there is as it was.
    """
    order = _order(path, quantize, tolerance, batch, runtime)
    opened = open_model(model).given(preprocessing, labels)
    _check_channels_last(opened)
    check_place(order.path, replaces=order.format.replaces)
    if order.is_page:
        opened = _shown(opened)
    if include_preprocessing or order.is_page:
        opened.info.known_preprocessing()  # before the seconds that follow
    direct = writes(opened.graph, order.format.suffix, quantize)
    opened = _comparable(opened if direct else opened.in_keras())
    samples = _samples(opened, order, calibration)
    with staged(order.path) as temporary:
        written = temporary / order.format.model
        if order.is_page:
            temporary.mkdir()
        write = _write_graph if direct else _write_keras
        file, samples = write(opened, order, samples, written, pixels=include_preprocessing)
        write_info(str(written), _with_activation(file, opened.graph))
        if order.is_page:
            write_page(temporary, _page_of(file, order))
        report = _compared(opened, order, samples, written)
        _check_tolerance(report)
    logger.info("%s", report)
    return report


def _check_channels_last(opened: Opened) -> None:
    """Raise for a Keras model whose channels come first: files take them last, as images do."""
    if opened.model is None:
        return
    from keras_mobilenet.models.parts import leaves_of  # noqa: PLC0415 - Keras is there

    formats = {getattr(layer, "data_format", None) for layer in leaves_of(opened.model)}
    if "channels_first" in formats:
        raise ValueError(
            f"A file takes images of channels last, and model {opened.name!r} takes them first. "
            "Save its weights, which are the same for both, with "
            'save_weights(model, "net.safetensors"), and export that file.'
        )


def _shown(opened: Opened) -> Opened:
    """Return a classifier of images as a page shows it: of one size.

    Raises:
        ValueError: it is none, or its size is not known.
    """
    *size, channels = opened.input_shape
    if opened.classes is None or channels not in (1, 3):
        raise ValueError(
            "A page shows an image's classes: it needs a model that takes images of 3 channels or "
            "1 and puts out a score for each class. Received: "
            f"{opened.name}, of input shape {opened.input_shape} and {opened.classes} classes"
        )
    if None not in size:
        return opened
    if opened.info.size is None or opened.graph is None:
        raise ValueError(
            f"A page shows a model of a known size, and {opened.name} takes any. Pass one that was "
            "built for a size, as with `input_shape=(224, 224, 3)` or --size 224."
        )
    shape = (*opened.info.size, channels)
    return replace(opened, input_shape=shape, graph=replace(opened.graph, input_shape=shape))


def _with_activation(file: Opened, graph: Graph | None) -> ModelInfo:
    """Return a file's info, which says of a classifier's last activation what is no softmax.

    It is for those who take the file for its weights: its graph tells every runtime.
    """
    if graph is None or not graph.classifies:
        return file.info
    return file.info.ending_in(graph.by_name[graph.output].activation or "linear")


def _page_of(file: Opened, order: _Order) -> Page:
    """Return what the page of a model is about; `file` is the model as it was written."""
    assert file.classes is not None  # noqa: S101 - asked before
    return Page(file.name, file.info, file.classes, order.quantize, file.graph, order.runtime)


def _comparable(opened: Opened) -> Opened:
    """Return a model that computes in float32 throughout, as files do."""
    if opened.model is None:
        return opened
    from keras_mobilenet.deploy.graphs.traced.copies import in_float32  # noqa: PLC0415 - Keras

    return replace(opened.then(in_float32), graph=opened.graph)


def _write_graph(
    opened: Opened, order: _Order, samples: _Samples, path: Path, *, pixels: bool
) -> tuple[Opened, _Samples]:
    """Write a file of a model's graph; return what it is of, and the images as it takes them."""
    graph, file = opened.graph, opened
    assert graph is not None  # noqa: S101 - asked by the caller
    if pixels:
        file, samples = _of_pixels(opened, order, samples)
        if not _codes_are_pixels(order):
            graph = graph.taking_pixels(opened.info.known_preprocessing())
            samples = replace(samples, converter=samples.file)
    if order.is_page:
        graph = with_features(graph)
    write_graph(
        graph, path, order.quantize, file.info, batch=order.batch, samples=samples.converter
    )
    return replace(file, graph=graph), samples


def _write_keras(
    opened: Opened, order: _Order, samples: _Samples, path: Path, *, pixels: bool
) -> tuple[Opened, _Samples]:
    """Write a file of a Keras model, through TensorFlow; what it returns is as above."""
    from keras_mobilenet.deploy.graphs.traced.files import (  # noqa: PLC0415 - Keras
        folded,
        taking_pixels,
        write_keras,
    )

    file = folded(opened, order.quantize, samples.keras)
    if pixels:
        scales = file.input_dtype != "uint8" and not _codes_are_pixels(order)
        file, samples = _of_pixels(taking_pixels(file) if scales else file, order, samples)
    write_keras(
        file, path, order.format.suffix, order.quantize, samples.converter, batch=order.batch
    )
    return file, samples


def _order(
    path: str | PathLike[str],
    quantize: str | None,
    tolerance: float | None,
    batch: Any,
    runtime: str | PathLike[str] | None,
) -> _Order:
    folder = page_folder(path)
    chosen, place = (_PAGE, folder) if folder is not None else _format_of(path)
    if runtime is not None and chosen is not _PAGE:
        raise ValueError(
            "`runtime` is for a page, whose path ends in page/ or /index.html. "
            f"Received: path={os.fspath(path)!r}"
        )
    if quantize not in chosen.quantize:
        raise ValueError(
            f"`quantize` can be {' or '.join(map(repr, chosen.quantize))} for {place.name}. "
            f"Received: quantize={quantize!r}"
        )
    if batch is not None and (batch != 1 or isinstance(batch, bool)):
        raise ValueError(
            f"`batch` must be 1, or None for a file of any count. Received: batch={batch!r}"
        )
    allowed = TOLERANCE[quantize] if tolerance is None else tolerance
    files = None if runtime is None else find_runtime(Path(runtime))
    images = 1 if chosen is _PAGE else batch if chosen.engine == "litert" else None
    return _Order(place, chosen, quantize, allowed, images, files)


def _format_of(path: str | PathLike[str]) -> tuple[_Format, Path]:
    """Return the format that a path asks for, of those that are no page."""
    is_folder = os.fspath(path).endswith(("/", os.sep)) or os.path.isdir(path)
    chosen = _FORMATS.get(_FOLDER if is_folder else Path(path).suffix)
    if chosen is None:
        raise ValueError(
            "`path` must end in .tflite, .onnx or .xml, in page/ or /index.html for a web page, or "
            f"in another slash for a SavedModel folder. Received: path={os.fspath(path)!r}"
        )
    return chosen, Path(path)


def _samples(opened: Opened, order: _Order, calibration: Any) -> _Samples:
    """Return images to compare on and take int8 ranges from."""
    info, (height, width, channels) = opened.info, opened.input_shape
    if calibration is not None or order.quantize in _INT8:
        given = calibration_samples(calibration, info, opened.input_shape)
        return _Samples(given, given, given)
    size = info.size or (height or _UNKNOWN_SIZE, width or _UNKNOWN_SIZE)
    made, outputs = _telling(opened, (_GENERATED, *size, channels or 3), order.tolerance)
    return _Samples(made, made, made, True, outputs)


def _telling(
    opened: Opened, shape: Shape, allowed: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Return generated inputs, and what the model puts out for them.

    They are of the first kind that the model tells apart, or the best of all.
    """
    tried = []
    for generate in (generated_images, _plain_colours, _noise):
        samples = opened.info.comparable.scaled(generate(shape))
        tried.append((samples, opened.outputs(samples)))
        if variation(tried[-1][1]) > allowed:
            return tried[-1]
    return max(tried, key=lambda it: variation(it[1]))


def _plain_colours(shape: Shape) -> npt.NDArray[np.float32]:
    count, height, width, channels = shape
    random = np.random.default_rng(0)
    colours = random.choice([0.0, 255.0], (count, 1, 1, channels)).astype(np.float32)
    return np.tile(colours, (1, height, width, 1))


def _noise(shape: Shape) -> npt.NDArray[np.float32]:
    """Return pixels without regard to their neighbours, brighter from image to image."""
    brightness = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None, None, None]
    return 255 * np.random.default_rng(0).random(shape, np.float32) ** (0.1 + 3 * brightness)


def _codes_are_pixels(order: _Order) -> bool:
    """Return whether a file's input is int8 codes that pixels are already.

    What scales them is the range of the input's quantisation, without a CAST, which TFLite Micro
    has for other types only.
    """
    return order.format.engine == "litert" and order.quantize in _INT8


def _of_pixels(file: Opened, order: _Order, samples: _Samples) -> tuple[Opened, _Samples]:
    """Return a model that takes pixels, and the images for that."""
    info, converter = file.info, samples.keras
    pixels = np.rint(info.known_preprocessing().inverse().scaled(samples.keras))
    taken = np.asarray(pixels.clip(0, 255), np.uint8)
    original = info.scaled(taken)  # the same images, without what lay between two pixels
    if _codes_are_pixels(order):
        converter = np.concatenate([original, _black_and_white(original, info)])
    elif file.input_dtype == "uint8":
        converter = taken
    file = replace(file, info=info.taking_pixels())
    return file, _Samples(original, taken, converter, samples.generated)


def _black_and_white(samples: npt.NDArray[np.float32], info: ModelInfo) -> Any:
    """Return two inputs that have the least and the largest values of all images."""
    shape = (1, *samples.shape[1:])
    return info.scaled(np.concatenate([np.zeros(shape), np.full(shape, 255.0)]))


def _compared(opened: Opened, order: _Order, samples: _Samples, written: Path) -> ExportReport:
    """Return how far what was written is from the Keras model, on some of the samples."""
    known = samples.outputs
    some = evenly_spaced(samples.keras, _COMPARED)
    reference = opened.outputs(some) if known is None else known
    outputs = _run(order.format, written, evenly_spaced(samples.file, _COMPARED))
    return ExportReport(
        path=os.fspath(order.path),
        quantize=order.quantize,
        bytes=sum(f.stat().st_size for f in written.parent.rglob("*") if f.is_file()),
        operators=Counter(order.format.operators(written)),
        difference=difference(reference, outputs),
        images=len(outputs),
        generated=samples.generated,
        tolerance=order.tolerance,
        variation=variation(reference),
        against="NumPy" if opened.model is None else "Keras",
        is_page=order.is_page,
    )


def _run(kind: _Format, path: Path, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what a file puts out for some inputs."""
    engine: Engine = engine_module(kind.engine).open_file(str(path), EngineSettings(all_cores()))
    try:
        return engine.run(np.ascontiguousarray(inputs))
    finally:
        engine.close()


def _check_tolerance(report: ExportReport) -> None:
    infinite, wrote = report.difference.infinite, "Nothing was written."
    if infinite[0]:
        raise AccuracyError(
            f"The export to {report.path} cannot be compared with the model, {infinite[0]:.1%} of "
            f"whose own outputs are infinite or NaN. {wrote} Its weights are damaged, or its "
            "training diverged."
        )
    if infinite[1]:
        remedy = "Choose another `quantize` or format"
        if report.quantize == "float16":
            remedy = (
                "float16 ends at 65504, and values in the model are beyond it: export with "
                "another `quantize`, or None for float32"
            )
        raise AccuracyError(
            f"The export to {report.path} puts out {infinite[1]:.1%} infinite or NaN values, where "
            f"the model does not. {wrote} {remedy}."
        )
    if not report.difference.rms_error <= report.tolerance:
        raise AccuracyError(
            f"The export to {report.path} does not compute what the model does: "
            f"{report.difference}, where a root mean square error of {report.tolerance:g} is "
            f"allowed. {wrote} Calibrate with images like those that the model will "
            "see, choose another `quantize`, or pass a larger `tolerance`."
        )


def _tflite_operators(path: Path) -> Sequence[str]:
    return [operator.name for operator in tflite_model.parse(path.read_bytes()).operators]


def _onnx_operators(path: Path) -> Sequence[str]:
    import onnx  # noqa: PLC0415 - an extra

    return [node.op_type for node in onnx.load(path).graph.node]


def _openvino_operators(path: Path) -> Sequence[str]:
    graph = import_openvino().Core().read_model(path)
    return [operator.get_type_name() for operator in graph.get_ordered_ops()]


_FORMATS = {
    kind.suffix: kind
    for kind in (
        _Format(
            ".tflite",
            "litert",
            (None, "float16", "dynamic", "int8", "full_int8"),
            _tflite_operators,
        ),
        _Format(".onnx", "onnxruntime", (None,), _onnx_operators),
        _Format(".xml", "openvino", (None, "float16", "int8"), _openvino_operators),
        _Format(_FOLDER, "keras", (None,), saved_models.operators, saved_models.is_saved_model),
    )
}
_PAGE = _Format(".tflite", "litert", (None, "float16", "int8"), _tflite_operators, is_page, MODEL)
