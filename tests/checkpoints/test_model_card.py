"""What a model card says, to people and to the hub."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from huggingface_hub import ModelCard

from keras_mobilenet.checkpoints.hub_folders import HubConfig
from keras_mobilenet.checkpoints.writing.model_card import Background, card_of, code_line
from keras_mobilenet.evaluation.metrics import evaluate
from keras_mobilenet.evaluation.multi_label_metrics import evaluate_multi_label
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.pretrained import LICENCE
from keras_mobilenet.training.run_files import _background

LABELS = ("ant", "bee")
SCALING = Preprocessing.from_mean_std((124, 116, 104), (58, 57, 56))
INFO = ModelInfo((96, 64), 0.95, SCALING, LABELS, "bicubic", True)
METRICS = evaluate(LABELS, [0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]).to_json()
ROW = "timm/mobilenetv2_050.lamb_in1k"


def card(info=INFO, background=None, name="hf://me/insects", **arguments):
    given = {"input_shape": (96, 64, 3), "alpha": 0.5, "classes": len(info.labels or LABELS)}
    config = HubConfig("mobilenet_v2", given | arguments, info)
    chosen = {k: x for k, x in config.arguments.items() if k in ("alpha", "classes", "include_top")}
    net = family("mobilenet_v2").network(**chosen)
    return card_of(config, net, background or Background(), name)


def section(text, title):
    return re.search(rf"## {title}\n\n(.*?)(?=\n## |\Z)", text, re.DOTALL)[1]


def test_the_hub_reads_library_task_licence_base_and_accuracy():
    background = replace(Background.of_source(f"{ROW}@0123"), metrics=METRICS)
    data = ModelCard(card(background=background)).data
    assert (data.library_name, data.license) == ("keras-mobilenet", "apache-2.0")
    assert data.pipeline_tag == "image-classification"
    assert data.base_model == ROW
    assert data.tags == ["keras", "mobilenet", "mobilenet_v2"]
    [result] = data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.75)


def test_without_a_run_and_a_base_nothing_is_said_of_them():
    text = card()
    data = ModelCard(text).data
    assert (data.license, data.base_model, data.eval_results) == (None, None, None)
    assert not re.search("Metrics|Licence|trained from|None", text)


def test_a_net_without_top_puts_out_features():
    text = card(replace(INFO, labels=None), include_top=False)
    assert ModelCard(text).data.pipeline_tag == "image-feature-extraction"
    assert "without a classifier: it puts out features, with 706,224 parameters" in text
    assert "print(predictor.predict('image.jpg'))" in text
    assert "## Labels" not in text


def test_accuracy_comes_with_its_interval_and_each_class_with_its_shares():
    text = section(card(background=Background(metrics=METRICS)), "Metrics")
    # Wilson's interval of 3 in 4, 30.06 to 95.44 %.
    assert "| accuracy | 75.0 %, 95 % interval 30.1 to 95.4 % (3 of 4) |" in text
    assert "| ant | 2 | 100.0 % | 50.0 % |\n| bee | 2 | 66.7 % | 100.0 % |" in text
    assert "log loss, in nats | 0.6" in text


def test_of_several_labels_an_image_all_must_be_right():
    truth = [[1, 0], [1, 1], [0, 0], [0, 1]]
    rows = np.array([[0.9, 0.1], [0.8, 0.7], [0.6, 0.2], [0.1, 0.9]])
    metrics = evaluate_multi_label(LABELS, truth, rows).to_json()
    text = section(card(background=Background(metrics=metrics)), "Metrics")
    assert "| all classes of an image right | 75.0 %, 95 % interval" in text
    assert "| mean average precision of the classes | 100.0 % |" in text


@pytest.mark.parametrize(
    ("info", "arguments", "words"),
    [
        (INFO, {}, "The middle 95 % of its shorter side, in the shape of 96 x 64, is resized to "
                   "96 x 64 (bicubic). Pixels, 0 to 255, become "
                   "`(pixel - [124, 116, 104]) / [58, 57, 56]`. `Predictor` does all of it."),
        (ModelInfo((96, 64), 1.0), {"include_preprocessing": True},
         "The whole image is resized to 96 x 64 (bilinear). Pixels, 0 to 255, become "
         "`(pixel - 127.5) / 127.5`, which a layer of the model does."),
        (ModelInfo(None, preprocessing=None), {"input_shape": (None, None, 3)},
         "The middle 87.5 % of each side is resized to 224 x 224 (bilinear). How pixels become "
         "the input is not known."),
    ],
)  # fmt: skip
def test_preprocessing_is_told_in_words_and_numbers(info, arguments, words):
    assert words in section(card(info, **arguments), "Preprocessing")


def test_names_are_data_and_no_markup():
    labels = ("<b>|x", "[a](http://b)", "two\nlines", "_*`")
    metrics = evaluate(labels, [0, 1, 2, 3], np.eye(4)).to_json()
    text = card(replace(INFO, labels=labels), Background("a\n# b<i>", metrics=metrics), "a'\n```")
    rows = section(text, "Metrics").splitlines()[-4:]
    assert rows[0].startswith(r"| \<b\>\|x | 1 |")
    assert r"\[a\]\(http://b\)" in section(text, "Labels")
    assert len(section(text, "Labels").splitlines()) == 1
    assert not re.search(r"^# b|<i>|<b>", text, re.MULTILINE)
    assert code_line("a'\n```").count("\n") == 0


def test_of_a_thousand_classes_the_first_are_named():
    labels = tuple(f"n{i}" for i in range(1000))
    text = section(card(replace(INFO, labels=labels), Background(metrics=METRICS)), "Labels")
    assert "n0, n1, " in text
    assert "n19 and 980 more" in text


@pytest.mark.parametrize(
    ("weights", "source", "base", "licence"),
    [
        ("imagenet", None, "Keras' ImageNet weights", LICENCE),
        (ROW, f"{ROW}@0123", ROW, "apache-2.0"),
        ("hf://me/net", "me/net@0123", "me/net", None),
        ("/home/me/own.h5", None, "own.h5", None),
        ("folders/net/", None, "net", None),
        (None, None, "", None),
    ],
)
def test_a_runs_base_is_what_its_settings_and_its_model_say(weights, source, base, licence):
    found = _background({"settings": {"weights": weights}}, source)
    assert (found.base, found.licence) == (base, licence)
    text = card(background=found)
    assert ("licence" in text.lower()) == bool(base)
    assert (f"are under `{licence}`" in text) == bool(licence)


def test_settings_are_json_that_comes_back(tmp_path):
    record = json.loads(HubConfig("mobilenet_v2", {"alpha": 0.5}, INFO).to_text())
    assert record["labels"] == ["ant", "bee"]
    assert record["preprocessing"]["size"] == [96, 64]
