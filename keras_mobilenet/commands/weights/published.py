"""The commands `keras-mobilenet weights list`, `where`, `fetch` and `verify`: published files.

NumPy and the readers are imported inside the commands that open files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from keras_mobilenet.checkpoints.published.download import expected_hash
from keras_mobilenet.checkpoints.published.hashes import published, sha256_of
from keras_mobilenet.checkpoints.published.hub import at_hand, source_of
from keras_mobilenet.checkpoints.published.local_files import copies, keras_cache, weights_folders
from keras_mobilenet.commands.terminal import completion
from keras_mobilenet.commands.terminal.options import (
    DEFAULT_NET,
    Alpha,
    FormatOption,
    Minimalistic,
    NetKey,
    NoTop,
    Size,
    count_in,
    note,
    say,
)
from keras_mobilenet.commands.terminal.progress import bars, doing
from keras_mobilenet.display.text_tables import markdown_table, text_table
from keras_mobilenet.errors import CheckpointError, DownloadError
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.costs.layers import net_costs
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.net import DEFAULT_SIZE, Net
from keras_mobilenet.nets.pretrained import LICENCE, Pretrained
from keras_mobilenet.nets.published.rows import Published
from keras_mobilenet.nets.published.table import ROWS, find

if TYPE_CHECKING:
    pass


def list_command(
    table: FormatOption = "text",
    as_json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    sort: Annotated[
        Literal["top-1", "params", "macs"] | None,
        typer.Option(help="Best top-1 first, or the smallest count first."),
    ] = None,
    max_params: Annotated[
        str | None, typer.Option(help="Only files of at most so many values, as in 3.5M.")
    ] = None,
) -> None:
    """Print every published file, Google's for Keras and the hub's, and where each lies if here.

    Top-1 and MACs are those at `size`, the one that the publisher tests with.
    """
    records = [*(_record(row, top) for row, top in _every_file()), *map(_hub_record, ROWS)]
    if max_params is not None:
        most = count_in("--max-params", max_params)
        records = [record for record in records if record["params"] <= most]
    if sort is not None:
        records.sort(key=partial(_rank, sort))
    if as_json or table == "json":
        say(json.dumps(records, indent=2))
        return
    for record in records:
        record["commit"] = record["commit"] and record["commit"][:8]
    headers = list(_hub_record(ROWS[0]))
    cells = [[cell(value) for value in record.values()] for record in records]
    if table == "markdown":
        say(markdown_table(headers, cells))
        return
    widest = max((len(row[-1]) for row in cells), default=0)
    for row in (headers, *cells):
        row[-1] = row[-1].ljust(widest)  # paths are flush left
    lines = text_table(headers, cells).splitlines()
    say("\n".join(line.rstrip() for line in lines))


def _rank(key: str, record: dict[str, Any]) -> tuple[bool, float]:
    """Return what sorts a record: the unknown last."""
    value = record[key]
    return value is None, 0.0 if value is None else -value if key == "top-1" else value


def _record(row: Pretrained, include_top: bool) -> dict[str, Any]:
    name = row.file_name(include_top)
    path = next(copies(name), None)
    return {
        "file": name,
        "net": family(row.net).key,
        "alpha": row.alpha,
        "minimalistic": row.minimalistic,
        "size": row.size,
        "top": include_top,
        **_counts(row.network(include_top), row.size),
        "top-1": row.top_1,
        "top-5": row.top_5,
        "licence": LICENCE,
        "commit": None,
        "where": str(path.parent) if path else None,
    }


def _hub_record(row: Published) -> dict[str, Any]:
    path = at_hand(row)
    return {
        "file": row.repository,
        "net": row.net,
        "alpha": row.alpha,
        "minimalistic": bool(row.options.get("minimalistic")),
        "size": row.test.size,
        "top": True,
        **_counts(row.network(), row.test.size),
        "top-1": row.test.top_1,
        "top-5": row.test.top_5,
        "licence": row.licence,
        "commit": row.revision or "newest",
        "where": os.path.dirname(path) if path else None,
    }


def _counts(net: Net, size: int) -> dict[str, int]:
    macs = sum(cost.macs for cost in net_costs(net, (size, size)))
    return {"params": net.count_params(), "macs": macs}


def cell(value: Any) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def where(
    net: NetKey = DEFAULT_NET,
    alpha: Alpha = 1.0,
    minimalistic: Minimalistic = False,
    size: Size = DEFAULT_SIZE,
    no_top: NoTop = False,
) -> None:
    """Print the folders that a file is looked for in, in order, and which one gives it."""
    name = _row(net, alpha, size, minimalistic).file_name(not no_top)
    used = next(copies(name), None)
    say(f"{name} is looked for in:")
    for folder in weights_folders():
        say(f"  {folder} ({_presence(folder / name, used)})")
    if used is None:
        say(f"and would be fetched into {keras_cache()}")


def _presence(path: Path, used: Path | None) -> str:
    if path == used:
        return "here"
    if os.path.isfile(path):
        return "here too, not used"
    return "not here" if os.path.isdir(path.parent) else "no such folder"


def fetch(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Of published weights, as `list` shows it, or hf://owner/name.",
            autocompletion=completion.weights,
            show_default=False,
        ),
    ] = None,
    net: NetKey = DEFAULT_NET,
    alpha: Alpha = 1.0,
    minimalistic: Minimalistic = False,
    size: Size = DEFAULT_SIZE,
    no_top: NoTop = False,
    every: Annotated[bool, typer.Option("--all", help="All 88 files.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch what is here anew.")] = False,
) -> None:
    """Fetch a published file into its cache, unless it is here, and print its path.

    Keras' own go into Keras' cache, and those of the hub into the one of its client.
    """
    if name is not None:
        _fetch_named(name, others=every or no_top, force=force)
        return
    from keras_mobilenet.checkpoints.published.weights import weights_file  # noqa: PLC0415 - loads NumPy

    files = list(_every_file()) if every else [(_row(net, alpha, size, minimalistic), not no_top)]
    failed = 0
    for row, include_top in files:
        try:
            with bars(in_bytes=True) as show:
                progress = partial(show, row.file_name(include_top))
                path = weights_file(row, include_top, progress=progress, force=force)
            say(str(path))
            _note_another(path)
        except (DownloadError, CheckpointError) as error:
            if not every:
                raise
            failed += 1
            note(f"error: {error}")
    if failed:
        note(f"{failed} of {len(files)} files are not at hand")
        raise typer.Exit(1)


def _fetch_named(name: str, *, others: bool, force: bool) -> None:
    from keras_mobilenet.checkpoints.published.names import row_name  # noqa: PLC0415
    from keras_mobilenet.checkpoints.published.weights import file_of  # noqa: PLC0415 - loads NumPy

    if others:
        raise typer.BadParameter("A NAME is of one whole file. Leave --all and --no-top out.")
    with doing(f"fetching {name}"):
        path = file_of(name, force=force)
    row = find(row_name(name))
    licence = row.licence if row else "as its page on the hub says"
    if pretrained.find_file(name):
        licence = LICENCE
    say(path)
    note(f"{source_of(path) or name}: {os.path.getsize(path):,} bytes, licence: {licence}")


def _note_another(path: str) -> None:
    first = next(copies(os.path.basename(path)))
    if str(first) != path:
        note(f"note: {first} comes first and is what will be used")


def verify(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files; by default every published file here.")
    ] = None,
) -> None:
    """Check the hash and the arrays of files; the exit code is 1 if one is bad."""
    paths = files or [path for row, top in _every_file() for path in copies(row.file_name(top))]
    bad = 0
    for path in paths:
        try:
            with doing(f"checking {path}"):
                verdict = _verified(path)
            say(f"ok   {path}: {verdict}")
        except (DownloadError, CheckpointError) as error:
            bad += 1
            say("BAD  " + "\n     ".join(str(error).splitlines()))
    note(f"{len(paths)} files, {bad} bad" if paths else "no published file is here")
    if bad:
        raise typer.Exit(1)


def _verified(path: Path) -> str:
    """Return what is known of a sound file; raise if it is not sound."""
    from keras_mobilenet.checkpoints.published.download import verify_hash  # noqa: PLC0415
    from keras_mobilenet.checkpoints.published.weights import check_structure  # noqa: PLC0415 - loads NumPy

    row, include_top = pretrained.find_file(path.name) or (None, True)
    known = published(row.known_sha256(include_top), row.known_md5(include_top)) if row else None
    expected = expected_hash(path, known)
    if expected:
        verify_hash(path, expected)
    check_structure(str(path), row.network(include_top) if row else None)
    if expected:
        return f"its arrays fit, and its {expected.algorithm} is the one {expected.source}"
    if known is None:
        return f"its arrays fit; its SHA-256 is {sha256_of(path)}, with none to compare"
    found = known.found_in(path)
    verdict = "" if found == known.digest.lower() else f"{found}, not "
    return f"its arrays fit; its {known.algorithm} is {verdict}the one {known.source}"


def _every_file() -> Iterator[tuple[Pretrained, bool]]:
    return ((row, top) for row in pretrained.PRETRAINED for top in (True, False))


def _row(net: str, alpha: float, size: int, minimalistic: bool) -> Pretrained:
    name = family(net).name
    options = {"minimalistic": minimalistic}
    try:
        return pretrained.find(alpha, size, name, **options)
    except LookupError as error:
        if not pretrained.rows_of(name):
            raise ValueError(f"{error}: Keras has none of this net.") from error
        there = pretrained.alphas(name, **options), pretrained.sizes(name)
        alphas, sizes = (", ".join(map(str, values)) for values in there)
        raise ValueError(f"{error}. There are alpha {alphas} and size {sizes}.") from error
