"""All published files on the hub that are of nets that can be built, and their names."""

from __future__ import annotations

import difflib
import re

from keras_mobilenet.nets.published import google_rows, timm_rows
from keras_mobilenet.nets.published.rows import Published

ROWS = (
    *timm_rows.V1, *timm_rows.V2, *timm_rows.V3, *timm_rows.V4, *timm_rows.V4_HYBRID,
    *google_rows.ROWS,
)  # fmt: skip
BY_NAME = {row.repository: row for row in ROWS}
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def find(name: str) -> Published | None:
    """Return the row of a name such as `"timm/mobilenetv2_100.ra_in1k"`; None without one."""
    return BY_NAME.get(name)


def rows_of(net: str) -> tuple[Published, ...]:
    """Return the rows of a family's key."""
    return tuple(row for row in ROWS if row.net == net)


def get(name: str) -> Published:
    """Return the row of a name.

    Raises:
        ValueError: there is none; the error says why, or names the nearest.
    """
    row = find(name)
    if row is None:
        raise ValueError(f"No published weights are known as {name!r}. {why_unknown(name)}")
    return row


def why_unknown(name: str) -> str:
    """Return what to say of a name that no row has."""
    if name in timm_rows.OTHERS:
        return f"That net {timm_rows.OTHERS[name]}, and is not one of those that are built here."
    near = difflib.get_close_matches(name, BY_NAME, 3, 0.5)
    hint = f"Near it are {', '.join(near)}. " if near else ""
    other = f"; hf://{name} asks the hub for another" if looks_like_repository(name) else ""
    return f"{hint}`keras-mobilenet weights list` shows all{other}."


def looks_like_repository(text: str) -> bool:
    """Return whether a text is of the form "owner/name" that the hub's repositories have."""
    return _REPOSITORY.fullmatch(text) is not None
