"""The command `keras-mobilenet evaluate`: what it says, where it writes, how it ends."""

import json

import numpy as np
import pytest
from PIL import Image
from test_cli import fail, run

from keras_mobilenet import export
from keras_mobilenet.checkpoints.net_weights import Builder

LABELS = ("ant", "bee", "cat")
COUNT = 6  # images of each class


def write_net(path, **options):
    arguments = {"alpha": 0.25, "classes": 3, "weights": "random", "input_shape": (32, 32, 3)}
    export(Builder("mobilenet", {**arguments, **options}), path, labels=LABELS)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Two nets that know nothing, and images in class folders."""
    here = tmp_path_factory.mktemp("here")
    write_net(here / "net.tflite")
    write_net(here / "other.onnx", alpha=0.5)
    random = np.random.default_rng(0)
    for name in LABELS:
        (here / "val" / name).mkdir(parents=True)
        for i in range(COUNT):
            pixels = random.integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(here / "val" / name / f"{i}.png")
    return here


@pytest.fixture
def asked(here, monkeypatch):
    monkeypatch.chdir(here)
    return lambda *arguments: run("evaluate", *arguments)


def test_a_line_says_how_good_a_model_is(asked):
    result = asked("net.tflite", "val")
    assert result.exit_code == 0
    # A third of the images is right whatever one class the net names: 6 of 18, Wilson's interval.
    assert result.stdout.startswith("net.tflite: top-1 33.3 % (16.3 to 56.3), calibration error ")
    assert result.stdout.endswith(" images/s\n")
    assert result.stdout.count("\n") == 1


def test_another_model_has_its_line_and_the_two_a_third_one(asked):
    result = asked("net.tflite", "val", "--against", "other.onnx")
    one, two, both = result.stdout.splitlines()
    assert one.startswith("net.tflite: ")
    assert two.startswith("other.onnx: ")
    assert both.startswith("alone right: ")
    assert "of 18 images; difference " in both
    assert "McNemar's p = " in both
    lines = asked("net.tflite", "val", "--against", "net.tflite", "--engine", "openvino")
    names = [line.partition(": ")[0] for line in lines.stdout.splitlines()]
    assert names[:2] == ["net.tflite (openvino, float32)", "net.tflite (litert, float32)"]


def test_out_holds_what_was_asked_and_is_resumed_or_begun_anew(
    asked, tmp_path, capsys, monkeypatch
):
    options = ("net.tflite", "val", "--out", tmp_path / "out")
    given = ("--crop", 0.9, "--crop-edges", "fractional", "--interpolation", "bicubic")
    result = asked(*options, *given, "--preprocessing", "0..1")
    assert result.exit_code == 0
    assert f"wrote {tmp_path / 'out'}" in result.stderr
    written = json.loads((tmp_path / "out/metrics.json").read_text())["settings"]
    assert (written["crop"], written["interpolation"]) == (0.9, "bicubic")
    assert written["crop_edges"] == "fractional"
    assert written["preprocessing"] == "0..1"
    assert (tmp_path / "out/report.html").stat().st_size
    assert "Pass resume (--resume)" in fail(capsys, monkeypatch, "evaluate", *options)
    again = fail(capsys, monkeypatch, "evaluate", *options, "--resume")
    assert "was made in another way than is asked for now: model_info" in again
    assert asked(*options, "--overwrite").exit_code == 0
    resumed = asked(*options, "--resume")
    assert resumed.exit_code == 0
    assert "images/s" not in resumed.stdout  # nothing was left to do


def test_images_that_cannot_be_read_are_told_and_end_in_exit_code_1(asked, here, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    rows = [(here / "val/ant/0.png", "ant"), (tmp_path / "bad.png", "bee"), ("none.png", "cat")]
    lines = "".join(f"{path},{label}\n" for path, label in rows)
    (tmp_path / "list.csv").write_text(f"path,label\n{lines}")
    result = asked("net.tflite", tmp_path / "list.csv")
    assert result.exit_code == 1
    assert "bad.png: is text, not an image." in result.stderr
    assert "none.png: is missing" in result.stderr
    assert "not counted, since they cannot be read: 1 of 2 images" in result.stderr
    assert "net.tflite: top-1 " in result.stdout


def test_labels_are_a_file_of_names(asked, tmp_path):
    def named(*names):
        (tmp_path / "labels.txt").write_text("".join(f"{name}\n" for name in names))
        place = ("--out", tmp_path / "out", "--overwrite")
        result = asked("net.tflite", "val", *place, "--labels", tmp_path / "labels.txt")
        rows = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
        return result, json.loads(rows[0])["predicted"][0]

    _, first = named(*LABELS)
    result, turned = named(*LABELS[::-1])
    assert result.exit_code == 0
    assert turned["class"] == first["class"]
    assert turned["name"] == LABELS[2 - first["class"]]
    assert named("one", "two", "three")[0].exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.tflite", "val"), "No file or folder of the name 'none.tflite' exists"),
        (("net.tflite", "none"), "There is nothing at 'none'"),
        (("net.tflite", "val/ant"), "val/ant has no folders in it"),
        (("net.tflite", "val", "--against", "none.onnx"), "'none.onnx' exists"),
        (("net.tflite", "val", "--engine", "fast"), "`engine` must be one of 'auto'"),
        (("net.tflite", "val", "--engine", "keras"), "'keras' does not read 'net.tflite'"),
        (("net.tflite", "val", "--precision", "int8"), "net.tflite computes in float32"),
        (("net.tflite", "val", "--size", "64"), "takes images of 32 x 32. Received: size=(64, 64)"),
        (("net.tflite", "val", "--size", "any"), "--size must be known here"),
        (("net.tflite", "val", "--crop", "2"), "Received: crop=2.0"),
        (("net.tflite", "val", "--ground-truth", "none.txt"), "none.txt"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error(here, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(here)
    said = fail(capsys, monkeypatch, "evaluate", *arguments)
    assert message in said
    assert "Traceback" not in said


def test_resume_without_a_place_is_wrong_use(asked):
    for option in ("--resume", "--overwrite"):
        result = asked("net.tflite", "val", option)
        assert result.exit_code == 2
        assert "need --out" in result.stderr
