"""TF-slim's MobileNet V1, out of whichever file its variables come."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_mobilenet import naming, spec
from keras_mobilenet.arrays import ArrayLike
from keras_mobilenet.checkpoints.checkpoint import Checkpoint
from keras_mobilenet.errors import CheckpointError

BACKGROUND_CLASSES = 1001  # ImageNet's, and class 0 for none of them


def checkpoint(
    format_name: str, variables: Mapping[str, ArrayLike], epsilon: float = 1e-3
) -> Checkpoint:
    """Return the checkpoint that slim's variables, under slim's names, are.

    The moving average of a variable, which slim evaluates with, goes before the variable itself.

    Raises:
        CheckpointError: there is no variable of slim's MobileNet V1.
    """
    ours = naming.from_slim()
    averages = [name for name in variables if name.endswith(naming.SLIM_AVERAGE)]
    chosen = {n: a for n, a in variables.items() if n not in averages}
    chosen |= {n.removesuffix(naming.SLIM_AVERAGE): variables[n] for n in averages}
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
    top = arrays.get(f"{naming.TOP_LAYER}/kernel")
    return Checkpoint(
        format_name,
        _in_order(arrays),
        spec.Conventions(epsilon, padding="same"),
        background=top is not None and tuple(top.shape[-1:]) == (BACKGROUND_CLASSES,),
        notes=tuple(notes),
    )


def _missing_gammas(arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """Return gammas of 1 if no batch norm has one; a single one that is missing is a fault."""
    if any(name.endswith("/gamma") for name in arrays):
        return {}
    betas = {n: a for n, a in arrays.items() if n.endswith("_bn/beta")}
    return {
        name.replace("/beta", "/gamma"): np.ones(beta.shape, np.float32)
        for name, beta in betas.items()
    }


def _in_order(arrays: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """Return the arrays in the order of the net's layers, unknown ones last."""
    known = [name for name in naming.from_slim().values() if name in arrays]
    return {name: arrays[name] for name in dict.fromkeys([*known, *arrays])}
