"""`--net`, on every command that has `--alpha`: what net the command is about."""

import inspect
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import typer
from coloured_shapes import write_shapes
from image_files import write_images
from test_cli import run

import keras_mobilenet
from keras_mobilenet import (
    MobileNet,
    MobileNetV2,
    MobileNetV4ConvSmall,
    Predictor,
    save_weights,
    summary,
)
from keras_mobilenet.commands.app import app
from keras_mobilenet.commands.train import _score_table
from keras_mobilenet.deploy.bench import benchmarking
from keras_mobilenet.deploy.opened import open_model
from keras_mobilenet.images.labels import imagenet_classes
from keras_mobilenet.models.model_files import info_of, set_info
from keras_mobilenet.nets.families.registry import FAMILIES
from keras_mobilenet.training.finetune.probing import ProbeScore

V2 = ("--net", "mobilenet_v2", "--alpha", 0.35, "--size", 32)
SUFFIXES = (".tflite", ".onnx", ".xml")
SMALL = ("--net", "mobilenet_v3_small", "--minimalistic", "--size", 32)


def test_every_command_with_alpha_has_net():
    commands = [typer.main.get_command(app)]
    seen = set()
    for group in commands:
        commands += [c for c in group.commands.values() if hasattr(c, "commands")]
        for name, command in group.commands.items():
            options = {option for p in command.params for option in p.opts}
            if "--alpha" in options:
                seen.add(name)
                assert "--net" in options, name
    assert seen >= {"summary", "plot", "cost", "classify", "bench", "export", "fetch", "where",
                    "finetune", "train"}  # fmt: skip


def test_a_net_that_there_is_not_is_named():
    for command in (("cost",), ("summary",), ("paper",), ("sizes",), ("weights", "where")):
        message = str(run(*command, "--net", "mobilenet_v9").exception)
        assert "`net` must be one of mobilenet, mobilenet_v2, mobilenet_v3_small" in message


def test_summary_prints_the_net():
    keras.utils.clear_session(free_memory=False)  # names as in a fresh process
    expected = summary(MobileNetV2((32, 32, 3), 0.35, weights=None), costs=True)
    keras.utils.clear_session(free_memory=False)
    assert run("summary", *V2, "--costs").stdout.strip() == expected
    small = run("summary", *SMALL).stdout
    assert "expanded_conv_depthwise_bn" in small
    assert "dropout (Dropout)" in small


def test_defaults_are_those_of_the_builders():
    for family in FAMILIES:
        front = inspect.signature(getattr(keras_mobilenet, family.name)).parameters
        assert family.dropout_rate == (front[family.dropout].default if family.dropout in front
                                       else 0.0)  # fmt: skip
        assert family.bn_momentum == front["bn_momentum"].default


def test_plot_draws_the_net(tmp_path):
    image = tmp_path / "net.svg"
    assert run("plot", image, *V2).exit_code == 0
    assert "expanded" in image.read_text() or "block 16" in image.read_text()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_weights(MobileNetV2((32, 32, 3), 0.35, weights=None), path)
    return path


def test_classify_takes_the_net_and_its_weights(tmp_path, weights):
    write_images(tmp_path / "images", 2)
    result = run("classify", tmp_path / "images", *V2, "--weights", weights, "--json")
    told = json.loads(result.stdout)
    names = {name for _, name in imagenet_classes()}
    assert len(told) == 2
    assert all(c["name"] in names for image in told for c in image["classes"])
    wrong = run("classify", tmp_path / "images", *V2[:2], "--model", "net.keras")
    assert "--model knows its own net" in wrong.output


def test_v4_is_fine_tuned_exported_and_asked(tmp_path):
    net = ("--net", "mobilenet_v4_conv_small", "--alpha", 0.35, "--size", 32)
    weights = tmp_path / "net.safetensors"
    save_weights(MobileNetV4ConvSmall((32, 32, 3), 0.35), weights)
    images = write_shapes(tmp_path / "images", 24)
    run_folder = tmp_path / "run"
    refused = run("finetune", images, "--out", run_folder, *net)
    assert "Keras publishes no weights of MobileNetV4ConvSmall" in str(refused.exception)
    done = run("finetune", images, "--out", run_folder, *net, "--weights", weights)
    assert done.exit_code == 0, done.output
    asked = []
    for file in (run_folder / "model.keras", *(tmp_path / f"m{s}" for s in SUFFIXES)):
        if file.suffix != ".keras":
            assert run("export", run_folder / "model.keras", file).exit_code == 0
        told = run("classify", images, "--model", file, "--json")
        asked.append([c["score"] for image in json.loads(told.stdout) for c in image["classes"]])
    for scores in asked[1:]:
        assert scores == pytest.approx(asked[0], abs=1e-4)


def test_published_weights_of_v4_are_said_to_be_none():
    result = run("weights", "where", "--net", "mobilenet_v4_conv_small")
    assert "Keras has none of this net" in str(result.output) + str(result.exception)


def test_bench_and_export_take_the_net(tmp_path, weights, monkeypatch):
    given = []

    def stop(model, *_, **options):
        given.append((model, options.get("name")))
        raise ValueError("enough")

    monkeypatch.setattr(benchmarking, "bench", stop)
    monkeypatch.setattr("keras_mobilenet.deploy.exporting.export", stop)
    run("bench", "--model", "none", *V2)
    run("bench", "--model", "none", *SMALL)
    run("export", weights, tmp_path / "net.tflite", *V2)
    (_, name), (_, another), _ = given
    first, second, third = (open_model(builder).in_keras().model for builder, _ in given)
    assert name == "MobileNetV2, alpha 0.35, 32 x 32, random weights"
    assert another == "MobileNetV3Small minimalistic, alpha 1, 32 x 32, random weights"
    assert (first.name, second.name) == ("mobilenetv2_0.35_32", "MobileNetV3Small")
    assert first.count_params() == third.count_params() == 1_691_208
    assert second.count_params() == 2_056_848
    same = MobileNetV2((32, 32, 3), 0.35, weights=weights)
    x = np.zeros((1, 32, 32, 3), "float32")
    assert np.array_equal(third(x), same(x))


def test_probe_prints_the_net():
    table = _score_table((ProbeScore("MobileNetV2", 0.35, 96, 0.9, 0.01, 50, 100.0),), "text")
    assert table.splitlines()[1].split() == ["MobileNetV2", "0.35", "96", "90.0", "1.0", "100"]


@pytest.fixture(scope="module")
def parrots(tmp_path_factory):
    """A V2 of two classes at 64 x 96 pixels, as a file of weights that says so."""
    path = tmp_path_factory.mktemp("weights") / "parrots.safetensors"
    model = MobileNetV2((64, 96, 3), 0.35, weights=None, classes=2)
    set_info(model, replace(info_of(model), labels=("ara", "kea")))
    save_weights(model, path)
    return path


def test_a_file_of_weights_tells_its_net_where_no_option_does(parrots, tmp_path):
    write_images(tmp_path, 1)
    (image,) = tmp_path.rglob("*.JPG")
    told = json.loads(run("classify", "--weights", parrots, "--json", image).stdout)
    (tmp_path / "names").write_text("ara\nkea\n", encoding="utf-8")
    options = (*V2[:4], "--size", "64x96", "--labels", tmp_path / "names")
    named = json.loads(run("classify", "--weights", parrots, *options, "--json", image).stdout)
    assert told == named
    assert {c["name"] for c in told[0]["classes"]} == {"ara", "kea"}
    to = tmp_path / "m.tflite"
    assert run("export", parrots, to, "--size", 32).exit_code == 0
    assert Predictor(to).input_shape == (32, 32, 3)


def test_finetune_begins_with_the_net_and_the_size_that_a_file_tells(parrots, tmp_path):
    images, out = write_shapes(tmp_path / "images", 2), tmp_path / "run"
    done = run("finetune", images, "--out", out, "--weights", parrots, "--val", 0.5)
    assert done.exit_code == 0, done.output
    settings = json.loads((out / "metrics.json").read_text())["settings"]
    assert (settings["net"], settings["alpha"]) == ("mobilenet_v2", 0.35)
    assert settings["size"] == [64, 96]
    with Predictor(out / "model.keras") as predictor:
        assert predictor.input_shape == (64, 96, 3)


@pytest.mark.parametrize("typed", [("--alpha", 0.5), ("--net", "mobilenet"), ("--alpha", 1)])
def test_an_option_of_the_net_is_held_against_the_file(parrots, tmp_path, typed):
    images = write_shapes(tmp_path / "images", 2)
    for command in (
        ("classify", images, "--weights", parrots),
        ("export", parrots, tmp_path / "m.tflite"),
        ("finetune", images, "--out", tmp_path / "run", "--weights", parrots),
    ):
        error = str(run(*command, *typed).exception)
        assert "these are the weights of MobileNetV2, alpha=0.35, 2 classes" in error


def test_a_size_is_one_length_or_two_for_finetune_and_train(tmp_path):
    for command in ("finetune", "train"):
        result = run(command, tmp_path, "--out", tmp_path / "run", "--size", "any")
        assert "--size must be known here, as in 224 or 224x320" in str(result.exception)
        assert "one length, height x width" in run(command, tmp_path, "--size", "2by3").output


def test_a_file_without_the_top_that_is_wanted_is_said_to_have_none(tmp_path):
    path = tmp_path / "features.safetensors"
    save_weights(MobileNet((32, 32, 3), 0.25, weights=None, include_top=False), path)
    write_images(tmp_path, 1)
    error = str(run("classify", "--weights", path, tmp_path).exception)
    assert "The file was made with alpha=0.25, depth_multiplier=1, no top." in error
