"""Tensors within a Keras model, seen from its own input, also where they lie in a nested model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain, count, pairwise
from typing import Any

import keras

from keras_mobilenet.models.parts import FoundNet, nodes_of


def tensors_at(path: tuple[Any, ...], tensors: Any) -> Any:
    """Return what `KerasTensor`s of a nested model are in the model around it.

    Args:
        path: The models from the outermost to the one that the tensors belong to.
        tensors: One of the last one's graph, or a dict of them. What a model around it calls is
            cut there, on the same layers and with the arguments that it is called with.

    Raises:
        ValueError: a model on the way has no graph, or calls the next one several times.
    """
    for outer, inner in reversed([*pairwise(path)]):
        call = _only_call(outer, inner)
        if len(inner.outputs) == 1 and tensors is inner.outputs[0]:
            (tensors,) = call.output_tensors
        else:
            cut = keras.Model(inputs_of(inner), tensors, name=inner.name)
            tensors = cut(*call.arguments.args, **call.arguments.kwargs)
    return tensors


def output_in(model: Any, layer: Any) -> Any:
    """Return the `KerasTensor` that a layer puts out in a model's own graph.

    Raises:
        ValueError: the model has no graph, or calls the layer several times.
    """
    (tensor,) = _only_call(model, layer).output_tensors
    return tensor


def features_of(net: FoundNet) -> Any:
    """Return the `KerasTensor` that a net's last layer puts out, seen from the whole model's input.

    Raises:
        ValueError: a model on the way has no graph, or calls the next one several times.
    """
    return tensors_at(net.path, output_in(net.owner, net.last))


def backwards(model: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield what leads to a model's output, from there on, while it is a single line.

    Yields the models from the outermost to the one that makes the call, and the call: a node of
    Keras' graph, of a layer or an operation, not of a nested model.
    """
    path, ends = [model], list(getattr(model, "outputs", None) or ())
    while path and len(ends) == 1:
        made = [x for x in nodes_of(path[-1]) if any(t is ends[0] for t in x.output_tensors)]
        if len(made) != 1:
            return
        (node,) = made
        if nodes_of(node.operation):  # a nested model: its own output comes next
            path.append(node.operation)
            ends = list(node.operation.outputs)
            continue
        if node.is_input:
            inner = path.pop()
            calls = [n for n in nodes_of(path[-1]) if n.operation is inner] if path else []
            ends = list(calls[0].input_tensors) if len(calls) == 1 else []
            continue
        yield tuple(path), node
        ends = list(node.input_tensors)


def inputs_of(model: Any) -> Any:
    """Return a model's inputs as a constructor takes them, in the structure that they have.

    One input goes in as it is: Keras warns where a list of one was given and an array comes.
    """
    return model.inputs[0] if len(model.inputs) == 1 else model.input


def names_in(model: Any) -> set[str]:
    """Return the names of all layers and operations in a model's own graph."""
    return {node.operation.name for node in nodes_of(model)}


def free_name(name: str, taken: Collection[str]) -> str:
    """Return `name`, with the first number behind it that makes it none of those taken, if any.

    What is added to a user's graph is called so: no two of its layers may have one name.
    """
    numbered = (f"{name}_{number}" for number in count(1))
    return next(free for free in chain([name], numbered) if free not in taken)


def _only_call(model: Any, operation: Any) -> Any:
    calls = [node for node in nodes_of(model) if node.operation is operation]
    if len(calls) == 1:
        return calls[0]
    how = f"calls {operation.name!r} {len(calls)} times" if calls else "does not tell its graph"
    raise ValueError(
        f"Model {model.name!r} {how}, so that the net's features in it are not known. Pass the "
        f"model within it: here model.get_layer({operation.name!r})."
    )
