"""The command `keras-mobilenet doctor`: what is installed here, what is missing, and for what.

It asks the packages' metadata and imports neither Keras nor NumPy, which may be what is broken; the
engines are imported in processes of their own, which a crash of native code ends alone.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from keras_mobilenet.checkpoints.published.local_files import copies, weights_folders
from keras_mobilenet.commands.terminal.options import note, say
from keras_mobilenet.deploy.engines import choice
from keras_mobilenet.deploy.engines.processor import decisive_instructions, processor_name
from keras_mobilenet.display.text_tables import written
from keras_mobilenet.errors import DownloadError
from keras_mobilenet.images.prefetch import all_cores
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.published.table import ROWS

PACKAGE = "keras-mobilenet"
_OF_USERS = {  # what each extra is for; those of developers are not here
    "charts": "charts of costs, accuracies and times",
    "hub": "weights that timm and Hugging Face published, by name",
    "jax": "Keras with JAX (KERAS_BACKEND=jax)",
    "onnx": ".onnx: weights from it, export to it, the engine onnxruntime",
    "openvino": "the engine openvino, and .xml in int8",
    "parquet": "classify --out FILE.parquet",
    "ray": "classify --ray",
    "tensorboard": "train --tensorboard",
    "torch": "Keras with PyTorch (KERAS_BACKEND=torch)",
}
_IMPORTS = {  # what has an engine's native code loaded, without its report to its maker
    "litert": "import ai_edge_litert.interpreter",
    "openvino": "from keras_mobilenet.deploy.engines.runtimes import import_openvino as i; i()",
    "onnxruntime": (
        "from keras_mobilenet.deploy.engines.runtimes import import_onnxruntime as i; i('doctor')"
    ),
}
_SECONDS = 60  # that an import may take
_NAMED = ("keras", "tensorflow", "numpy")  # which have a line of their own
_SETTINGS = (
    "KERAS_BACKEND", "KERAS_HOME", "KERAS_MOBILENET_WEIGHTS", "KERAS_MOBILENET_OFFLINE",
    "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT",
    "TF_ENABLE_ONEDNN_OPTS", "CUDA_VISIBLE_DEVICES", "PYTHONDONTWRITEBYTECODE",
)  # fmt: skip
_NONE = "no engine"  # that is installed
_SLOW_START = "Keras and TensorFlow take thrice as long to import with PYTHONDONTWRITEBYTECODE set"


class _Need(NamedTuple):
    """A package that is needed, and the version here; None where it is missing."""

    package: str
    wanted: str
    here: str | None
    fits: bool

    def __str__(self) -> str:
        wanted = f"{self.package}{self.wanted}"
        return wanted if self.here is None else f"{wanted} (here is {self.here})"


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what is installed, what is missing and for what; the exit code is 1 for a fault."""
    started = {name: _start(name) for name in _IMPORTS if choice.is_installed(name)}
    needs = dict(_needs())
    engines = [_engine(name, started.get(name)) for name in choice.ENGINES]
    found: dict[str, Any] = {
        "package": {
            "version": choice.version_of(PACKAGE),
            "folder": str(Path(__file__).parents[1]),
        },
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "machine": _machine(),
        "backend": _backend(),
        "packages": {need.package: need.here for need in needs.get("", ())},
        "engines": engines,
        "auto": {precision: _auto(precision) for precision in choice.PRECISIONS},
        "extras": [_extra(name, needs[name]) for name in _OF_USERS if name in needs],
        "folders": [_folder(what, path) for what, path in _folders()],
        "weights": _weights(),
        "settings": {name: os.environ[name] for name in _SETTINGS if name in os.environ},
        "faults": [*_faults(needs, engines)],
    }
    say(json.dumps(found, indent=2) if as_json else _text(found))
    for fault in found["faults"]:
        note(f"fault: {fault}")
    if found["faults"]:
        raise typer.Exit(1)


# What there is


def _needs() -> Iterator[tuple[str, list[_Need]]]:
    """Yield each extra with what it needs, and `""` with what the package itself needs."""
    from packaging.requirements import Requirement  # noqa: PLC0415 - not needed for --help

    try:
        needed = [Requirement(line) for line in requires(PACKAGE) or ()]
    except PackageNotFoundError:
        return  # which `_faults` tells
    for extra in ("", *_OF_USERS):
        marked = [
            _need(r.name, r.specifier)
            for r in needed
            if (r.marker.evaluate({"extra": extra}) if r.marker else not extra)
            and bool(extra) == ("extra" in str(r.marker))
        ]
        if marked:
            yield extra, marked


def _need(package: str, wanted: Any) -> _Need:
    here = choice.version_of(package)
    return _Need(package, str(wanted), here, here is not None and wanted.contains(here, True))


def _machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cores": all_cores(),
        "instructions": list(decisive_instructions()),
    }


def _backend() -> dict[str, str]:
    """Return what Keras computes with, and what says so, as Keras finds it."""
    if name := os.environ.get("KERAS_BACKEND"):
        return {"name": name, "from": "KERAS_BACKEND"}
    try:
        file = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
        name = json.loads(file.read_text())["backend"]
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):
        return {"name": "tensorflow", "from": "Keras' default"}
    return {"name": str(name), "from": str(file)}


def _start(engine: str) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", _IMPORTS[engine]],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip


def _engine(name: str, started: subprocess.Popen[bytes] | None) -> dict[str, Any]:
    """Return an engine's packages with their versions, and whether its native code loads."""
    versions = {package: choice.version_of(package) for package in choice.packages_of(name)}
    if name not in _IMPORTS:
        state = "not tried: it takes seconds"
    elif started is None:
        state = "missing"
    else:
        state = _outcome(started)
    return {"engine": name, "packages": versions, "state": state}


def _outcome(started: subprocess.Popen[bytes]) -> str:
    try:
        _, said = started.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        started.kill()
        started.communicate()
        return f"does not load within {_SECONDS} s"
    if started.returncode == 0:
        return "loads"
    if started.returncode < 0:
        return f"does not load: signal {-started.returncode}"
    lines = said.decode(errors="replace").strip().splitlines()
    return f"does not load: {lines[-1] if lines else started.returncode}"


def _auto(precision: Any) -> str | None:
    """Return the engine that `"auto"` takes; None where none that can is installed."""
    engine = choice.engine_for(choice.AUTO, precision)
    return engine if choice.is_installed(engine, precision) else None


def _extra(name: str, needs: Sequence[_Need]) -> dict[str, Any]:
    missing = [str(need) for need in needs if not need.fits]
    return {
        "extra": name,
        "for": _OF_USERS[name],
        "missing": missing,
        "install": f"pip install '{PACKAGE}[{name}]'" if missing else None,
    }


def _folders() -> Iterator[tuple[str, Path]]:
    try:
        *named, cache = weights_folders()
    except DownloadError:  # no home, and none named
        return
    yield from (("KERAS_MOBILENET_WEIGHTS", folder) for folder in named)
    yield "Keras' cache", cache
    yield "the hub's cache", _hub_cache()


def _hub_cache() -> Path:
    """Return where the hub's client keeps files, by the settings that it reads."""
    asked = os.environ.get
    cache = Path(asked("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    folder = asked("HF_HUB_CACHE") or Path(asked("HF_HOME") or cache) / "hub"
    return Path(folder).expanduser()


def _folder(what: str, path: Path) -> dict[str, Any]:
    """Return a folder with the files in it and their bytes; links count for nothing."""
    found = [
        os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names
    ]  # fmt: skip
    files = [file for file in found if not os.path.islink(file)]
    size = sum(os.lstat(file).st_size for file in files if os.path.lexists(file))
    there = os.path.isdir(path)
    return {"what": what, "folder": str(path), "there": there, "files": len(files), "bytes": size}


def _weights() -> dict[str, int]:
    """Return how many published files are at hand, and how many there are."""
    names = [row.file_name(top) for row in pretrained.PRETRAINED for top in (True, False)]
    cache = _hub_cache()
    snapshots = [cache / f"models--{row.repository.replace('/', '--')}" for row in ROWS]
    return {
        "keras": sum(next(copies(name), None) is not None for name in names),
        "keras_all": len(names),
        "hub": sum(any(path.glob("snapshots/*/*.safetensors")) for path in snapshots),
        "hub_all": len(ROWS),
    }


def _faults(needs: dict[str, list[_Need]], engines: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what is wrong: a missing extra is not."""
    if not needs:
        yield f"{PACKAGE} is not installed, only found. Run: pip install {PACKAGE}"
    if wrong := [str(need) for need in needs.get("", ()) if not need.fits]:
        again = f"Run: pip install --upgrade {PACKAGE}"
        yield f"{PACKAGE} needs {', '.join(wrong)}. {again}"
    for engine in engines:
        if engine["state"].startswith("does not"):
            yield f"the engine {engine['engine']} {engine['state']}"


# How it is said


def _text(found: dict[str, Any]) -> str:
    machine, weights = found["machine"], found["weights"]
    others = len(found["packages"]) - len(_NAMED)
    lines = [
        f"{PACKAGE} {found['package']['version']}  {found['package']['folder']}",
        f"Python {found['python']['version']}  {found['python']['executable']}",
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
        f"  {' '.join(machine['instructions']) or 'instructions not known'}",
        ", ".join(f"{name} {found['packages'].get(name)}" for name in _NAMED)
        + f" and {others} packages more; Keras' backend is {found['backend']['name']} "
        f"({found['backend']['from']})",
        "",
        written(("engine", "state", "packages"), [*map(_engine_row, found["engines"])], "text",
                left=3),
        f"`auto` takes {', '.join(f'{e or _NONE} for {p}' for p, e in found['auto'].items())}",
        "",
        written(("extra", "", "for"), [*map(_extra_row, found["extras"])], "text", left=3),
        "",
        written(("folder", "files", "MB"), [*map(_folder_row, found["folders"])], "text"),
        f"weights at hand: {weights['keras']} of {weights['keras_all']} of Google's for Keras, "
        f"{weights['hub']} of {weights['hub_all']} of the hub's (`{PACKAGE} weights list`)",
    ]  # fmt: skip
    if found["settings"]:
        lines += ["", *(f"{name}={value}" for name, value in found["settings"].items())]
    if found["settings"].get("PYTHONDONTWRITEBYTECODE"):
        lines.append(f"  {_SLOW_START}")
    return "\n".join(line.rstrip() for text in lines for line in text.split("\n"))


def _engine_row(engine: dict[str, Any]) -> tuple[str, str, str]:
    packages = ", ".join(f"{name} {here or 'missing'}" for name, here in engine["packages"].items())
    return engine["engine"], engine["state"], packages


def _extra_row(extra: dict[str, Any]) -> tuple[str, str, str]:
    if not extra["missing"]:
        return extra["extra"], "here", extra["for"]
    remedy = f"{extra['for']}: {extra['install']}, which brings {', '.join(extra['missing'])}"
    return extra["extra"], "missing", remedy


def _folder_row(folder: dict[str, Any]) -> tuple[str, str, str]:
    name = f"{folder['folder']} ({folder['what']})"
    if not folder["there"]:
        return name, "-", "-"
    return name, f"{folder['files']:,}", f"{folder['bytes'] / 1e6:.1f}"
