"""TF-slim's MobileNets, out of whichever file its variables come."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import ArrayLike, Lazy
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import v1, v2, v3
from keras_mobilenet.nets.families.registry import FAMILIES
from keras_mobilenet.nets.net import Layer, Net, part_number

BACKGROUND_CLASSES = 1001  # ImageNet's, and class 0 for none of them


def checkpoint(
    format_name: str, variables: Mapping[str, ArrayLike], epsilon: float = 1e-3
) -> Checkpoint:
    """Return the checkpoint that slim's variables, under slim's names, are.

    The moving average of a variable, which slim evaluates with, goes before the variable itself.

    Raises:
        CheckpointError: there is no variable of slim's MobileNets.
    """
    ours = from_slim()
    averages = [name for name in variables if name.endswith(SLIM_AVERAGE)]
    chosen = {n: a for n, a in variables.items() if n not in averages}
    chosen |= {n.removesuffix(SLIM_AVERAGE): variables[n] for n in averages}
    if not ours.keys() & chosen.keys():
        raise CheckpointError(
            f"there is no variable {next(iter(ours))}, so this is not TF-slim's MobileNet"
        )
    arrays = {ours.get(name, name): array for name, array in chosen.items()}
    notes = []
    if averages:
        notes.append(f"took the moving averages of {len(averages)} variables")
    if ones := _missing_gammas(arrays):
        arrays |= ones
        notes.append("the batch norms have no gamma (scale=False), which is a gamma of 1")
    arrays = _with_dense_tops(arrays)
    tops = (arrays.get(f"{known.classifier.name}/kernel") for known in FAMILIES)
    top = next((kernel for kernel in tops if kernel is not None), None)
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
    known = (norm for family in FAMILIES for norm in family.network().batch_norm_names().values())
    norms = [norm for norm in dict.fromkeys(known) if f"{norm}/beta" in arrays]
    return {f"{norm}/gamma": np.ones(arrays[f"{norm}/beta"].shape, np.float32) for norm in norms}


def _with_dense_tops(arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """Return the arrays, the kernel of a 1 x 1 convolution as a matrix where Keras' net has one."""
    matrices: dict[str, ArrayLike] = {}
    for family in FAMILIES:
        name = f"{family.classifier.name}/kernel"
        shape = tuple(arrays[name].shape) if name in arrays else ()
        if family.classifier.kind == "Dense" and len(shape) == 4 and shape[:2] == (1, 1):
            read = partial(_as_matrix, arrays[name])
            matrices[name] = Lazy(shape[2:], arrays[name].dtype, read)
    return {**arrays, **matrices}


def _as_matrix(kernel: ArrayLike) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = np.asarray(kernel)[0, 0]
    return values


def _in_order(arrays: Mapping[str, ArrayLike], ours: Mapping[str, str]) -> dict[str, ArrayLike]:
    """Return the arrays in the order of the net's layers, unknown ones last."""
    known = [name for name in ours.values() if name in arrays]
    return {name: arrays[name] for name in dict.fromkeys([*known, *arrays])}


# TF-slim's names: a scope a layer, and a variable in it.
SLIM_ROOT = "MobilenetV1/"
ROOTS = {
    v1.FAMILY: SLIM_ROOT,
    v2.FAMILY: "MobilenetV2/",
    v3.SMALL_FAMILY: "MobilenetV3/",
    v3.LARGE_FAMILY: "MobilenetV3/",
}
_LOGITS = "Logits/Conv2d_1c_1x1"
_IN_BLOCK = {
    "expand": "expand",
    "depthwise": "depthwise",
    "project": "project",
    "squeeze": "squeeze_excite/Conv",
    "excite": "squeeze_excite/Conv_1",
}
SLIM_AVERAGE = "/ExponentialMovingAverage"
_SLIM_VARIABLES = {"kernel": "weights", "bias": "biases"}
_SLIM_TRAINING = re.compile(  # what its optimizers add to a variable's name, or to the graph
    r".*/(RMSProp|Momentum|Adam|Adagrad|Adadelta|Ftrl)(_\d+)?|.*global_step|beta[12]_power"
)


@cache
def from_slim() -> dict[str, str]:
    """Return our name of each variable of slim's nets, by slim's, in graph order.

    V3 Small and Large call the same things alike.
    """
    names: dict[str, str] = {}
    for family, root in ROOTS.items():
        scope_of = _scope_v1 if family is v1.FAMILY else _scope
        names |= {f"{root}{theirs}": ours for theirs, ours in _named(family.network(), scope_of)}
    return names


def _named(net: Net, scope_of: Callable[[Layer], str]) -> Iterator[tuple[str, str]]:
    for layer in filter(Layer.arrays, net):
        of_batch_norm = layer.kind == "BatchNormalization"
        scope = scope_of(net.inputs[layer.name][0] if of_batch_norm else layer)
        for ours in layer.arrays():
            variable = ours.rpartition("/")[2]
            theirs = _SLIM_VARIABLES.get(variable, variable)
            if of_batch_norm:
                theirs = f"BatchNorm/{theirs}"
            elif layer.role == "depthwise":
                theirs = f"depthwise_{theirs}"
            yield f"{scope}/{theirs}", ours


def _scope_v1(layer: Layer) -> str:
    """Return slim's name of a convolution of V1."""
    if layer.role == "classifier":
        return _LOGITS
    kind = "" if layer.role == "stem" else f"_{layer.role}"
    return f"Conv2d_{max(0, part_number(layer.part))}{kind}"


def _scope(layer: Layer) -> str:
    """Return slim's name of a convolution of V2 or V3."""
    if layer.role in _IN_BLOCK:
        number = part_number(layer.part)
        return f"expanded_conv{f'_{number}' if number else ''}/{_IN_BLOCK[layer.role]}"
    if layer.role == "classifier":
        return _LOGITS
    return {"stem": "Conv", "head": "Conv_1", "top": "Conv_2"}[layer.part]


def is_slim_array(name: str) -> bool:
    """Return whether a variable of a slim checkpoint belongs to the net, not to its training."""
    return not _SLIM_TRAINING.fullmatch(name.removesuffix(SLIM_AVERAGE))
