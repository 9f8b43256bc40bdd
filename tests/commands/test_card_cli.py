"""`keras-mobilenet weights card`: a run of one's own, as a user takes it to the hub."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from coloured_shapes import COLOURS, write_shapes, write_weights
from hub_server import hub
from typer.testing import CliRunner

from keras_mobilenet import MobileNet, Predictor, from_pretrained
from keras_mobilenet.checkpoints.net_weights import builder_of, net_weights
from keras_mobilenet.commands.app import app
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.models import model_files
from keras_mobilenet.models.model_files import info_of, load_model, save_model
from keras_mobilenet.nets.families.v1 import BLOCKS
from keras_mobilenet.training import run_files

pytestmark = [
    pytest.mark.builds,
    # Of the client's own call of httpx, for a large file without Xet.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and the images that it was trained with."""
    folder = tmp_path_factory.mktemp("card")
    images = write_shapes(folder / "images", 6)
    weights = write_weights(folder / "net.safetensors", BLOCKS)
    result = CliRunner().invoke(
        app,
        ["finetune", str(images), "--out", str(folder / "run"), "--alpha", "0.25", "--size", "32",
         "--val", "0.5", "--weights", str(weights)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "run", images


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run, to damage."""
    return shutil.copytree(trained[0], tmp_path / "run")


def command(*arguments):
    return CliRunner().invoke(app, ["weights", "card", *map(str, arguments)])


def test_the_folder_opens_as_the_runs_model_and_its_card_says_how_good_it_is(trained, run):
    result = command(run)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote {run / 'hub'}\n"
    assert f"weights card {run / 'hub'} --push OWNER/NAME" in result.stderr
    metrics = json.loads((run / "metrics.json").read_text())
    low, high = (100 * x for x in metrics["interval"])
    text = (run / "hub" / "README.md").read_text()
    assert f"interval {low:.1f} to {high:.1f} % ({metrics['correct']} of 9)" in text
    assert "It was trained from net.safetensors." in text
    assert info_of(from_pretrained(str(run / "hub"))) == info_of(load_model(run / "model.keras"))
    images = sorted(map(str, trained[1].rglob("*.png")))
    with Predictor(run / "model.keras") as ours, Predictor(run / "hub") as theirs:
        expected = [x.predictions for x in ours.classify(images)]
        assert [x.predictions for x in theirs.classify(images)] == expected
    assert {name for _, name, _ in expected[0]} == {*COLOURS}


def contents(folder):
    texts = [(folder / name).read_text() for name in ("config.json", "README.md")]
    return texts, net_weights(builder_of(folder)).arrays


def test_a_run_becomes_the_same_folder_without_keras(run, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(model_files, "load_model", None)
        assert command(run).exit_code == 0
    texts, arrays = contents(run / "hub")
    monkeypatch.setattr(run_files, "_net_of_run", lambda _: None)
    assert command(run, "--overwrite").exit_code == 0
    by_keras, expected = contents(run / "hub")
    assert texts == by_keras
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)


def test_a_net_of_its_own_strides_is_not_taken_for_the_papers(tmp_path):
    blocks = [*BLOCKS[:8], replace(BLOCKS[8], stride=2), *BLOCKS[9:]]
    model = MobileNet((32, 32, 3), 0.25, weights=None, blocks=blocks)
    save_model(model, tmp_path / "model.keras")
    assert run_files._net_of_run(str(tmp_path / "model.keras")) is None


def test_the_cards_three_lines_run(trained, run, tmp_path, monkeypatch, capsys):
    assert command(run, "--out", tmp_path / "out").exit_code == 0
    shutil.copy(next(trained[1].rglob("*.png")), tmp_path / "image.jpg")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.S)[1]
    assert len(code.splitlines()) == 3
    capsys.readouterr()
    exec(code, {})
    assert any(name in capsys.readouterr().out for name in COLOURS)


def test_a_run_goes_onto_the_hub_in_one_command(run, hub_client):
    with hub({}) as server:
        hub_client(HF_ENDPOINT=server.url, HF_TOKEN="hf_mine")
        result = command(run, "--push", "me/shapes", "--yes", "--private")
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines() == [f"wrote {run / 'hub'}", f"{server.url}/me/shapes"]
        assert server.visibility == {"me/shapes": "private"}
        assert b"Predictor('hf://me/shapes')" in server.repositories["me/shapes"]["README.md"]
        again = command(run, "--push", "me/shapes", "--yes")
        assert again.exit_code == 2
        words = re.sub(r"[\s│]+", "", again.stderr)
        assert f"weightscard{run / 'hub'}--pushme/shapes" in words


def test_a_folder_that_is_there_stays_until_it_may_go(run):
    assert command(run).exit_code == 0
    (run / "hub" / "README.md").write_text("mine")
    assert "--overwrite" in str(command(run).exception)
    assert (run / "hub" / "README.md").read_text() == "mine"
    assert command(run, "--overwrite").exit_code == 0
    assert "## Metrics" in (run / "hub" / "README.md").read_text()


def test_the_run_is_looked_at_before_the_hub_is(tmp_path, hub_client):
    hub_client(HF_TOKEN="")
    result = command(tmp_path / "gone", "--push", "me/shapes", "--yes")
    assert "is no run: it has no model.keras" in str(result.exception)


def test_what_is_no_finished_run_is_told(run, tmp_path):
    assert "is no run: it has no model.keras and no metrics.json" in str(
        command(tmp_path).exception
    )
    (run / "metrics.json").unlink()
    (run / "state.npz").unlink()
    assert "it has no metrics.json. Pass the folder that" in str(command(run).exception)
    (run / "state.npz").write_bytes(b"")
    (run / "model.keras").unlink()
    assert "has not ended. Resume it with --resume first" in str(command(run).exception)
    assert not (run / "hub").exists()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "it is no JSON"),
        ("[]", "it does not hold a run's settings"),
        ('{"settings": {}, "accuracy": 0.5}', "its accuracy has no interval"),
    ],
)
def test_damaged_metrics_are_told_with_the_file(text, what, run):
    (run / "metrics.json").write_text(text)
    error = command(run).exception
    assert isinstance(error, CheckpointError)
    assert str(error).startswith(f"{run / 'metrics.json'}: {what}")
    assert not (run / "hub").exists()
