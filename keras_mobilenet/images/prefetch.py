"""Images decoded by threads while the ones before them go through the net."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, Self, TypeVar


def all_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


BATCH = 32  # images that go through the net at once


Place = TypeVar("Place")
Content = TypeVar("Content")
PREFETCH = 2 * BATCH  # images decoded and not asked for yet: one batch is ready, one on its way


class Prefetcher(Generic[Place, Content]):
    """Paths, and a `read` for them that has begun before it is called.

    Both halves go in step, as `classify_pixels` takes them: some paths, then a `read` for each of
    these in their order. Never are more than `PREFETCH` images decoded or being decoded beyond the
    paths that were taken. Decoding releases Python's lock, so that threads are enough.

    Args:
        paths: Image files, or what else `read` takes; may be endless.
        read: From a path to its pixels, or what else it gives.
        workers: Threads that decode; None for one a processor.
    """

    def __init__(
        self,
        paths: Iterable[Place],
        read: Callable[[Place], Content],
        *,
        workers: int | None = None,
    ) -> None:
        self._paths = iter(paths)
        self._read = read
        self._pool = ThreadPoolExecutor(workers or all_cores(), "decode")
        self._begun: deque[tuple[Place, Future[Content]]] = deque()  # not taken yet
        self._taken: deque[Future[Content]] = deque()

    def __iter__(self) -> Iterator[Place]:
        while True:
            self._begin()
            if not self._begun:
                return
            path, future = self._begun.popleft()
            self._taken.append(future)
            yield path

    def read(self, path: Place) -> Content:
        """Return the pixels of the first path taken and not read yet, which `path` is."""
        return self._taken.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _begin(self) -> None:
        for path in islice(self._paths, PREFETCH + 1 - len(self._begun)):
            self._begun.append((path, self._pool.submit(self._read, path)))
