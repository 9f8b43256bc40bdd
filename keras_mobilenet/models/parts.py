"""The MobileNets within a Keras model: their layers by plain name, whoever built around them.

A net is found among one model's own layers, by the names, kinds and kernels that `spec` gives, its
`name_prefix` left out. So it is found in a flat model, in one nested in another or in a wrapper, in
a copy, in a file opened by plain Keras, without batch norms, cut short or under another top.
Keras is not imported: a model is asked for its layers and for its graph.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from keras_mobilenet.nets import v1
from keras_mobilenet.nets.net import Layer

_CONVOLUTION = re.compile(r"(.*?)(conv1|conv_(?:dw_|pw_)?[1-9]\d{0,3})")  # prefix, plain name
_NUMBERED = re.compile(r"conv_.*?([1-9]\d{0,3})(?:_bn|_relu)?")
_STEM = "conv1"
_CLASSIFIER = next(layer.name for layer in v1.top(1, 1) if layer.kernel)
_POOLS = ("GlobalAveragePooling2D", "GlobalMaxPooling2D")
_BEFORE_CLASSIFIER = ("Dropout", "Reshape")  # Keras 2 reshapes there too
_BEHIND_CLASSIFIER = ("Reshape", "Activation", "Softmax")


@dataclass(frozen=True, eq=False)
class Net:
    """A MobileNet, whole or a part of one, among the layers of a Keras model."""

    path: tuple[Any, ...]  # from the model that was asked to the one whose own layers these are
    prefix: str  # the `name_prefix`, which goes before each plain name
    layers: dict[str, Any]  # under the top, by plain name, from the first one to the last

    @property
    def owner(self) -> Any:
        """The model whose own layers are the net's; in a flat model that one itself."""
        return self.path[-1]

    @property
    def stem(self) -> Any | None:
        """The first convolution; None of a net that begins further up."""
        return self.layers.get(_STEM)

    @property
    def first(self) -> Any:
        """The first layer, which is a padding or a convolution."""
        return next(iter(self.layers.values()))

    @property
    def last(self) -> Any:
        """The last layer under the top."""
        return next(reversed(self.layers.values()))

    @property
    def ends_block(self) -> bool:
        """Whether the last layer is the last one of its block, so that a top can stand on it."""
        name = next(reversed(self.layers))
        block_id = _block_id(name)
        ends = (v1.layers_of_block(block_id, separable=it)[-1].name for it in (True, False))
        return bool(block_id) and name in ends

    @property
    def parts(self) -> Mapping[str, Sequence[Any]]:
        """The layers by part: `"stem"`, `"block_1"`, `"block_2"`, ..., in order."""
        parts: dict[str, list[Any]] = {}
        for name, layer in self.layers.items():
            parts.setdefault(part_of(name), []).append(layer)
        return parts

    @property
    def top(self) -> tuple[Any, ...]:
        """The net's own classifier, from its pool to its outputs; () where there is none.

        It stands in the net's model, or in one around that under a new top.
        """
        name = self.prefix + _CLASSIFIER
        for model in reversed(self.path):
            found = [x for x in _inner(model) if x.name == name and _kind(x) == "Conv2D"]
            before = _line(sources_in(model), found, _BEFORE_CLASSIFIER, _POOLS)
            if before and _kind(before[-1]) in _POOLS:
                behind = _line(_targets_in(model), found, _BEHIND_CLASSIFIER)
                return (*reversed(before), *found, *behind)
        return ()

    @property
    def ahead(self) -> tuple[Any, ...] | None:
        """What lies between the input of the model that was asked and the net, in order.

        Layers, and operations without one such as `x / 255` makes; () where the net takes the
        input as it is. None where it is no single line, or a subclassed model does not tell.
        """
        found: list[Any] = []
        steps = [*pairwise(self.path), (self.owner, self.first)]
        for model, operation in steps:
            line = _line_to_input(model, operation)
            if line is None:
                return None
            found += line
        return tuple(found)


def find_nets(model: Any) -> list[Net]:
    """Return the MobileNets in a model and in those nested in it, each once, in graph order."""
    nets: dict[tuple[int, ...], Net] = {}
    for net in _nets(model, ()):
        nets.setdefault(tuple(map(id, net.layers.values())), net)
    return [*nets.values()]


def find_net(model: Any) -> Net | None:
    """Return the MobileNet in a model or nested in it, the first of several; None without one."""
    return next(iter(find_nets(model)), None)


def leaves_of(model: Any) -> list[Any]:
    """Return a model's layers, in place of a nested model those within it."""
    inner = _inner(model)
    return [leaf for layer in inner for leaf in leaves_of(layer)] if inner else [model]


def part_of(name: str) -> str:
    """Return the part that a layer under the top stands in, by its plain name; `""` of none."""
    layer = _layers(_block_id(name)).get(name)
    return layer.part if layer else ""


def place_of(name: str) -> tuple[int, int]:
    """Return where a layer stands, by its plain name: its block's number, and the place in that."""
    block_id = _block_id(name)
    return block_id, list(_layers(block_id)).index(name)


def nodes_of(model: Any) -> list[Any]:
    """Return the calls that a model's graph consists of, in order; none of a subclassed model."""
    # Keras' own summary asks a model's nodes too; there is no public way.
    graph = getattr(model, "_functional", None) or model  # the former is a Sequential's
    by_depth = getattr(graph, "_nodes_by_depth", {})
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def sources_in(model: Any) -> dict[int, list[Any]]:
    """Return what feeds each operation of a model's graph, by the operation's `id`."""
    sources: dict[int, list[Any]] = {}
    for node in nodes_of(model):
        feeding = (parent.operation for parent in node.parent_nodes)
        sources.setdefault(id(node.operation), []).extend(feeding)
    return sources


def _targets_in(model: Any) -> dict[int, list[Any]]:
    targets: dict[int, list[Any]] = {}
    for node in nodes_of(model):
        for parent in node.parent_nodes:
            targets.setdefault(id(parent.operation), []).append(node.operation)
    return targets


def _line(
    links: Mapping[int, Sequence[Any]], start: Sequence[Any], kinds: Sequence[str],
    ends: Sequence[str] = (),
) -> list[Any]:  # fmt: skip
    """Return the operations of these kinds behind the only one in `start`, each on one link.

    One of the kinds in `ends` is the last of them.
    """
    line: list[Any] = []
    following = list(start)
    while len(following) == 1:
        following = list(links.get(id(following[0]), ()))
        if len(following) != 1 or _kind(following[0]) not in (*kinds, *ends):
            break
        line += following
        if _kind(line[-1]) in ends:
            break
    return line


def _line_to_input(model: Any, operation: Any) -> list[Any] | None:
    """Return what leads from a model's input to one of its operations, if it is a single line."""
    sources = sources_in(model)
    line: list[Any] = []
    while True:
        feeding = sources.get(id(operation), ())
        if len(feeding) != 1:
            return None
        (operation,) = feeding
        if _kind(operation) == "InputLayer":
            return line[::-1]
        line.append(operation)


def _nets(model: Any, above: tuple[Any, ...]) -> Iterator[Net]:
    inner = _inner(model)
    path = (*above, model)
    yield from (Net(path, prefix, layers) for prefix, layers in _by_prefix(inner))
    for layer in inner:
        yield from _nets(layer, path)


def _inner(model: Any) -> Sequence[Any]:
    """Return a model's own layers, or the model that a wrapper holds; none of a plain layer's."""
    if hasattr(model, "layers"):
        return list(model.layers)
    wrapped = getattr(model, "layer", None)
    return [wrapped] if hasattr(wrapped, "layers") else []


def _by_prefix(layers: Iterable[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each net among one model's own layers: its prefix, and its layers by plain name."""
    layers = list(layers)
    names = (_CONVOLUTION.fullmatch(x.name) for x in layers if _kind(x).endswith("Conv2D"))
    for prefix in dict.fromkeys(match[1] for match in names if match):
        found = _of_net({x.name.removeprefix(prefix): x for x in layers if _has_prefix(x, prefix)})
        if _is_net(found):
            yield prefix, {name: found[name] for name in sorted(found, key=place_of)}


def _has_prefix(layer: Any, prefix: str) -> bool:
    return str(layer.name).startswith(prefix)


def _of_net(layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return those that are a MobileNet's.

    A "conv_3" is a user's own beside a separable block 3, and where it stands without its ReLU.
    """
    found = {name: layer for name, layer in layers.items() if _is_layer(name, layer)}
    return {
        name: layer
        for name, layer in found.items()
        if name not in (full := _of_full(_block_id(name)))
        or (
            _depthwise(_block_id(name)) not in found
            and any(x.endswith("_relu") and x in found for x in full)
        )
    }


def _is_net(layers: Mapping[str, Any]) -> bool:
    """Return whether these layers are a net's: single ones of such a name may be anybody's."""
    blocks = {_block_id(name) for name in layers} - {0}
    if _STEM in layers and 1 in blocks:
        return True
    return any({_depthwise(block), f"conv_pw_{block}"} <= layers.keys() for block in blocks)


def _is_layer(name: str, layer: Any) -> bool:
    known = _layers(_block_id(name)).get(name)
    if known is None or known.kind != _kind(layer):
        return False
    return tuple(getattr(layer, "kernel_size", ())) == known.kernel[:2]


def _kind(layer: Any) -> str:
    return type(layer).__name__


@functools.cache
def _layers(block_id: int) -> dict[str, Layer]:
    """Return what the layers of a block may be, by name and in graph order; of 0, the stem's."""
    if not block_id:  # this padding has every layer that any padding has
        stem = (x for x in v1.network(padding="symmetric") if x.part == "stem")
        return {layer.name: layer for layer in stem}
    both = (v1.layers_of_block(block_id, separable=it) for it in (True, False))
    return {layer.name: layer for layers in both for layer in layers}


@functools.cache
def _depthwise(block_id: int) -> str:
    """Return the name of the layer that tells a separable block from a full convolution."""
    layers = v1.layers_of_block(block_id, separable=True)
    return next(layer.name for layer in layers if layer.kind == "DepthwiseConv2D")


@functools.cache
def _of_full(block_id: int) -> frozenset[str]:
    """Return the names that only a block has that is one full convolution."""
    names = ({x.name for x in v1.layers_of_block(block_id, separable=it)} for it in (False, True))
    return frozenset(next(names) - next(names))


def _block_id(name: str) -> int:
    match = _NUMBERED.fullmatch(name)
    return int(match[1]) if match else 0
