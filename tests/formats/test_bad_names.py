"""HDF5 files whose names are wrong: of layers, of weights, of groups."""

import h5py
import numpy as np
import pytest
from checkpoint_files import random_arrays, write_keras_2, write_keras_3

ARRAYS = random_arrays(alpha=0.25)
LAYERS = ["input_1", *dict.fromkeys(name.rpartition("/")[0] for name in ARRAYS)]


@pytest.fixture
def renamed(tmp_path):
    """Write a legacy H5 with another value of an attribute; None leaves the attribute out."""

    def make(attribute, value, layer="conv1"):
        path = write_keras_2(tmp_path / "x.h5", ARRAYS, layers=LAYERS)
        with h5py.File(path, "r+") as file:
            group = file[layer] if attribute == "weight_names" else file
            del group.attrs[attribute]
            if value is not None:
                group.attrs.create(attribute, value, dtype=getattr(value, "dtype", None))
        return path

    return make


NAMES = [
    ("layer_names", None, "neither of Keras' layouts"),
    ("layer_names", [b"conv1", b"conv1"], "conv1/kernel is in the file twice"),
    ("layer_names", [b"conv1", b"nowhere"], "no entry 'nowhere'"),
    ("layer_names", [b"conv1", b"\xff\xfe"], "'layer_names' holds a name that is not UTF-8"),
    ("layer_names", np.array([b"conv1", b"\xff"]), "'layer_names' holds a name that is not UTF-8"),
    ("layer_names", [1, 2], "'layer_names' holds something else than names"),
    ("layer_names", h5py.Empty("S8"), "'layer_names' holds something else than names"),
    ("layer_names", [b""], "damaged|no entry ''"),
    ("layer_names", [b".."], "no entry '..'"),
    ("layer_names", [b"/conv1"], "damaged|no entry ''"),
    ("layer_names", [b"conv1/conv1/kernel:0"], "is not a group"),
    ("layer_names", np.array([b"input_1"]), r"not in the file \(137\)"),
    ("weight_names", None, "list of weights of conv1, `weight_names`, is missing"),
    ("weight_names", [b"conv1/kernel:0"] * 2, "conv1/kernel is in the file twice"),
    ("weight_names", [b"conv1/bias:0"], "no entry 'bias:0'"),
    ("weight_names", [b"\xff/kernel:0"], "holds a name that is not UTF-8"),
    ("weight_names", [b"conv1"], "is not a dataset"),
    ("weight_names", [b"../conv_pw_1/conv_pw_1/kernel:0"], "no entry '..'"),
    ("weight_names", [1.5], "'weight_names' holds something else than names"),
    ("weight_names", np.array([], "S1"), r"not in the file \(1\)"),
]


@pytest.mark.parametrize(("attribute", "value", "match"), NAMES)
def test_names_that_are_wrong_are_refused(refuse, renamed, attribute, value, match):
    refuse(renamed(attribute, value), match)


def test_a_whole_model_without_its_list_of_layers_is_refused(refuse, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("model_weights/conv1")
    refuse(tmp_path / "x.h5", "the list of layers, `layer_names`, is missing")


KERAS_3_NAMES = [
    (None, "does not tell its layer's name, as files of Keras before 3.8 do not"),
    (["conv1", "conv2"], "does not tell its layer's name"),
    (b"\xff", "'name' holds a name that is not UTF-8"),
    (5, "'name' holds something else than names"),
    ("conv_pw_1", "conv_pw_1/kernel is in the file twice"),
    ("other", r"not in the file \(1\):\n    conv1/kernel\n  not in the model \(1\)"),
]


@pytest.mark.parametrize(("name", "match"), KERAS_3_NAMES)
def test_names_that_are_wrong_in_keras_3_files_are_refused(refuse, good, name, match):
    path = good(".weights.h5")
    with h5py.File(path, "r+") as file:
        attributes = file["layers/conv2d/vars"].attrs
        del attributes["name"]
        if name is not None:
            attributes["name"] = np.bytes_(name) if isinstance(name, bytes) else name
    refuse(path, match)


@pytest.mark.parametrize("place", ["layers", "layers/conv2d", "layers/conv2d/vars"])
def test_names_that_are_not_utf8_in_keras_3_files_are_refused(refuse, good, place):
    path = good(".weights.h5")
    with h5py.File(path, "r+") as file:
        h5py.h5g.create(file[place].id, b"\xff\xfe")
    refuse(path, f"{place} holds a name that is not UTF-8")


def test_a_variable_too_many_is_refused(refuse, tmp_path):
    arrays = ARRAYS | {"conv1_bn/more": ARRAYS["conv1_bn/gamma"]}
    refuse(write_keras_3(tmp_path / "x.h5", arrays), r"not in the model \(5\):\n    conv1_bn/0")
