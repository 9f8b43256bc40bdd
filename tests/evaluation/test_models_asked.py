"""evaluate() asks whatever Predictor opens, in the engine that is named, and says what it asked."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from keras_mobilenet import Predictor, evaluate, export
from keras_mobilenet.checkpoints.net_weights import Builder
from keras_mobilenet.errors import PrecisionError

COUNT = 24
NAME = "mobilenet_2_5_224_tf.h5"
FEW = {"alpha": 0.25, "classes": 5, "weights": "random", "input_shape": (32, 32, 3)}


def counts(metrics):
    """How many each class has, has right, and is taken for: equal only if all answers are."""
    return [(x.support, x.correct, x.predicted) for x in metrics.classes]


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def images(sample):
    return sample[:COUNT]


@pytest.fixture(scope="module")
def weights(shared_data):
    return shared_data / "weights/keras" / NAME


@pytest.fixture(scope="module")
def answers(weights, images):
    """The metrics of the file of weights itself."""
    return evaluate(weights, images).metrics


@pytest.mark.parametrize(
    ("suffix", "engine", "files"),
    [
        (".tflite", "litert", [".tflite"]),
        (".onnx", "onnxruntime", [".onnx"]),
        (".xml", "openvino", [".bin", ".xml"]),
    ],
)
def test_exported_files_give_the_answers_of_the_weights(
    weights, images, answers, tmp_path, suffix, engine, files
):
    path = tmp_path / f"net{suffix}"
    export(weights, path)
    found = evaluate(path, images).first
    assert counts(found.metrics) == counts(answers)
    assert found.metrics.log_loss == pytest.approx(answers.log_loss, abs=1e-4)  # engines round
    assert (found.settings["engine"], found.settings["precision"]) == (engine, "float32")
    assert found.files == {f"net{x}": sha256(tmp_path / f"net{x}") for x in files}
    assert {"litert": "ai-edge-litert"}.get(engine, engine) in found.versions
    if suffix != ".xml":
        other = evaluate(path, images, engine="openvino").first
        assert counts(other.metrics) == counts(answers)
        assert other.settings["engine"] == "openvino"


def test_a_published_name_stands_for_its_file(weights, images, answers, monkeypatch):
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(weights.parent))
    found = evaluate(NAME, images).first
    assert found.metrics == answers
    assert found.files == {NAME: sha256(weights)}
    small = evaluate(NAME, images, size=96)
    assert small.first.settings["size"] == (96, 96)
    assert small.metrics.accuracy < answers.accuracy


# How far int8 goes with so few images to calibrate it is another test's question.
@pytest.mark.filterwarnings("ignore::keras_mobilenet.errors.AgreementWarning")
def test_precision_is_of_the_model_and_the_other_one_runs_as_it_comes(weights, images, tmp_path):
    found = evaluate(
        weights, images, against=weights, out=tmp_path,
        engine="litert", precision="int8", calibration=[path for path, _ in images],
    )  # fmt: skip
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["settings"]["precision"] == "int8"
    assert written["against"]["settings"]["precision"] == "float32"
    assert written["versions"]["ai-edge-litert"]
    assert found.names[0] == "mobilenet_0.25_224 (litert, int8)"
    assert found.names[1].endswith("float32)")
    assert f"{found.names[0]} alone" in (tmp_path / "report.html").read_text()


def test_a_file_is_not_asked_for_another_precision(deployed, images):
    with pytest.raises(PrecisionError, match="computes in float32"):
        evaluate(deployed[0], images, precision="int8")
    with pytest.raises(ValueError, match="onnxruntime' does not read"):
        evaluate(deployed[0], images, engine="onnxruntime")


def test_a_predictor_is_asked_as_it_is_and_left_so(deployed, images, answers):
    with Predictor(deployed[0], engine="openvino") as predictor:
        info = predictor.info
        found = evaluate(predictor, images, crop=1)
        assert found.first.settings["engine"] == "openvino"
        assert found.first.settings["crop"] == 1
        assert counts(found.metrics) != counts(answers)
        assert predictor.info == info
        with pytest.raises(ValueError, match="is in an engine already. Received: engine"):
            evaluate(predictor, images, engine="litert")


def test_logits_go_through_a_softmax(weights, images, answers, tmp_path):
    builder = Builder("mobilenet", {"alpha": 0.25, "weights": str(weights)})
    logits = replace(builder, arguments={**builder.arguments, "classifier_activation": None})
    path = tmp_path / "logits.tflite"
    export(logits, path)
    found = evaluate(path, images).first
    assert found.settings["outputs"] == "logits"
    assert evaluate(builder, images).first.settings["outputs"] == "probabilities"
    assert counts(found.metrics) == counts(answers)
    # A probability of float32 is rounded to 6e-8 of itself, a logit to as much of up to 30.
    assert found.metrics.log_loss == pytest.approx(answers.log_loss, rel=1e-4)
    assert found.metrics.calibration_error == pytest.approx(answers.calibration_error, abs=1e-4)


def test_names_of_classes_come_from_the_caller_where_the_file_has_none(images, tmp_path):
    path = tmp_path / "few.tflite"
    export(Builder("mobilenet", FEW), path)
    pairs = [(path, "abcde"[i % 5]) for i, (path, _) in enumerate(images[:10])]
    with pytest.raises(ValueError, match=r"does not name its classes; pass `labels` \(--labels\)"):
        evaluate(path, pairs)
    with pytest.raises(ValueError, match="each of the model's 5 outputs"):
        evaluate(path, pairs, labels=tuple("abcd"))
    found = evaluate(path, pairs, labels=tuple("abcde"), against=path)
    assert found.second.metrics.labels == tuple("abcde")
    assert found.comparison.second_alone == found.comparison.first_alone == 0


def test_a_net_without_a_top_is_no_classifier(shared_data, images):
    weights = shared_data / "weights/keras/mobilenet_2_5_224_tf_no_top.h5"
    with pytest.raises(ValueError, match=r"has outputs of shape \(7, 7, 256\)"):
        evaluate(weights, [(path, "daisy") for path, _ in images])


def test_both_models_are_opened_before_the_first_image(deployed, images):
    def asked(*_):
        raise AssertionError("an image was asked for")

    with pytest.raises(ValueError, match=r"No file or folder of the name 'none.tflite'"):
        evaluate(deployed[0], images, against="none.tflite", progress=asked)


@pytest.mark.slow  # TensorFlow is imported twice: to write the folder, and to open it
def test_a_saved_model_gives_the_answers_of_the_weights(weights, images, answers, tmp_path):
    export(weights, f"{tmp_path / 'saved'}/")
    found = evaluate(tmp_path / "saved", images).first
    assert counts(found.metrics) == counts(answers)
    assert found.settings["engine"] == "keras"
    assert "saved/saved_model.pb" in found.files
