"""Published weights by name: the hub's own hub_client, asked of a server on this machine."""

import builtins
import json

import numpy as np
import pytest
from hub_server import COMMIT, config, hub, timm_file
from PIL import Image
from typer.testing import CliRunner

import keras_mobilenet
from keras_mobilenet import Predictor, preprocessing_of
from keras_mobilenet.checkpoints.net_weights import Builder, published_builder
from keras_mobilenet.checkpoints.published.hub import at_hand, hub_file
from keras_mobilenet.commands.app import app
from keras_mobilenet.commands.terminal.options import (
    DEFAULT_SIZE,
    ImageSize,
    NetOptions,
    size_of_weights,
)
from keras_mobilenet.deploy.opened import open_model
from keras_mobilenet.errors import DownloadError, MissingExtraError
from keras_mobilenet.images.labels import imagenet_classes
from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE, Preprocessing
from keras_mobilenet.models.model_files import info_of
from keras_mobilenet.nets.published.table import get

PINNED = get("timm/mobilenetv3_small_050.lamb_in1k")  # at a commit, and ImageNet's mean and std
NEWEST = get("timm/mobilenetv2_050.lamb_in1k")
IMAGENET = Preprocessing.from_mean_std((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@pytest.fixture(scope="session")
def files():
    return {
        row.repository: {
            "model.safetensors": timm_file(row),
            "config.json": config(row),
            "pytorch_model.bin": b"a pickle",
        }
        for row in (PINNED, NEWEST)
    }


def pickles(server):
    return [request for request in server.asked if ".bin" in request]


def test_pinned_file_is_fetched_once_with_its_config_and_nothing_else(files, hub_client):
    with hub(files, commits=(PINNED.revision,)) as server:
        hub_client(HF_ENDPOINT=server.url)
        assert at_hand(PINNED) is None
        path = hub_file(PINNED)
        asked = len(server.asked)
        assert hub_file(PINNED) == path == at_hand(PINNED)
        assert len(server.asked) == asked  # a commit never changes
        assert {request.rpartition("/")[2] for request in server.asked} == {
            "model.safetensors",
            "config.json",
        }
        assert all(PINNED.revision in request for request in server.asked)


def test_both_files_are_of_one_commit_and_are_found_offline(files, hub_client):
    with hub(files) as server:
        hub_client(HF_ENDPOINT=server.url)
        path = hub_file(NEWEST)
        assert COMMIT in path
        of_config = [request for request in server.asked if "config.json" in request]
        assert of_config
        assert all(COMMIT in request for request in of_config)
        hub_client(HF_ENDPOINT=server.url, HF_HUB_OFFLINE="1")
        asked = len(server.asked)
        assert hub_file(NEWEST) == path == at_hand(NEWEST)
        assert len(server.asked) == asked
    hub_client(HF_ENDPOINT=server.url)  # where nobody answers any more
    assert hub_file(NEWEST) == path


def test_repository_without_a_config_serves_as_well(files, hub_client):
    weights = files[NEWEST.repository]["model.safetensors"]
    with hub({NEWEST.repository: {"model.safetensors": weights}}) as server:
        hub_client(HF_ENDPOINT=server.url)
        with open(hub_file(NEWEST), "rb") as file:
            assert file.read() == weights


@pytest.mark.parametrize(
    ("repository", "message"),
    [
        (None, "no such repository, or a private one.\nIf it is private, log in"),
        ((401, "GatedRepo"), "the repository is gated.\nAccept its terms at http"),
        ((403, "GatedRepo"), "the repository is gated.\nAccept its terms at http"),
        ({"pytorch_model.bin": b"code"}, "no model.safetensors, and pickles are not fetched"),
        (
            {"model.safetensors": bytes(NEWEST.max_bytes + 1)},
            "its model.safetensors has 8,997,473 bytes, and that",
        ),
        ((418, "Teapot"), "is not in .*, and http://.* did not give it .*418"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy_and_nothing_is_kept(repository, message, hub_client):
    with hub({NEWEST.repository: repository} if repository else {}) as server:
        hub_client(HF_ENDPOINT=server.url)
        with pytest.raises(DownloadError, match=f"^{NEWEST.repository}: .*{message}"):
            hub_file(NEWEST)
        assert at_hand(NEWEST) is None
        assert pickles(server) == []
        assert not [request for request in server.asked if request.startswith("GET")]


def test_commit_that_is_gone_is_named(files, hub_client):
    with hub(files) as server:
        hub_client(HF_ENDPOINT=server.url)
        with pytest.raises(DownloadError, match=f"has no commit {PINNED.revision}"):
            hub_file(PINNED)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "KERAS_MOBILENET_OFFLINE"])
def test_offline_names_the_variable(variable, hub_client):
    hub_client(HF_ENDPOINT="http://127.0.0.1:9", **{variable: "1"})
    with pytest.raises(DownloadError, match=f"not asked, because {variable} is set"):
        hub_file(PINNED)


def test_missing_client_ends_in_the_line_that_installs_it(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments):
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'keras-mobilenet\[hub\]'$"):
        hub_file(PINNED)
    assert at_hand(PINNED) is None


@pytest.fixture
def served(files, hub_client):
    with hub(files, commits=(COMMIT, PINNED.revision)) as server:
        hub_client(HF_ENDPOINT=server.url)
        yield server


def test_predictor_by_name_scales_as_the_row_says_without_keras(served):
    predictor = Predictor.from_pretrained(PINNED.repository, threads=1)
    assert predictor.input_shape == (224, 224, 3)
    assert predictor.info.preprocessing.is_close(IMAGENET)
    assert predictor.info.crop == PINNED.training.crop
    assert predictor.info.labels == imagenet_classes()


def test_size_of_images_decides_the_crop():
    row = get("timm/mobilenetv1_100.ra4_e3600_r224_in1k")
    builder = published_builder(row.repository, {})
    assert builder.net == "mobilenet"
    assert builder.arguments["input_shape"] == (256, 256, 3)
    assert (row.crop_at(256), row.crop_at(224)) == (0.95, 0.875)


def test_keras_model_and_net_as_data_agree_on_values_and_info(served):
    model = keras_mobilenet.from_pretrained(PINNED.repository, input_shape=(64, 64, 3))
    opened = open_model(published_builder(PINNED.repository, {"input_shape": (64, 64, 3)}))
    assert info_of(model) == opened.info
    assert preprocessing_of(model).is_close(IMAGENET)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    without = Predictor.from_pretrained(PINNED.repository, input_shape=(64, 64, 3), threads=1)
    theirs = model.predict(opened.info.scaled(pixels), verbose=0)
    # Two runtimes' rounding in float32, of probabilities that sum to 1.
    assert np.allclose(without.predict(pixels), theirs, atol=1e-5)


def test_channels_without_a_scaling_of_their_own_have_none(served):
    grey = published_builder(PINNED.repository, {"input_shape": (64, 64, 1)})
    assert open_model(grey).info.preprocessing is None


@pytest.mark.parametrize(
    ("net", "arguments", "message"),
    [
        ("mobilenet", {}, "These weights are of MobileNetV2; `from_pretrained` picks"),
        ("mobilenet_v2", {}, "`alpha` must be 0.5 with weights='timm/mobilenetv2_050"),
        ("mobilenet_v2", {"alpha": 0.5, "classes": 7}, "`classes` must be 1000 with"),
        (
            "mobilenet_v2",
            {"alpha": 0.5, "include_preprocessing": True},
            "`include_preprocessing` must be False with .*-1..1",
        ),
    ],
)
def test_arguments_must_be_those_of_the_row(net, arguments, message):
    with pytest.raises(ValueError, match=message):
        open_model(Builder(net, {"weights": NEWEST.repository, **arguments}))


def test_mean_and_std_of_a_half_are_minus_one_to_one():
    row = get("timm/tf_mobilenetv3_small_100.in1k")
    assert row.takes_minus_one_to_one
    half = Preprocessing.from_mean_std(255 * row.mean[0], 255 * row.std[0])
    assert half.is_close(MINUS_ONE_TO_ONE)


def test_name_that_no_row_has_is_told_what_is_near():
    with pytest.raises(
        ValueError, match="nor are such weights known. Near it are timm/mobilenetv2"
    ):
        open_model(Builder("mobilenet_v2", {"weights": "timm/mobilenetv2_050"}))
    with pytest.raises(ValueError, match="known as 'timm/resnet'.*; hf://timm/resnet asks the hub"):
        Predictor.from_pretrained("timm/resnet")


# by name, as a user types it


def test_classify_takes_net_size_and_scaling_from_the_name(served, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    path = str(tmp_path / "noise.png")
    Image.fromarray(pixels).save(path)
    result = CliRunner().invoke(
        app, ["classify", path, "--weights", PINNED.repository, "--json", "--engine", "litert"]
    )
    assert result.exit_code == 0, result.output
    [expected] = Predictor.from_pretrained(PINNED.repository, engine="litert").classify(path)
    assert expected.predictions[0][0] in str(json.loads(result.stdout))


def test_options_that_say_another_net_stay_and_are_refused_later():
    name = "timm/tf_mobilenetv3_small_minimal_100.in1k"
    default = NetOptions("mobilenet", 1.0)
    assert default.of_weights(name) == NetOptions("mobilenet_v3_small", 1.0, minimalistic=True)
    assert default.of_weights("imagenet") is default
    other = NetOptions("mobilenet_v2", 1.0)
    assert other.of_weights(name) is other


def test_size_that_was_typed_counts_and_else_the_publishers_own():
    name = "timm/mobilenetv1_100.ra4_e3600_r224_in1k"
    assert size_of_weights(DEFAULT_SIZE, name) == ImageSize(256, 256)
    assert size_of_weights(ImageSize(224, 224), name) == ImageSize(224, 224)
    assert size_of_weights(DEFAULT_SIZE, "imagenet") is DEFAULT_SIZE
