import gzip
import io
import os
import pickle
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest
from checkpoint_files import Trap, random_arrays, same, weights, write_keras_2, write_keras_3
from checkpoint_files import write_safetensors as write_st

from keras_mobilenet import load_weights
from keras_mobilenet.errors import CheckpointError

FORMATS = [".h5", ".weights.h5", ".keras", ".safetensors"]
WRITERS = [write_keras_2, write_keras_3, write_st]


# What is no file


def a_folder(path):
    path.mkdir()


def a_dangling_link(path):
    path.symlink_to("nowhere")


def a_link_to_itself(path):
    path.symlink_to(path)


NO_FILES = [
    pytest.param(lambda path: None, "cannot be read .*No such file", id="missing"),
    pytest.param(a_folder, "this is a folder", id="folder"),
    pytest.param(os.mkfifo, "this is not a file", id="fifo"),
    pytest.param(lambda path: path.symlink_to("/dev/zero"), "this is not a file", id="dev_zero"),
    pytest.param(a_dangling_link, "cannot be read .*No such file", id="dangling_link"),
    pytest.param(a_link_to_itself, "cannot be read .*symbolic links", id="link_to_itself"),
    pytest.param(lambda path: path.touch(), "the file is empty", id="empty"),
]


@pytest.mark.parametrize(("make", "match"), NO_FILES)
def test_what_is_no_file_is_refused_without_blocking(refuse, tmp_path, make, match):
    make(tmp_path / "x.h5")
    refuse(tmp_path / "x.h5", match)


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
def test_the_model_in_a_runs_or_pages_folder_is_named(refuse, tmp_path, name):
    (tmp_path / name).touch()
    refuse(tmp_path, f"this is a folder.\nPass the model in it, {re.escape(str(tmp_path / name))}")


@pytest.mark.parametrize("name", ["a\0b.h5", "x" * 300, "missing/x.h5"])
def test_a_path_that_cannot_be_is_refused(refuse, tmp_path, name):
    refuse(f"{tmp_path}/{name}", "cannot be read")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(refuse, good):
    path = good(".h5")
    path.chmod(0)
    refuse(path, "cannot be read .*Permission denied")


# Other files under a name of ours


def zipped(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/"), text)
    return content.getvalue()


def an_hdf5_file():
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["data"] = np.ones(3)
    return content.getvalue()


STRANGERS = [
    pytest.param(b"<!DOCTYPE html><html>404</html>", "HTML or XML.*\nFetch it", id="html"),
    pytest.param(b"\n\n  <html>{}</html>", "HTML or XML", id="indented_html"),
    pytest.param(b"<?xml version='1.0'?><Error/>", "HTML or XML", id="xml"),
    pytest.param(b"<script>{}</script>", "HTML or XML", id="brace_where_safetensors_has_one"),
    pytest.param(gzip.compress(b"\x89HDF\r\n\x1a\n"), "gzip.*\nUnpack it", id="gzip"),
    pytest.param(zipped(readme="hello"), "a zip archive that holds no weights", id="zip"),
    pytest.param(
        zipped(archive__data__pkl="x"), "a zip archive that holds no weights", id="zip_of_no_pickle"
    ),
    pytest.param(an_hdf5_file(), "neither of Keras' layouts", id="hdf5"),
    pytest.param(b"conv1 0.1 0.2 0.3\n" * 100, "not a file of weights", id="text"),
    pytest.param(b'{"conv1": [1, 2]}', "not a file of weights", id="json"),
    pytest.param(bytes(1000), "not a file of weights", id="zeros"),
    pytest.param(b"\x89PNG\r\n\x1a\n", "not a file of weights", id="png"),
    pytest.param(b"\x1c\0\0\0TFL3", "the TFLite file is truncated or damaged", id="tflite"),
    pytest.param(b"P", "not a file of weights", id="one_byte"),
]


@pytest.mark.parametrize(("content", "match"), STRANGERS)
@pytest.mark.parametrize("suffix", FORMATS)
def test_another_kind_of_file_is_told_for_what_it_is(refuse, tmp_path, content, match, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    refuse(path, match)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_never_opened(refuse, tmp_path, suffix, protocol):
    path, proof = tmp_path / f"x{suffix}", tmp_path / "opened"
    path.write_bytes(pickle.dumps(Trap(proof), protocol))
    refuse(path, "a Python pickle, which can run code and is never opened")
    path.write_bytes(zipped(**{"archive__data.pkl": pickle.dumps(Trap(proof), protocol)}))
    refuse(path, "a PyTorch pickle, which can run code and is never opened")
    assert not proof.exists()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.99, 1], ids=lambda s: f"{s:.2%}")
def test_a_truncated_file_is_refused(refuse, good, suffix, share):
    path = good(suffix)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share) - 1])
    refuse(path, "truncated or damaged")


# Files of another model


def of(**arguments):
    return random_arrays(**{"alpha": 0.25} | arguments)


MISFITS = [
    pytest.param(
        of(alpha=0.5),
        r"does not fit MobileNet\(alpha=0.25, .*"
        r"conv1/kernel +file \(3, 3, 3, 16\)  model \(3, 3, 3, 8\)\n.*and \d+ more\n"
        r"The file was made with alpha=0.5, .*Build the model with alpha=0.5, or",
        id="alpha",
    ),
    pytest.param(of(classes=10), "10 classes. Build the model with classes=10, or", id="classes"),
    pytest.param(of(classes=1001), "Build the model with classes=1001, or", id="background_class"),
    pytest.param(
        of(include_top=False),
        r"1000 classes\).\n  not in the file \(2\):.*no top. Build .* include_top=False, or",
        id="no_top",
    ),
    pytest.param(of(depth_multiplier=2), "with depth_multiplier=2, or", id="depth_multiplier"),
    pytest.param(of(channels=1), r"with input_shape=\(None, None, 1\), or", id="channels"),
    pytest.param(
        of(alpha=0.5, channels=4, classes=2),
        r"with alpha=0.5, classes=2, input_shape=\(None, None, 4\), or",
        id="all_at_once",
    ),
    pytest.param(
        of() | {"more/kernel": np.ones(2, "f4"), "more/bias": np.ones(1, "f4")},
        r"not in the model \(2\):\n    more/\w+\n    more/\w+\nPass another file, or strict=False",
        id="extra_layers",
    ),
    pytest.param(
        {n: a for n, a in of().items() if "_bn" not in n},
        r"not in the file \(108\):\n    conv1_bn/gamma\n.*and 105 more",
        id="folded",
    ),
    pytest.param(
        {n: a.reshape(a.shape[2:]) if n == "conv_pw_1/kernel" else a for n, a in of().items()},
        r"conv_pw_1/kernel  file \(8, 16\)  model \(1, 1, 8, 16\)",
        id="a_dense_kernel",
    ),
    pytest.param(
        {n: a.T if "conv" in n and a.ndim == 4 else a for n, a in of().items()},
        r"conv1/kernel +file \(8, 3, 3, 3\)",
        id="transposed",
    ),
    pytest.param({}, r"not in the file \(137\)", id="no_array"),
]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("arrays", "match"), MISFITS)
def test_the_message_names_both_sides_and_what_to_do(refuse, tmp_path, write, arrays, match):
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    refuse(write(tmp_path / "x.h5", arrays), f"(?s){match}")


@pytest.mark.parametrize("write", WRITERS)
def test_what_does_not_fit_at_all_is_refused_without_strict_too(refuse, tmp_path, write):
    path = write(tmp_path / "x.h5", {"other/kernel": np.ones((2, 2), "float32")})
    refuse(path, "No array of the file has a name of the model's", strict=False)


def test_by_order_refuses_another_number_or_kind_of_arrays(refuse, tmp_path):
    path = write_keras_2(tmp_path / "x.h5", of(include_top=False))
    refuse(path, "the file holds 135 arrays, the model 137", by_order=True)
    layers = ["conv1_bn", "conv1", *(n.rpartition("/")[0] for n in list(of())[5:])]
    path = write_keras_2(tmp_path / "x.h5", of(), layers=dict.fromkeys(layers))
    refuse(path, "conv1_bn/gamma would be loaded as conv1/kernel", by_order=True)
    refuse(write_keras_2(tmp_path / "x.h5", of(alpha=0.5)), "alpha=0.5", by_order=True)


# Values that no net can have


def with_value(name, value, dtype="float32"):
    arrays = of()
    arrays[name] = arrays[name].astype(dtype)
    arrays[name].flat[-1] = value
    return arrays


def swapped():
    arrays = of()
    names = ["conv_pw_2_bn/moving_mean", "conv_pw_2_bn/moving_variance"]
    arrays[names[0]], arrays[names[1]] = arrays[names[1]], arrays[names[0]]
    return arrays


ODD_VALUES = [
    pytest.param(with_value("conv_pw_13/kernel", np.nan), "conv_pw_13/kernel .*NaN", id="nan"),
    pytest.param(with_value("conv_preds/bias", np.inf), "conv_preds/bias .*infinite", id="inf"),
    pytest.param(with_value("conv1_bn/beta", -np.inf), "conv1_bn/beta .*infinite", id="minus_inf"),
    pytest.param(
        with_value("conv1/kernel", 1e300, "float64"), "infinite as float32", id="overflow"
    ),
    pytest.param(
        with_value("conv1_bn/moving_variance", -1e-9), "a negative variance", id="variance"
    ),
    pytest.param(swapped(), "conv_pw_2_bn/moving_variance holds a negative", id="swapped"),
]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("arrays", "match"), ODD_VALUES)
@pytest.mark.parametrize("strict", [True, False])
def test_values_that_no_net_has_are_refused(refuse, tmp_path, write, arrays, match, strict):
    refuse(write(tmp_path / "x.h5", arrays), match, strict=strict)


def test_all_faults_of_a_file_come_in_one_message(refuse, tmp_path):
    nothing = {n: np.full_like(a, np.nan) for n, a in of().items()}
    message = refuse(write_keras_2(tmp_path / "x.h5", nothing), r"conv1/kernel .*and 134 more\.\n")
    assert message.count("NaN") == 3


def test_a_value_too_large_for_a_float16_model_is_refused(tmp_path):
    dense = keras.layers.Dense(2, name="dense", dtype="float16")
    model = keras.Sequential([keras.Input((3,)), dense])
    before = weights(model)
    arrays = {"dense/kernel": np.full((3, 2), 65520, "f4"), "dense/bias": np.ones(2, "f4")}
    with pytest.raises(CheckpointError, match="dense/kernel .*infinite as float16"):
        load_weights(model, write_keras_3(tmp_path / "x.weights.h5", arrays))
    assert same(weights(model), before)


# A failure in the middle


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("times", [1, 2], ids=["once", "in_the_repair_too"])
@pytest.mark.parametrize("number", [0, 60, 136])
def test_a_failing_assignment_leaves_the_model_as_it_was(
    target, untouched, good, monkeypatch, error, times, number
):
    variable, failures = target.weights[number], [error] * times
    assign = type(variable).assign

    def failing(value):
        if failures:
            raise failures.pop()
        return assign(variable, value)

    monkeypatch.setattr(variable, "assign", failing)
    with pytest.raises(error):
        load_weights(target, good(".h5"))
    assert not failures
    assert same(weights(target), untouched)
