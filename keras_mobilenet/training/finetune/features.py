"""What lies under the freeze boundary, computed once for each view of each image.

Images are read in threads while the engine works on those read before; what the cache holds is
neither read nor computed.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.engines.choice import AUTO, engine_for
from keras_mobilenet.deploy.engines.engine import chunks
from keras_mobilenet.deploy.opened import Opened
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import ImageError
from keras_mobilenet.images.images import as_channels
from keras_mobilenet.images.prefetch import all_cores
from keras_mobilenet.nets.net import Size
from keras_mobilenet.training.data.sources import Image
from keras_mobilenet.training.data.views import View
from keras_mobilenet.training.finetune.feature_cache import FeatureCache
from keras_mobilenet.training.runs import Progress, ProgressCallback
from keras_mobilenet.training.workers import SINGLE, Workers

Array = npt.NDArray[Any]
_TOGETHER = 32  # images that are read, computed and written at once
# Rows are computed in multiples of so many: what is over from whole batches an engine computes in
# another way, and a row's last bits would depend on the rows beside it.
_ALIKE = 8
# Of pixels read ahead: the engine takes seconds to compile, in which hundreds of images can be
# decoded.
_AHEAD_BYTES = 100_000_000
_FORMAT = 1  # of what the keys stand for; a change of the views or the reading wants another


@dataclass(frozen=True, eq=False)
class Features:
    """The rows of each view of the images that could be read."""

    images: tuple[Image, ...]
    rows: tuple[tuple[Array, ...], ...]  # view, then image
    problems: tuple[str, ...]
    digest: str  # of what the rows stand for: contents, views, net
    columns: int | None = None  # classes of multi-label images; None where each is of one

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """The images' class numbers."""
        return np.array([image.class_index for image in self.images], np.int64)

    @property
    def truth(self) -> Array:
        """The class numbers, or rows of 0 and 1, `(images, classes)`, of multi-label images."""
        if self.columns is None:
            return self.classes
        rows = np.zeros((len(self), self.columns), np.float32)
        for row, image in zip(rows, self.images, strict=True):
            row[list(image.classes)] = 1
        return rows

    def checksum(self) -> int:
        """Return a CRC-32 of all rows, whose last bits depend on the machine."""
        total = 0
        for row in chain.from_iterable(self.rows):
            total = zlib.crc32(np.ascontiguousarray(row).data, total)
        return total

    def flat(self) -> Features:
        """Return the same with rows of one axis."""
        rows = tuple(tuple(row.reshape(-1) for row in view) for view in self.rows)
        return replace(self, rows=rows)

    def take(self, images: Array, views: Array | int = 0) -> Array:
        """Return a new array of the rows of some images, each in one of its views."""
        chosen = np.broadcast_to(views, np.shape(images))
        return np.stack([self.rows[v][i] for v, i in zip(chosen, images, strict=True)])


class Extractor:
    """Computes features: those that a model puts out, or the pixels themselves.

    Args:
        model: The part of a net under the boundary, from its input; None for pixels.
        size: `(height, width)` in pixels of the views.
        channels: 3, or 1 for greys.
        cache: Where rows are kept.
        engine: As for `Predictor`; `"auto"` is the fastest one installed that is exact.
        workers: Those that compute together.
    """

    def __init__(
        self, model: Any, *, size: Size, channels: int, cache: FeatureCache, engine: str = AUTO,
        workers: Workers = SINGLE,
    ) -> None:  # fmt: skip
        self._model, self._size, self._channels, self._cache = model, size, channels, cache
        self._workers = workers
        self.engine = engine_for(engine, "float32")
        self._predictor: Predictor | None = None  # compiled when something is to be computed
        name = "pixels" if model is None else f"{self.engine} {_fingerprint(model)}"
        self._prefix = f"{_FORMAT} {name} {size} {channels}"

    def extract(
        self, images: Sequence[Image], views: Sequence[View], stage: str, report: ProgressCallback
    ) -> Features:
        """Return the features of the views of images; what cannot be read is left out and reported.

        Several workers with a cache in a folder compute a share each; then each reads the others'
        rows. Without a folder, each computes all.

        Raises:
            OSError: the cache cannot be written, as on a full disk.
        """
        workers = self._workers
        if workers.count > 1 and self._cache.folder is not None:
            share = images[workers.number :: workers.count]
            self._extract(share, views, f"{stage}, this worker's share", report)
            workers.total([0])  # all have written theirs
            self._cache.read()
        return self._extract(images, views, stage, report)

    def _extract(
        self, images: Sequence[Image], views: Sequence[View], stage: str, report: ProgressCallback
    ) -> Features:
        kept: list[tuple[Image, list[bytes]]] = []
        problems: list[str] = []
        done = 0
        for chunk in self._chunks(images, views):
            fresh: dict[bytes, Array] = {}
            for image, read in chunk:
                if isinstance(read, str):
                    problems.append(read)
                else:
                    kept.append((image, list(read)))
                    fresh.update((key, x) for key, x in read.items() if x is not None)
            self._cache.put(self._computed(fresh))
            done += len(chunk)
            report(Progress(stage, done, len(images)))
        rows = tuple(tuple(self._cache[keys[v]] for _, keys in kept) for v in range(len(views)))
        digest = hashlib.sha256()
        for image, keys in kept:
            classes = ",".join(map(str, image.classes))
            digest.update(f"{classes} ".encode() + b"".join(keys))
        images = tuple(image for image, _ in kept)
        return Features(images, rows, tuple(problems), digest.hexdigest())

    def close(self) -> None:
        """Give back the engine's memory."""
        if self._predictor is not None:
            self._predictor.close()
        self._predictor = None

    def _chunks(
        self, images: Sequence[Image], views: Sequence[View]
    ) -> Iterator[list[tuple[Image, dict[bytes, Array | None] | str]]]:
        """Yield images with what was read of them, some chunks read ahead."""
        starts = range(0, len(images), _TOGETHER)
        ahead = max(1, _AHEAD_BYTES // (_TOGETHER * len(views) * prod(self._size) * self._channels))
        with ThreadPoolExecutor(all_cores(), "images") as pool:
            waiting: list[tuple[Sequence[Image], list[Future[Any]]]] = []
            try:
                for start in starts:
                    chunk = images[start : start + _TOGETHER]
                    waiting.append((chunk, [pool.submit(self._read, p, views) for p in chunk]))
                    if len(waiting) > ahead:
                        yield _results(*waiting.pop(0))
                for chunk, futures in waiting:
                    yield _results(chunk, futures)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # on an error, leave at once

    def _read(self, image: Image, views: Sequence[View]) -> dict[bytes, Array | None] | str:
        """Return each view's key, with its pixels if it is to be computed; or what is wrong."""
        try:
            content = image.content()
            keys = [self._key(content, view) for view in views]
            if all(key in self._cache for key in keys):
                return dict.fromkeys(keys)
            pixels = image.read()
        except ImageError as error:
            return str(error)
        except OSError as error:
            return f"{image.path}: cannot be read: {error}"
        return {
            key: None
            if key in self._cache
            else as_channels(view.of(pixels, content, self._size), self._channels)
            for key, view in zip(keys, views, strict=True)
        }

    def _key(self, content: str, view: View) -> bytes:
        return hashlib.sha256(f"{self._prefix} {content} {view.key()}".encode()).digest()

    def _computed(self, pixels: dict[bytes, Array]) -> dict[bytes, Array]:
        if not pixels or self._model is None:
            return pixels
        if self._predictor is None:
            self._predictor = Predictor(self._model, engine=self.engine)
        rows = list(pixels.values())
        rows += rows[:1] * (-len(rows) % _ALIKE)
        return dict(zip(pixels, self._predictor.predict(np.stack(rows)), strict=False))


def _fingerprint(model: Any) -> str:
    """Return a SHA-256 of what a model computes."""
    if isinstance(model, Opened) and model.graph is not None:
        return model.graph.fingerprint()
    from keras_mobilenet.transfer.boundaries import fingerprint  # noqa: PLC0415 - Keras

    return fingerprint(model)


def _results(
    chunk: Sequence[Image], futures: Sequence[Future[Any]]
) -> list[tuple[Image, dict[bytes, Array | None] | str]]:
    return [(image, future.result()) for image, future in zip(chunk, futures, strict=True)]


def put_through(model: Any, several: Sequence[Features], engine: str) -> list[Features]:
    """Return the features that a model makes of each of several features, all views of them."""
    with Predictor(model, engine=engine_for(engine, "float32")) as predictor:
        return [
            replace(features, rows=tuple(_rows_from(predictor, view) for view in features.rows))
            for features in several
        ]


def _rows_from(predictor: Predictor, rows: Sequence[Array]) -> tuple[Array, ...]:
    outputs: list[Array] = []
    for part in chunks(len(rows), _TOGETHER):  # the rows may be more than memory holds
        outputs += list(predictor.predict(np.stack(rows[part])))
    return tuple(outputs)
