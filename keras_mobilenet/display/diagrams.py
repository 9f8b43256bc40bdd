"""Images of models, drawn with or without an installed Graphviz."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from os import PathLike
from typing import Any

import keras

from keras_mobilenet.display.compact_diagrams import dot_source
from keras_mobilenet.errors import fault
from keras_mobilenet.files import replacing

_UNKNOWN_FORMAT = re.compile(r"not recognized\. Use one of:(.*)")  # as `dot` and its port say
_SHOWN = ("png", "svg", "jpg", "jpeg", "gif")  # the formats that notebooks show


def plot_model(
    model: Any,
    to_file: str | PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
    *,
    compact: bool = False,
) -> Any:
    """Draw a model into a file, and return the image for a notebook.

    The image is drawn by Graphviz' `dot` where that is installed, else by `graphviz-pure`, which
    comes with this package.

    Args:
        model: A built Keras model.
        to_file: The file to write; its suffix names the format, as in `.png` or `.svg`. Without a
            suffix it is PNG.
        show_shapes: Show the shapes of inputs and outputs.
        show_dtype: Show the layers' dtypes.
        show_layer_names: Show the layers' names.
        rankdir: `"TB"` draws from top to bottom, `"LR"` from left to right.
        expand_nested: Draw the layers of nested models.
        dpi: Dots per inch of an image made of pixels.
        show_layer_activations: Show the activations of layers that have one.
        show_trainable: Show which layers train.
        splines: How lines are drawn: `"ortho"`, `"curved"`, `"polyline"`, `"spline"` or `"line"`.
        compact: Draw a box a block, with its output shape, parameters and MACs, on one page. Of
            the options only `rankdir`, `dpi` and `show_trainable` then have an effect.

    Returns:
        IPython's `Image` or `SVG`, where IPython is installed and shows the format, else None.

    Raises:
        ValueError: the model is not built, or the format cannot be written.
        OSError: the file cannot be written, or the drawing failed; what was at `to_file` is as it
            was.
        ImportError: nothing is installed that draws.

    Source: `keras.utils.plot_model`, whose drawing this is unless `compact`.
    """
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built, so its shapes are unknown. "
            "Call it on a batch, or pass it an input shape."
        )
    path = os.fspath(to_file)
    _check_target(path)
    if compact:
        source = dot_source(model, rankdir=rankdir, dpi=dpi, show_trainable=show_trainable)
    else:
        source = keras.utils.model_to_dot(
            model,
            show_shapes=show_shapes,
            show_dtype=show_dtype,
            show_layer_names=show_layer_names,
            rankdir=rankdir,
            expand_nested=expand_nested,
            dpi=dpi,
            show_layer_activations=show_layer_activations,
            show_trainable=show_trainable,
            splines=splines,
        ).to_string()
    image_format = os.path.splitext(path)[1][1:].lower() or "png"
    with replacing(path) as temporary:
        _render(source, image_format, temporary, path)
    return _display(path, image_format)


def _check_target(path: str) -> None:
    """Raise where a file cannot be, in words that name no temporary file."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise IsADirectoryError(fault(path, "is a folder.", "Pass a file, such as model.png."))
    if not os.path.isdir(folder):
        raise FileNotFoundError(fault(path, f"{folder} is no folder.", "Make the folder first."))
    if not os.access(folder, os.W_OK):
        problem = f"the folder {folder} is not writable."
        raise PermissionError(fault(path, problem, "Choose another folder, or change its mode."))


def _render(source: str, image_format: str, temporary: str, path: str) -> None:
    """Write the image of `source`, a text in Graphviz' language, into the file `temporary`."""
    complaints = {}
    for renderer in _renderers():
        complaint = _complaint([renderer, f"-T{image_format}", "-o", temporary], source)
        if complaint is None:
            return
        complaints[os.path.basename(renderer)] = complaint
    known = [
        names.group(1).split()
        for names in map(_UNKNOWN_FORMAT.search, complaints.values())
        if names
    ]
    if len(known) == len(complaints):
        raise ValueError(_format_message(path, {name for names in known for name in names}))
    reasons = "; ".join(f"{renderer}: {complaint}" for renderer, complaint in complaints.items())
    remedy = "Try another format, or compact=True, which draws less."
    raise OSError(fault(path, f"the model cannot be drawn. {reasons}", remedy))


def _complaint(command: Sequence[str], source: str) -> str | None:
    """Return why a renderer failed; None where it did not."""
    try:  # not through pydot, which would print what goes wrong and raise an AssertionError
        done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)  # noqa: S603
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    return done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"


def _renderers() -> list[str]:
    """Return the paths of the programs that draw, the preferred one first."""
    # A virtual environment need not be activated, so that its commands may not be on the PATH.
    folders = [os.path.dirname(sys.executable), sysconfig.get_path("scripts")]
    folders.append(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    folders.append(os.environ.get("PATH", os.defpath))
    ours = shutil.which("graphviz-pure", path=os.pathsep.join(folders))
    programs = [program for program in (shutil.which("dot"), ours) if program]
    if not programs:
        raise ImportError(
            "plot_model needs `dot` or `graphviz-pure` to draw with, and neither is installed. "
            "Run: pip install graphviz-pure"
        )
    return programs


def _format_message(path: str, formats: set[str]) -> str:
    plain = sorted(name for name in formats if ":" not in name)  # not "png:cairo:gd" and its like
    remedy = "" if shutil.which("dot") else " Installing Graphviz, https://graphviz.org, adds PDF."
    return (
        f"`to_file` must end in a format that can be written: {', '.join(plain)}.{remedy} "
        f"Received: to_file={path!r}"
    )


def _display(path: str, image_format: str) -> Any:
    if image_format not in _SHOWN:
        return None
    try:
        display = importlib.import_module("IPython.display")
    except ImportError:
        return None
    if image_format == "svg":
        return display.SVG(filename=path)
    return display.Image(filename=path, format=image_format)
