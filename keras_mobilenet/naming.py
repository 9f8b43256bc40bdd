"""Our array names, and what each source calls the same array.

Ours are Keras 3's variable paths: a layer's name in `spec`, a slash, and the variable's name, as in
`"conv_dw_3/kernel"`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from keras_mobilenet import spec

_KERAS_2 = {"depthwise_kernel": "kernel"}
TOP_LAYER = "conv_preds"


def from_legacy_keras(layer: str, weights: Sequence[str]) -> list[str]:
    """Return our names of a layer's weights in a legacy H5, `conv_dw_1/depthwise_kernel:0` etc.

    The layer's group says which layer it is; the weights' own prefix may be numbered (`conv1_1/`)
    where a process had built the net twice. Several prefixes are the layers of a nested model.
    """
    parts = [weight.rpartition("/") for weight in weights]
    nested = len({prefix for prefix, _, _ in parts}) > 1
    names = []
    for prefix, _, last in parts:
        variable = last.partition(":")[0]
        owner = prefix.rpartition("/")[2] if nested else layer
        names.append(f"{owner}/{_KERAS_2.get(variable, variable)}")
    return names


def keras_3_variables(class_name: str, count: int) -> Sequence[str]:
    """Return the variable names behind the numbers 0, 1, ... that Keras 3 stores for a layer.

    Args:
        class_name: The layer's class in snake case, such as `"batch_normalization"`.
        count: How many variables the layer has.
    """
    if class_name == "batch_normalization" and count == len(spec.BATCH_NORM_ARRAYS):
        return spec.BATCH_NORM_ARRAYS
    return ("kernel", "bias")[:count] if count <= 2 else tuple(map(str, range(count)))


# TF-slim's names: a scope a layer, and a variable in it.
SLIM_ROOT = "MobilenetV1/"
SLIM_AVERAGE = "/ExponentialMovingAverage"
_SLIM_SCOPES = {"conv1": "Conv2d_0", TOP_LAYER: "Logits/Conv2d_1c_1x1"} | {
    f"conv_{ours}_{block_id}": f"Conv2d_{block_id}_{slims}"
    for block_id in range(1, len(spec.BLOCKS) + 1)
    for ours, slims in (("dw", "depthwise"), ("pw", "pointwise"))
}
_SLIM_VARIABLES = {"kernel": "weights", "bias": "biases"}
_SLIM_TRAINING = re.compile(  # what its optimizers add to a variable's name, or to the graph
    r".*/(RMSProp|Momentum|Adam|Adagrad|Adadelta|Ftrl)(_\d+)?|.*global_step|beta[12]_power"
)


def from_slim() -> dict[str, str]:
    """Return our name of each of a slim net's variables, by slim's, in graph order."""
    names = {}
    for ours in spec.arrays(spec.network()):
        layer, _, variable = ours.partition("/")
        scope = _SLIM_SCOPES[layer.removesuffix("_bn")]
        theirs = _SLIM_VARIABLES.get(variable, variable)
        if layer.endswith("_bn"):
            theirs = f"BatchNorm/{theirs}"
        elif layer.startswith("conv_dw_"):
            theirs = f"depthwise_{theirs}"
        names[f"{SLIM_ROOT}{scope}/{theirs}"] = ours
    return names


def is_slim_array(name: str) -> bool:
    """Return whether a variable of a slim checkpoint belongs to the net, not to its training."""
    return not _SLIM_TRAINING.fullmatch(name.removesuffix(SLIM_AVERAGE))
