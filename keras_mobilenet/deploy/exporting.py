"""export(): a model as a file for another runtime, opened there and compared before it counts."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import Difference, difference, generated_pictures, variation
from keras_mobilenet.deploy.engines import openvino_engine
from keras_mobilenet.deploy.engines.checks import saved_models
from keras_mobilenet.deploy.engines.choice import engine_module
from keras_mobilenet.deploy.engines.engine import Engine, Settings
from keras_mobilenet.deploy.graphs.bias_correction import bias_corrected, to_float16, to_int8
from keras_mobilenet.deploy.graphs.calibration import calibration_samples
from keras_mobilenet.deploy.graphs.conversion import (
    check_image_model,
    import_openvino,
    of_batch,
    save_graph,
    to_onnx,
    to_openvino,
    to_tflite,
    with_preprocessing,
)
from keras_mobilenet.deploy.graphs.copies import in_float32
from keras_mobilenet.deploy.graphs.folding import fold_batch_norm
from keras_mobilenet.deploy.graphs.staging import check_place, staged
from keras_mobilenet.deploy.metadata import model_info, write_recipe
from keras_mobilenet.errors import AccuracyError
from keras_mobilenet.formats.runtimes import tflite_model
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.images.read_ahead import all_cores
from keras_mobilenet.images.recipes import KEY, Label, Recipe
from keras_mobilenet.models.backends import inferred
from keras_mobilenet.models.model_files import classes_of, recipe_of, recipe_with
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
_GENERATED = 16  # pictures, where none are given
_COMPARED = 64  # pictures at most
_UNKNOWN_SIZE = 224  # pixels, of the pictures that a model of any size is compared on


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far it is from the Keras model."""

    path: str
    quantize: str | None
    bytes: int
    operators: Mapping[str, int]  # the file's operators, and how many there are of each
    difference: Difference  # between the file's outputs and the Keras model's
    pictures: int  # how many were compared
    generated: bool  # whether they were made up, where no calibration was given
    tolerance: float  # what the root mean square error was held against
    variation: float  # of the Keras model's outputs from picture to picture, as a share of them

    @property
    def tells(self) -> bool:
        """Whether a file that puts out the same for every picture would have been refused."""
        return self.variation > self.tolerance

    def __str__(self) -> str:
        kind = f" ({self.quantize})" if self.quantize else ""
        source = "generated" if self.generated else "calibration"
        against = f"{self.pictures} {source} pictures against Keras"
        found = f"on {against}: {self.difference}" if self.tells else self._doubt(against)
        return f"wrote {self.path}{kind}, {self.bytes:,} bytes; {found}"

    def _doubt(self, against: str) -> str:
        return (
            f"{against} do not tell whether it computes the same: its outputs differ by "
            f"{self.variation:.2g} of their size from one to another, and an error of "
            f"{self.tolerance:g} is allowed (found: {self.difference.rms_error:.2g}). Pass "
            "`calibration`, pictures that the model tells apart"
        )


@dataclass(frozen=True)
class _Format:
    """How a kind of file is written and looked into."""

    engine: str  # that opens it again
    quantize: tuple[str | None, ...]
    write: Callable[[Any, Path, Any, Any, Recipe], None]
    operators: Callable[[Path], Sequence[str]]


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
) -> ExportReport:
    """Write `model`, its batch norms folded, as a file for another runtime.

    The file is opened in that runtime and compared with the Keras model before it takes its place.
    It says how pictures become its input and how its classes are called; `Predictor` reads that.
    Its tensors are called `input` and `output`.

    Args:
        model: A Keras model with one input of pictures and one output.
        path: Ends in `.tflite` (LiteRT), `.onnx`, `.xml` (OpenVINO; its weights go into a `.bin`
            beside it), or in a slash, for a SavedModel folder.
        quantize: None for float32; for LiteRT `"float16"`, `"dynamic"` (int8 weights), `"int8"` or
            `"full_int8"` (input and output too); for OpenVINO `"float16"` or `"int8"`.
        calibration: Pictures for int8, and to compare on: a folder, paths, an array of pixels,
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

    Raises:
        ValueError: an argument is wrong, int8 is asked for without calibration pictures, pixels are
            to be scaled, and how they become the input is not known, or the model computes with
            operators that the format has not.
        AccuracyError: the file's outputs are too far from the model's; nothing is written.
        MissingExtraError: the runtime or the converter is not installed.
        OSError: the file cannot be written; what was there is as it was.
    """
    is_folder = os.fspath(path).endswith(("/", os.sep)) or os.path.isdir(path)
    path = Path(path)
    chosen = _format(path, is_folder, quantize)
    _check_batch(batch)
    check_image_model(model)
    check_place(path, folder=is_folder)
    recipe = recipe_with(recipe_of(model), classes_of(model), preprocessing, labels)
    if include_preprocessing:
        recipe.known_preprocessing()  # before the seconds that follow
    model = in_float32(model)
    allowed = TOLERANCE[quantize] if tolerance is None else tolerance
    original, known = _samples(model, recipe, quantize, calibration, allowed)
    generated = known is not None
    portable = fold_batch_norm(model)
    if quantize is not None:
        rounding = to_float16 if quantize == "float16" else to_int8
        portable = bias_corrected(portable, original, rounding)
    inputs: npt.NDArray[Any] = original  # what the file takes
    samples: npt.NDArray[Any] = original  # what a converter takes ranges from
    if include_preprocessing:
        inputs = _pixels(original, recipe)
        # The same pictures, without what lay between two pixels.
        original, known = recipe.scaled(inputs), None
        # Pixels are int8 codes already: what scales them is the range of the input's quantisation,
        # without a CAST, which TFLite Micro has for other types only.
        if chosen.engine == "litert" and quantize in _INT8:
            samples = np.concatenate([original, _black_and_white(original, recipe)])
        elif portable.inputs[0].dtype != "uint8":
            portable, samples = with_preprocessing(portable, recipe), inputs
        recipe = recipe.taking_pixels()
    if chosen.engine == "litert" and batch is not None:
        portable = of_batch(portable, batch)
    with staged(path) as temporary:
        chosen.write(portable, temporary, quantize, samples, recipe)
        reference = _outputs(model, original[:_COMPARED]) if known is None else known
        found = _run(chosen, temporary, inputs[:_COMPARED])
        report = ExportReport(
            path=os.fspath(path),
            quantize=quantize,
            bytes=sum(f.stat().st_size for f in temporary.parent.rglob("*") if f.is_file()),
            operators=Counter(chosen.operators(temporary)),
            difference=difference(reference, found),
            pictures=len(found),
            generated=generated,
            tolerance=allowed,
            variation=variation(reference),
        )
        _check_tolerance(report)
    logger.info("%s", report)
    return report


def _format(path: Path, is_folder: bool, quantize: str | None) -> _Format:
    chosen = _FORMATS.get("/" if is_folder else path.suffix)
    if chosen is None:
        raise ValueError(
            "`path` must end in .tflite, .onnx or .xml, or in a slash for a SavedModel folder. "
            f"Received: path={os.fspath(path)!r}"
        )
    if quantize not in chosen.quantize:
        raise ValueError(
            f"`quantize` can be {' or '.join(map(repr, chosen.quantize))} for {path.name}. "
            f"Received: quantize={quantize!r}"
        )
    return chosen


def _check_batch(batch: Any) -> None:
    if batch is not None and (batch != 1 or isinstance(batch, bool)):
        raise ValueError(
            f"`batch` must be 1, or None for a file of any count. Received: batch={batch!r}"
        )


def _samples(
    model: Any, recipe: Recipe, quantize: str | None, calibration: Any, allowed: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any] | None]:
    """Return inputs to compare on and take ranges from, and if they are made up, the outputs."""
    shape = model.inputs[0].shape[1:]
    if calibration is not None or quantize in _INT8:
        return calibration_samples(calibration, recipe, shape), None
    height, width, channels = shape
    size = recipe.size or (height or _UNKNOWN_SIZE, width or _UNKNOWN_SIZE)
    return _telling(model, recipe, (_GENERATED, *size, channels), allowed)


def _telling(
    model: Any, recipe: Recipe, shape: Shape, allowed: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Return generated inputs, and what the model puts out for them.

    They are of the first kind that the model tells apart, or the best of all.
    """
    tried = []
    for generate in (generated_pictures, _plain_colours, _noise):
        samples = recipe.comparable.scaled(generate(shape))
        tried.append((samples, _outputs(model, samples)))
        if variation(tried[-1][1]) > allowed:
            return tried[-1]
    return max(tried, key=lambda it: variation(it[1]))


def _outputs(model: Any, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    outputs: npt.NDArray[Any] = keras.ops.convert_to_numpy(inferred(model, samples))
    return outputs


def _plain_colours(shape: Shape) -> npt.NDArray[np.float32]:
    count, height, width, channels = shape
    random = np.random.default_rng(0)
    colours = random.choice([0.0, 255.0], (count, 1, 1, channels)).astype(np.float32)
    return np.tile(colours, (1, height, width, 1))


def _noise(shape: Shape) -> npt.NDArray[np.float32]:
    """Return pixels without regard to their neighbours, brighter from picture to picture."""
    brightness = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None, None, None]
    return 255 * np.random.default_rng(0).random(shape, np.float32) ** (0.1 + 3 * brightness)


def _pixels(samples: npt.NDArray[np.float32], recipe: Recipe) -> npt.NDArray[np.uint8]:
    pixels = np.rint(recipe.known_preprocessing().inverse().scaled(samples))
    return np.asarray(pixels.clip(0, 255), np.uint8)


def _black_and_white(samples: npt.NDArray[np.float32], recipe: Recipe) -> Any:
    """Return two inputs that have the least and the largest values of all pictures."""
    shape = (1, *samples.shape[1:])
    return recipe.scaled(np.concatenate([np.zeros(shape), np.full(shape, 255.0)]))


def _run(kind: _Format, path: Path, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what a file puts out for some inputs."""
    opened: Engine = engine_module(kind.engine).open_file(str(path), Settings(all_cores()))
    try:
        return opened.run(np.ascontiguousarray(inputs))
    finally:
        opened.close()


def _check_tolerance(report: ExportReport) -> None:
    if not report.difference.rms_error <= report.tolerance:
        raise AccuracyError(
            f"The export to {report.path} does not compute what the model does: "
            f"{report.difference}, where a root mean square error of {report.tolerance:g} is "
            "allowed. Nothing was written. Calibrate with pictures like those that the model will "
            "see, choose another `quantize`, or pass a larger `tolerance`."
        )


def _write_tflite(model: Any, path: Path, quantize: Any, samples: Any, recipe: Recipe) -> None:
    path.write_bytes(to_tflite(model, quantize, samples, pixels=recipe.takes_pixels))
    write_recipe(str(path), recipe)


def _tflite_operators(path: Path) -> Sequence[str]:
    return [operator.name for operator in tflite_model.parse(path.read_bytes()).operators]


def _write_onnx(model: Any, path: Path, quantize: Any, samples: Any, recipe: Recipe) -> None:
    to_onnx(model, path)
    write_recipe(str(path), recipe)


def _onnx_operators(path: Path) -> Sequence[str]:
    import onnx  # noqa: PLC0415 - an extra

    return [node.op_type for node in onnx.load(path).graph.node]


def _write_openvino(model: Any, path: Path, quantize: Any, samples: Any, recipe: Recipe) -> None:
    graph = to_openvino(model)
    if quantize == "int8":
        graph = openvino_engine.quantized(graph, samples)
    graph.set_rt_info(recipe.to_text(), [KEY])
    for key, value in model_info(recipe).items():
        graph.set_rt_info(value, ["model_info", key])
    import_openvino().save_model(graph, path, compress_to_fp16=quantize == "float16")


def _openvino_operators(path: Path) -> Sequence[str]:
    graph = import_openvino().Core().read_model(path)
    return [operator.get_type_name() for operator in graph.get_ordered_ops()]


def _write_saved_model(model: Any, path: Path, quantize: Any, samples: Any, recipe: Recipe) -> None:
    save_graph(model, path)
    write_recipe(str(path), recipe)


_FORMATS = {
    ".tflite": _Format(
        "litert",
        (None, "float16", "dynamic", "int8", "full_int8"),
        _write_tflite,
        _tflite_operators,
    ),
    ".onnx": _Format("onnxruntime", (None,), _write_onnx, _onnx_operators),
    ".xml": _Format("openvino", (None, "float16", "int8"), _write_openvino, _openvino_operators),
    "/": _Format("keras", (None,), _write_saved_model, saved_models.operators),
}
