"""Files of models that would take the process down, or reach out of it: refused before they can."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import SMALL, SOON, at_most
from deploy_nets import SIZE, net, random_images

from keras_mobilenet import Predictor, export
from keras_mobilenet.deploy.engines.checks import opening, trial
from keras_mobilenet.deploy.metadata import read_info, write_info
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.images.model_info import ModelInfo

ROOT = Path(__file__).parents[2]
MANY = 150  # damaged files: a millisecond or two each
BOMB = bytes(20 << 20)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A good file of each format, from one model."""
    folder = tmp_path_factory.mktemp("exported")
    model = net()
    for name in ("m.tflite", "m.onnx", "m.xml", "m/"):
        export(model, f"{folder}/{name}")
    return folder


def refuse(path, match, memory=SMALL):
    with at_most(3 * SOON, memory), pytest.raises(CheckpointError, match=match) as caught:
        Predictor(path)
    assert str(caught.value).startswith(str(path))


@pytest.fixture
def untried(monkeypatch):
    """No file needs a trial."""

    def try_out(path, runtime):
        raise AssertionError(f"a trial of {path}")

    monkeypatch.setattr(opening, "try_out", try_out)


@pytest.mark.parametrize("name", ["m.tflite", "m.onnx", "m.xml", "m"])
def test_our_own_files_open_without_a_trial(exported, untried, name):
    with Predictor(exported / name) as predictor:
        assert predictor.predict(random_images()).shape == (4, 5)


@pytest.mark.parametrize("name", ["segv", "over_4gb"])
def test_damaged_tflite_files_are_refused(shared_data, untried, name):
    refuse(shared_data / f"hostile/{name}.tflite", "tensors that are not there|would take")


@pytest.mark.parametrize("group", ["v2", "foreign", "tflite"])
def test_published_tflite_files_need_no_trial(shared_data, untried, group):
    for path in sorted((shared_data / "weights" / group).glob("*.tflite")):
        assert opening.check_tflite(str(path), "litert")


def test_a_damaged_tflite_file_predicts_or_is_refused(exported):
    result = subprocess.run(
        [sys.executable, ROOT / "tests/open_tflite_files.py", exported / "m.tflite", "1",
         str(MANY)],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert "'predicted'" in result.stdout
    assert "'refused'" in result.stdout


def test_an_operator_that_is_not_known_is_tried_out_first(tmp_path, monkeypatch):
    from keras_mobilenet.deploy.graphs.traced.conversion import to_tflite

    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Dense(2)(keras.ops.mean(keras.ops.tanh(image), (1, 2))))
    path, tried = tmp_path / "x.tflite", []
    path.write_bytes(to_tflite(model))
    try_out = opening.try_out
    monkeypatch.setattr(opening, "try_out", lambda *given: (tried.append(given), try_out(*given)))
    with Predictor(path) as predictor:
        x = np.ones((1, 8, 8, 3), "float32")
        np.testing.assert_allclose(predictor.predict(x), np.asarray(model(x)), atol=1e-5)
    assert tried == [(str(path), "litert")]


def onnx_file(path, nodes, kind="FLOAT"):
    """Write an ONNX file of one input and these nodes; the last ones make the outputs."""
    onnx = pytest.importorskip("onnx")
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.DataType.Value(kind)
    graph = onnx.helper.make_graph(nodes, "x", [value("x", kind, [1, 5])], [value("y", kind, None)])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)


def constant(name, values):
    import onnx

    array = onnx.numpy_helper.from_array(np.array(values))
    return onnx.helper.make_node("Constant", [], [name], value=array)


def test_an_onnx_file_of_another_type_says_which_it_takes(tmp_path):
    onnx = pytest.importorskip("onnx")
    onnx_file(tmp_path / "x.onnx", [onnx.helper.make_node("Neg", ["x"], ["y"])], "FLOAT16")
    with pytest.raises(CheckpointError, match=r"it takes tensor.float16., where tensor.float. or"):
        Predictor(tmp_path / "x.onnx", engine="onnxruntime")


def test_an_onnx_constant_of_16_gib_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    make = onnx.helper.make_node
    nodes = [constant("n", [2**32]), make("ConstantOfShape", ["n"], ["c"]),
             make("ReduceMax", ["c"], ["m"]), make("Add", ["x", "m"], ["y"])]  # fmt: skip
    onnx_file(tmp_path / "x.onnx", nodes)
    refuse(tmp_path / "x.onnx", "cannot be opened by onnxruntime: a trial failed")


def test_an_endless_onnx_loop_is_refused(tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr(trial, "SECONDS", 2)
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    body = onnx.helper.make_graph(
        [make("Identity", ["c"], ["d"]), make("Mul", ["a", "a"], ["b"])],
        "body",
        [value("i", 7, []), value("c", 9, []), value("a", 1, None)],
        [value("d", 9, []), value("b", 1, None)],
    )
    nodes = [constant("t", True), make("Loop", ["", "t", "x"], ["y"], body=body)]
    onnx_file(tmp_path / "x.onnx", nodes)
    refuse(tmp_path / "x.onnx", "a trial of it with onnxruntime had not ended after 2 s")


@pytest.mark.parametrize("name", ["m.tflite", "m.onnx", "m.xml", "m.bin", "m/saved_model.pb"])
def test_a_pipe_in_place_of_a_file_is_refused(exported, tmp_path, name):
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    opened = {"m.bin": "m.xml", "m/saved_model.pb": "m"}.get(name, name)
    with at_most(SOON, SMALL), pytest.raises(CheckpointError, match=f"{name}: this is not a file"):
        Predictor(tmp_path / opened)


def test_a_folder_with_a_model_in_it_names_the_file(tmp_path):
    for name in ("model.keras", "int8.tflite", "history.csv"):
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match="no saved_model.pb, so it is no SavedModel") as error:
        Predictor(tmp_path)
    files = f"Pass a file in it: {tmp_path / 'int8.tflite'}, {tmp_path / 'model.keras'}."
    assert files in str(error.value)


def test_metadata_that_unpack_to_far_more_are_refused(exported, tmp_path):
    path = tmp_path / "x.tflite"
    content = (exported / "m.tflite").read_bytes()
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("keras_mobilenet.json", BOMB)
    refuse(path, "keras_mobilenet.json unpacks to more than 16,777,216 bytes", 2 * SMALL)


def test_large_metadata_of_a_saved_model_are_refused(tmp_path):
    write_info(str(tmp_path), ModelInfo())
    with open(tmp_path / "assets.extra/keras_mobilenet.json", "wb") as file:
        file.truncate(3 << 30)
    with at_most(SOON, SMALL), pytest.raises(CheckpointError, match="more than 16,777,216 bytes"):
        read_info(str(tmp_path))


@pytest.mark.parametrize("name", ["m.tflite", "m.onnx", "m"])
def test_a_file_that_names_other_classes_than_it_has_is_refused(exported, tmp_path, name):
    path = tmp_path / name
    (shutil.copytree if name == "m" else shutil.copy)(exported / name, path)
    if name == "m.tflite":
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"PK\x03\x04")])
    write_info(str(path), ModelInfo((SIZE, SIZE), labels=("daisy",)))
    refuse(path, "names 1 classes, and its model has 5 outputs")


def saved(folder, compute, **kept):
    """Write a SavedModel with our signature that computes so."""
    import tensorflow as tf

    module = tf.Module()
    for name, value in kept.items():
        setattr(module, name, value)

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], name="input")])
    def serve(x):
        return {"output": compute(x)}

    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def test_a_saved_model_that_reaches_files_or_python_is_refused(tmp_path):
    import tensorflow as tf

    target = str(tmp_path / "WRITTEN")
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
        ), -1,
    )  # fmt: skip

    def writing(x):
        with tf.control_dependencies([tf.io.write_file(target, "x")]):
            return tf.reduce_mean(x, (1, 2))

    def reading(x):
        return tf.reduce_mean(x, (1, 2)) + tf.cast(
            tf.strings.length(tf.io.read_file(target)), "float32"
        )

    def listing(x):
        return tf.reduce_mean(x, (1, 2)) + tf.cast(tf.size(tf.io.matching_files("/*")), "float32")

    def restoring(x):
        return tf.reduce_mean(x, (1, 2)) + tf.raw_ops.RestoreV2(
            prefix=target, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
        )[0]  # fmt: skip

    def printing(x):
        tf.print("x", output_stream=f"file://{target}")
        return tf.reduce_mean(x, (1, 2))

    def calling(x):
        return tf.ensure_shape(tf.numpy_function(lambda a: a[:, 0, 0], [x], tf.float32), (None, 3))

    def looking_up(x):
        return tf.reduce_mean(x, (1, 2)) + tf.cast(table.lookup(tf.constant("a")), "float32")

    faults = {writing: "WriteFile", reading: "ReadFile", listing: "MatchingFiles",
              restoring: "RestoreV2", printing: "PrintV2", calling: "PyFunc",
              looking_up: "it has assets"}  # fmt: skip
    for compute, match in faults.items():
        kept = {"table": table} if compute is looking_up else {}
        saved(tmp_path / compute.__name__, compute, **kept)
        refuse(tmp_path / compute.__name__, match)
    assert not os.path.exists(target)


def test_a_saved_model_that_only_computes_opens(tmp_path):
    import tensorflow as tf

    weight = tf.Variable(tf.random.normal((3, 5)))
    saved(
        tmp_path / "m", lambda x: tf.nn.softmax(tf.reduce_mean(x, (1, 2)) @ weight), weight=weight
    )
    with Predictor(tmp_path / "m") as predictor:
        assert predictor.predict(np.zeros((2, SIZE, SIZE, 3), "float32")).shape == (2, 5)


def test_a_constant_that_declares_gigabytes_is_refused(tmp_path):
    import tensorflow as tf

    def large(x):
        return tf.reduce_mean(x, (1, 2)) + tf.reduce_max(tf.constant(0.0, shape=(1 << 17, 1 << 10)))

    saved(tmp_path / "m", large)
    refuse(tmp_path / "m", "its constants declare more than")
