"""Legacy H5 as Keras 1, TensorFlow 1 and nested models wrote it."""

import keras
import numpy as np
import pytest
from checkpoint_files import (
    NET,
    by_layer,
    random_arrays,
    same,
    weights,
    write_groups,
    write_keras_1,
    write_keras_2,
    write_nested,
    zeroed,
)

import keras_mobilenet
from keras_mobilenet import load_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.keras_names import from_legacy_keras, is_keras_1
from keras_mobilenet.nets.families import v1

SMALL = {"weights": None} | NET
ARRAYS = random_arrays(seed=5, **NET)
WHOLE = random_arrays(seed=5, alpha=0.25)
BASE = random_arrays(seed=5, **NET, include_top=False)
HEAD = {"kernel": np.full((256, 3), 5, "f4"), "bias": np.arange(3, dtype="f4")}
NOTE = "read running_std of Keras 1 as moving_variance, which it holds"


@pytest.fixture(scope="module")
def nets():
    base = keras_mobilenet.MobileNet(**SMALL, include_top=False, pooling="avg")
    return keras_mobilenet.MobileNet(**SMALL), base


@pytest.fixture
def model(nets):
    """A model whose every weight is zero, so that what is right was loaded."""
    return zeroed(nets[0])


@pytest.fixture
def base(nets):
    return zeroed(nets[1])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


# Keras 1


@pytest.mark.parametrize("version", [None, "1.2.0", "1.2.2"])
@pytest.mark.parametrize("end", [":0", "_1:0"])
@pytest.mark.parametrize("nested_in", [None, "model_1"])
def test_a_file_of_keras_1_loads_and_the_report_says_how(model, path, version, end, nested_in):
    write_keras_1(path, ARRAYS, version=version, end=end, nested_in=nested_in)
    report = load_weights(model, path)
    assert same(weights(model), ARRAYS)
    assert report.notes == (NOTE,)


def test_a_file_of_keras_2_has_no_such_note(model, path):
    assert load_weights(model, write_keras_2(path, ARRAYS)).notes == ()


def theano_order(arrays):
    """Kernels as (out, in, height, width), depthwise ones as (multiplier, in, height, width)."""
    orders = {n: a.transpose(3, 2, 0, 1) for n, a in arrays.items() if a.ndim == 4}
    return {n: np.ascontiguousarray(orders.get(n, a)) for n, a in arrays.items()}


@pytest.mark.parametrize("end", [":0", ""])
@pytest.mark.parametrize("strict", [True, False])
def test_theano_axis_order_is_refused(refuse, path, end, strict):
    write_keras_1(path, theano_order(ARRAYS), end=end)
    refuse(path, r"conv1_W.* has the shape \(8, 3, 3, 3\): Theano's axis order", strict=strict)


def test_theano_axis_order_is_refused_where_one_kernel_does_not_show_it(path, tmp_path, refuse):
    arrays = random_arrays(alpha=0.1)  # conv1 has 3 filters
    assert arrays["conv1/kernel"].shape == (3, 3, 3, 3)
    refuse(write_keras_1(path, theano_order(arrays)), r"conv_dw_1_depthwise_kernel.*\(1, 3, 3, 3\)")


def test_mirrored_kernels_of_theano_are_refused(refuse, path):
    match = "conv1_W is a name that Keras 1 gave on Theano, whose kernels are mirrored"
    refuse(write_keras_1(path, ARRAYS, end=""), match)


@pytest.mark.parametrize("version", ["0.3.3", "1.0.0", "1.0.8", "1.1.2"])
def test_other_versions_of_keras_1_are_refused(refuse, path, version):
    write_keras_1(path, ARRAYS, version=version)
    refuse(path, f"by Keras {version}, whose batch norms had another epsilon")


def test_what_keras_2_wrote_on_theano_is_refused(refuse, model, path):
    groups = {
        layer: {f"{layer}/{variable}": array for variable, array in variables.items()}
        for layer, variables in by_layer(ARRAYS).items()
    }
    match = "written on Theano, whose kernels are mirrored"
    refuse(write_groups(path, groups, {"backend": "theano"}), match)
    for backend in ("tensorflow", "jax", "cntk"):
        load_weights(zeroed(model), write_groups(path, groups, {"backend": backend}))
        assert same(weights(model), ARRAYS)


def test_a_negative_variance_in_running_std_is_refused(refuse, path):
    arrays = WHOLE | {"conv1_bn/moving_variance": -WHOLE["conv1_bn/moving_variance"]}
    refuse(write_keras_1(path, arrays), "conv1_bn/moving_variance holds a negative variance")


# Nested models


PATHS = ["{layer}/{variable}:0", "model1/{layer}/{variable}:0", "{layer}/{variable}"]
NUMBERED = ["{layer}_1/{variable}:0", "{layer}_12/{variable}:0", "a/{layer}_2/{variable}"]


@pytest.mark.parametrize("name", PATHS + NUMBERED)
@pytest.mark.parametrize("group", ["sequential_1", "model1", "mobilenet_0.25_224"])
def test_a_nested_base_loads_by_name_without_strict(base, path, name, group):
    head = {f"dense_2/{v}:0": a for v, a in HEAD.items()}
    write_nested(path, BASE, group=group, name=name, head=head)
    report = load_weights(base, path, strict=False)
    assert same(weights(base), BASE)
    assert report.unexpected == ("dense_2/kernel", "dense_2/bias")


@pytest.mark.parametrize("last_block", [1, 2, 3])
def test_a_truncated_base_as_teachable_machine_nests_it_loads(base, path, last_block):
    whole = keras_mobilenet.MobileNet(**SMALL, include_top=False)
    cut = keras.Model(whole.input, whole.get_layer(f"conv_pw_{last_block}_relu").output)
    truncated = {name: BASE[name] for name in weights(cut)}
    head = {"dense_Dense1/kernel:0": HEAD["kernel"], "dense_Dense1/bias:0": HEAD["bias"]}
    before = weights(base)
    report = load_weights(base, write_nested(path, truncated, head=head), strict=False)
    assert report.unexpected == ("dense_Dense1/kernel", "dense_Dense1/bias")
    assert same(weights(base), before | truncated)
    load_weights(keras.Sequential([cut, keras.layers.GlobalAveragePooling2D()]), path, strict=False)
    head = keras.Sequential([keras.Input((256,)), keras.layers.Dense(3, name="dense_Dense1")])
    load_weights(head, path, strict=False)
    assert same(weights(cut), truncated)
    assert same(weights(head), {f"dense_Dense1/{v}": a for v, a in HEAD.items()})


def test_a_nested_base_is_refused_strictly_with_the_names_of_its_head(refuse, path):
    head = {f"dense_2/{v}:0": a for v, a in HEAD.items()}
    refuse(write_nested(path, WHOLE, head=head), r"not in the model \(2\):\n    dense_2/kernel")


def test_an_h5_of_mobilenet_v2_is_called_so(shared_data, base, refuse):
    for path in sorted((shared_data / "weights" / "v2").glob("*.h5")):
        before = weights(base)
        message = refuse(
            path, "these are the weights of MobileNetV2, alpha=.*; the model is a MobileNet\\."
        )
        with pytest.raises(CheckpointError, match="Build a MobileNetV2"):
            load_weights(base, path)
        assert "by_order" not in message
        assert same(weights(base), before)


def test_names_without_a_counterpart_in_order_get_no_hint_of_order(refuse, path):
    message = refuse(
        write_groups(path, {"dense": {"dense/kernel:0": np.ones((2, 3), "f4")}}), "No array"
    )
    assert "by_order" not in message
    assert "Pass a file of a MobileNet" in message


def test_two_nested_nets_cannot_be_told_apart_and_are_refused(refuse, path):
    twins = [f"{place}/{n}" for place in "ab" for n in ("conv1/kernel:0", "conv1_bn/gamma:0")]
    groups = {"sequential": dict.fromkeys(twins, np.ones(3, "f4"))}
    refuse(write_groups(path, groups), "conv1/kernel is in the file twice")


@pytest.mark.parametrize("chunks", [2, 30])
def test_lists_of_weights_in_chunks_are_read(base, path, chunks):
    names = {n.replace("kernel", "kernel:0"): a for n, a in BASE.items()}
    load_weights(base, write_groups(path, {"sequential": names}, chunks=chunks))
    assert same(weights(base), BASE)


def test_a_chunk_that_is_missing_is_told(refuse, path):
    import h5py

    write_groups(path, {"sequential": ARRAYS}, chunks=4)
    with h5py.File(path, "r+") as file:
        del file["sequential"].attrs["weight_names2"]
    refuse(path, "not in the file")
    with h5py.File(path, "r+") as file:
        del file["sequential"].attrs["weight_names0"]
    refuse(path, "list of weights of sequential, `weight_names`, is missing")


# Names


NAMES = [
    ("conv1", ["conv1/kernel:0"], ["conv1/kernel"]),
    ("conv1", ["conv1_1/kernel:0"], ["conv1/kernel"]),
    ("conv1", ["scope/conv1/kernel:0"], ["conv1/kernel"]),
    ("conv1", ["kernel"], ["conv1/kernel"]),
    ("conv1", ["conv1_W:0"], ["conv1/kernel"]),
    ("conv1", ["conv1_W_1:0", "conv1_b_1:0"], ["conv1/kernel", "conv1/bias"]),
    ("conv1_bn", ["conv1_bn_running_std:0"], ["conv1_bn/moving_variance"]),
    ("conv_dw_1", ["conv_dw_1/depthwise_kernel:0"], ["conv_dw_1/kernel"]),
    ("my_conv1", ["conv2d_3/kernel:0"], ["my_conv1/kernel"]),  # a renamed layer
    ("head", ["head/dense_3/kernel:0", "head/dense_3/bias:0"], ["dense_3/kernel", "dense_3/bias"]),
    ("sequential_3", ["dense_1/kernel:0"], ["dense_1/kernel"]),
    ("model1", ["conv1/kernel:0", "conv1_bn/beta"], ["conv1/kernel", "conv1_bn/beta"]),
    ("model", ["conv1_W:0", "conv1_bn_beta:0"], ["conv1/kernel", "conv1_bn/beta"]),
    ("m", ["conv1_2/kernel:0", "conv_dw_1_2/kernel:0"], ["conv1/kernel", "conv_dw_1/kernel"]),
    ("m", ["conv1_1/kernel", "other_1/kernel"], ["conv1/kernel", "other_1/kernel"]),
    ("m", ["conv1/kernel", "conv_dw_1/kernel"], ["conv1/kernel", "conv_dw_1/kernel"]),
    ("m", ["conv1_bn/beta", "conv_dw_1/kernel"], ["conv1_bn/beta", "conv_dw_1/kernel"]),
    ("lstm", ["lstm_U_i:0"], ["lstm/lstm_U_i"]),
    ("x", [], []),
]


@pytest.mark.parametrize(("layer", "theirs", "ours"), NAMES)
def test_names_of_a_group(layer, theirs, ours):
    assert from_legacy_keras(layer, theirs) == ours


def test_no_name_of_ours_is_taken_for_one_of_keras_1():
    assert not any(is_keras_1(name) for name in v1.network().arrays())
    assert not any(is_keras_1(name) for name in ("kernel:0", "gamma:0", "a/b_gamma:0"))
