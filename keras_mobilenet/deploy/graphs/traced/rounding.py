"""Whether two Keras models compute the same but for rounding, of which each net has its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_mobilenet.deploy.comparison import Difference, difference, generated_images
from keras_mobilenet.deploy.graphs.traced.copies import copied, is_model, view_of
from keras_mobilenet.errors import AccuracyError
from keras_mobilenet.models.backends import inferred

logger = logging.getLogger(__name__)

Arrays = list[npt.NDArray[np.float32]]
_LEAST = 1e-5  # of the largest output: rounding, of whatever net
_ULPS = 2.0**-21  # by which weights are disturbed: four units in the last place of a float32
# What sound folds differ by is up to 0.8 times what that does to the outputs, by measurement on
# published nets under 48 tops; the epsilon of another library, 200 times.
_MARGIN = 4.0
_TRIES = 3  # at disturbing them
_COUNT = 2  # images
_UNKNOWN_SIZE = 64  # pixels, for the check of a model of any size


def check_rounding(model: Any, folded: keras.Model) -> None:
    """Raise if a folded copy computes something else than its model.

    Both are run on generated images. How far rounding may take them apart, the net tells itself,
    with weights that are off by a few units in the last place: where large values cancel in small
    outputs, or a softmax multiplies errors, one grows as the other does.

    Raises:
        AccuracyError: the outputs differ by more.
    """
    for nested in filter(is_model, view_of(model).layers):
        check_rounding(nested, folded.get_layer(nested.name))
    model, tested = _before_activation(model), _before_activation(folded)
    inputs = _generated_inputs(tested)
    reference, outputs = _outputs(model, inputs), _outputs(tested, inputs)
    error = _worst(reference, outputs)
    allowed = _LEAST
    if _LEAST < error.relative_error < np.inf:
        allowed = max(allowed, _MARGIN * _own_rounding(tested, inputs, outputs))
    if not error.relative_error <= allowed:
        raise AccuracyError(
            f"Folding the batch norms of model {folded.name!r} changes its outputs: {error}, where "
            f"rounding accounts for {allowed:.2g} of the largest output. A batch norm with a "
            "variance near zero, or weights that are not finite, can be the reason. Use the "
            "model as it is."
        )
    logger.info("folded the batch norms of %s: %s", folded.name, error)


def _worst(reference: Arrays, outputs: Arrays) -> Difference:
    each = [difference(a, b) for a, b in zip(reference, outputs, strict=True)]
    return max(each, key=lambda it: it.relative_error)


def _own_rounding(model: keras.Model, inputs: Any, outputs: Arrays) -> float:
    """Return how far outputs come apart when weights are off by some units in the last place.

    The largest of several tries, as a single output may hardly react to one of them.
    """
    weights, random = model.get_weights(), np.random.default_rng(0)
    errors = []
    for _ in range(_TRIES):
        with _disturbed(model, weights, random):
            errors.append(_worst(outputs, _outputs(model, inputs)).relative_error)
    return max(errors)


@contextmanager
def _disturbed(
    model: keras.Model, weights: list[Any], random: np.random.Generator
) -> Iterator[None]:
    try:
        model.set_weights([_off(values, random) for values in weights])
        yield
    finally:
        model.set_weights(weights)


def _off(values: npt.NDArray[Any], random: np.random.Generator) -> npt.NDArray[Any]:
    if values.dtype.kind != "f":
        return values
    signs = random.integers(0, 2, values.shape, np.int8) * 2 - 1
    return (values * (1 + _ULPS * signs)).astype(values.dtype)


def _generated_inputs(model: Any) -> Any:
    def generate(tensor: Any) -> Any:
        shape = [n or _UNKNOWN_SIZE for n in tensor.shape[1:]]
        values: Any = np.random.default_rng(0).uniform(-1, 1, (_COUNT, *shape))
        if len(shape) == 3:
            values = generated_images((_COUNT, *shape), low=-1.0, high=1.0)
        whole_numbers = "int" in keras.backend.standardize_dtype(tensor.dtype)
        return keras.ops.cast(np.abs(values) > 0.5 if whole_numbers else values, tensor.dtype)

    return keras.tree.map_structure(generate, model.input)


def _before_activation(model: Any) -> keras.Model:
    """Return `model` with what goes into its last activation, if it ends in one, as output.

    A saturated softmax or sigmoid hides errors. Of a layer that computes and activates in one, the
    input comes beside the output.
    """
    model = view_of(model)
    last = model.layers[-1]
    whole = isinstance(last, keras.layers.Activation)
    linear = getattr(last, "activation", None) in (None, keras.activations.linear)
    if is_model(last) or len(model.outputs) != 1 or (linear and not whole):
        return model
    if model.outputs[0] is not last.output:  # other models have the layer, too
        model = copied(model)
        last = model.layers[-1]
    if model.outputs[0] is not last.output:
        return model
    outputs = last.input if whole else [last.input, last.output]
    return keras.Model(model.input, outputs, name=model.name)


def _outputs(model: keras.Model, inputs: Any) -> Arrays:
    outputs = keras.tree.flatten(inferred(model, inputs))
    return [keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")) for y in outputs]
