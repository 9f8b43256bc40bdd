"""Batch norms that stay frozen, whatever is set or passed later.

`trainable = False` does not hold in Keras: the next `model.trainable = True`, of the model or of
any model around it, undoes it, and a model that is called within another gets the other's
`training`, so that `base(x, training=False)` does not hold either. From then on `fit` overwrites
the moving statistics with those of a few small batches, and the accuracy falls. A frozen batch
norm knows by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras


class FrozenBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """A batch norm whose four arrays never train.

    So it always is in inference mode, too: Keras' goes by `training` only where it is trainable.
    Whoever asks for its kind - a summary, a diagram, a converter, and Keras when it writes a file -
    is told that of Keras' own layer, which computes the same as long as nobody makes it trainable.
    So the file opens where this package is not installed; `model_files.load_model` alone makes its
    layers frozen again. A copy by `copy` or `pickle` is such a file to Keras.
    """

    __module__ = "keras.layers"

    @property
    def trainable(self) -> bool:
        """False."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        # Passed over, not refused: `model.trainable = True` reaches every layer and must go on.
        keras.layers.BatchNormalization.trainable.fset(self, False)


FrozenBatchNormalization.__name__ = keras.layers.BatchNormalization.__name__


def layers_within(model: Any, *, models: bool = False) -> Iterator[Any]:
    """Yield a model's layers, in place of a nested model or a wrapper those within it.

    With `models`, the model itself, the nested ones and the wrappers come too, each before its
    layers. What is in a model several times comes as often.
    """
    inner = getattr(model, "layers", None)
    if inner is None and isinstance(model, keras.layers.Wrapper):
        inner = [model.layer]
    if inner is None or models:
        yield model
    for layer in inner or ():
        yield from layers_within(layer, models=models)


def batch_norms_of(model: Any) -> list[Any]:
    """Return a model's batch norms, each once, frozen or not, those of nested models included."""
    kind = keras.layers.BatchNormalization
    return [x for x in dict.fromkeys(layers_within(model)) if isinstance(x, kind)]


def freeze_batch_norms(layers: Sequence[Any]) -> None:
    """Make batch norms frozen ones.

    Raises:
        ValueError: one is of a class of the user's own; none of them has changed.
    """
    for layer in layers:
        if not is_known(layer):
            raise ValueError(
                f"Layer {layer.name!r} is a {type(layer).__name__}, which is derived from Keras' "
                "BatchNormalization and computes something of its own, so that it cannot be "
                "frozen. Use Keras' layer, or pass batch_norm='train'."
            )
    for layer in layers:
        layer.trainable = False  # first: set on a frozen one, TensorFlow passes over what it reads
        # The class, not the layer, is exchanged: a functional model's graph refers to its layers,
        # and a graph built anew would leave every model that shares them with the old ones.
        layer.__class__ = FrozenBatchNormalization


def release_batch_norms(layers: Sequence[Any]) -> None:
    """Make frozen batch norms ordinary ones, not trainable until that is set."""
    for layer in layers:
        if isinstance(layer, FrozenBatchNormalization):
            layer.__class__ = keras.layers.BatchNormalization


def is_known(layer: Any) -> bool:
    """Return whether a batch norm is Keras' own or one of these, and so can change between them."""
    return type(layer) in (keras.layers.BatchNormalization, FrozenBatchNormalization)
