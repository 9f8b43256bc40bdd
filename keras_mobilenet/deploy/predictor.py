"""Predictor: one model, folded and compiled, for all calls to come."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from keras_mobilenet.checkpoints.net_weights import DEFAULT_NET, Builder, published_builder
from keras_mobilenet.checkpoints.published.names import is_name
from keras_mobilenet.deploy.comparison import COMPARED, agreement_of, evenly_spaced
from keras_mobilenet.deploy.engines.choice import (
    AUTO,
    KERAS,
    engine_for,
    engine_for_file,
    engine_module,
)
from keras_mobilenet.deploy.engines.engine import Engine, EngineSettings
from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.deploy.folders.classification import Classified, classify_pixels
from keras_mobilenet.deploy.graphs.calibration import calibration_samples
from keras_mobilenet.deploy.graphs.operations import Graph
from keras_mobilenet.deploy.opened import Opened, is_exported, open_exported, open_model
from keras_mobilenet.errors import AgreementWarning
from keras_mobilenet.images.images import as_channels, read_image
from keras_mobilenet.images.inputs import is_one_image, pixels_of
from keras_mobilenet.images.model_info import Label, ModelInfo
from keras_mobilenet.images.pixel_scaling import PIXELS, Preprocessing
from keras_mobilenet.images.prefetch import all_cores
from keras_mobilenet.images.value_ranges import doubt
from keras_mobilenet.nets.arguments import positive_int

Path = str | PathLike[str]
_LEAST = 0.95  # agreement below which there is a warning
# Engines of a process that this one was forked from: to free one is to wait for its threads.
_LEFT_BEHIND: list[Engine] = []


class Predictor:
    """A model compiled once, with its batch norms folded, for fast predictions.

    It may be shared between threads: calls wait for each other, each uses all of `threads`. It goes
    to other processes by `pickle`, as its arguments, and by `fork`; either makes the engine anew.
    What it computes in is its `precision`. Its `agreement` is the share of calibration images for
    which an int8 or bfloat16 engine names the class that float32 names; None where nothing was
    compared: in float32, without calibration images, of a file, of a net of features.

    Args:
        model: A Keras model, or the path of a `.keras` file, of a file of weights, or of anything
            that `export` wrote. Of a file neither Keras nor TensorFlow is imported, unless it is
            asked for the engine `"keras"`, or for int8 of LiteRT where the net scales its input, or
            has layers that only Keras knows.
        engine: `"litert"`, `"openvino"`, `"onnxruntime"` or `"keras"`. `"auto"` is the fastest of
            those that are installed on processors like this one: OpenVINO with AVX-512, for int8
            with VNNI, and LiteRT otherwise; for a file its own runtime.
        precision: `"float32"`, `"bfloat16"` or `"int8"`; None for float32, or a file's own.
        calibration: Images for int8, and better bfloat16: a folder, paths, an array of pixels or
            of inputs.
        threads: How many to use; None for all processors that the process may use. TensorFlow
            has its own setting.
        batch_size: Images that go through the engine at once; None for what suits it.
        preprocessing: How pixels become the model's input: a `Preprocessing`, or a text such as
            `"0..1"`. None stands for what is recorded with the model, or found in its graph; where
            there is nothing of it, pixels are refused.
        labels: The classes' names; None for those that go with the model, if any.

    Raises:
        ValueError: an argument is wrong, the model has not one input of images and one output,
            or int8 is to be calibrated with pixels, and how they become the input is not known.
        CheckpointError: the file is damaged or of another kind.
        PrecisionError: the file, or the processor, does not compute in `precision`.
        MissingExtraError: the engine is not installed.

    Warns:
        AgreementWarning: the agreement is under 95 %.
    """

    def __init__(
        self,
        model: Any,
        *,
        engine: str = AUTO,
        precision: Precision | None = None,
        calibration: Any = None,
        threads: int | None = None,
        batch_size: int | None = None,
        preprocessing: Preprocessing | str | None = None,
        labels: Sequence[Label] | None = None,
    ) -> None:
        settings = EngineSettings(
            _count("threads", threads) or all_cores(),
            precision,
            _count("batch_size", batch_size),
        )
        if isinstance(calibration, Iterator):
            calibration = list(calibration)  # once for here, once for a copy
        self._model = model
        self._options: Mapping[str, Any] = {
            "engine": engine, "precision": precision, "calibration": calibration,
            "threads": threads, "batch_size": batch_size,
            "preprocessing": preprocessing, "labels": labels,
        }  # fmt: skip
        self._process = os.getpid()
        self._locks: dict[int, threading.Lock] = {}  # one a process: see `_lock`
        self._warned = False
        self.agreement: float | None = None
        if is_exported(model):
            self.engine = engine_for_file(os.fspath(model), engine, precision)
            opened = open_exported(model, self.engine, settings).given(preprocessing, labels)
        else:
            opened = open_model(model).given(preprocessing, labels)
            self.engine = engine_for(engine, precision or "float32")
            opened, self.agreement = _compiled(opened, self.engine, settings, calibration)
        compiled: Engine = opened.model
        self.name = opened.name
        self.info = _as_the_engine_says(opened.info, compiled)
        self.precision = compiled.precision
        self._takes_uint8 = compiled.input_dtype == np.uint8
        self._engine: Engine | None = compiled
        self.input_shape = compiled.input_shape
        if self.agreement is not None and self.agreement < _LEAST:
            self._warn_of_agreement(self.agreement)

    @classmethod
    def from_pretrained(
        cls,
        net: str = DEFAULT_NET,
        *,
        engine: str = AUTO,
        precision: Precision | None = None,
        calibration: Any = None,
        threads: int | None = None,
        batch_size: int | None = None,
        labels: Sequence[Label] | None = None,
        **arguments: Any,
    ) -> Self:
        """Return a predictor of a net with published weights, or with those of a file.

        Neither Keras nor TensorFlow is imported, but for the engine `"keras"`, and for int8 of
        LiteRT where the net scales its input.

        Args:
            net: `"mobilenet"`, `"mobilenet_v2"`, `"mobilenet_v3_small"` or
                `"mobilenet_v3_large"`; or the name of published weights, such as
                `"timm/mobilenetv1_100.ra4_e3600_r224_in1k"`, which tells net, size and scaling; or
                a folder as `save_weights(model, "folder/")` writes it.
            engine: As for `Predictor`, and so are those that follow.
            precision: What to compute in.
            calibration: Images for int8.
            threads: How many to use.
            batch_size: Images that go through the engine at once.
            labels: The classes' names.
            arguments: Those of the net's builder, such as `alpha`, `input_shape`, `weights`,
                `include_top`, `pooling`, with its defaults; the net takes -1 to 1.

        Raises:
            ValueError: an argument is wrong.
            CheckpointError: the file of weights cannot be read, or does not fit.
            DownloadError: the published weights are neither at hand nor to be fetched.
        """
        by_name = "/" in os.fspath(net) or os.path.isdir(net) or is_name(net)
        builder = published_builder(net, arguments) if by_name else Builder(net, arguments)
        return cls(
            builder, engine=engine, precision=precision, calibration=calibration,
            threads=threads, batch_size=batch_size, labels=labels,
        )  # fmt: skip

    def predict(self, x: Any) -> npt.NDArray[Any]:
        """Return what `model.predict` returns for `x`, of shape `(count, classes)`.

        Args:
            x: Pixels, `uint8`, or floats as the model takes them, of shape `(count, height,
                width, channels)`. Or an image: a path, the bytes of a file, a binary stream, a
                Pillow image; it is cropped and resized. Or an iterable of images, or of arrays
                of shape `(height, width, channels)`.

        Raises:
            ValueError: `x` has another shape or type, no image, or values that are not finite.
            ImageError: a file is no image.
        """
        if is_one_image(x):
            x = [x]
        if not hasattr(x, "shape"):
            x = self._read(x)
        return self._run(self._inputs(np.asarray(x)))

    def classify(self, paths: Path | Iterable[Path], *, top: int = 5) -> Iterator[Classified]:
        """Yield the `top` classes of each image file, in the order of `paths`.

        A file that cannot be read is yielded with its fault. `paths` may be endless.

        Raises:
            ValueError: the model has no names for its classes, or `top` is not positive.
        """
        if isinstance(paths, (str, PathLike)):
            paths = [paths]
        return classify_pixels(
            self.predict,
            (os.fspath(path) for path in paths),
            read=self.read_image,
            top=top,
            labels=self.labels(),
        )

    def read_image(self, path: Path, *, scaled: bool = False) -> npt.NDArray[np.uint8]:
        """Return an image file as pixels of the shape that the model takes.

        Args:
            path: An image file.
            scaled: Decode large JPEG files at a fraction of their size, as `images.read_image`.

        Raises:
            ImageError: the file is no image.
        """
        size = self._size_to_read()
        pixels = read_image(path, size=size, scaled=scaled, **self.info.fit)
        return as_channels(pixels, self.input_shape[2])

    def labels(self) -> Sequence[Label]:
        """Return the names of the classes, in the order of the outputs.

        Raises:
            ValueError: the model has none.
        """
        return self.info.known_labels()

    def close(self) -> None:
        """Give back the engine's memory and threads; the object cannot be used any more."""
        with self._lock():
            if self._engine is not None and self._process == os.getpid():
                self._engine.close()
            elif self._engine is not None:
                _LEFT_BEHIND.append(self._engine)
            self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make the object anew: an engine cannot be copied."""
        return partial(type(self), self._model, **self._options), (), {"info": self.info}

    def __repr__(self) -> str:
        return f"Predictor({self.name!r}, engine={self.engine!r}, precision={self.precision!r})"

    def _warn_of_agreement(self, agreement: float) -> None:
        warnings.warn(
            f"{self.name}: in {self.precision} with {self.engine} the first class is that of "
            f"float32 on {agreement:.0%} of the calibration images. Calibrate with images like "
            "those that the model will see, or pass another `engine` or precision='float32'.",
            AgreementWarning,
            stacklevel=3,
        )

    def _read(self, images: Iterable[Any]) -> npt.NDArray[Any]:
        arrays = [x if _is_array(x) else self._pixels(x) for x in images]
        if not arrays:
            raise ValueError("`x` holds no image.")
        kinds = {(x.shape, x.dtype) for x in arrays}
        if len(kinds) > 1:
            (one, dtype), (other, another) = sorted(kinds, key=str)[:2]
            raise ValueError(
                "`x` must hold arrays of one shape and type. Received among them: "
                f"{dtype} of shape {one}, {another} of shape {other}"
            )
        return np.stack(arrays)

    def _pixels(self, x: Any) -> npt.NDArray[np.uint8]:
        pixels = pixels_of(x, size=self._size_to_read(), **self.info.fit)
        return as_channels(pixels, self.input_shape[2])

    def _size_to_read(self) -> tuple[int, int]:
        height, width = self.input_shape[:2]
        if height is not None and width is not None:
            return height, width
        if self.info.size is None:
            raise ValueError(f"{self.name} takes any size. Pass arrays, or set its info's size.")
        return self.info.size

    def _inputs(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return `x`, checked, in the type that the engine takes."""
        expected = self.input_shape
        fits = x.ndim == 4 and all(
            n in (None, m) for n, m in zip(expected, x.shape[1:], strict=True)
        )
        if not fits or not len(x):
            raise ValueError(
                f"`x` must be of shape (count, {', '.join(str(n or 'any') for n in expected)}), "
                f"with at least one image. Received: shape {x.shape}"
            )
        if x.dtype == np.uint8:
            return np.ascontiguousarray(x if self._takes_uint8 else self.info.scaled(x))
        if x.dtype.kind != "f":
            raise ValueError(
                "`x` must be pixels from 0 to 255 as uint8, or floats as the model takes them. "
                f"Received: {x.dtype}"
            )
        return self._floats(x)

    def _floats(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        x = np.ascontiguousarray(x, np.float32)
        # One pass of BLAS, without a copy: it is a tenth of what looking for the maximum takes.
        size = float(np.sqrt(np.dot(x.ravel(), x.ravel()) / x.size))
        if not np.isfinite(size):
            raise ValueError("`x` holds values that are not finite (NaN or infinity).")
        if not self._warned and self.info.preprocessing is not None:
            words = doubt(x, size, self.info.preprocessing)
            if words is not None:
                self._warned = True
                warnings.warn(f"{self.name}: {words}", UserWarning, stacklevel=4)
        if self._takes_uint8:
            pixels: npt.NDArray[np.uint8] = np.clip(np.rint(x), 0, 255).astype(np.uint8)
            return pixels
        return x

    def _run(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        with self._lock():
            if self._engine is None:
                raise ValueError(f"{self!r} is closed. Make another one.")
            if self._process != os.getpid():
                _LEFT_BEHIND.append(self._engine)
                self._engine = self._engine.renewed()
                self._process = os.getpid()
            return self._engine.run(x)

    def _lock(self) -> threading.Lock:
        """Return this process' lock: one that a thread held at a fork is never released."""
        return self._locks.setdefault(os.getpid(), threading.Lock())


def _compiled(
    opened: Opened, engine: str, settings: EngineSettings, calibration: Any
) -> tuple[Opened, float | None]:
    """Return a model in an engine, and how often the two agree if that is to be known."""
    graph, precision = opened.graph, settings.precision
    rounded = precision == "int8" or (precision == "bfloat16" and calibration is not None)
    if graph is not None and engine != KERAS:
        if not rounded:
            compiled = engine_module(engine).compile_graph(graph, settings)
            return replace(opened, model=compiled), None
        if engine_module(engine).quantizes(graph):
            return _rounded(opened, graph, engine, settings, calibration)
    from keras_mobilenet.deploy.graphs.traced.compiling import compiled_keras  # noqa: PLC0415

    return compiled_keras(opened.in_keras(), engine, settings, calibration)


def _rounded(
    opened: Opened, graph: Graph, engine: str, settings: EngineSettings, calibration: Any
) -> tuple[Opened, float | None]:
    samples = calibration_samples(calibration, opened.info, opened.input_shape)
    compiled = engine_module(engine).compile_graph(graph, settings, samples)
    agreed = None
    if len(graph.shapes[graph.output]) == 1 and graph.classifies:
        some = np.ascontiguousarray(evenly_spaced(samples, COMPARED))
        exact = engine_module(engine).compile_graph(graph, replace(settings, precision=None))
        agreed = agreement_of(exact.run(some), compiled.run(some))
        exact.close()
    return replace(opened, model=compiled), agreed


def _is_array(x: Any) -> bool:
    return hasattr(x, "shape") and not is_one_image(x)


def _as_the_engine_says(info: ModelInfo, engine: Engine) -> ModelInfo:
    """Return the info with what a compiled model tells of its input by itself.

    Raises:
        ValueError: it takes pixels, `uint8`, and another preprocessing was asked for.
    """
    takes_uint8 = engine.input_dtype == np.uint8
    if info.preprocessing is None:
        return replace(info, preprocessing=PIXELS if takes_uint8 else engine.input_preprocessing)
    if takes_uint8 and not info.takes_pixels:
        raise ValueError(
            "The model takes pixels, uint8, and scales them itself. "
            f"Received: preprocessing={str(info.preprocessing)!r}. Pass 'none', or nothing."
        )
    return info


def _count(argument: str, value: int | None) -> int | None:
    return None if value is None else positive_int(argument, value, "Or pass None.")
