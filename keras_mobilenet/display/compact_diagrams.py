"""A model drawn with a box a block, small enough for one page, in Graphviz' language."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from keras_mobilenet.display.boxes import Box, Item, boxes_and_links, operations_of
from keras_mobilenet.display.summaries import Row
from keras_mobilenet.display.text_tables import UNKNOWN
from keras_mobilenet.nets.net import ATTENDING, is_block

# The blue darkens each time that the image is halved; layers of the user's own are sand.
_STAGES = ("#f4f8fc", "#e9f1f9", "#d9e7f4", "#c6dbef", "#b2cfea", "#9dc1e3")
_INPUT, _TOP, _OWN = "#ffffff", "#eceff2", "#fbf1e1"
_LINE, _GREY = "#7d93a8", "#4d5965"
_FONT = "Helvetica"  # browsers have it or Arial; graphviz-pure draws Arimo, of the same widths
_WIDTHS = (200, 104, 88, 88)  # of a box's cells in points, at least; together they fit A4
_CHARACTER = 4.0  # points that one of a subtitle takes
_SUBTITLE = 66  # characters
_LEADING = '<font point-size="12">&nbsp;</font>'  # a line is as high as its highest letter


def dot_source(model: Any, *, rankdir: str, dpi: int, show_trainable: bool) -> str:
    """Return the drawing of a built model, to be rendered by Graphviz.

    Args:
        model: A built Keras model.
        rankdir: `"TB"` for a column, `"LR"` for a row.
        dpi: Dots per inch of the image.
        show_trainable: Mark the boxes that do not train.
    """
    boxes, links = boxes_and_links(model)
    rows = [row for box in boxes for row in box.rows]
    lines = [
        f'digraph {{ graph [rankdir="{rankdir}" dpi={dpi} ranksep=0.14 nodesep=0.3 pad=0.15',
        f'fontname="{_FONT}" labelloc=t label=<{_caption(model, rows)}>];',
        f'node [shape=plain fontname="{_FONT}" fontsize=10.5];',
        f'edge [arrowsize=0.5 penwidth=1.1 color="{_LINE}"];',
        *(f"{i} [label=<{label}>];" for i, label in enumerate(_labels(boxes, show_trainable))),
        *(f"{a} -> {b};" for a, b in links),
        "}",
    ]
    return "\n".join(lines)


def _caption(model: Any, rows: Sequence[Row]) -> str:
    macs = _macs(rows)
    inputs = [_times(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    facts = [f"{model.count_params():,} params"]
    facts.append(_why_unknown(rows) if macs is None else f"{macs:,} MACs")
    facts += [f"input {', '.join(inputs)}"] if inputs else []
    cells = [
        f'<font point-size="14"><b>{html.escape(model.name)}</b></font>',
        f'<font point-size="9.5" color="{_GREY}">{" &middot; ".join(facts)}</font>',
        '<font point-size="3"> </font>',
    ]
    lines = [f"<tr><td>{cell}</td></tr>" for cell in cells]
    return f'<table border="0" cellspacing="0" cellpadding="1">{"".join(lines)}</table>'


def _labels(boxes: Sequence[Box], show_trainable: bool) -> Iterator[str]:
    own_tops = [box for box in boxes if box.after_blocks and not box.part]
    halvings = 0
    subtitles = [_subtitle(box) for box in boxes]
    first = max(_WIDTHS[0], *(math.ceil(_CHARACTER * len(text)) for text in subtitles))
    for box, subtitle in zip(boxes, subtitles, strict=True):
        if box.part and not _attends(box):
            halvings += any(max(getattr(i.operation, "strides", (1,))) > 1 for i in box.items)
        note = _frozen(box.rows) if show_trainable else ""
        title, fill = _title(box, own_tops), _fill(box, halvings)
        yield _label(box, title, note, subtitle, fill, first)


def _subtitle(box: Box) -> str:
    return textwrap.shorten(", ".join(_words(box)), _SUBTITLE, placeholder=" ...")


def _title(box: Box, own_tops: Sequence[Box]) -> str:
    if box.part:
        return box.part.replace("_", " ")
    if box.items[0].kind == "InputLayer":
        return "input"
    return "top" if own_tops == [box] else str(box.items[0].operation.name)


def _fill(box: Box, halvings: int) -> str:
    if box.part == "top":
        return _TOP
    if box.part:
        return _STAGES[min(halvings, len(_STAGES) - 1)]
    return _INPUT if _is_bare_input(box) else _OWN


def _is_bare_input(box: Box) -> bool:
    return [item.kind for item in box.items] == ["InputLayer"]


def _label(box: Box, title: str, note: str, subtitle: str, fill: str, first: int) -> str:
    words = f"<b>{html.escape(title)}</b>{_small(note)}"
    if subtitle:
        words += f'<br align="left"/>{_small(html.escape(subtitle))}{_LEADING}'
    numbers = (_shape(box), *_costs(box))
    widths = _WIDTHS[1:]
    return "".join(
        (
            '<table border="1" cellborder="0" cellspacing="0" cellpadding="4" style="rounded" ',
            f'color="{_LINE}" bgcolor="{fill}"><tr><td width="{first}" height="34" ',
            f'align="left" balign="left">{words}</td>',
            *(
                f'<td width="{w}" align="right">{n}</td>'
                for w, n in zip(widths, numbers, strict=True)
            ),
            "</tr></table>",
        )
    )


def _small(text: str) -> str:
    return f'<font point-size="8.5" color="{_GREY}">{text}</font>' if text else ""


def _words(box: Box) -> Iterator[str]:
    """Yield what a box does: a word or two for each layer that has something to tell."""
    for item in _without_gate(box):
        match item.kind if box.part else "":
            case "DepthwiseConv2D" | "Conv2D":
                yield _convolution(item)
            case "Dense":
                yield "dense"
                yield from _activation(item)
            case "GlobalAveragePooling2D":
                yield "average pool"
            case "Multiply":
                yield "squeeze-excite"
            case "Add":
                yield "add"
            case "MultiQueryAttention":
                yield "attention"
            case "Activation" if box.part == "top":
                yield from _activation(item)
            case "" if item.kind != "InputLayer":
                is_model_in_chain = operations_of(item.operation) and len(box.items) > 1
                yield str(item.operation.name) if is_model_in_chain else item.kind


def _without_gate(box: Box) -> list[Item]:
    """Return what a box holds, of a squeeze-excite branch the product alone; so of attention."""
    if _attends(box):
        return [item for item in box.items if item.kind in (ATTENDING, "Add")]
    kinds = [item.kind for item in box.items]
    if not is_block(box.part) or "Multiply" not in kinds:
        return list(box.items)
    first = next((i for i, kind in enumerate(kinds) if kind.startswith("Global")), len(kinds))
    product = len(kinds) - 1 - kinds[::-1].index("Multiply")  # the gate itself may hold another
    return [*box.items[:first], *box.items[product:]]


def _attends(box: Box) -> bool:
    return is_block(box.part) and any(item.kind == ATTENDING for item in box.items)


def _activation(item: Item) -> Iterator[str]:
    name = getattr(item.operation.activation, "__name__", item.kind)
    if name != "linear":
        yield {"hard_silu": "hard-swish"}.get(name, name)


def _convolution(item: Item) -> str:
    kernel, stride = item.operation.kernel_size, max(item.operation.strides)
    full = "pointwise" if max(kernel) == 1 else "conv"
    name = "depthwise" if item.kind == "DepthwiseConv2D" else full
    return f"{name} {'x'.join(map(str, kernel))}" + (f" /{stride}" if stride > 1 else "")


def _frozen(rows: Iterable[Row]) -> str:
    answers = {row.trains for row in rows} - {""}
    if answers <= {"yes"}:
        return ""
    return " frozen" if answers == {"no"} else " partly frozen"


def _shape(box: Box) -> str:
    try:
        return _times(box.items[-1].operation.output.shape)
    except (AttributeError, ValueError):  # never called, called twice, or several outputs
        return UNKNOWN


def _times(shape: Sequence[int | None]) -> str:
    return " &times; ".join(UNKNOWN if n is None else str(n) for n in shape[1:])


def _costs(box: Box) -> tuple[str, str]:
    if _is_bare_input(box):
        return "", ""
    macs = _macs(box.rows)
    params = sum(row.params for row in box.rows)
    return f"{_short(params)} params", f"{UNKNOWN if macs is None else _short(macs)} MACs"


def _macs(rows: Iterable[Row]) -> int | None:
    counts = [row.macs for row in rows]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _why_unknown(rows: Iterable[Row]) -> str:
    shapes = [row.output_shape for row in rows if row.macs is None]
    by_size = any(shape is not None and None in shape[1:] for shape in shapes)
    return "MACs depend on size" if by_size else "MACs unknown"


def _short(number: int) -> str:
    """Return a number in three figures, as in `"5.60 M"`."""
    if number < 1000:
        return str(number)
    mantissa, exponent = f"{number:.2e}".split("e")  # rounds first: 999,999 is "1.00 M"
    thousands, tens = divmod(int(exponent), 3)
    return f"{float(mantissa) * 10**tens:.{2 - tens}f} {'kMGT'[thousands - 1]}"
