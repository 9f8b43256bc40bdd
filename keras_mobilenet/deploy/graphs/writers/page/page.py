"""The files of a page: its HTML with style and script in it, the classes' names, the settings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

from keras_mobilenet.deploy.engines.checks.saved_models import is_saved_model
from keras_mobilenet.deploy.graphs.operations import Graph
from keras_mobilenet.deploy.graphs.writers.page import runtime
from keras_mobilenet.deploy.graphs.writers.page.heat_map import heat_map_record
from keras_mobilenet.errors import plain_line
from keras_mobilenet.files import integrity
from keras_mobilenet.formats.runtimes import tflite_model
from keras_mobilenet.images.model_info import Label, ModelInfo

INDEX, MODEL = "index.html", "model.tflite"
_SETTINGS, _LABELS = "model.json", "labels.json"
_SCRIPTS = ("pixels.js", "heat_map.js", "model.js", "page.js")
_MARKER = '<meta name="generator" content="keras-mobilenet export">'
_OURS = {INDEX, MODEL, _SETTINGS, _LABELS, runtime.FOLDER}
_NAMED = re.compile(r"(^|[-_])page$")
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Page:
    """What a page is about."""

    name: str  # of the model
    info: ModelInfo  # of its file
    classes: int
    quantize: str | None
    graph: Graph | None = None  # as it was written; None where only the converter knew it
    runtime: Mapping[str, Path] | None = None  # the runtime's files; None for those on the CDN


def page_folder(path: str | PathLike[str]) -> Path | None:
    """Return the folder of the page that a path stands for; None for no page.

    That is the folder around an `index.html`, one that holds a page, or one that is called `page`,
    alone or behind a hyphen or an underscore. Other folders are SavedModels.

    Raises:
        ValueError: an `index.html` has no folder of its own.
    """
    text, given = os.fspath(path), Path(path)
    if given.name == INDEX:
        if given.resolve().parent == Path.cwd():
            raise ValueError(
                f"A page has a folder of its own, as in page/{INDEX}. Received: path={text!r}"
            )
        return given.parent
    named = _NAMED.search(given.name) is not None and not is_saved_model(given)
    return given if named or (given.is_dir() and is_page(given)) else None


def is_page(folder: Path) -> bool:
    """Return whether a folder holds a page, and nothing else that would be lost with it.

    Raises:
        ValueError: there is something beside the page.
    """
    index = folder / INDEX
    if not index.is_file() or _MARKER not in index.read_text(encoding="utf-8", errors="replace"):
        return False
    if others := sorted({path.name for path in folder.iterdir()} - _OURS):
        raise ValueError(
            f"{folder} holds a page, and what is not of it: {', '.join(others[:3])}. Move that "
            "elsewhere, or export to another folder: the whole folder is replaced."
        )
    return True


def write_page(folder: Path, page: Page) -> None:
    """Write all files of a page into the folder where its model lies already."""
    content = (folder / MODEL).read_bytes()
    if page.runtime is not None:
        runtime.copy_runtime(page.runtime, folder)
    texts = {
        _SETTINGS: json.dumps(_settings(page, content), indent=1) + "\n",
        _LABELS: json.dumps(_names(page.info.labels), ensure_ascii=False) + "\n",
        INDEX: _html(page, content),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _settings(page: Page, content: bytes) -> dict[str, Any]:
    """Return what the page's script has to know of its model."""
    taken = _taken(content)
    _, *size, channels = taken.shape
    scaling = page.info.known_preprocessing()
    std, offset = (
        [*numbers] if isinstance(numbers, tuple) else [numbers] * channels
        for numbers in (scaling.std, scaling.offset)
    )
    graph = page.graph
    logits = graph is not None and not graph.by_name[graph.output].activation
    return {
        "name": _name(page),
        "file": MODEL,
        "preprocessing": {
            "size": size,
            "crop": page.info.crop,
            "interpolation": page.info.interpolation,
            "keep_aspect": page.info.keep_aspect,
            "std": std,
            "offset": offset,
            "channels": channels,
            "dtype": taken.type.lower(),
        },
        "output": "logits" if logits else "probabilities",
        "heat_map": None if graph is None else heat_map_record(graph, content),
    }


def _taken(content: bytes) -> tflite_model.Tensor:
    """Return the input of a model's file."""
    graph = tflite_model.parse(content)
    return graph.tensors[graph.input]


def _names(labels: tuple[Label, ...] | None) -> list[str] | None:
    """Return the classes' names as they are shown; of pairs, ImageNet's, without underscores."""
    if labels is None:
        return None
    return [x if isinstance(x, str) else x[1].replace("_", " ") for x in labels]


def _name(page: Page) -> str:
    return plain_line(os.path.basename(page.name)) or "The model"


def _html(page: Page, content: bytes) -> str:
    import jinja2  # noqa: PLC0415 - no other format needs it
    from markupsafe import Markup  # noqa: PLC0415

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,  # of every name
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    style = _template("page.css")
    script = "\n".join(map(_template, _SCRIPTS))
    local = page.runtime is not None
    record = json.dumps(runtime.runtime_record(local=local)).replace("<", "\\u003c")
    megabytes = (runtime.BYTES + len(content)) / _MEGABYTE
    classes = f"{page.classes:,} classes" if page.classes != 1 else "1 class"
    return templates.get_template("page.html").render(
        name=_name(page),
        classes=classes,
        facts=_facts(page, content),
        megabytes=f"{megabytes:.1f} MB",
        marker=Markup(_MARKER),  # noqa: S704 - a constant
        # The page's policy lets this style and this script in and no other, whatever a name may
        # smuggle in; and no address beyond these.
        style=Markup(style),  # noqa: S704 - a file of this package
        style_hash=integrity(style.encode(), "sha256"),
        script=Markup(script),  # noqa: S704 - files of this package
        script_hash=integrity(script.encode(), "sha256"),
        elsewhere="" if local else "".join(f" {folder}" for folder in runtime.cdn_folders()),
        runtime=Markup(record),  # noqa: S704 - constants
    )  # fmt: skip


def _facts(page: Page, content: bytes) -> str:
    """Return the line at the page's end."""
    _, height, width, _ = _taken(content).shape
    precision = page.quantize or "float32"
    return (
        f"{_name(page)}, {precision}, {len(content) / _MEGABYTE:.1f} MB, {height} × {width} "  # noqa: RUF001
        f"pixels. {runtime.NAME} runs it on this device's processor."
    )


def _template(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
