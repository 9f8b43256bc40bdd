"""TF-slim's checkpoints of MobileNetV2 and V3, under slim's names as its nets make them."""

import re

import numpy as np
import pytest
from checkpoint_files import same, weights

import keras_mobilenet
from keras_mobilenet import inspect_weights, load_weights
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import v2, v3

V2 = {
    "Conv1/kernel": "Conv/weights",
    "bn_Conv1/gamma": "Conv/BatchNorm/gamma",
    "Conv_1/kernel": "Conv_1/weights",
    "Conv_1_bn/beta": "Conv_1/BatchNorm/beta",
    "block_1_expand/kernel": "expanded_conv_1/expand/weights",
    "block_1_depthwise/kernel": "expanded_conv_1/depthwise/depthwise_weights",
    "block_1_depthwise_BN/moving_mean": "expanded_conv_1/depthwise/BatchNorm/moving_mean",
    "expanded_conv_project/kernel": "expanded_conv/project/weights",
    "predictions/kernel": "Logits/Conv2d_1c_1x1/weights",
    "predictions/bias": "Logits/Conv2d_1c_1x1/biases",
}
V3 = {
    "conv/kernel": "Conv/weights",
    "conv_1_bn/beta": "Conv_1/BatchNorm/beta",
    "conv_2/bias": "Conv_2/biases",
    "expanded_conv_depthwise/kernel": "expanded_conv/depthwise/depthwise_weights",
    "expanded_conv_3_squeeze_excite_conv/kernel": "expanded_conv_3/squeeze_excite/Conv/weights",
    "expanded_conv_3_squeeze_excite_conv_1/bias": "expanded_conv_3/squeeze_excite/Conv_1/biases",
    "logits/kernel": "Logits/Conv2d_1c_1x1/weights",
}


def slims(name):
    """Slim's name of an array, by a rule of this test's own."""
    layer, _, variable = name.rpartition("/")
    layer, norms = re.subn("_bn$|_BN$|^bn_", "", layer)
    layer = re.sub(r"^block_(\d+)", r"expanded_conv_\1", layer)
    layer = re.sub(r"^(expanded_conv(?:_\d+)?)_(?=[a-z])", r"\1/", layer)
    layer = layer.replace("squeeze_excite_conv", "squeeze_excite/Conv")
    outside = {"Conv1": "Conv", "predictions": "Logits/Conv2d_1c_1x1"}
    outside |= {"logits": outside["predictions"], "conv": "Conv"}
    outside |= {f"conv_{i}": f"Conv_{i}" for i in (1, 2)}
    layer = outside.get(layer, layer)
    if norms:
        return f"{layer}/BatchNorm/{variable}"
    kernel = "depthwise_weights" if layer.endswith("depthwise") else "weights"
    return f"{layer}/{ {'kernel': kernel, 'bias': 'biases'}[variable] }"


def saved(path, root, model, random):
    """Write random values of a model's arrays as slim's, and return them under our names."""
    import tensorflow as tf

    arrays = {
        name: random.uniform(0.5, 1.5, array.shape).astype("float32")
        for name, array in weights(model).items()
    }
    theirs = {f"{root}/{slims(name)}": array for name, array in arrays.items()}
    theirs = {n: a[None, None] if a.ndim == 2 else a for n, a in theirs.items()}
    tf.raw_ops.SaveV2(
        prefix=str(path), tensor_names=[*theirs], shape_and_slices=[""] * len(theirs),
        tensors=[*theirs.values()],
    )  # fmt: skip
    return arrays


@pytest.mark.parametrize(
    ("net", "root", "names", "blocks"),
    [
        ("MobileNetV2", "MobilenetV2", V2, v2.BLOCKS[:3]),
        ("MobileNetV3Small", "MobilenetV3", V3, v3.SMALL[:4]),
    ],
)
def test_a_checkpoint_of_slim_loads_by_name(tmp_path, net, root, names, blocks):
    assert {ours: slims(ours) for ours in names} == names
    model = getattr(keras_mobilenet, net)(
        (32, 32, 3), 0.5, weights=None, classes=1001, blocks=blocks
    )
    arrays = saved(tmp_path / "model.ckpt", root, model, np.random.default_rng(0))
    assert names.keys() <= arrays.keys()
    report = load_weights(model, tmp_path / "model.ckpt")
    assert not report.unexpected
    assert same(weights(model), arrays)
    inspection = inspect_weights(tmp_path / "model.ckpt")
    assert inspection.conventions == Conventions(1e-3, "same")
    assert inspection.background
