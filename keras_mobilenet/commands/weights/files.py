"""The commands `keras-mobilenet weights inspect` and `convert`: any file of weights.

NumPy and the readers are imported inside the commands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from keras_mobilenet.commands.terminal.options import (
    Labels,
    PreprocessingOption,
    names_in,
    note,
    say,
)
from keras_mobilenet.commands.terminal.progress import doing
from keras_mobilenet.commands.weights.published import cell
from keras_mobilenet.errors import CheckpointError

if TYPE_CHECKING:
    from keras_mobilenet.checkpoints.inspection import Inspection


def inspect(
    files: Annotated[list[str], typer.Argument(help="Files of weights, in any format.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what files of weights are, without building a model."""
    from keras_mobilenet.checkpoints.inspection import inspect_weights  # noqa: PLC0415

    records, bad = [], 0
    for file in files:
        try:
            with doing(f"reading {file}"):
                inspection = inspect_weights(file)
            records.append({"file": file} | _inspected(inspection))
        except CheckpointError as error:
            bad += 1
            note(f"error: {error}")
    if as_json:
        say(json.dumps(records, indent=2))
    else:
        for record in records:
            for key, value in record.items():
                say(f"{key:12}  {cell(value)}" if key != "file" else value)
    if bad:
        raise typer.Exit(1)


def _inspected(inspection: Inspection) -> dict[str, Any]:
    known = inspection.conventions
    return {
        "format": inspection.format,
        "made with": str(inspection.origin) if inspection.origin else None,
        "padding": known.padding if known else None,
        "epsilon": known.epsilon if known else None,
        "background": inspection.background,
        "dtypes": ", ".join(inspection.dtypes),
        "params": inspection.params,
        "arrays": len(inspection.arrays),
        "sha256": inspection.sha256,
        "notes": "; ".join(inspection.notes) or None,
    }


def convert(
    source: Annotated[str, typer.Argument(help="A file of weights, in any format.")],
    target: Annotated[
        Path, typer.Argument(help="A .safetensors, .weights.h5 or .h5 file; with --to, a folder.")
    ],
    to: Annotated[
        Literal["timm"] | None, typer.Option(help="Another library's names and settings.")
    ] = None,
    preprocessing: PreprocessingOption = None,
    labels: Labels = None,
) -> None:
    """Write the same values into another format, read back before the file appears."""
    with doing(f"writing {target}"):
        from keras_mobilenet.checkpoints.inspection import convert_weights  # noqa: PLC0415

        inspection = convert_weights(
            source, target, to=to, preprocessing=preprocessing, labels=names_in(labels)
        )
    say(f"wrote {target}: {inspection.format}, {inspection.origin}, SHA-256 {inspection.sha256}")
    if to is not None:
        for text in inspection.notes:
            note(text)
        note(f'try: timm.create_model("local-dir:{target}", pretrained=True)')
