"""A new top on a net that is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_mobilenet import arguments, graph, spec
from keras_mobilenet.model_files import recipe_of, set_recipe
from keras_mobilenet.recipes import Label, checked_labels
from keras_mobilenet.transfer.nets import ends_block, of_net, place_of

POOLINGS = ("avg", "max")


def replace_top(
    model: Any,
    classes: int,
    *,
    dropout: float = 1e-3,
    pooling: spec.Pooling = "avg",
    activation: str | Callable[..., Any] | None = "softmax",
    labels: Sequence[Label] | None = None,
) -> keras.Model:
    """Return a model of the same net with a new top, for other classes.

    The layers under the top are the same ones, not copies: what one of the two models learns, or
    `freeze` sets, is the other's too. Those of the top are named as `MobileNet`'s and start from
    Keras' random values, which `keras.utils.set_random_seed` fixes.

    Args:
        model: What `MobileNet` or this function returned, with a top, which is left out, or
            without; for any size and number of channels.
        classes: Outputs of the new top.
        dropout: Share of the pooled features that training drops.
        pooling: `"avg"`, as in MobileNet, or `"max"`.
        activation: Of the outputs: a Keras activation's name, a function, or None for logits.
        labels: The classes' names in order, or pairs of an identifier and a name. They are kept
            in the model's file, as is how a picture becomes its input: that is as for `model`.

    Returns:
        A `keras.Model`, not compiled, with outputs of shape `(batch, classes)`.

    Raises:
        ValueError: the model has no MobileNet that ends in its last block, an argument is wrong,
            or there are not as many labels as classes.
    """
    features = _features(model)
    classes = arguments.positive_int("classes", classes, "Pass the number of your classes.")
    names = checked_labels(labels, classes)
    _check(classes, pooling, activation)
    channels_first = keras.config.image_data_format() == "channels_first"
    outputs = graph.build(
        spec.top(features.shape[1 if channels_first else -1], classes, pooling),
        features,
        graph.Settings(arguments.share_dropped(dropout), activation),
    )
    new = keras.Model(model.input, outputs, name=model.name)
    set_recipe(new, replace(recipe_of(model), labels=names))
    return new


def _features(model: Any) -> Any:
    """Return the `KerasTensor` that the last block puts out, `(batch, height, width, channels)`."""
    # Of the model's own layers: those of a nested model have no connection to its input.
    layers = sorted(of_net(getattr(model, "layers", ())), key=place_of)
    if not layers or not ends_block(layers[-1]):
        found = f"They end with {layers[-1].name}" if layers else "None of them is a MobileNet's"
        raise ValueError(
            f"Model {getattr(model, 'name', model)!r} has no last block of a MobileNet among its "
            f"own layers. {found}. Pass a model that MobileNet() or replace_top() "
            f"returned{_nested(model)}."
        )
    data_format = layers[0].data_format
    if data_format != keras.config.image_data_format():
        raise ValueError(
            f"The model's data format is {data_format!r}, that of new layers is "
            f"{keras.config.image_data_format()!r}. "
            f"Call keras.config.set_image_data_format({data_format!r}) first."
        )
    return layers[-1].output


def _nested(model: Any) -> str:
    """Return what to say where the net is in a nested model: which one to pass."""
    for layer in getattr(model, "layers", ()):
        if any(map(ends_block, getattr(layer, "layers", ()))):
            return f": here model.get_layer({layer.name!r})"
    return ""


def _check(classes: int, pooling: Any, activation: Any) -> None:
    if pooling not in POOLINGS:
        raise ValueError(f"`pooling` must be 'avg' or 'max'. Received: pooling={pooling!r}")
    function = graph.activation("activation", activation)
    if classes == 1 and function is keras.activations.softmax:
        raise ValueError(
            "`activation` must not be 'softmax' with classes=1: the softmax of one output is 1, "
            "whatever the picture. Pass activation='sigmoid', or classes=2."
        )
