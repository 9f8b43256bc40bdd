"""Exported files compute what the Keras model does, say how they are used, or are not written."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
from deploy_nets import (
    BLOCKS,
    FLOAT32,
    OVERFLOW,
    ROUNDED,
    SIZE,
    named_net,
    net,
    outputs_of,
    random_images,
)
from ways import shared_steps

from keras_mobilenet import Predictor, export, preprocess_input
from keras_mobilenet.deploy.comparison import difference
from keras_mobilenet.deploy.graphs import operations
from keras_mobilenet.deploy.graphs.traced import files
from keras_mobilenet.errors import AccuracyError, MissingExtraError
from keras_mobilenet.images.model_info import ModelInfo, info_from

pytestmark = pytest.mark.long

LABELS = ("ant", "bee", "çat", "dog", "eel")
FILES = ("m.tflite", "m.onnx", "m.xml", "m/")  # of float32: test_pairs_*.py
KINDS = [  # what they leave open: the int8 kinds of inputs that the caller scales, and of pixels
    ("m.tflite", "int8", True),
    ("m.tflite", "full_int8", True),
    ("m.tflite", "float16", True),
    ("m.tflite", "dynamic", True),
    ("m.xml", "int8", False),
    ("m.xml", "int8", True),
    ("m.xml", "float16", True),
]


@pytest.fixture(scope="module")
def model():
    with shared_steps():
        yield named_net(LABELS)


@pytest.fixture(scope="module")
def reference(model):
    return outputs_of(model)


@pytest.fixture(scope="module")
def exports(model, tmp_path_factory):
    """Return a copy of the model's float32 export of a name, and its report."""
    made = {}

    def copy(name, folder):
        if name not in made:
            path = f"{tmp_path_factory.mktemp('exports')}/{name}"
            made[name] = Path(path), export(model, path)
        path, report = made[name]
        shutil.copytree(path.parent, folder, dirs_exist_ok=True)
        return folder / name, report

    return copy


def allowed(name, quantize):
    return OVERFLOW if (name, quantize) == ("m.xml", "int8") else ROUNDED[quantize]


@pytest.mark.parametrize(("name", "quantize", "pixels"), KINDS)
def test_export_is_opened_and_compared(model, reference, tmp_path, name, quantize, pixels):
    path = f"{tmp_path}/{name}"
    some = random_images(40, seed=3)
    report = export(
        model, path, quantize=quantize, calibration=some, include_preprocessing=pixels
    )  # fmt: skip
    assert report.difference.rms_error < allowed(name, quantize)
    assert not report.generated
    assert report.images == len(some)
    with Predictor(path) as predictor:
        assert predictor.info.labels == LABELS
        assert predictor.info.takes_pixels == pixels
        for x in (
            random_images(7),
            random_images(7).astype(float) if pixels else preprocess_input(random_images(7)),
        ):
            found = difference(reference, predictor.predict(x))
            assert found.rms_error < allowed(name, quantize)


@pytest.mark.parametrize("name", FILES)
def test_file_says_how_it_is_used(exports, tmp_path, name):
    path, report = exports(name, tmp_path)
    assert report.generated
    with Predictor(path) as predictor:
        assert predictor.info.labels == LABELS
        assert not predictor.info.takes_pixels


def test_report_tells_size_and_operators(exports, tmp_path):
    path, report = exports("m.tflite", tmp_path)
    assert report.bytes == path.stat().st_size
    assert report.tells
    assert report.operators["DEPTHWISE_CONV_2D"] == len(BLOCKS)
    assert report.operators["CONV_2D"] == len(BLOCKS) + 2  # the stem and the classifier
    _, report = exports("m.xml", tmp_path)
    assert report.bytes == sum((tmp_path / f"m.{end}").stat().st_size for end in ("xml", "bin"))


def test_operators_of_a_saved_model_are_those_that_tensorflow_opens(exports, tmp_path):
    import tensorflow as tf

    path, report = exports("m/", tmp_path)
    graph = tf.saved_model.load(str(path)).signatures["serving_default"].graph.as_graph_def()
    bodies = graph.library.function
    assert report.operators == Counter(node.op for body in bodies for node in body.node_def)
    assert report.operators["DepthwiseConv2dNative"] == len(BLOCKS)


def test_full_int8_takes_and_gives_int8_only(model, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    for pixels, dtype in ((False, np.int8), (True, np.uint8)):
        report = export(
            model,
            tmp_path / "m.tflite",
            quantize="full_int8",
            calibration=random_images(20),
            include_preprocessing=pixels,
        )
        interpreter = Interpreter(str(tmp_path / "m.tflite"))
        assert interpreter.get_input_details()[0]["dtype"] == dtype
        assert interpreter.get_output_details()[0]["dtype"] == np.int8
        assert "CAST" not in report.operators  # a microcontroller computes no floats
        x = random_images(3) if pixels else preprocess_input(random_images(3))
        lite, openvino = (
            Predictor(tmp_path / "m.tflite", engine=engine).predict(x)
            for engine in ("litert", "openvino")
        )
        # int8 rounds otherwise in each; a code in a probability's place is off by many times 1.
        assert np.abs(lite - openvino).max() < 0.25


def test_onnx_has_names_and_batch_that_stay(exports, tmp_path):
    import onnxruntime

    path, _ = exports("m.onnx", tmp_path)
    session = onnxruntime.InferenceSession(path)
    assert [x.name for x in session.get_inputs()] == ["input"]
    assert [x.name for x in session.get_outputs()] == ["output"]
    for count in (1, 3):
        x = preprocess_input(random_images(count))
        assert session.run(["output"], {"input": x})[0].shape == (count, 5)


def test_labels_lie_where_other_tools_look(model, tmp_path):
    export(model, tmp_path / "m.tflite", labels=["1", "2", "3", "4", "5"])
    with zipfile.ZipFile(tmp_path / "m.tflite") as archive:
        assert archive.read("labels.txt").decode().split() == ["1", "2", "3", "4", "5"]
        text = archive.read("keras_mobilenet.json").decode()
    assert info_from(text).labels == ("1", "2", "3", "4", "5")
    assert json.loads(text)["scale"] == 1 / 127.5


def test_file_without_model_info_takes_floats_only(exports, tmp_path):
    path, _ = exports("m.tflite", tmp_path)
    with zipfile.ZipFile(path) as archive:
        start = min(member.header_offset for member in archive.infolist())
    path.write_bytes(path.read_bytes()[:start])
    with Predictor(path) as predictor:
        assert predictor.info == ModelInfo((SIZE, SIZE), preprocessing=None)


@pytest.mark.parametrize("engine", ["litert", "openvino"])
def test_tflite_file_runs_in_both_engines(exports, reference, tmp_path, engine):
    path, _ = exports("m.tflite", tmp_path)
    with Predictor(path, engine=engine) as predictor:
        assert difference(reference, predictor.predict(random_images(7))).relative_error < FLOAT32


@pytest.mark.parametrize(("name", "quantize"), [("m.tflite", "int8"), ("m.xml", "int8")])
def test_int8_without_calibration_is_refused(model, tmp_path, name, quantize):
    with pytest.raises(ValueError, match="int8 needs `calibration`: the ranges of a net's values"):
        export(model, tmp_path / name, quantize=quantize)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("m", {}, r"must end in \.tflite, \.onnx or \.xml, in page/ or"),
        ("m.h5", {}, r"Received: path=.*m\.h5"),
        ("m.onnx", {"quantize": "int8"}, "`quantize` can be None for m.onnx"),
        ("m.xml", {"quantize": "dynamic"}, "None or 'float16' or 'int8'"),
        ("m.tflite", {"labels": ["a"]}, "each of the model's 5 outputs"),
        ("m.tflite", {"calibration": random_images(2, size=(8, 8))}, r"shape \(2, 8, 8, 3\)"),
    ],
)
def test_bad_arguments_are_refused(model, tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_channels_first_is_told_what_to_do(tmp_path):
    first = keras.layers.Conv2D(3, 1, data_format="channels_first")
    model = keras.Sequential([keras.Input((3, 8, 8)), keras.layers.Activation("relu"), first])
    with pytest.raises(ValueError, match=r"of channels last.* takes them first\. Save its weights"):
        export(model, tmp_path / "m.tflite")


def test_bad_places_are_refused(model, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OSError, match="is not a folder. Make it"):
        export(model, tmp_path / "none" / "m.tflite")
    with pytest.raises(OSError, match="is not a folder. Make it"):
        export(model, tmp_path / "file" / "m.tflite")
    with pytest.raises(ValueError, match="is a folder of something else"):
        export(model, f"{tmp_path}/full/")
    with pytest.raises(ValueError, match="is a file"):
        export(model, f"{tmp_path}/file/")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", FILES)
def test_export_that_computes_something_else_is_not_kept(
    model, exports, tmp_path, monkeypatch, name
):
    exports(name, tmp_path)
    path = f"{tmp_path}/{name}"
    before = contents(tmp_path)
    # Batch norms get lost in the graph, and Keras folds another net.
    monkeypatch.setattr(operations, "_with_scale", lambda convolution, _: convolution)
    monkeypatch.setattr(files, "without_batch_norms", lambda _: net(seed=9))
    with pytest.raises(AccuracyError, match="does not compute what the model does.*Nothing was"):
        export(model, path)
    assert contents(tmp_path) == before


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_tolerance_is_the_callers(model, tmp_path):
    with pytest.raises(AccuracyError, match="1e-09 is allowed"):
        export(model, tmp_path / "m.tflite", tolerance=1e-9)


@pytest.mark.parametrize("name", ["m.tflite", "m.xml", "m/"])
def test_export_replaces_an_earlier_one(exports, tmp_path, name):
    exports(name, tmp_path)
    path, other = f"{tmp_path}/{name}", net(seed=5)
    before = contents(tmp_path)
    export(other, path)
    assert contents(tmp_path) != before
    with Predictor(path) as predictor:
        assert (
            difference(outputs_of(other), predictor.predict(random_images(7))).rms_error < FLOAT32
        )
    names = Counter(p.name for p in tmp_path.iterdir())
    assert not [n for n in names if n.startswith(".")]


def test_full_disk_leaves_what_was_there(model, tmp_path, monkeypatch):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        export(model, path)
    assert contents(tmp_path) == {Path("m.tflite"): b"before"}


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("m.xml", "openvino", "openvino"), ("m.onnx", "onnx", "onnx")],
)
def test_missing_extra_is_named(tmp_path, monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'keras-mobilenet\[{extra}\]'"):
        export(net(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


EXPORT = """
import sys
sys.path.insert(0, {tests!r})
from deploy_nets import net
from keras_mobilenet import export
for seed in range(3):
    export(net(seed=seed), {path!r})
"""


@pytest.mark.slow
def test_two_processes_export_to_one_path(tmp_path):
    path = str(tmp_path / "m.xml")
    code = EXPORT.format(tests=os.path.dirname(os.path.dirname(__file__)), path=path)
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    with Predictor(path) as predictor:
        found = predictor.predict(random_images(3))
    last = net(seed=2)(preprocess_input(random_images(3)), training=False)
    assert difference(last, found).relative_error < FLOAT32
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.xml"]


def test_nothing_is_printed(silent, model, tmp_path):
    export(model, tmp_path / "m.tflite", quantize="int8", calibration=random_images(20))


def test_int8_takes_pixels_without_a_cast(model, tmp_path):
    options = {"quantize": "int8", "calibration": random_images(20), "include_preprocessing": True}
    assert "CAST" not in export(model, tmp_path / "m.tflite", **options).operators


@pytest.mark.parametrize(("options", "count"), [({}, 1), ({"batch": None}, -1)])
def test_tflite_takes_one_image_unless_asked(model, tmp_path, options, count):
    from ai_edge_litert.interpreter import Interpreter

    export(model, tmp_path / "m.tflite", **options)
    (tensor,) = Interpreter(str(tmp_path / "m.tflite")).get_input_details()
    assert tensor["shape_signature"].tolist() == [count, SIZE, SIZE, 3]


def test_tflite_of_any_size_begins_at_224_and_takes_others(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    export(net((None, None, 3)), tmp_path / "m.tflite")
    (tensor,) = Interpreter(str(tmp_path / "m.tflite")).get_input_details()
    assert tensor["shape_signature"].tolist() == [1, -1, -1, 3]
    assert tensor["shape"].tolist() == [1, 224, 224, 3]  # for programs that resize no input
    with Predictor(tmp_path / "m.tflite") as predictor:
        for size in (224, 64, 224):
            assert len(predictor.predict(np.zeros((1, size, size, 3), np.uint8))) == 1


def test_batch_of_another_count_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="`batch` must be 1, or None"):
        export(model, tmp_path / "m.tflite", batch=4)


def test_openvinos_model_api_finds_what_it_reads(exports, tmp_path):
    import openvino

    path, _ = exports("m.xml", tmp_path)
    info = openvino.Core().read_model(path).get_rt_info("model_info")
    told = {key: str(info[key]) for key in ("model_type", "labels", "mean_values")}
    assert told == {
        "model_type": "Classification",
        "labels": " ".join(LABELS),
        "mean_values": "127.5",
    }


def test_export_of_a_constant_net_says_that_nothing_is_told(tmp_path):
    constant = net()
    constant.get_layer("conv_preds").kernel.assign(0 * constant.get_layer("conv_preds").kernel)
    report = export(constant, tmp_path / "m.tflite")
    assert not report.tells
    assert "do not tell whether it computes the same" in str(report)
    assert "first class the same" not in str(report)


def test_images_that_are_compared_are_from_all_classes_of_a_sorted_folder(tmp_path):
    one, *others = random_images(65)
    sorted_by_class = np.stack([one] * 64 + others)
    report = export(net(), tmp_path / "m.tflite", calibration=sorted_by_class)
    assert (report.images, report.tells) == (64, True)


@pytest.mark.parametrize("name", ["input", "rescaling"])
def test_models_own_name_is_not_that_of_a_layer_around_it(tmp_path, name):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    named = keras.Model(inputs, keras.layers.Dense(3)(x), name=name)
    report = export(named, tmp_path / "m.tflite", include_preprocessing=True, preprocessing="0..1")
    assert report.tells
