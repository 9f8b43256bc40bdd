"""An evaluation has the page that a run has, and shows where two models differ."""

import os
from dataclasses import replace

import numpy as np
import pytest
from page_reader import Page
from PIL import Image

from keras_mobilenet.errors import unicode_text
from keras_mobilenet.evaluation.evaluating import Evaluation, ModelScore
from keras_mobilenet.evaluation.metrics import metrics_of
from keras_mobilenet.evaluation.report.evaluated import write_evaluation
from keras_mobilenet.evaluation.scoring.rows import Scored
from keras_mobilenet.evaluation.scoring.tally import Tally, compared

HOSTILE = """</p><script>alert(1)</script>"'&<img src=x onerror='alert(2)'>"""
LABELS = (HOSTILE, "rose", *(f"class {i}" for i in range(998)))


def score_of(name, paths, wrong, labels=LABELS):
    """Return what a model says of images of two classes; those of `wrong` it takes for 7."""
    shift = len(labels) - len(LABELS)
    results = []
    for i, path in enumerate(paths):
        true, sure = i % 2 + shift, 0.5 + i / 100
        first, second = (7, true) if i in wrong else (true, 7)
        best = ((first, sure), (second, 0.25))
        results.append(Scored(path, true, int(i in wrong), dict(best)[true], best))
    settings = {"model": name, "crop": 0.875, "size": (224, 224)}
    settings |= {"engine": "litert", "precision": name.partition(".")[0]}
    tally = Tally(results)
    metrics = metrics_of(labels, tally.outcomes)
    bad = (f"bad.jpg: {HOSTILE}",)
    files, versions = {name: "ab12"}, {"numpy": "2.0"}
    found = ModelScore(name, metrics, settings, files, versions, bad, (), 12.5, tally.mistakes)
    return found, results


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private") / "flowers"
    folder.mkdir()
    paths = [str(folder / f"{i}<b>.png") for i in range(40)]
    for path in paths:
        Image.fromarray(np.full((20, 30, 3), 128, np.uint8)).save(path)
    first, rows = score_of("float.keras", paths, wrong=range(2))
    second, others = score_of("int8.tflite", paths, range(1, 31), ("background", *LABELS))
    return Evaluation(first, second, *compared(rows, others))


@pytest.fixture(scope="module")
def page(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_evaluation(path, found)
    return Page(path)


def test_figures_are_those_of_the_metrics(found, page):
    low, high = found.metrics.top_5_interval
    assert "float.keras on 40 images" in page.words
    assert "Top-1 accuracy95.0 %" in page.words
    assert "Top-5 accuracy100.0 %" in page.words
    assert f"95 % interval {100 * low:.1f} % to {100 * high:.1f} %" in page.words
    assert "Calibration error" in page.words
    assert "trained on" not in page.words
    assert "float.kerasab12" in page.words  # the file and its hash
    assert "numpy2.0" in page.words


def test_classes_without_examples_are_counted_and_not_shown(page):
    rows = page.table("No.", "Class")
    assert [row[:3] for row in rows] == [["1", HOSTILE, "20"], ["2", "rose", "20"]]
    assert "998 classes without an example are not shown" in page.words


def test_mistakes_have_their_image_and_no_map(page):
    # Two mistakes of the first model, 24 of the 30 images where the two differ.
    assert len(page.all("img")) == 2 + 24
    assert "heat map" not in page.words
    assert "predicted as class 5, 51.0 %" in page.words


def test_an_image_whose_name_is_no_utf8_is_shown_though_rows_hold_text(tmp_path):
    path = os.path.join(tmp_path, os.fsdecode(b"n\xff.png"))
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path)
    first, _ = score_of("float.keras", [unicode_text(path)], wrong=[0])
    write_evaluation(tmp_path / "report.html", Evaluation(first))
    assert len(Page(tmp_path / "report.html").all("img")) == 1


def test_comparison_counts_and_shows_where_they_differ(found, page):
    pair = found.comparison
    assert page.table("Right", "Images") == [
        ["both", "9"],
        ["float.keras alone", "29"],
        ["int8.tflite alone", "1"],
        ["neither", "1"],
    ]
    assert [row[:5] for row in page.table("Model", "Engine")] == [
        ["float.keras", "litert", "float", "95.0 % 38 of 40", "100.0 %"],
        ["int8.tflite", "litert", "int8", "25.0 % 10 of 40", "100.0 %"],
    ]
    assert "int8.tfliteab12" in page.words  # the other's file and hash
    low, high = (f"{100 * x:.1f} %" for x in pair.interval)
    assert f"is 70.0 %, 95 % interval {low} to {high}" in page.words
    assert f"p = {pair.p_value:.2g}" in page.words
    assert "24 of 30 images that one alone gets right" in page.words
    # The one that the second alone has right is among them, with both answers.
    assert "float.keras: class 5, 50.0 %" in page.words
    # Label 7 of 1001 with the background ahead is label 6 of 1000.
    assert page.words.count("int8.tflite: class 4, ") == 23


def test_names_stay_words_and_folders_stay_private(found, page):
    assert page.all("script") == []
    assert not any(name.startswith("on") for _, each in page.elements for name in each)
    assert "flowers/39<b>.png" not in page.words  # both have it right
    assert "flowers/30<b>.png" in page.words
    assert found.first.mistakes[0].path.rpartition("/flowers/")[0] not in page.text
    assert page.words.count(f"bad.jpg: {HOSTILE}") == 1  # of the two models, once


def test_one_model_alone_has_no_comparison(found, tmp_path):
    write_evaluation(tmp_path / "report.html", replace(found, second=None, comparison=None))
    page = Page(tmp_path / "report.html")
    assert "McNemar" not in page.words
    assert len(page.all("img")) == 2
