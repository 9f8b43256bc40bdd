"""What of a model trains: set by block, and said in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import prod
from typing import Any, Literal

import keras

from keras_mobilenet.models.frozen import (
    batch_norms_of,
    freeze_batch_norms,
    layers_within,
    release_batch_norms,
)
from keras_mobilenet.models.parts import FoundNet, find_nets
from keras_mobilenet.nets.net import is_block

BatchNorm = Literal["frozen", "train"]
ALL = "all"
ALL_BUT_TWO = "all_but_two"  # blocks: these train, and what is behind them


def freeze(
    model: Any, *, until: str | None = ALL_BUT_TWO, batch_norm: BatchNorm = "frozen"
) -> keras.Model:
    """Return `model`, in which the net's first layers no longer train.

    What is frozen is MobileNet, under a `name_prefix` and in a nested model too, and each of
    several; every layer that is not its own - a top,
    or what a user put before it - trains. Compile the model afterwards, and every model around it:
    an optimizer knows only what trained when it was made.

    Args:
        model: A model that `MobileNet` returned, or one built on it. It is changed in place, and
            with it all models that share its layers.
        until: The last part or layer that is frozen: `"stem"`, a block such as `"block_11"`,
            `"head"`, the name of a layer, with or without its prefix, `"all"` for everything under
            the top, None for nothing, or `"all_but_two"` for all but the last two blocks and what
            is behind them: in `MobileNet` that is `"block_11"`.
        batch_norm: `"frozen"` keeps all batch norms, trained parts' too, as they are: they never
            train and always are in inference mode, whatever `training` or `trainable` say later.
            That is what a few hundred images want. `"train"` makes them ordinary layers again,
            and those behind `until` train.

    Returns:
        The same model.

    Raises:
        ValueError: the model has no MobileNet in it, `until` is no part of it, or `batch_norm` is
            unknown. The model is as it was.
    """
    if batch_norm not in ("frozen", "train"):
        raise ValueError(
            f"`batch_norm` must be 'frozen' or 'train'. Received: batch_norm={batch_norm!r}"
        )
    below = _below(_nets(model), until)
    change = freeze_batch_norms if batch_norm == "frozen" else release_batch_norms
    change(batch_norms_of(model))
    # A model has a switch of its own, which hides its layers'. Each is set: under TensorFlow,
    # Keras passes `model.trainable = True` on to the layers only if that is news to the model.
    for layer in layers_within(model, models=True):
        layer.trainable = True
        if isinstance(layer, keras.Model):
            layer.train_function = None  # else `fit` goes on with the traced one, without a word
    for layer in below:
        layer.trainable = False
    return model


def _nets(model: Any) -> Sequence[FoundNet]:
    """Return the nets in a model.

    Raises:
        ValueError: there is none.
    """
    nets = find_nets(model)
    if not nets:
        raise ValueError(
            f"Model {model.name!r} has no MobileNet in it: no stem and first block under their "
            "names, with or without a prefix. Pass a model that MobileNet() returned, or one built "
            "on it."
        )
    return nets


def _below(nets: Sequence[FoundNet], until: str | None) -> Sequence[Any]:
    """Return each net's layers up to the end of the part, or the layer, of the name `until`."""
    if until is None:
        return ()
    if until == ALL_BUT_TWO:
        return [layer for net in nets for layer in _below([net], _third_last(net))]
    triples = [(net, name, layer) for net in nets for name, layer in net.layers.items()]
    if until == ALL:
        return [layer for _, _, layer in triples]
    named = ((net, n) for net, n, x in triples if until in (n, x.name, net.part_of(n)))
    places = [net.place_of(name) for net, name in named]
    if not places:
        raise ValueError(_unknown(nets, until))
    return [layer for net, name, layer in triples if net.place_of(name) <= max(places)]


def _third_last(net: FoundNet) -> str:
    """Return the last block but two, or what stands ahead of the blocks where there are few."""
    parts = [*net.parts]
    blocks = [part for part in parts if is_block(part)]
    return blocks[-3] if len(blocks) > 2 else parts[0]


def _unknown(nets: Sequence[FoundNet], until: str) -> str:
    parts = dict.fromkeys(part for net in nets for part in net.parts)
    return (
        f"`until` must be one of {', '.join(parts)}, {ALL}, {ALL_BUT_TWO}, None or the name of a "
        f"layer from {nets[0].first.name} to {nets[-1].last.name}. Received: until={until!r}"
    )


def trainable_summary(model: Any) -> str:
    """Return one line that says what trains, of how many parameters, and what batch norms do.

    As in `"trains block_12 to block_13: 1,234 of 5,678 parameters; batch norm frozen"`.
    """
    training = {id(weight) for weight in model.trainable_weights}
    count = sum(prod(weight.shape) for weight in model.trainable_weights)
    where = ", ".join(_ranges(model, training)) or "nothing"
    text = f"trains {where}: {count:,} of {model.count_params():,} parameters"
    return "; ".join([text, *_batch_norms(model, training)])


def _ranges(model: Any, training: set[int]) -> Iterator[str]:
    """Yield the parts that train, as in `"block_12 to block_13"` or `"adapter"`."""
    batch_norms = set(map(id, batch_norms_of(model)))
    unique = dict.fromkeys(layers_within(model))
    layers = [x for x in unique if x.weights and id(x) not in batch_norms]
    trains = [any(id(weight) in training for weight in layer.weights) for layer in layers]
    nets = find_nets(model)
    parts_of = {id(x): net.part_of(name) for net in nets for name, x in net.layers.items()}
    still = {parts_of.get(id(layer)) for layer, on in zip(layers, trains, strict=True) if not on}
    for on, run in groupby(zip(layers, trains, strict=True), key=lambda pair: pair[1]):
        if on:
            # A part of which only some layers train is not named for all of them.
            named = [(parts_of.get(id(x)), x.name) for x, _ in run]
            parts = [part if part and part not in still else name for part, name in named]
            yield parts[0] if parts[0] == parts[-1] else f"{parts[0]} to {parts[-1]}"


def _batch_norms(model: Any, training: set[int]) -> Iterator[str]:
    layers = batch_norms_of(model)
    on = sum(any(id(weight) in training for weight in layer.weights) for layer in layers)
    if layers:
        mixed = f"{on} of {len(layers)} batch norms train"
        yield {0: "batch norm frozen", len(layers): "batch norm trains"}.get(on, mixed)
