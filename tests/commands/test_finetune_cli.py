"""`keras-mobilenet finetune`, as a user types it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from coloured_shapes import COLOURS, write_shapes, write_weights
from interrupts import heard
from typer.testing import CliRunner

from keras_mobilenet.commands.app import app
from keras_mobilenet.commands.terminal.progress import to_resume
from keras_mobilenet.nets.families.v1 import BLOCKS

pytestmark = pytest.mark.builds


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("images"), 8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "net.weights.h5", BLOCKS)


def arguments(folder, weights, *more):
    small = ("--alpha", 0.25, "--size", 32, "--weights", weights)
    return [str(x) for x in ("finetune", folder, *small, *more)]


def run(folder, weights, *more):
    return CliRunner().invoke(app, arguments(folder, weights, *more))


def test_a_folder_of_images_becomes_a_model(images, weights, tmp_path):
    from keras_mobilenet.models.model_files import info_of, load_model

    out = tmp_path / "run"
    result = run(images, weights, "--out", out, "--val", 0.25)
    assert result.exit_code == 0, result.output
    assert re.search(r"validation accuracy [\d.]+ % \(\d of 6 images\)", result.stdout)
    assert f"wrote {out / 'model.keras'}" in result.stdout
    assert info_of(load_model(out / "model.keras")).labels == tuple(COLOURS)
    assert {"model.keras", "history.csv", "metrics.json"} <= {p.name for p in out.iterdir()}
    again = run(images, weights, "--out", out)
    assert again.exit_code == 1
    assert "holds a run already" in str(again.exception)
    assert "--resume" in str(again.exception)


@pytest.mark.parametrize("part", ["top", "block_10"])
def test_a_minimalistic_net_becomes_a_model(images, tmp_path, part):
    from keras_mobilenet import MobileNetV3Small
    from keras_mobilenet.models.model_files import load_model

    net = MobileNetV3Small((32, 32, 3), 0.25, minimalistic=True, include_top=False, weights=None)
    net.save_weights(tmp_path / "net.weights.h5")
    more = ("--net", "mobilenet_v3_small", "--train-from", part, "--epochs", 1, "--out")
    wrong = run(images, tmp_path / "net.weights.h5", *more, tmp_path / "wrong")
    assert "Build the model with minimalistic=True" in str(wrong.exception)
    result = run(images, tmp_path / "net.weights.h5", *more, tmp_path / "run", "--minimalistic")
    assert result.exit_code == 0, result.output
    saved = load_model(tmp_path / "run" / "model.keras")
    assert not any("squeeze" in layer.name for layer in saved.layers)


def test_only_v3_is_minimalistic(images, weights, tmp_path):
    result = run(images, weights, "--minimalistic", "--out", tmp_path / "run")
    assert "Only mobilenet_v3_small, mobilenet_v3_large takes it" in str(result.exception)


def test_what_is_missing_is_said(images, weights):
    assert "--out RUN is needed" in run(images, weights).output
    nowhere = run(images, weights, "--out", "x", "--val", "nowhere")
    assert "neither a share nor a path" in nowhere.output
    assert nowhere.exit_code == 2


def interrupted(typed, state):
    """Return how a command ended, and what it said, that got Ctrl-C when a file was there."""
    with heard():
        process = subprocess.Popen(
            [sys.executable, "-m", "keras_mobilenet", *typed],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
    for _ in range(600):
        if state.exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_ctrl_c_leaves_a_run_that_goes_on(images, weights, tmp_path):
    for turn in range(3):
        out = tmp_path / f"run{turn}"
        tail = ("--train-from", "block_13", "--epochs", 100000)
        typed = arguments(images, weights, "--out", out, *tail)
        code, errors = interrupted(typed, out / "state.npz")
        if "SystemError" not in errors:  # TensorFlow's native code lost the interrupt
            break
    assert code == 130, errors
    line = errors.strip().splitlines()[-1].strip()
    assert line == f"keras-mobilenet {' '.join(typed)} --resume"


def test_a_full_disk_says_how_to_go_on(images, weights, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_mobilenet.training.finetune.finetuning.finetune", full)
    result = run(images, weights, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "what was done is kept" in result.stderr


def test_weights_that_are_nowhere_begin_nothing(images, tmp_path, cache, monkeypatch):
    monkeypatch.setenv("KERAS_MOBILENET_OFFLINE", "1")
    result = run(images, "imagenet", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert type(result.exception).__name__ == "DownloadError"
    assert "--resume" not in result.output


def test_probe_prints_a_table(images, weights, monkeypatch):
    from keras_mobilenet.training.finetune import probing

    scores = (probing.ProbeScore("MobileNet", 0.25, 224, 0.9, 0.05, 24, 31.0),)
    monkeypatch.setattr(probing, "probe", lambda *_, **__: scores)
    text = run(images, weights, "--probe").stdout
    assert "accuracy %" in text
    assert "90.0" in text
    told = json.loads(run(images, weights, "--probe", "--format", "json").stdout)
    assert (told[0]["net"], told[0]["alpha"]) == ("MobileNet", 0.25)


def test_help_names_every_option_of_the_brief():
    text = CliRunner().invoke(app, ["finetune", "--help"], env={"COLUMNS": "200"}).stdout
    for option in (
        "--out",
        "--val",
        "--train-from",
        "--epochs",
        "--views",
        "--resume",
        "--probe",
    ):
        assert option in text


def test_the_line_to_go_on_is_what_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "finetune", "my images", "--resume"])
    assert to_resume(Path("run")).endswith("keras-mobilenet finetune 'my images' --resume")
