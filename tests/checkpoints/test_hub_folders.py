"""A model as a folder for the hub: what is in it, and that it opens as the same model."""

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
from deploy_nets import BLOCKS, random_images, settle, unsettled
from PIL import Image
from typer.testing import CliRunner

import keras_mobilenet
from keras_mobilenet import (
    MobileNet,
    MobileNetV2,
    MobileNetV3Small,
    MobileNetV4ConvSmall,
    Predictor,
    convert_weights,
    fold_batch_norm,
    inspect_weights,
    load_weights,
    replace_top,
    save_weights,
)
from keras_mobilenet.checkpoints import hub_folders
from keras_mobilenet.checkpoints.net_weights import builder_of, net_weights
from keras_mobilenet.checkpoints.writing import hub_folder
from keras_mobilenet.commands.app import app
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.models.model_files import info_of, set_info
from keras_mobilenet.nets.families.v1 import BLOCKS as PAPERS
from keras_mobilenet.training.base_nets import base_weights

SIZE, LABELS = 64, ("ant", "bee", "cat")
OWN = Preprocessing((0.02, 0.03, 0.04), (-1.0, -2.0, -3.0))
SOURCE = "timm/mobilenetv2_050.lamb_in1k@1"
INFO = ModelInfo((SIZE, SIZE), 0.9, OWN, LABELS, "bicubic", True, SOURCE)
UNNAMED = replace(INFO, labels=None)
FILES = {"model.safetensors", "config.json", "README.md"}


def lively(build=MobileNet, channels=3, info=None, **options):
    """A model whose outputs differ from image to image."""
    model = unsettled((SIZE, SIZE, channels), classes=3, build=build, **options)
    pixels = random_images(6, (SIZE, SIZE), channels)
    settle(model, info_of(model).scaled(pixels))
    if info is not None:
        set_info(model, info)
    return model


def retopped(model):
    """The same under three classes that can tell images apart."""
    new = replace_top(model, len(LABELS), labels=LABELS, activation="sigmoid")
    *_, kernel, _ = new.weights
    kernel.assign(np.random.default_rng(1).normal(size=kernel.shape))
    return new


WAYS = {
    "named": lambda: lively(info=INFO),
    "without top": lambda: lively(
        MobileNetV2, include_top=False, pooling="max", output_stride=16, info=UNNAMED
    ),
    "wide top kept, preprocessing inside": lambda: retopped(lively(MobileNetV3Small)),
    "top on the pool": lambda: retopped(lively(MobileNetV4ConvSmall, include_top=False)),
    "prefixed, grey, timm's padding": lambda: lively(
        channels=1, name_prefix="left_", padding="symmetric", epsilon=1e-5
    ),
}  # fmt: skip


@cache
def model_of(way):
    return WAYS[way]()


@pytest.fixture(scope="module", params=WAYS)
def written(request, tmp_path_factory):
    """A model, and the folder that it was saved into."""
    model = model_of(request.param)
    folder = tmp_path_factory.mktemp("hub") / "net"
    save_weights(model, f"{folder}/")
    return model, folder


@pytest.fixture(scope="module")
def net():
    """A net with a size, a crop, a scaling and labels of its own."""
    return model_of("named")


@pytest.fixture(scope="module")
def named(net, tmp_path_factory):
    """The folder of it."""
    folder = tmp_path_factory.mktemp("hub") / "named"
    folder.mkdir()
    save_weights(net, folder)
    return folder


@pytest.fixture
def copy(named, tmp_path):
    """A copy of it, to damage."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in named.iterdir():
        os.link(path, folder / path.name)
    return folder


def edit(folder, **changed):
    """Write a copy's configuration with some entries changed."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()  # a link
    (folder / "config.json").write_text(json.dumps(config | changed))


# the same model


def test_the_folder_alone_opens_as_the_same_model_in_keras_and_without(written):
    model, folder = written
    assert {path.name for path in folder.iterdir()} == FILES
    pixels = random_images(6, (SIZE, SIZE), model.input_shape[-1])
    scaled = info_of(model).scaled(pixels)
    expected = np.asarray(model(scaled, training=False))
    assert expected.std(axis=0).max() > 0.01, "outputs that do not vary show nothing"
    opened = keras_mobilenet.from_pretrained(str(folder))
    assert info_of(opened) == info_of(model)
    assert opened.input_shape == model.input_shape
    assert opened.output_shape == model.output_shape
    # The same operations on the same values; an image is computed in another order than six.
    assert np.allclose(np.asarray(opened(scaled, training=False)), expected, atol=1e-6)
    with Predictor(folder, engine="litert", threads=1) as predictor:
        assert predictor.info == info_of(model)
        # Two runtimes' rounding in float32, of sums of hundreds of products of any size.
        near = 3e-5 * np.abs(expected).max()
        assert np.allclose(predictor.predict(pixels), expected, rtol=1e-4, atol=near)


def test_a_builder_takes_the_folder_with_the_nets_arguments(named):
    model = MobileNet((SIZE, SIZE, 3), 0.25, weights=named, classes=3)
    assert info_of(model) == INFO
    with pytest.raises(CheckpointError, match=r"does not fit[\s\S]*alpha=0.25, .*3 classes"):
        MobileNet((SIZE, SIZE, 3), 0.5, weights=f"{named}/", classes=3)


def test_a_folder_by_its_path_is_taken_wherever_a_file_of_weights_is(named, tmp_path):
    model = MobileNet((SIZE, SIZE, 3), 0.25, weights=None, classes=3)
    assert load_weights(model, named).missing == ()
    assert info_of(model) == INFO
    assert inspect_weights(named).origin.alpha == 0.25
    convert_weights(named, tmp_path / "x.h5")
    assert net_weights(builder_of(tmp_path / "x.h5")).info == INFO
    with Predictor.from_pretrained(named) as predictor:
        assert predictor.info == INFO
    features = keras_mobilenet.from_pretrained(str(named), include_top=False, pooling="avg")
    assert features.output_shape == (None, 256)
    base = {"net": "mobilenet", "alpha": 0.25, "size": (SIZE, SIZE), "channels": 3}
    assert base_weights(weights=str(named), **base).info.preprocessing == OWN


def test_commands_go_by_the_folder_its_activation_and_its_size(tmp_path):
    folder, image = tmp_path / "net", tmp_path / "x.png"
    model = model_of("top on the pool")
    save_weights(model, f"{folder}{os.sep}")
    pixels = random_images(1, (SIZE, SIZE))
    Image.fromarray(pixels[0]).save(image)
    expected = model(info_of(model).scaled(pixels), training=False)[0]
    command = ["classify", str(image), "--weights", str(folder), "--crop", "1", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    scores = {x["name"]: x["score"] for x in json.loads(result.stdout)[0]["classes"]}
    # Two runtimes' rounding in float32, of probabilities.
    assert [scores[name] for name in LABELS] == pytest.approx(np.asarray(expected), abs=1e-5)
    result = CliRunner().invoke(app, ["export", str(folder), str(tmp_path / "net.tflite")])
    assert result.exit_code == 0, result.output
    assert Predictor(tmp_path / "net.tflite").info == info_of(model)


def test_what_a_user_corrects_in_the_settings_counts(copy):
    edit(copy, labels=["Ameise", "Biene", "Katze"])
    assert net_weights(builder_of(copy)).info.labels == ("Ameise", "Biene", "Katze")
    model = MobileNet((SIZE, SIZE, 3), 0.25, weights=copy, classes=3)
    assert info_of(model).labels == ("Ameise", "Biene", "Katze")


def test_the_weights_by_themselves_know_their_preprocessing_too(copy):
    (copy / "config.json").unlink()
    assert net_weights(builder_of(copy)).info == INFO
    (copy / "model.safetensors").rename(copy / "moved.safetensors")
    assert net_weights(builder_of(copy / "moved.safetensors")).info == INFO


# what is no folder's


def beside(model):
    x = keras.layers.Dense(3, name="own_dense")(model.outputs[0])
    return keras.Model(model.inputs, x)


def scaled_behind(model):
    return keras.Model(model.inputs, model.outputs[0] * 2.0)


def of_two_outputs(model):
    return keras.Model(model.inputs, [model.outputs[0], model.layers[-4].output])


STRIDED = (replace(PAPERS[0], stride=2), *PAPERS[1:])  # of the same arrays


def of_two_families(net):
    # V1 beside V2: of the arrays the first tells the arguments, and of the layers the other.
    image = keras.Input((SIZE, SIZE, 3))
    options = {"weights": None, "include_top": False, "pooling": "avg"}
    nets = [build((SIZE, SIZE, 3), 0.35, **options) for build in (MobileNetV2, MobileNet)]
    return keras.Model(image, keras.layers.concatenate([each(image) for each in nets]))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda _: MobileNet((SIZE, SIZE, 3), 0.25, weights=None, blocks=STRIDED),
         "Layer 'conv_dw_1' is as `blocks` of its own make it"),
        (lambda _: MobileNet((SIZE, SIZE, 3), 0.25, weights=None, blocks=BLOCKS), "`blocks` of"),
        (fold_batch_norm, "a folded one"),
        (lambda _: keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), "It is none"),
        (beside, "'own_dense' beside the"),
        (scaled_behind, "'multiply"),
        (of_two_outputs, "other branches"),
        (of_two_families, "It is none or several"),
    ],
)  # fmt: skip
def test_a_model_that_a_builders_arguments_do_not_tell_is_refused(make, what, net, tmp_path):
    with pytest.raises(ValueError, match=rf"one whole MobileNet.*{what}.*model\.save"):
        save_weights(make(net), f"{tmp_path}/net/")
    assert [*tmp_path.iterdir()] == []


def test_files_that_are_there_stay_until_they_may_go(net, named, copy):
    (copy / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    model = keras.Model(net.inputs, net.outputs)  # of which less is known
    with pytest.raises(ValueError, match=r"has model\.safetensors, config\.json, README\.md alr"):
        save_weights(model, copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    save_weights(model, copy, overwrite=True)
    assert net_weights(builder_of(copy)).info.labels is None
    assert (copy / "notes.txt").read_text() == "mine"
    assert net_weights(builder_of(named)).info == INFO


@pytest.mark.parametrize("step", ["write_arrays", "card_of", "builder_of"])
def test_what_fails_on_the_way_leaves_nothing(step, net, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("on the way")

    monkeypatch.setattr(hub_folder, step, fail)
    with pytest.raises(RuntimeError, match="on the way"):
        save_weights(net, f"{tmp_path}/net/")
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_opens_as_another_model_is_not_kept(net, tmp_path, monkeypatch):
    def shuffled(path, arrays, *others, **options):
        names = [name for name in arrays if name.endswith("_1_bn/beta")]
        write(path, arrays | {name: arrays[name] + 1 for name in names}, *others, **options)

    write = hub_folder.write_arrays
    monkeypatch.setattr(hub_folder, "write_arrays", shuffled)
    with pytest.raises(OSError, match="does not open as the model that was written"):
        save_weights(net, f"{tmp_path}/net/")
    assert [*tmp_path.iterdir()] == []


# what is damaged


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"version": 99}, "written by a later version of keras-mobilenet"),
        ({"net": "resnet"}, "net='resnet' is none of mobilenet,"),
        ({"arguments": {"alhpa": 1}}, "MobileNet has no argument 'alhpa'"),
        ({"arguments": {"alpha": "wide"}}, "no net can be built of it: `alpha` must be"),
        ({"arguments": {"input_shape": [1, 2]}}, "no net can be built of it: `input_shape`"),
        ({"arguments": {"classifier_activation": 3}}, "classifier_activation=3 is no name"),
        ({"arguments": None}, "what it says of the net is damaged"),
        ({"preprocessing": {}}, "damaged"),
        ({"labels": ["one"]}, "names 1 classes, and its model has 3 outputs"),
    ],
)
def test_settings_that_are_damaged_are_told_with_the_file_and_the_remedy(changed, what, copy):
    edit(copy, **changed)
    match = rf"^{copy}/config.json: .*{what}[\s\S]*\nWrite the folder again"
    for opened in (keras_mobilenet.from_pretrained, Predictor):
        with pytest.raises(CheckpointError, match=match):
            opened(str(copy))


@pytest.mark.parametrize(
    "opened",
    [Predictor, keras_mobilenet.from_pretrained, inspect_weights, Predictor.from_pretrained],
)
def test_a_folder_without_its_weights_is_told(opened, copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=rf"^{copy}: it has a config.json .*no model.safet"):
        opened(str(copy))


def test_settings_of_another_library_beside_the_weights_are_not_taken_for_ours(copy):
    edit(copy, library_name="timm", net="resnet")
    assert hub_folders.read_hub_config(copy / "model.safetensors") is None
    assert builder_of(copy).net == "mobilenet"


def test_a_path_with_a_slash_in_other_places_is_a_file(net, tmp_path):
    with pytest.raises(ValueError, match=r"must end in .*, or be a folder, which ends in a slash"):
        save_weights(net, tmp_path / "net")
    assert not Path(tmp_path, "net").exists()
