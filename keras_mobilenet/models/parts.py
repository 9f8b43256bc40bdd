"""The MobileNets within a Keras model: their layers by plain name, whoever built around them.

A net is found among one model's own layers, by the names, kinds and kernels that its family gives,
its `name_prefix` left out. So it is found in a flat model, in one nested in another or in a
wrapper, in a copy, in a file opened by plain Keras, without batch norms, cut short or under another
top. Keras is not imported: a model is asked for its layers and for its graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from math import prod
from typing import Any

from keras_mobilenet.nets.families.registry import prefixes_in
from keras_mobilenet.nets.net import (
    Family,
    Layer,
    Net,
    is_block,
    part_number,
)

_POOLS = ("GlobalAveragePooling2D", "GlobalMaxPooling2D")
_BEFORE_CLASSIFIER = ("Dropout", "Reshape")  # Keras 2 reshapes there too
_BEHIND_CLASSIFIER = ("Reshape", "Flatten", "Activation", "Softmax")


@dataclass(frozen=True, eq=False)
class FoundNet:
    """A MobileNet, whole or a part of one, among the layers of a Keras model."""

    path: tuple[Any, ...]  # from the model that was asked to the one whose own layers these are
    prefix: str  # the `name_prefix`, which goes before each plain name
    family: Family
    description: Net  # of the same names; its channels and strides mean nothing
    layers: dict[str, Any]  # under the top, by plain name, from the first one to the last

    @property
    def owner(self) -> Any:
        """The model whose own layers are the net's; in a flat model that one itself."""
        return self.path[-1]

    @property
    def stem(self) -> Any | None:
        """The first convolution; None of a net that begins further up."""
        return self.layers.get(self.description.stem.name)

    @property
    def first(self) -> Any:
        """The first layer, which is a padding or a convolution."""
        return next(iter(self.layers.values()))

    @property
    def last(self) -> Any:
        """The last layer under the top."""
        return next(reversed(self.layers.values()))

    @property
    def ends_part(self) -> bool:
        """Whether the last layer ends a block, or the head, so that a top can stand on it."""
        part = self.part_of(next(reversed(self.layers)))
        ends = [layer for layer in self.description.parts[part] if not _folds_away(layer)]
        return part != "stem" and ends[-1].name in self.layers

    @property
    def parts(self) -> Mapping[str, Sequence[Any]]:
        """The layers by part: `"stem"`, `"block_1"`, `"block_2"`, ..., in order."""
        parts: dict[str, list[Any]] = {}
        for name, layer in self.layers.items():
            parts.setdefault(self.part_of(name), []).append(layer)
        return parts

    def part_of(self, name: str) -> str:
        """Return the part that a layer stands in, by its plain name."""
        return self.description.by_name[name].part

    def place_of(self, name: str) -> tuple[int, int]:
        """Return where a layer stands, by its plain name: its part's number, the place in that."""
        layer = self.description.by_name[name]
        return part_number(layer.part), self.description.parts[layer.part].index(layer)

    @property
    def top(self) -> tuple[Any, ...]:
        """The net's own classifier, from its pool to its outputs; () where there is none.

        It stands in the net's model, or in one around that under a new top.
        """
        known = self.family.classifier.prefixed(self.prefix)
        top = self.description.parts.get("top", ())
        # Of a net that has one, a convolution and its activation stand behind the pool.
        kinds = [x.kind for x in top if x.role != "classifier"] if self.has_wide_top else []
        for model in reversed(self.path):
            found = [x for x in _inner(model) if (x.name, kind_of(x)) == (known.name, known.kind)]
            before = _line(sources_in(model), found, (*_BEFORE_CLASSIFIER, *kinds), _POOLS)
            if before and kind_of(before[-1]) in _POOLS:
                behind = _line(_targets_in(model), found, _BEHIND_CLASSIFIER)
                return (*reversed(before), *found, *behind)
        return ()

    @property
    def top_activation(self) -> str | None:
        """The name of what the top ends in, "linear" for nothing; None without one, or a name."""
        return activation_of(self.top[-1]) if self.top else None

    @property
    def has_wide_top(self) -> bool:
        """Whether the family's top has a convolution of its own between pool and classifier."""
        return any(x.role == "head" for x in self.description.parts.get("top", ()))

    @property
    def features(self) -> tuple[Any, ...]:
        """What of the top goes ahead of the classifier, dropout aside; () without a top.

        That is its pool, and behind it what else the weights of the net hold.
        """
        known = self.family.classifier.prefixed(self.prefix)
        before = takewhile(lambda x: x.name != known.name, self.top)
        return tuple(x for x in before if kind_of(x) not in _BEFORE_CLASSIFIER)

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

    @property
    def behind(self) -> tuple[Any, ...] | None:
        """What lies between the net and the output of the model that was asked, in order.

        Its top is a part of it; () where the net's last layer puts out what the model does. None
        where it is no single line, or a subclassed model does not tell.
        """
        found: list[Any] = []
        for model, operation in ((self.owner, self.last), *reversed([*pairwise(self.path)])):
            line = _line_to_output(model, operation)
            if line is None:
                return None
            found += line
        return tuple(found)


def find_nets(model: Any) -> list[FoundNet]:
    """Return the MobileNets in a model and in those nested in it, each once, in graph order."""
    nets: dict[tuple[int, ...], FoundNet] = {}
    for net in _nets(model, ()):
        nets.setdefault(tuple(map(id, net.layers.values())), net)
    return [*nets.values()]


def find_net(model: Any) -> FoundNet | None:
    """Return the MobileNet in a model or nested in it, the first of several; None without one."""
    return next(iter(find_nets(model)), None)


def leaves_of(model: Any) -> list[Any]:
    """Return a model's layers, in place of a nested model those within it."""
    inner = _inner(model)
    return [leaf for layer in inner for leaf in leaves_of(layer)] if inner else [model]


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
        if len(following) != 1 or kind_of(following[0]) not in (*kinds, *ends):
            break
        line += following
        if kind_of(line[-1]) in ends:
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
        if kind_of(operation) == "InputLayer":
            return line[::-1]
        line.append(operation)


def _line_to_output(model: Any, operation: Any) -> list[Any] | None:
    """Return what leads from one of a model's operations to its output, if it is a single line."""
    targets = _targets_in(model)
    line: list[Any] = []
    while following := targets.get(id(operation), ()):
        if len(following) != 1:
            return None
        (operation,) = following
        line.append(operation)
    return line if nodes_of(model) else None


def _nets(model: Any, above: tuple[Any, ...]) -> Iterator[FoundNet]:
    inner = _inner(model)
    path = (*above, model)
    names = [layer.name for layer in inner if kind_of(layer).endswith("Conv2D")]
    best: dict[str, FoundNet] = {}
    for prefix, family in prefixes_in(names):
        net = _net(path, prefix, family)
        # Two families have names in common: it is the one that has more of the model's.
        if net and (prefix not in best or _likeness(net) > _likeness(best[prefix])):
            best[prefix] = net
    yield from best.values()
    for layer in inner:
        yield from _nets(layer, path)


def _inner(model: Any) -> Sequence[Any]:
    """Return a model's own layers, or the model that a wrapper holds; none of a plain layer's."""
    if hasattr(model, "layers"):
        return list(model.layers)
    wrapped = getattr(model, "layer", None)
    return [wrapped] if hasattr(wrapped, "layers") else []


def _net(path: tuple[Any, ...], prefix: str, family: Family) -> FoundNet | None:
    """Return the net of that prefix among the last model's own layers; None if there is none."""
    own = [layer for layer in _inner(path[-1]) if str(layer.name).startswith(prefix)]
    named = {layer.name.removeprefix(prefix): layer for layer in own}
    net = family.describe(named.keys())
    between = [known for known in net if known.part not in ("input", "top")]
    alike = [x for x in between if x.name in named and _is_layer(x, named[x.name])]
    names = {known.name for known in alike}
    found = [known for known in alike if _is_certain(net, known, names)]
    if not _is_net(net, {known.name for known in found}):
        return None
    layers = {known.name: named[known.name] for known in found}
    return FoundNet(path, prefix, family, net, layers)


def _likeness(net: FoundNet) -> tuple[int, int, int]:
    """Return how many layers a net has, and how near they are to those of its family's own."""
    switches = [{name: True} for name, default in net.family.options.items() if default is False]
    alike = []
    for options in ({}, *switches):
        own = net.family.network(**options).by_name.keys()
        alike.append((len(own & net.layers.keys()), -len(own ^ net.layers.keys())))
    return len(net.layers), *max(alike)


def activation_of(layer: Any) -> str | None:
    """Return Keras' name of what a layer applies, "linear" for nothing; None of a user's own.

    A configuration would say it, too, and have TensorFlow imported under every backend.
    """
    plain = "softmax" if kind_of(layer) == "Softmax" else "linear"
    function = getattr(layer, "activation", None)
    if function is None:
        return plain
    is_keras = getattr(function, "__module__", "").startswith("keras.")
    return getattr(function, "__name__", None) if is_keras else None


def _is_layer(known: Layer, layer: Any) -> bool:
    if known.kind != kind_of(layer):
        return False
    window = tuple(getattr(layer, "kernel_size", ()))
    # What is no 1 x 1 may have a window of any size: names do not tell it.
    return bool(window) == bool(known.window) and (prod(window) > 1) == (prod(known.window) > 1)


def _is_certain(net: Net, known: Layer, names: set[str]) -> bool:
    """Return whether a layer can only be the net's: a "conv_3" without its ReLU may be anybody's.

    Of a block of several convolutions each name says enough.
    """
    part = net.parts[known.part]
    alone = is_block(known.part) and sum(bool(layer.kernel) for layer in part) == 1
    return not alone or any(layer.kind == "ReLU" and layer.name in names for layer in part)


def _is_net(net: Net, names: set[str]) -> bool:
    """Return whether these layers are a net's: single ones of such a name may be anybody's.

    They are its stem with some of its first block, or two convolutions of a block.
    """
    counts = {part: sum(x.name in names for x in layers) for part, layers in net.parts.items()}
    if net.stem.name in names and net.blocks and counts[net.blocks[0]]:
        return part_number(net.blocks[0]) <= 1
    kernels = (sum(x.name in names for x in net.parts[b] if x.kernel) for b in net.blocks)
    return any(count > 1 for count in kernels)


def _folds_away(layer: Layer) -> bool:
    return layer.kind == "BatchNormalization"


def kind_of(layer: Any) -> str:
    """Return the name of a layer's class."""
    return type(layer).__name__
