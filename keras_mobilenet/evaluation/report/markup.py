"""HTML and SVG put together from elements, with every text in them escaped.

Only `element` makes `Html`, and takes any other text for words, so that nobody has to remember to
escape a file's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from keras_mobilenet.errors import plain

_VOID = frozenset({"br", "img", "link", "meta"})  # have no end tag
_SHAPES = frozenset({"circle", "line", "path", "polyline", "rect"})  # SVG's, without children


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | None | Iterable["Child"]  # `Html` is a str, too


def element(name: str, *children: Child, **attributes: str | float | None) -> Html:
    """Return an element; texts among its children and attributes are escaped.

    Args:
        name: The tag.
        *children: Elements, texts, None for nothing, and iterables of these.
        **attributes: `class_` for `class`, `stroke_width` for `stroke-width`; None leaves one out.
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{told}>")
    if name in _SHAPES and not children:
        return Html(f"<{name}{told}/>")
    return Html(f"<{name}{told}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Html:
    """Return elements and texts one after the other, the texts escaped."""
    return Html("".join(_parts(children)))


def _parts(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Html):
            yield child
        elif isinstance(child, str):
            yield _escaped(child)
        elif child is not None:
            yield from _parts(child)


def _text(value: str | float) -> str:
    """Return an attribute's value; coordinates need no more than a hundredth of a pixel."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def _escaped(text: str) -> str:
    return escape(plain(text))
