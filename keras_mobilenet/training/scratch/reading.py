"""Images as a net takes them, in an order and in parts that the seed fixes.

The order of an epoch, and the part of an image that it shows, follow from the seed and the epoch's
number alone: a training that goes on where it was killed is the same one, and several workers
together see what one would have seen.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from keras_mobilenet.errors import ImageError
from keras_mobilenet.images.images import fit_pixels, read_image
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.training.data.datasets import Example
from keras_mobilenet.training.data.views import random_resized_crop

Pixels = npt.NDArray[np.uint8]
Input = npt.NDArray[np.float32]
UNREADABLE = -1  # in the place of a class
# Bytes of decoded images that are kept; decoding takes longer than a small net.
_CACHE_BYTES = 1 << 30
# Images that cannot be read, at which it is no longer single ones
_MAX_UNREADABLE_IN_A_ROW = 20


def order(
    seed: int, epoch: int, *, count: int, batch: int, worker: int = 0, workers: int = 1
) -> npt.NDArray[np.int64]:
    """Return the images of one worker's share of an epoch, whole batches only.

    Args:
        seed: Fixes the order of all.
        epoch: Its number, from 0.
        count: Images there are.
        batch: Images a step of all workers together; a multiple of `workers`.
        worker: This one's number, from 0.
        workers: How many there are; each takes its part of every batch.
    """
    steps, share = count // batch, batch // workers
    rows = np.random.default_rng([seed, epoch]).permutation(count)[: steps * batch]
    part = rows.reshape(steps, workers, share)[:, worker]
    return part.ravel().astype(np.int64)


class Reader:
    """Reads examples; what cannot be read is kept in `problems`, by path.

    Args:
        examples: Paths with their classes.
        info: How an image becomes the input; its size is set.
        seed: Fixes the parts.
        min_area: Share of an image that a part shows at least.
    """

    def __init__(
        self, examples: Sequence[Example], info: ModelInfo, *, seed: int = 0, min_area: float = 1.0
    ) -> None:
        self._examples, self._info = examples, info
        self._seed, self._min_area = seed, min_area
        self._cache: dict[str, Pixels] = {}
        self._free_bytes, self._lock = _CACHE_BYTES, threading.Lock()
        self.problems: dict[str, str] = {}
        self.failure: ImageError | None = None  # what ended a data set; TensorFlow hides it

    def part(self, epoch: int, row: int) -> tuple[Input, int]:
        """Return what an epoch shows of an image, and its class.

        In the place of one that cannot be read stands the next one that can.

        Raises:
            ImageError: none of many in a row can be read.
        """
        rng = np.random.default_rng([self._seed, epoch, row])
        for later in range(min(_MAX_UNREADABLE_IN_A_ROW, len(self._examples))):
            path, index = self._examples[(row + later) % len(self._examples)]
            try:
                pixels = self._pixels(path)
            except ImageError as error:
                self._note(path, error)
                continue
            part = random_resized_crop(pixels, rng, min_area=self._min_area)
            return self._input(np.ascontiguousarray(part)), index
        self.failure = ImageError(
            f"{_MAX_UNREADABLE_IN_A_ROW} images in a row cannot be read. "
            f"The last:\n{self.problems[path]}"
        )
        raise self.failure

    def whole(self, row: int) -> tuple[Input, int]:
        """Return a whole image and its class, or zeros and `UNREADABLE`."""
        path, index = self._examples[row]
        try:
            pixels = fit_pixels(self._pixels(path), crop=self._info.crop)
        except ImageError as error:
            self._note(path, error)
            return np.zeros((*(self._info.size or ()), 3), np.float32), UNREADABLE
        return self._input(pixels), index

    def _input(self, pixels: Pixels) -> Input:
        return self._info.scaled(fit_pixels(pixels, size=self._info.size))

    def _note(self, path: str, error: ImageError) -> None:
        self.problems[path] = str(error)

    def _pixels(self, path: str) -> Pixels:
        """Return an image's pixels, from the cache if they are there."""
        kept = self._cache.get(path)
        if kept is not None:
            return kept
        pixels = read_image(path)
        with self._lock:
            if path not in self._cache and pixels.nbytes <= self._free_bytes:
                self._free_bytes -= pixels.nbytes
                self._cache[path] = pixels
        return pixels
