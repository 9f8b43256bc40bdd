"""A model drawn with a box a block, small enough for one page, in Graphviz' language."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import keras

from keras_mobilenet import spec
from keras_mobilenet.tables import Row, layer_rows

_Links = list[tuple[int, int]]  # from one item or box to another, by their places

_PARTS: dict[tuple[str, str], str] = {
    (layer.name, layer.kind): layer.part for layer in spec.network()
}
_TOP = [layer.name for layer in spec.network() if layer.part == "top"]
_BLOCK = "block_"

# The blue darkens each time that the picture is halved; layers of the user's own are sand.
_STAGES = ("#f4f8fc", "#e9f1f9", "#d9e7f4", "#c6dbef", "#b2cfea", "#9dc1e3")
_PLAIN, _TOP_FILL, _OWN = "#ffffff", "#eceff2", "#fbf1e1"
_LINE, _GREY = "#7d93a8", "#4d5965"
_FONT = "Helvetica"  # browsers have it or Arial; graphviz-pure draws Arimo, of the same widths
_WIDTHS = (200, 104, 88, 88)  # of a box's cells in points, at least; together they fit A4
_SUBTITLE = 46  # characters


@dataclass(frozen=True)
class _Item:
    """One layer, one operation without a layer, or one nested model that stays closed."""

    operation: Any
    rows: tuple[Row, ...]  # none where there is no layer
    part: str = ""  # as in `spec`; "" for what is not MobileNet's
    net: int = 0  # which model the part belongs to
    hidden: bool = False  # the input of a nested model, which the drawing passes over

    @property
    def kind(self) -> str:
        return type(self.operation).__name__

    @property
    def has_kernel(self) -> bool:
        return any(len(weight.shape) > 1 for weight in getattr(self.operation, "weights", ()))


@dataclass
class _Box:
    part: str
    after_blocks: bool
    items: list[_Item] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [row for item in self.items for row in item.rows]


def dot_source(model: Any, *, rankdir: str, dpi: int, show_trainable: bool) -> str:
    """Return the drawing of a built model: MobileNet's blocks are boxes, other layers too.

    Args:
        model: A built Keras model; one without MobileNet's layers is drawn as well.
        rankdir: `"TB"` for a column, `"LR"` for a row.
        dpi: Dots per inch of the picture.
        show_trainable: Mark the boxes that do not train.
    """
    items = list(_items(model))
    links = _item_links(model, items)
    boxes = _boxes(items, links)
    place = {id(item): i for i, box in enumerate(boxes) for item in box.items}
    arrows = dict.fromkeys((place[id(items[a])], place[id(items[b])]) for a, b in links)
    lines = [
        f'digraph {{ graph [rankdir="{rankdir}" dpi={dpi} ranksep=0.14 nodesep=0.3 margin=0.15',
        f'fontname="{_FONT}" labelloc=t label=<{_caption(model, boxes)}>];',
        f'node [shape=plain fontname="{_FONT}" fontsize=10.5];',
        f'edge [arrowsize=0.5 penwidth=1.1 color="{_LINE}"];',
        *(f"{i} [label=<{label}>];" for i, label in enumerate(_labels(boxes, show_trainable))),
        *(f"{a} -> {b};" for a, b in arrows if a != b),
        "}",
    ]
    return "\n".join(lines)


def _items(model: Any, nested: bool = False) -> Iterator[_Item]:
    """Yield what a model consists of, in graph order; only nested MobileNets are opened."""
    operations = _operations(model)
    rows = layer_rows(model)
    if operations is None:  # a subclassed model does not tell its graph
        yield _Item(model, tuple(rows))
        return
    row_of = {id(layer): (row,) for layer, row in zip(model.layers, rows, strict=True)}
    parts = _parts(operations)
    for operation in operations:
        if _has_blocks(operation):
            yield from _items(operation, nested=True)
        else:
            hidden = nested and isinstance(operation, keras.layers.InputLayer)
            part = parts.get(id(operation), "")
            yield _Item(operation, row_of.get(id(operation), ()), part, id(model), hidden)


def _operations(model: Any) -> Sequence[Any] | None:
    """Return a model's layers and the operations between them; None if it has no graph."""
    if isinstance(model, keras.Sequential):
        return list(model.layers)
    operations: Sequence[Any] | None = getattr(model, "operations", None)
    return operations


def _parts(operations: Iterable[Any]) -> dict[int, str]:
    """Return the part of each operation that is MobileNet's, by its identity."""
    known = [(op, _PARTS.get((op.name, type(op).__name__))) for op in operations]
    parts = {id(op): part for op, part in known if part and part != "input"}
    if f"{_BLOCK}1" not in parts.values():  # a "conv1" or a "dropout" alone is no MobileNet
        return {}
    if list(parts.values()).count("top") < len(_TOP):  # a user's own top with such a name in it
        parts = {key: part for key, part in parts.items() if part != "top"}
    return parts


def _has_blocks(operation: Any) -> bool:
    inner = _operations(operation) or ()
    return bool(_parts(inner)) or any(map(_has_blocks, inner))


def _item_links(model: Any, items: Sequence[_Item]) -> _Links:
    """Return which item feeds which. Keras draws the graph, nested models and all, by identity."""
    graph = keras.utils.model_to_dot(model, expand_nested=True)
    place = {str(id(op)): i for i, item in enumerate(items) for op in _leaves(item.operation)}
    links = [(place[a], place[b]) for a, b in _edges(graph) if a in place and b in place]
    for hidden in (i for i, item in enumerate(items) if item.hidden):
        sources = [a for a, b in links if b == hidden]
        targets = [b for a, b in links if a == hidden]
        links = [link for link in links if hidden not in link] + [*product(sources, targets)]
    return list(dict.fromkeys(links))


def _leaves(operation: Any) -> Iterator[Any]:
    yield operation
    for inner in _operations(operation) or ():
        yield from _leaves(inner)


def _edges(graph: Any) -> Iterator[tuple[str, str]]:
    for edge in graph.get_edges():
        yield str(edge.get_source()), str(edge.get_destination())
    for cluster in graph.get_subgraphs():
        yield from _edges(cluster)


def _boxes(items: Sequence[_Item], links: _Links) -> list[_Box]:
    """Return the boxes: one a part, and one for each chain of layers that goes with one kernel.

    Behind MobileNet's blocks a chain is not cut at its kernels, so that a top is one box.
    """
    boxes: list[_Box] = []
    box_of: dict[Any, _Box] = {}  # by the item's place, and by net and part
    for i, item in enumerate(items):
        if item.hidden:
            continue
        key = (item.net, item.part) if item.part else _before_in_chain(i, links)
        box = box_of.get(key)
        if box and not item.part and (box.part or (item.has_kernel and not box.after_blocks)):
            box = None
        if box is None:
            box = _Box(item.part, after_blocks=any(b.part.startswith(_BLOCK) for b in boxes))
            boxes.append(box)
        box.items.append(item)
        box_of[i] = box_of[item.net, item.part] = box
    return boxes


def _before_in_chain(i: int, links: _Links) -> int | None:
    """Return the item that alone feeds item `i`, and feeds nothing else."""
    sources = [a for a, b in links if b == i]
    if len(sources) == 1 and [a for a, _ in links].count(sources[0]) == 1:
        return sources[0]
    return None


def _labels(boxes: Sequence[_Box], show_trainable: bool) -> Iterator[str]:
    own_tops = [box for box in boxes if box.after_blocks and not box.part]
    halvings = 0
    for box in boxes:
        if box.part:
            halvings += any(max(getattr(i.operation, "strides", (1,))) > 1 for i in box.items)
        yield _label(box, _title(box, own_tops), _fill(box, halvings), show_trainable)


def _title(box: _Box, own_tops: Sequence[_Box]) -> str:
    first, last = box.items[0], box.items[-1]
    if box.part:
        return box.part.replace("_", " ")
    if first.kind == "InputLayer":
        return "input"
    if own_tops == [box]:
        return "top"
    name = str(first.operation.name)
    return name if first is last else f"{name} ... {last.operation.name}"


def _fill(box: _Box, halvings: int) -> str:
    if box.part == "top":
        return _TOP_FILL
    if box.part:
        return _STAGES[min(halvings, len(_STAGES) - 1)]
    return _PLAIN if [item.kind for item in box.items] == ["InputLayer"] else _OWN


def _label(box: _Box, title: str, fill: str, show_trainable: bool) -> str:
    subtitle = textwrap.shorten(", ".join(_words(box)), _SUBTITLE, placeholder=" ...")
    note = _frozen(box.rows) if show_trainable else ""
    title = f"<b>{html.escape(title)}</b>{_small(f' {note}') if note else ''}"
    below = f'<br align="left"/>{_small(html.escape(subtitle))}' if subtitle else ""
    is_input = [item.kind for item in box.items] == ["InputLayer"]
    params = f"{_short(sum(row.params for row in box.rows))} params"
    cells = [_shape(box), *(("", "") if is_input else (params, _macs(box.rows, _short)))]
    first, *widths = _WIDTHS
    return "".join(
        (
            f'<table border="1" cellborder="0" cellspacing="0" cellpadding="4" style="rounded" '
            f'color="{_LINE}" bgcolor="{fill}"><tr><td width="{first}" height="31" align="left" ',
            f'balign="left">{title}{below}<br align="left"/></td>',
            *(
                f'<td width="{w}" align="right">{c}</td>'
                for w, c in zip(widths, cells, strict=True)
            ),
            "</tr></table>",
        )
    )


def _small(text: str) -> str:
    return f'<font point-size="8.5" color="{_GREY}">{text}</font>'


def _words(box: _Box) -> Iterator[str]:
    """Yield what a box does, a word or two for each layer that does something to tell."""
    for item in box.items:
        operation = item.operation
        match item.kind if box.part else "":
            case "DepthwiseConv2D" | "Conv2D":
                yield _convolution(operation)
            case "GlobalAveragePooling2D":
                yield "average pool"
            case "Activation":
                yield operation.activation.__name__
            case "":
                if item.kind != "InputLayer":
                    yield operation.name if hasattr(operation, "layers") else item.kind


def _convolution(layer: Any) -> str:
    size, stride = "x".join(map(str, layer.kernel_size)), max(layer.strides)
    name = "conv"
    if type(layer).__name__ == "DepthwiseConv2D":
        name = "depthwise"
    elif max(layer.kernel_size) == 1:
        name = "pointwise"
    return f"{name} {size}" + (f" /{stride}" if stride > 1 else "")


def _frozen(rows: Iterable[Row]) -> str:
    answers = {row.trains for row in rows} - {""}
    return {frozenset(["no"]): "frozen"}.get(
        frozenset(answers), "partly frozen" if answers - {"yes"} else ""
    )


def _shape(box: _Box) -> str:
    try:
        shape = box.items[-1].operation.output.shape
    except (AttributeError, ValueError):  # never called, called twice, or several outputs
        return "?"
    return _times(shape)


def _times(shape: Sequence[int | None]) -> str:
    return " &times; ".join("?" if n is None else str(n) for n in shape[1:])


def _macs(rows: Sequence[Row], write: Any) -> str:
    counts = [row.macs for row in rows]
    known = [count for count in counts if count is not None]
    if len(known) == len(counts):
        return f"{write(sum(known))} MACs"
    sizes = [row.output_shape for row in rows if row.macs is None]
    by_size = any(shape is not None and None in shape[1:] for shape in sizes)
    return "MACs depend on size" if by_size else "MACs unknown"


def _short(number: int) -> str:
    """Return a number in three figures, as in `"5.6 M"`."""
    if number < 1000:
        return str(number)
    mantissa, exponent = f"{number:.2e}".split("e")  # rounds first: 999,999 is "1 M"
    thousands, tens = divmod(int(exponent), 3)
    return f"{float(mantissa) * 10**tens:.3g} {'kMGT'[thousands - 1]}"


def _caption(model: Any, boxes: Sequence[_Box]) -> str:
    rows = [row for box in boxes for row in box.rows]
    inputs = [_times(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    facts = [f"{model.count_params():,} params", _macs(rows, "{:,}".format)]
    facts += [f"input {', '.join(inputs)}"] if inputs else []
    name = f'<font point-size="14"><b>{html.escape(model.name)}</b></font>'
    return f'{name}<br/><font point-size="9.5" color="{_GREY}">{" &middot; ".join(facts)}</font>'
