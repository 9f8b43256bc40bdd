"""TF-slim's MobileNet V1, out of whichever file its variables come."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.nets import v1
from keras_mobilenet.nets.net import Conventions, Layer, part_number

BACKGROUND_CLASSES = 1001  # ImageNet's, and class 0 for none of them


def checkpoint(
    format_name: str, variables: Mapping[str, ArrayLike], epsilon: float = 1e-3
) -> Checkpoint:
    """Return the checkpoint that slim's variables, under slim's names, are.

    The moving average of a variable, which slim evaluates with, goes before the variable itself.

    Raises:
        CheckpointError: there is no variable of slim's MobileNet V1.
    """
    ours = from_slim()
    averages = [name for name in variables if name.endswith(SLIM_AVERAGE)]
    chosen = {n: a for n, a in variables.items() if n not in averages}
    chosen |= {n.removesuffix(SLIM_AVERAGE): variables[n] for n in averages}
    if not ours.keys() & chosen.keys():
        raise CheckpointError(
            f"there is no variable {next(iter(ours))}, so this is not TF-slim's MobileNet V1"
        )
    arrays = {ours.get(name, name): array for name, array in chosen.items()}
    notes = []
    if averages:
        notes.append(f"took the moving averages of {len(averages)} variables")
    if ones := _missing_gammas(arrays):
        arrays |= ones
        notes.append("the batch norms have no gamma (scale=False), which is a gamma of 1")
    top = arrays.get(f"{v1.FAMILY.classifier.name}/kernel")
    return Checkpoint(
        format_name,
        _in_order(arrays, ours),
        Conventions(epsilon, padding="same"),
        background=top is not None and tuple(top.shape[-1:]) == (BACKGROUND_CLASSES,),
        notes=tuple(notes),
    )


def _missing_gammas(arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """Return gammas of 1 if no batch norm has one; a single one that is missing is a fault."""
    if any(name.endswith("/gamma") for name in arrays):
        return {}
    norms = (norm for norm in v1.network().batch_norm_names().values() if f"{norm}/beta" in arrays)
    return {f"{norm}/gamma": np.ones(arrays[f"{norm}/beta"].shape, np.float32) for norm in norms}


def _in_order(arrays: Mapping[str, ArrayLike], ours: Mapping[str, str]) -> dict[str, ArrayLike]:
    """Return the arrays in the order of the net's layers, unknown ones last."""
    known = [name for name in ours.values() if name in arrays]
    return {name: arrays[name] for name in dict.fromkeys([*known, *arrays])}


# TF-slim's names: a scope a layer, and a variable in it.
SLIM_ROOT = "MobilenetV1/"
SLIM_AVERAGE = "/ExponentialMovingAverage"
_SLIM_VARIABLES = {"kernel": "weights", "bias": "biases"}
_SLIM_TRAINING = re.compile(  # what its optimizers add to a variable's name, or to the graph
    r".*/(RMSProp|Momentum|Adam|Adagrad|Adadelta|Ftrl)(_\d+)?|.*global_step|beta[12]_power"
)


def from_slim() -> dict[str, str]:
    """Return our name of each of a slim net's variables, by slim's, in graph order."""
    names = {}
    net = v1.network()
    for layer in net:
        of_batch_norm = layer.kind == "BatchNormalization"
        scope = _scope(net.inputs[layer.name][0] if of_batch_norm else layer)
        for ours in layer.arrays():
            variable = ours.rpartition("/")[2]
            theirs = _SLIM_VARIABLES.get(variable, variable)
            if of_batch_norm:
                theirs = f"BatchNorm/{theirs}"
            elif layer.role == "depthwise":
                theirs = f"depthwise_{theirs}"
            names[f"{SLIM_ROOT}{scope}/{theirs}"] = ours
    return names


def _scope(layer: Layer) -> str:
    """Return slim's name of a convolution."""
    if layer.role == "classifier":
        return "Logits/Conv2d_1c_1x1"
    kind = "" if layer.role == "stem" else f"_{layer.role}"
    return f"Conv2d_{max(0, part_number(layer.part))}{kind}"


def is_slim_array(name: str) -> bool:
    """Return whether a variable of a slim checkpoint belongs to the net, not to its training."""
    return not _SLIM_TRAINING.fullmatch(name.removesuffix(SLIM_AVERAGE))
