"""`keras-mobilenet classify FOLDER --out FILE`, stopped in every way a process can be."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from image_files import SIZE, small_model, write_images, write_model
from interrupts import heard
from test_cli import fail, run

import keras_mobilenet
from keras_mobilenet.commands.classify import DEFAULT_ADDRESS
from keras_mobilenet.commands.terminal.classify_options import _with_address
from keras_mobilenet.deploy.graphs.traced.conversion import to_tflite
from keras_mobilenet.deploy.metadata import write_info
from keras_mobilenet.images.images import read_image
from keras_mobilenet.images.prefetch import BATCH
from keras_mobilenet.models.model_files import info_of
from keras_mobilenet.nets.families.v1 import BLOCKS

COUNT = 40
MANY = 20 * BATCH  # images that take seconds where each takes its time: time to stop in


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a model, also exported, images and a bad file."""
    here = tmp_path_factory.mktemp("here")
    write_model(here / "net.keras")
    export_model(small_model(), here / "net.tflite")
    write_images(here / "images", COUNT, bad=[7])
    write_images(here / "good", 3)
    return here


def export_model(model, path):
    path.write_bytes(to_tflite(model))
    write_info(str(path), info_of(model))


@pytest.fixture(scope="module")
def many(here):
    """A list of many images, which are a few again and again, and the results for it.

    Of an exported model, which is classified with in processes that need not import Keras.
    """
    paths = write_images(here / "some", 2 * BATCH) * (MANY // (2 * BATCH))
    (here / "many.txt").write_text("\n".join(paths))
    out = here / "many.csv"
    assert run("classify", here / "many.txt", "--model", here / "net.tflite", "--out", out,
               ).exit_code == 0  # fmt: skip
    return here / "many.txt", out.read_bytes()


# The command, where an image takes long to open. How fast this machine is then does not matter.
SLOWLY = """
import time
from PIL import Image

opened = Image.open
Image.open = lambda *args, **options: time.sleep(0.02) or opened(*args, **options)

from keras_mobilenet.commands.app import main

main()
"""


def slow_command(*arguments):
    """Start the command in a process of its own, with this copy of the package."""
    environment = os.environ | {"PYTHONPATH": str(Path(keras_mobilenet.__file__).parents[1])}
    with heard():
        return subprocess.Popen(
            [sys.executable, "-c", SLOWLY, *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def stop_when_writing(process, out, how, size):
    """Send a signal when so many bytes of results are there; return what the process said."""
    deadline = time.monotonic() + 60
    while not (out.exists() and out.stat().st_size > size) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(how)
    return process.communicate(timeout=60)


def lines(path):
    return path.read_bytes().count(b"\n")


def test_stopped_killed_and_resumed_the_file_is_that_of_an_unbroken_run(here, many, tmp_path):
    source, whole = many
    out = tmp_path / "out.csv"
    arguments = ("classify", source, "--model", here / "net.tflite", "--out", out)

    process = slow_command(*arguments)
    _, error = stop_when_writing(process, out, signal.SIGINT, 5000)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert f"keras-mobilenet classify {source} --model" in error
    assert error.rstrip().endswith("--resume")
    kept = out.read_bytes()
    assert whole.startswith(kept)  # nothing but results, in order

    process = slow_command(*arguments, "--resume")
    stop_when_writing(process, out, signal.SIGKILL, len(kept) + 5000)
    assert process.returncode == -signal.SIGKILL
    assert len(kept) < out.stat().st_size < len(whole)
    assert whole.startswith(out.read_bytes())

    result = run(*arguments, "--resume")
    assert result.exit_code == 0
    assert "of them there before" in result.stderr
    assert out.read_bytes() == whole


def test_bad_files_are_listed_on_stderr_with_exit_code_1(here, tmp_path):
    out = tmp_path / "out.jsonl"
    result = run("classify", here / "images", "--model", here / "net.tflite", "--out", out)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "0007.png: is text, not an image" in result.stderr
    assert f"1 of {COUNT} images could not be read" in result.stderr
    assert lines(out) == COUNT


def test_only_the_first_bad_files_are_listed(here, tmp_path):
    write_images(tmp_path / "bad", 25, bad=range(25))
    out = tmp_path / "out.csv"
    result = run("classify", tmp_path / "bad", "--model", here / "net.tflite", "--out", out)
    assert result.stderr.count("is text") == 20
    assert "... and 5 more" in result.stderr


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_features_are_written(here, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    result = run(
        "classify", here / "good", "--model", here / "net.keras", "--features", "--out", out
    )
    assert result.exit_code == 0
    assert f"wrote {out}: 3 images" in result.stderr
    if suffix == ".npz":
        assert np.load(out)["features"].shape == (3, 64)


def test_exported_file_brings_its_labels_and_size(here, tmp_path):
    model, path = small_model(), here / "net.tflite"
    as_json = [
        json.loads(run("classify", here / "good", "--model", m, "--json").stdout)
        for m in (path, here / "net.keras")
    ]
    for one, other in zip(*as_json, strict=True):
        assert [c["id"] for c in one["classes"]] == [c["id"] for c in other["classes"]]
        scores = [[c["score"] for c in told["classes"]] for told in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)  # batch norm folded, or not
    assert as_json[0][0]["classes"][0]["id"] in info_of(model).labels
    result = run(
        "classify", here / "good", "--model", path, "--features", "--out", tmp_path / "a.npz"
    )
    assert "was exported" in str(result.exception)


def test_file_of_plain_keras_takes_labels_and_preprocessing(here, tmp_path):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((SIZE, SIZE, 3)), layers.Conv2D(3, 5), layers.GlobalMaxPooling2D()]
    )
    model.save(tmp_path / "plain.keras")
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    common = ("classify", here / "good", "--model", tmp_path / "plain.keras", "--engine", "litert")
    assert "does not name its classes" in str(run(*common).exception)
    named = (*common, "--labels", tmp_path / "names.txt", "--json")
    assert "is not known" in str(run(*named).exception)
    named = (*named, "--preprocessing")
    for text, scaling in (("0..1", 1 / 255), ("-1..1", None), ("scale=1/255,offset=0", 1 / 255)):
        result = json.loads(run(*named, text).stdout)[0]
        pixels = read_image(result["image"], size=SIZE, crop=0.875)[None].astype("float32")
        scores = model(pixels * scaling if scaling else pixels / 127.5 - 1)[0]
        found = {c["name"]: c["score"] for c in result["classes"]}
        assert [found[name] for name in "abc"] == pytest.approx(list(map(float, scores)), abs=1e-4)
    assert run(*named, "imagenet").exit_code == 2


def test_int8_is_calibrated_on_a_folder(here, tmp_path):
    result = run(
        "classify", here / "good", "--model", here / "net.keras", "--precision", "int8",
        "--engine", "litert", "--calibration", here / "good", "--out", tmp_path / "out.csv",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out.csv.job.json").read_text())["precision"] == "int8"


def test_weights_and_labels_make_the_net_that_is_compiled(here, tmp_path):
    model = small_model(blocks=BLOCKS)
    model.save_weights(tmp_path / "net.weights.h5")
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    out = tmp_path / "out.jsonl"
    net = ("--alpha", 0.25, "--size", SIZE, "--weights", tmp_path / "net.weights.h5",
           "--labels", tmp_path / "labels.txt")  # fmt: skip
    assert run("classify", here / "good", *net, "--out", out).exit_code == 0
    written = [json.loads(line) for line in out.read_text().splitlines()]
    shown = json.loads(run("classify", here / "good", *net, "--json").stdout)
    for one, other in zip(written, shown, strict=True):
        assert [c["name"] for c in one["classes"]] == [c["name"] for c in other["classes"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "nowhere/out.csv"], "nowhere"),
        (["--out", "out.xlsx"], "Classes are written to .csv, .jsonl, .parquet files"),
        (["--out", "net.keras"], "Classes are written to"),
        (["--out", "there.csv"], "there.csv exists. Pass resume (--resume)"),
        (["nowhere", "--out", "out.csv"], "No file or folder of the name 'nowhere' exists"),
        (["--engine", "abacus", "--out", "out.csv"], "`engine` must be one of"),
    ],
)
def test_errors_are_one_message(here, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine\n")
    model = ("--model", here / "net.keras")
    error = fail(capsys, monkeypatch, "classify", here / "good", *model, *arguments)
    assert error.startswith("error: ")
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine\n"


def test_folder_without_images_is_an_error(tmp_path, monkeypatch, capsys):
    error = fail(capsys, monkeypatch, "classify", tmp_path)
    assert "There is no image in" in error


@pytest.mark.parametrize(
    "arguments",
    [["--resume"], ["--overwrite"], ["--features"], ["--ray"], ["--json", "--out", "a.jsonl"],
     ["--model", "a.keras", "--alpha", "0.5"], ["--precision", "int4"],
     ["--ray", "--workers", "2", "--out", "a"]],
)  # fmt: skip
def test_options_that_do_not_go_together_are_exit_code_2(arguments):
    assert run("classify", "a.png", *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (["--ray"], ["--ray", DEFAULT_ADDRESS]),
        (["--ray", "images"], ["--ray", DEFAULT_ADDRESS, "images"]),
        (["--ray", "--out", "a"], ["--ray", DEFAULT_ADDRESS, "--out", "a"]),
        (["--ray", "auto", "images"], ["--ray", "auto", "images"]),
        (["--ray", "10.0.0.1:6379"], ["--ray", "10.0.0.1:6379"]),
        (["--ray", "ray://head:10001"], ["--ray", "ray://head:10001"]),
        ([], []),
    ],
)
def test_ray_may_stand_alone(given, parsed):
    assert _with_address(given) == parsed
