"""A folder for the hub onto it, by its own client, against a server on this machine."""

import builtins
import os
import re
from pathlib import Path

import numpy as np
import pytest
from deploy_nets import random_images
from hub_server import hub
from typer.testing import CliRunner

import keras_mobilenet
from keras_mobilenet import Predictor
from keras_mobilenet.checkpoints.hub_folders import HubConfig
from keras_mobilenet.checkpoints.net_weights import Builder, builder_of, net_weights
from keras_mobilenet.checkpoints.writing.hub_push import check_push, name_in_card, push
from keras_mobilenet.checkpoints.writing.model_card import Background, card_of
from keras_mobilenet.checkpoints.writing.weights_file import write_arrays
from keras_mobilenet.commands.app import app
from keras_mobilenet.commands.weights import card
from keras_mobilenet.errors import CheckpointError, MissingExtraError, UploadError
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import Preprocessing

# Of the client's own call of httpx, for a large file without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME, SIZE = "me/flowers", 32
INFO = ModelInfo((SIZE, SIZE), 0.9, Preprocessing(0.02, -1.0), ("ant", "bee", "cat"))
FILES = {"model.safetensors", "config.json", "README.md"}


@pytest.fixture
def folder(tmp_path):
    """A folder as `save_weights` writes it, without Keras."""
    arguments = {"input_shape": (SIZE, SIZE, 3), "alpha": 0.25, "classes": 3,
                 "classifier_activation": "sigmoid"}  # fmt: skip
    found = net_weights(Builder("mobilenet_v2", {**arguments, "weights": "random"}))
    config = HubConfig("mobilenet_v2", arguments, INFO)
    path = tmp_path / "net"
    path.mkdir()
    write_arrays(path / "model.safetensors", found.arrays, found.conventions, info=INFO)
    (path / "config.json").write_text(config.to_text())
    (path / "README.md").write_text(card_of(config, found.net, Background(), str(path)))
    return path


@pytest.fixture
def served(hub_client):
    with hub({}) as server:
        hub_client(HF_ENDPOINT=server.url, HF_TOKEN="hf_mine")
        yield server


def command(*arguments, answer=None):
    return CliRunner().invoke(app, ["weights", "card", *map(str, arguments)], input=answer)


def test_what_was_pushed_opens_from_the_hub_as_the_same_model(folder, served):
    (folder / "notes.txt").write_text("mine")
    result = command(folder, "--push", NAME, "--yes")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"{served.url}/{NAME}"
    assert f"--weights hf://{NAME}" in result.stderr
    files = served.repositories[NAME]
    assert files == {name: (folder / name).read_bytes() for name in FILES}
    assert f"predictor = Predictor('hf://{NAME}')\n".encode() in files["README.md"]
    pixels = random_images(4, (SIZE, SIZE))
    with Predictor(folder) as here, Predictor(f"hf://{NAME}") as there:
        assert there.info.source == f"{NAME}@{served.newest[0]}"
        assert (there.info.labels, there.info.fit) == (INFO.labels, INFO.fit)
        assert np.array_equal(there.predict(pixels), here.predict(pixels))
    model = keras_mobilenet.from_pretrained(NAME)
    assert model.layers[-1].activation.__name__ == "sigmoid"


def test_a_second_push_takes_the_place_of_the_first_and_leaves_other_files(folder, served):
    push(folder, NAME, private=True)
    assert served.visibility[NAME] == "private"
    served.repositories[NAME]["LICENSE"] = b"theirs"
    first = served.newest[0]
    edited = (folder / "README.md").read_text() + "\nMIT.\n"
    (folder / "README.md").write_text(edited)
    assert push(folder, NAME) == f"{served.url}/{NAME}"
    assert served.newest[0] != first
    assert served.repositories[NAME]["README.md"].decode() == edited
    assert served.repositories[NAME]["LICENSE"] == b"theirs"


def test_nothing_is_uploaded_before_somebody_says_yes(folder, served, monkeypatch):
    result = command(folder, "--push", NAME)
    assert result.exit_code == 2
    assert "nobody is here to answer. Pass --yes" in re.sub(r"[\s│]+", " ", result.stderr)
    monkeypatch.setattr(card, "_can_answer", lambda: True)
    before = (folder / "README.md").read_bytes()
    result = command(folder, "--push", NAME, answer="n\n")
    assert f"Push {folder} to {NAME} (is made)?" in result.stderr
    assert "nothing was pushed" in result.stderr
    assert (folder / "README.md").read_bytes() == before
    assert served.repositories == {}
    served.repositories[NAME] = {}
    result = command(folder, "--push", NAME, answer="y\n")
    assert "is there; its files of the same names are replaced" in result.stderr
    assert served.repositories[NAME].keys() == FILES


def test_what_a_user_wrote_into_the_card_stays(folder):
    card_file = folder / "README.md"
    own = "# Mine\n\npredictor = Predictor('a')\npredictor = Predictor('b')\n"
    card_file.write_text(own)
    name_in_card(folder, NAME)
    assert card_file.read_text() == own.replace("'a'", f"'hf://{NAME}'")
    card_file.write_text("# Mine\n")
    name_in_card(folder, NAME)
    assert card_file.read_text() == "# Mine\n"
    card_file.unlink()
    name_in_card(folder, NAME)


# what may go wrong


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flowers", r"Push to OWNER/NAME, as in me/flowers\. Received: 'flowers'"),
        ("me/flowers@main", "Push to OWNER/NAME"),
        ("https://x/me/flowers", "Push to OWNER/NAME"),
        ("me/flowers.git", r"no repositories of the name 'me/flowers\.git': .*\.git"),
        ("me/a--b", "no repositories of the name 'me/a--b'"),
        ("me/" + "x" * 100, "no repositories of the name"),
    ],
)
def test_a_name_that_no_repository_can_have_is_told(name, message, served):
    with pytest.raises(ValueError, match=message):
        check_push(name)
    assert served.asked == []


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "KERAS_MOBILENET_OFFLINE"])
def test_offline_nothing_is_asked(variable, served, hub_client):
    hub_client(HF_ENDPOINT=served.url, HF_TOKEN="hf_mine", **{variable: "1"})
    with pytest.raises(UploadError, match=f"^{NAME}: nothing was pushed, because {variable} is"):
        check_push(f"hf://{NAME}")
    assert served.asked == []


def test_without_a_token_it_is_told_how_to_get_one_before_anything_is_written(
    folder, served, hub_client, tmp_path
):
    hub_client(HF_ENDPOINT=served.url)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("model.keras", "metrics.json"):
        (run / name).write_text('{"settings": {}}')
    result = command(run, "--push", NAME, "--yes")
    assert isinstance(result.exception, UploadError)
    assert "no token of yours.\nFirst log in with `hf auth login`" in str(result.exception)
    assert served.asked == []


def test_without_the_client_the_extra_is_named(folder, monkeypatch):
    imported = builtins.__import__

    def without(name, *others, **options):
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return imported(name, *others, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"Pushing to me/flowers.*keras-mobilenet\[hub\]"):
        check_push(NAME)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (
            {"repos/create": 403},
            r"does not let your token write to me's repositories \(403\)\.\n",
        ),
        ({"preupload": 401}, r"does not let your token write .*\(401\)"),
        ({"PUT": 403}, r"does not let your token write .*\(403\)"),
        ({"commit/main": 413}, r"did not take it \(.*413.*\)\.\nLook at the connection"),
    ],
)
def test_what_the_hub_refuses_is_told_with_the_remedy(refused, message, folder, served):
    served.refused = refused
    with pytest.raises(UploadError, match=rf"^{NAME}: {served.url} {message}"):
        push(folder, NAME)
    assert not served.repositories.get(NAME)  # in one commit, or not at all


def test_the_token_of_somebody_else_is_told(folder, served, hub_client):
    served.repositories[NAME] = {}
    hub_client(HF_ENDPOINT=served.url, HF_TOKEN="hf_other")
    with pytest.raises(UploadError, match=r"does not let your token write to me's .*\(401\)"):
        push(folder, NAME)


def test_a_server_that_is_not_there_is_told(folder, served, hub_client):
    hub_client(HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="hf_mine")
    with pytest.raises(UploadError, match=r"http://127\.0\.0\.1:9 did not take it \(.*[Cc]onnect"):
        push(folder, NAME)


def test_a_damaged_folder_is_not_pushed(folder, served):
    os.truncate(folder / "model.safetensors", 1000)
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        push(folder, NAME)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        push(folder, NAME)
    assert served.asked == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "is a folder for the hub already"),
        (("--out", "x", "--push", NAME, "--yes"), "is a folder for the hub already"),
        (("--yes",), "--private and --yes are for --push"),
    ],
)
def test_options_that_do_not_go_together_are_told(more, message, folder, served):
    result = command(folder, *more)
    assert result.exit_code == 2
    assert message in re.sub(r"[\s│]+", " ", result.stderr)
    assert not Path("x").exists()


def test_builder_of_a_pushed_folder_is_that_of_the_folder(folder, served):
    push(folder, NAME)
    there = keras_mobilenet.checkpoints.net_weights.published_builder(f"hf://{NAME}", {})
    here = builder_of(folder)
    assert there.net == here.net
    assert {**there.arguments, "weights": ""} == {**here.arguments, "weights": ""}
