"""evaluate() counts what is right, in whatever way the classes are told, and can be resumed."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from page_reader import Page

from keras_mobilenet import Predictor, evaluate
from keras_mobilenet.evaluation.labelled.truth import list_labelled, truth_of
from keras_mobilenet.images.labels import imagenet_classes

KEPT = "predictions.jsonl"


@pytest.mark.parametrize(
    ("name", "top_1", "top_5"),
    [
        ("mobilenet_1_0_224_tf.h5", 0.915, 0.995),
        ("mobilenet_2_5_224_tf.h5", 0.605, 0.83),
    ],
)
def test_published_weights_get_the_figures_of_keras(shared_data, sample, name, top_1, top_5):
    found = evaluate(shared_data / "weights/keras" / name, sample)
    assert (found.metrics.accuracy, found.metrics.top_5) == (top_1, top_5)
    assert (found.first.settings["crop"], found.first.settings["crop_edges"]) == (0.875, "whole")


@pytest.mark.parametrize(
    ("name", "top_1", "top_5"),
    [
        ("mobilenet_v2_1.0_224_quant.tflite", 0.85, 0.965),
        ("tf2_mobilenet_v2_1.0_224_ptq.tflite", 0.845, 0.975),
        ("mobilenet_v2_1.0_224_dequantised.h5", 0.84, 0.975),
    ],
)
def test_v2_files_get_their_figures_with_edges_within_pixels(
    shared_data, sample, name, top_1, top_5
):
    found = evaluate(shared_data / "weights/v2" / name, sample, crop_edges="fractional")
    assert (found.metrics.accuracy, found.metrics.top_5) == (top_1, top_5)
    assert found.first.settings["crop_edges"] == "fractional"


@pytest.fixture(scope="module")
def pair(shared_data):
    weights = shared_data / "weights"
    return (
        weights / "keras/mobilenet_2_5_224_tf.h5",
        weights / "tflite/mobilenet_v1_0.25_128_quant.tflite",
    )


def rights(path):
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return [row["predicted"][0]["class"] == row["class"] for row in rows]


def test_float_and_int8_of_a_net_are_compared_as_by_hand(deployed, sample, tmp_path):
    found = evaluate(deployed[0], sample[:100], against=deployed[1], out=tmp_path)
    right = []
    for path in deployed:  # image by image, by nothing of what is under test
        with Predictor(path) as predictor:
            right.append([predictor.predict(x).argmax() == int(i) for x, i in sample[:100]])
    counts = Counter(zip(*right, strict=True))
    pair = found.comparison
    assert (pair.both, pair.first_alone) == (counts[True, True], counts[True, False])
    assert (pair.second_alone, pair.neither) == (counts[False, True], counts[False, False])
    assert pair.first_alone != pair.second_alone  # else a mix-up of the two would not show
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["comparison"]["first_alone"] == pair.first_alone
    assert found.metrics.correct == sum(right[0])
    assert written["against"]["correct"] == sum(right[1])
    rows = Page(tmp_path / "report.html").table("Right", "Images")
    assert [int(row[1]) for row in rows[1:3]] == [pair.first_alone, pair.second_alone]


def test_nets_of_1000_and_1001_outputs_are_compared_by_their_classes(pair, sample, tmp_path):
    found = evaluate(pair[0], sample[:50], against=pair[1], out=tmp_path)
    a, b = (rights(tmp_path / name) for name in (KEPT, "predictions_against.jsonl"))
    assert found.comparison.first_alone == sum(x > y for x, y in zip(a, b, strict=True))
    assert found.comparison.second_alone == sum(x < y for x, y in zip(a, b, strict=True))
    assert found.second.metrics.labels[0] == "background"
    assert found.second.metrics.accuracy > 0.2  # published 39.9 %; by a wrong number none is right


def test_bad_images_are_named_and_not_counted(pair, sample, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    found = evaluate(pair[1], [*sample[:10], (str(bad), "3")])
    assert found.metrics.count == 10
    assert [str(bad) in line for line in found.first.bad] == [True]


def truth(data, outputs):
    return truth_of(list_labelled(data), outputs, None)


def test_names_synsets_and_numbers_are_the_same_classes(sample):
    classes = imagenet_classes()
    paths = [path for path, _ in sample[:3]]
    for told in (("0", "5", "10"), [classes[i][0] for i in (0, 5, 10)],
                 [classes[i][1].replace("_", " ") for i in (0, 5, 10)]):  # fmt: skip
        pairs = list(zip(paths, told, strict=True))
        assert [i for _, i in truth(pairs, 1000).examples] == [0, 5, 10]
        assert [i for _, i in truth(pairs, 1001).examples] == [1, 6, 11]


def test_classes_that_the_model_does_not_have_are_refused(sample):
    with pytest.raises(ValueError, match="none of the model's: unicorn"):
        truth([(sample[0][0], "unicorn")], 1000)
    with pytest.raises(ValueError, match="several outputs: crane"):
        truth([(sample[0][0], "crane")], 1000)


def test_neither_keras_nor_tensorflow_is_imported(pair, sample, tmp_path):
    code = (
        "import sys; from keras_mobilenet import evaluate; "
        f"evaluate({str(pair[0])!r}, {sample[:2]!r}, against={str(pair[1])!r}, "
        f"out={str(tmp_path)!r}); "
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
