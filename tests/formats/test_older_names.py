"""MobileNetV2 and V3 in files of older versions of Keras, which named some layers otherwise."""

import re

import numpy as np
import pytest
from checkpoint_files import same, weights, write_groups, write_tfjs

import keras_mobilenet
from keras_mobilenet import inspect_weights, load_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.registry import open_checkpoint
from keras_mobilenet.nets.families import v2, v3

SQUEEZING = v3.SMALL[0], v3.SMALL[2], v3.SMALL[4]
# As Keras 2.4 names layers of V3, by today's names.
OUTSIDE_BLOCKS = {
    "conv": "Conv",
    "conv_bn": "Conv/BatchNorm",
    "conv_1": "Conv_1",
    "conv_1_bn": "Conv_1/BatchNorm",
    "conv_2": "Conv_2",
    "logits": "Logits",
}
IN_BLOCK = re.compile(r"(expanded_conv(?:_\d+)?)_(expand|depthwise|project)(_bn)?")
SQUEEZE_EXCITE = re.compile(r"(expanded_conv(?:_\d+)?)_squeeze_excite_(conv(?:_1)?)")


def as_older(name):
    if match := SQUEEZE_EXCITE.fullmatch(name):
        return f"{match[1]}/squeeze_excite/{match[2].capitalize()}"
    if match := IN_BLOCK.fullmatch(name):
        return f"{match[1]}/{match[2]}{'/BatchNorm' if match[3] else ''}"
    return OUTSIDE_BLOCKS[name]


def older_names(arrays):
    return {layer: as_older(layer) for layer in {name.rpartition("/")[0] for name in arrays}}


def random_values(model):
    random = np.random.default_rng(0)
    return {
        name: random.uniform(0.5, 1.5, array.shape).astype("float32")
        for name, array in weights(model).items()
    }


def groups(arrays, names):
    """The arrays as a legacy H5 groups them, under the older names of their layers."""
    found = {}
    for name, array in arrays.items():
        layer, _, variable = name.rpartition("/")
        theirs = names.get(layer, layer)
        depthwise = layer.endswith("depthwise") and variable == "kernel"
        weight = f"{theirs}/{'depthwise_kernel' if depthwise else variable}:0"
        found.setdefault(theirs, {})[weight] = array
    return found


@pytest.fixture(scope="module")
def net():
    return keras_mobilenet.MobileNetV3Small(
        (32, 32, 3), 0.5, weights=None, classes=4, blocks=SQUEEZING
    )


def test_a_v3_with_slashes_in_its_names_loads_by_name(net, tmp_path):
    arrays = random_values(net)
    path = write_groups(tmp_path / "x.h5", groups(arrays, older_names(arrays)))
    report = load_weights(net, path)
    assert not report.unexpected
    assert same(weights(net), arrays)


@pytest.mark.parametrize("name", ["{layer}/{variable}", "MobilenetV3small/{layer}/{variable}"])
def test_a_v3_with_slashes_in_its_names_loads_from_tensorflow_js(net, tmp_path, name):
    arrays = random_values(net)
    theirs = older_names(arrays)
    stored = {
        f"{theirs[layer]}/{variable}": array
        for (layer, _, variable), array in ((x.rpartition("/"), y) for x, y in arrays.items())
    }
    report = load_weights(net, write_tfjs(tmp_path / "tfjs", stored, name=name))
    assert not report.unexpected
    assert same(weights(net), arrays)


def test_the_published_v3_nets_are_told_under_both_sets_of_names(tmp_path):
    for family in (v3.SMALL_FAMILY, v3.LARGE_FAMILY):
        arrays = {n: np.zeros(s, "f4") for n, s in family.network(0.25, classes=2).arrays().items()}
        path = tmp_path / f"{family.key}.h5"
        write_groups(path, groups(arrays, older_names(arrays)))
        assert inspect_weights(path).origin.net == family.name
        assert set(inspect_weights(path).arrays) == set(arrays)


def test_an_array_under_both_names_is_refused(net, tmp_path):
    arrays = random_values(net)
    twice = groups(arrays, older_names(arrays)) | {"conv": {"conv/kernel:0": np.zeros(3, "f4")}}
    with pytest.raises(CheckpointError, match="conv/kernel is in the file twice"):
        load_weights(net, write_groups(tmp_path / "x.h5", twice))


def test_v2_keeps_its_own_conv_1_and_its_logits_are_todays_predictions(tmp_path):
    net = keras_mobilenet.MobileNetV2(
        (32, 32, 3), 0.35, weights=None, classes=4, blocks=v2.BLOCKS[:3]
    )
    arrays = random_values(net)
    load_weights(net, write_groups(tmp_path / "x.h5", groups(arrays, {"predictions": "Logits"})))
    assert same(weights(net), arrays)
    stored = {name.replace("predictions", "Logits"): array for name, array in arrays.items()}
    load_weights(net, write_tfjs(tmp_path / "tfjs", stored, name="model/{layer}/{variable}"))
    assert same(weights(net), arrays)


def test_a_teachable_machine_file_of_v2_holds_the_published_base(shared_data):
    folder = shared_data / "weights" / "v2"
    nested = folder / "teachable_machine_mobilenet_v2_0.35_224.h5"
    plain = folder / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    base = keras_mobilenet.MobileNetV2((224, 224, 3), 0.35, include_top=False, weights=plain)
    published = weights(base)
    for variable in base.weights:
        variable.assign(np.zeros(variable.shape))
    report = load_weights(base, nested, strict=False)
    head = ("dense_Dense1/kernel", "dense_Dense1/bias", "dense_Dense2/kernel")
    assert report.unexpected == head
    assert not report.missing
    assert same(weights(base), published)
    with open_checkpoint(nested) as checkpoint:
        assert [checkpoint.arrays[name].shape for name in head] == [(1280, 100), (100,), (100, 4)]
