"""The same job on many machines, with Ray: a pool of predictors, and a parquet file a part.

Ray does the scheduling: it starts the actors, hands them parts, and hands those of a lost machine
to another. A part is a fixed list of paths with a file name of its own, put into its place
whole: a part that is done twice is there once.
"""

from __future__ import annotations

import io
import json
import logging
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from glob import escape as glob_escape
from glob import glob
from typing import Any

import keras_mobilenet
from keras_mobilenet.deploy.engines.choice import AUTO
from keras_mobilenet.deploy.engines.processor import Precision
from keras_mobilenet.deploy.folders.folder_job import (
    FolderReport,
    Progress,
    check_consent,
)
from keras_mobilenet.deploy.folders.folders import classify_paths, embed_paths
from keras_mobilenet.deploy.folders.job_file import check_settings, settings_of, write_settings
from keras_mobilenet.deploy.folders.outputs import parquet_rows, write_parquet
from keras_mobilenet.deploy.folders.records import error_of
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import MissingExtraError, unicode_text
from keras_mobilenet.files import briefly_locked, replacing
from keras_mobilenet.images.listing import list_images, no_image
from keras_mobilenet.images.model_info import Label
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.images.prefetch import BATCH
from keras_mobilenet.models.model_files import SUFFIX, save_model

Path = str | os.PathLike[str]
PART = 16 * BATCH  # images: some seconds of work, all that is lost with a machine
_ONLY_HERE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray binds to loopback
_MOST_CPUS = 8  # an actor's: a net this small gains little from more


def classify_with_ray(
    source: Path | Iterable[Path],
    out: Path,
    *,
    model: Any,
    address: str | None = None,
    top: int = 5,
    features: bool = False,
    engine: str = AUTO,
    precision: Precision | None = None,
    calibration: Any = None,
    preprocessing: Preprocessing | str | None = None,
    labels: Sequence[Label] | None = None,
    actors: int | None = None,
    cpus_per_actor: int | None = None,
    part_size: int = PART,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FolderReport:
    """Write the classes, or features, of each image to a folder of parquet files, with Ray.

    The images are listed here and read by the workers, under the same paths; the workers write
    the files. So both folders must be on storage that every machine reaches. The model travels.
    The rows are those of `write_results`, under absolute paths and in no order; an image is in
    one of the files, once. Another run that writes to the folder is refused.

    Args:
        source: A folder, a `.txt` or `.lst` file of paths, or an iterable of paths.
        out: The folder for the results.
        model: A Keras model, a `.keras` file or anything exported; for features a `features_model`.
        address: Of the cluster, as `ray.init` takes it. None is the Ray that runs in this process,
            else what `RAY_ADDRESS` says, else one on this machine that only it can reach.
        top: How many classes an image.
        features: Write the model's outputs themselves.
        engine: As `Predictor` takes it.
        precision: As `Predictor` takes it.
        calibration: As `Predictor` takes it; of a folder, the workers read the images.
        preprocessing: As `Predictor` takes it.
        labels: As `Predictor` takes them.
        actors: How many predictors at most; None for as many as the cluster has room for.
        cpus_per_actor: Processors, and so threads, of each; None for all of the smallest machine,
            at most 8.
        part_size: Images in a file.
        resume: Resume what an earlier run left: images that are in its files already are
            not done again.
        overwrite: Remove the results of an earlier run.
        progress: Called with the number of images done, after each part.

    Raises:
        ValueError: an argument is wrong, there are results already and neither `resume` nor
            `overwrite` is asked for, or they were made in another way.
        OSError: `out` cannot be written.
        MissingExtraError: Ray is not installed.
    """
    ray = import_ray()
    out = os.path.abspath(out)
    there = f"{out} has results" if _parts(out) else None
    check_consent("a folder", there, resume=resume, overwrite=overwrite)
    paths = [os.path.abspath(path) for path in list_images(source)]
    if not paths:
        raise no_image(source)
    if isinstance(calibration, (str, os.PathLike)):
        calibration = os.path.abspath(calibration)  # the workers have other working folders
    options: dict[str, Any] = {
        "engine": engine,
        "precision": precision,
        "calibration": calibration,
        "preprocessing": preprocessing,
        "labels": labels,
    }
    with Predictor(model, **options) as predictor:  # says here and now what is wrong with it
        classes = None if features else min(top, len(predictor.labels()))
        settings = settings_of(predictor, top=classes)
    os.makedirs(out, exist_ok=True)
    busy = f"{out} is being written by another process. Wait for it, or end it."
    report = FolderReport()
    with briefly_locked(os.path.join(out, ".lock"), busy):
        parts = _begun(out, settings, overwrite=overwrite)
        left = _left(paths, parts, report)
        tell = progress or (lambda _: None)
        tell(report.done)
        if not left:
            return report
        work = {
            "model": packed(model), "options": options, "top": classes, "width": settings["width"]
        }  # fmt: skip
        tasks = _tasks(out, left, part_size, run=_next_run(parts))
        with _connected(ray, address):
            for row in _run(ray, tasks, work, actors, cpus_per_actor):
                report.add(json.loads(row["images"]))
                tell(report.done)
        _remove(_unfinished(out))
    return report


def import_ray() -> Any:
    """Return the package `ray`, with its data part; it then reports nothing to a server.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import pyarrow  # noqa: F401, PLC0415 - an extra
        import ray  # noqa: PLC0415
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("Classifying with Ray", "ray") from error
    return ray


class Worker:
    """What an actor does: a predictor, made once, and a file of results for each part."""

    def __init__(self, work: Any, threads: int) -> None:
        import ray  # noqa: PLC0415

        work = ray.get(work[0])
        with unpacked(work["model"]) as path:
            self._predictor = Predictor(path, threads=threads, **work["options"])
        self._top, self._width = work["top"], work["width"]

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        """Write the part that a task describes, and return path and fault of its images."""
        paths = json.loads(task["paths"])
        images: list[tuple[str, str | None]] = []

        def results() -> Iterator[Any]:
            for result in self._results(paths):
                images.append((result.path, error_of(result)))
                yield result

        with replacing(task["file"]) as temporary:
            write_parquet(temporary, results(), top=self._top, width=self._width)
        return {"images": json.dumps(images)}

    def _results(self, paths: list[str]) -> Iterator[Any]:
        if self._top is None:
            return embed_paths(self._predictor, paths)
        return classify_paths(self._predictor, paths, top=self._top)


def packed(model: Any) -> bytes:
    """Return a model, or the file or folder at a path, as an archive."""
    if not isinstance(model, (str, os.PathLike)):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, f"model{SUFFIX}")
            save_model(model, path)
            return packed(path)
    path = os.path.abspath(model)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(path, os.path.basename(path))
        if path.endswith(".xml"):  # OpenVINO's weights are beside it
            weights = path.removesuffix(".xml") + ".bin"
            archive.add(weights, os.path.basename(weights))
    return content.getvalue()


@contextmanager
def unpacked(archive: bytes) -> Iterator[str]:
    """Yield the path of the model in an archive of `packed`, unpacked for a while."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tarfile.open(fileobj=io.BytesIO(archive)) as content,
    ):
        content.extractall(folder, filter="data")
        yield os.path.join(folder, content.getnames()[0])


def _parts(out: str) -> list[str]:
    return sorted(glob(os.path.join(glob_escape(out), "part-*.parquet")))


def _unfinished(out: str) -> list[str]:
    """Return the files that workers had begun when they were lost."""
    return glob(os.path.join(glob_escape(out), ".part-*.parquet"))


def _remove(parts: Sequence[str]) -> None:
    for part in parts:
        os.unlink(part)


def _begun(out: str, settings: dict[str, Any], *, overwrite: bool) -> list[str]:
    """Return the parts to resume from, which were made in the same way.

    What a killed worker left half is removed.
    """
    parts = _parts(out)
    if overwrite:
        _remove(parts)
        parts = []
    _remove(_unfinished(out))
    if parts:
        check_settings(out, settings)
    else:
        write_settings(out, settings)
    return parts


def _left(paths: Iterable[str], parts: Sequence[str], report: FolderReport) -> list[str]:
    """Return the paths that are in no part yet, and count the others."""
    done = {path: fault for part in parts for path, fault in parquet_rows(part)}
    report.add(done.items())
    report.resumed = report.done
    return [path for path in dict.fromkeys(paths) if unicode_text(path) not in done]


def _next_run(parts: Sequence[str]) -> int:
    """Return a number for the names of new parts that no part there has."""
    return 1 + max((int(os.path.basename(part).split("-")[1]) for part in parts), default=0)


def _tasks(out: str, paths: Sequence[str], size: int, *, run: int) -> list[dict[str, str]]:
    starts = range(0, len(paths), size)
    return [
        {
            "file": os.path.join(out, f"part-{run:03}-{number:06}.parquet"),
            "paths": json.dumps(paths[start : start + size]),
        }
        for number, start in enumerate(starts)
    ]


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start one, unless the process is in one already."""
    if address is None and ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    local = address == "local"
    package = os.path.dirname(os.path.abspath(keras_mobilenet.__file__))
    with _kept_here(ray) if local else nullcontext():
        ray.init(
            address,
            runtime_env={"py_modules": [package]},  # the workers run this code, whatever they have
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({"include_dashboard": False} if local else {}),
        )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _kept_here(ray: Any) -> Iterator[None]:
    """Let what Ray starts meanwhile listen on loopback alone, and ask no cloud where it runs.

    Ray does the first on Windows and macOS, by a switch that it reads at its import and in each of
    its processes. Its usage reports look up the cloud by HTTP even where they are off, in the
    process of the dashboard: with a proxy that nobody is.
    """
    settings = {_ONLY_HERE: "0", "http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    before = {name: os.environ.get(name) for name in settings}
    constants = ray._private.ray_constants
    switch, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
    os.environ.update(settings)
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = switch
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run(
    ray: Any,
    tasks: list[dict[str, str]],
    work: dict[str, Any],
    actors: int | None,
    cpus: int | None,
) -> Iterator[dict[str, Any]]:
    """Yield what each worker returns, as it comes."""
    machines = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    cpus = cpus or min([_MOST_CPUS, *(n for n in machines if n)])
    actors = min(actors or sum(n // cpus for n in machines) or 1, len(tasks))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data = ray.data.from_items(tasks, override_num_blocks=len(tasks))
    done = data.map(
        Worker,
        fn_constructor_args=[[ray.put(work)], cpus],  # in a list: not copied into each actor's call
        num_cpus=cpus,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
    )
    try:
        yield from done.iter_rows()
    except ray.exceptions.RayError as error:
        last_line = str(error).strip().splitlines()[-1]
        raise OSError(
            f"The work on Ray has stopped: {last_line}\n"
            "What was written is kept: remove the cause, then pass resume (--resume)."
        ) from error
