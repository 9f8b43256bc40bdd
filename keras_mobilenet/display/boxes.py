"""A model's layers put together as boxes: one a block of MobileNet, and what is around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import keras

from keras_mobilenet.display.summaries import Row, layer_rows
from keras_mobilenet.models.parts import find_nets, sources_in
from keras_mobilenet.nets.net import is_block

Links = list[tuple[int, int]]  # from one item or box to another, by their places

_TOP = "top"


@dataclass(frozen=True)
class Item:
    """One layer, one operation without a layer, or one nested model that stays closed."""

    operation: Any
    rows: tuple[Row, ...]
    part: str = ""  # as in a net's `Layer`; "" for what is not MobileNet's
    net: int = 0  # which net the part belongs to
    hidden: bool = False  # the input of a nested model, which links pass by

    @property
    def kind(self) -> str:
        """The name of its class."""
        return type(self.operation).__name__

    @property
    def has_kernel(self) -> bool:
        """Whether it has weights of more than one axis."""
        return any(len(weight.shape) > 1 for weight in getattr(self.operation, "weights", ()))


@dataclass
class Box:
    """Layers that are drawn as one."""

    part: str  # as in a net's `Layer`; "" for what is not MobileNet's
    after_blocks: bool  # whether a block of MobileNet comes before
    items: list[Item] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """The rows of its layers."""
        return [row for item in self.items for row in item.rows]


def boxes_and_links(model: Any) -> tuple[list[Box], Links]:
    """Return the boxes of a built model in graph order, and which feeds which, by their places.

    A MobileNet is found in nested models too. Any other model is drawn as well: a box for each
    chain of layers with one kernel. Behind MobileNet's blocks a chain is not cut at its kernels, so
    that a top is one box.
    """
    items = list(_items(model))
    links = _item_links(model, items)
    boxes = _boxes(items, links)
    place = {id(item): i for i, box in enumerate(boxes) for item in box.items}
    pairs = {(place[id(items[a])], place[id(items[b])]) for a, b in links}
    return boxes, sorted((a, b) for a, b in pairs if a != b)


def operations_of(model: Any) -> Sequence[Any] | None:
    """Return a model's layers and the operations between them; None for all that has no graph."""
    if isinstance(model, keras.Sequential):
        return list(model.layers)
    operations: Sequence[Any] | None = getattr(model, "operations", None)
    return operations


def _items(model: Any, calls: int = 1, nested: bool = False) -> Iterator[Item]:
    """Yield what a model consists of, in graph order; only nested MobileNets are opened."""
    operations, rows = operations_of(model), layer_rows(model)
    if operations is None:  # a subclassed model does not tell its graph
        yield Item(model, tuple(rows))
        return
    parts = _parts(model)
    for operation, row in zip(operations, rows, strict=True):
        if _has_blocks(operation):
            yield from _items(operation, calls * _calls(operation, row), nested=True)
            continue
        counted = (replace(row, macs=row.macs and row.macs * calls),)
        hidden = nested and isinstance(operation, keras.layers.InputLayer)
        yield Item(operation, counted, *parts.get(id(operation), ("", 0)), hidden)


def _calls(nested: Any, row: Row) -> int:
    """Return how often a nested model is called, which multiplies the MACs in its row."""
    once = sum(inner.macs or 0 for inner in layer_rows(nested))
    return row.macs // once if row.macs and once else 1


def _parts(model: Any) -> dict[int, tuple[str, int]]:
    """Return the part of each of a model's own layers that is MobileNet's, and whose, by its id."""
    operations = set(map(id, operations_of(model) or ()))
    parts: dict[int, tuple[str, int]] = {}
    for net in find_nets(model):
        parts |= {id(x): (part, id(net.first)) for part, xs in net.parts.items() for x in xs}
        parts |= {id(layer): (_TOP, id(net.first)) for layer in net.top}
    parts |= _between(model, parts)
    return {key: part for key, part in parts.items() if key in operations}


def _between(model: Any, parts: dict[int, tuple[str, int]]) -> dict[int, tuple[str, int]]:
    """Return the part of each bare operation that stands within one part, as in a gate."""
    around: dict[int, set[tuple[str, int] | None]] = {}
    sources = sources_in(model)
    for operation in operations_of(model) or ():
        for feeding in sources.get(id(operation), ()):
            around.setdefault(id(operation), set()).add(parts.get(id(feeding)))
            around.setdefault(id(feeding), set()).add(parts.get(id(operation)))
    bare = {id(x) for x in operations_of(model) or () if not isinstance(x, keras.layers.Layer)}
    return {
        key: part
        for key, seen in around.items()
        if key in bare and len(seen) == 1 and (part := next(iter(seen))) is not None
    }


def _has_blocks(operation: Any) -> bool:
    return operations_of(operation) is not None and bool(find_nets(operation))


def _item_links(model: Any, items: Sequence[Item]) -> Links:
    """Return which item feeds which."""
    graph = keras.utils.model_to_dot(model, expand_nested=True)  # names a node by its identity
    place = {str(id(op)): i for i, item in enumerate(items) for op in _leaves(item.operation)}
    known = [(place[a], place[b]) for a, b in _edges(graph) if a in place and b in place]
    links = [(a, b) for a, b in known if a != b]
    for hidden in (i for i, item in enumerate(items) if item.hidden):
        sources = [a for a, b in links if b == hidden]
        targets = [b for a, b in links if a == hidden]
        links = [link for link in links if hidden not in link] + [*product(sources, targets)]
    return list(dict.fromkeys(links))


def _leaves(operation: Any) -> Iterator[Any]:
    yield operation
    for inner in operations_of(operation) or ():
        yield from _leaves(inner)


def _edges(graph: Any) -> Iterator[tuple[str, str]]:
    for edge in graph.get_edges():
        yield str(edge.get_source()), str(edge.get_destination())
    for cluster in graph.get_subgraphs():
        yield from _edges(cluster)


def _boxes(items: Sequence[Item], links: Links) -> list[Box]:
    boxes: list[Box] = []
    box_of: dict[Any, Box] = {}  # by the item's place, and by net and part
    for i, item in enumerate(items):
        if item.hidden:
            continue
        key = (item.net, item.part) if item.part else _before_in_chain(i, links)
        box = box_of.get(key)
        if box and not item.part and (box.part or (item.has_kernel and not box.after_blocks)):
            box = None
        if box is None:
            box = Box(item.part, after_blocks=any(is_block(b.part) for b in boxes))
            boxes.append(box)
        box.items.append(item)
        box_of[i] = box_of[item.net, item.part] = box
    return boxes


def _before_in_chain(i: int, links: Links) -> int | None:
    """Return the item that alone feeds item `i`, and feeds nothing else."""
    sources = [a for a, b in links if b == i]
    if len(sources) == 1 and [a for a, _ in links].count(sources[0]) == 1:
        return sources[0]
    return None
