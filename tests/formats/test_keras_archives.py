"""`.keras` files that declare more than they hold: refused before Keras makes or unpacks it."""

import json
import os
import zipfile

import keras
import numpy as np
import pytest
from conftest import SMALL, SOON, at_most

from keras_mobilenet import MobileNet
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.models.model_files import load_model, save_model

WEIGHTS = "model.weights.h5"
MANY = 10**6


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The members of a good file."""
    path = tmp_path_factory.mktemp("good") / "m.keras"
    model = MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5)
    save_model(model, path)
    load_model(path)  # what Keras and TensorFlow take once is not the next file's
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def refuse(tmp_path):
    """Open an archive that must be refused: soon, in little memory, without a file left."""

    def check(members, match):
        path = tmp_path / "bad.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                with archive.open(name, "w", force_zip64=True) as file:
                    for part in [content] if isinstance(content, bytes) else content:
                        file.write(part)
        with at_most(SOON, SMALL), pytest.raises(CheckpointError, match=match) as caught:
            load_model(path)
        assert str(caught.value).startswith(str(path))
        assert os.listdir(tmp_path) == ["bad.keras"]

    return check


def zeros(mebibytes):
    """So many MiB, which deflate to a thousandth."""
    return [bytes(1 << 20)] * mebibytes


def changed(members, change):
    """The members with a configuration in which `change` was made to each layer's."""
    config = json.loads(members["config.json"])
    for layer in config["config"]["layers"]:
        change(layer)
    return members | {"config.json": json.dumps(config).encode()}


def widen(layer):
    """Let a layer have a million channels, and say so wherever the configuration does."""
    inner = layer["config"]
    if layer["class_name"] == "Conv2D" and layer["name"] != "conv_preds":
        inner["filters"] = MANY
    if layer["name"] != "conv1" and "build_config" in layer:
        layer["build_config"]["input_shape"][-1] = MANY


def test_a_million_filters_in_the_configuration_are_refused(refuse, members):
    refuse(changed(members, widen), "declares .* weights, and the file holds 2[0-9]{2},[0-9]{3}")


def test_a_layer_built_for_other_inputs_is_refused(refuse, members):
    def change(layer):
        if layer["name"] == "conv_preds":
            layer["build_config"]["input_shape"][-1] = 100 * MANY

    refuse(changed(members, change), "cannot be opened")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("config.json", r"config.json in the archive would unpack to 314,572,800 bytes"),
        ("keras_mobilenet.json", r"keras_mobilenet.json unpacks to more than 16,777,216 bytes"),
        (WEIGHTS, r"model.weights.h5 in the archive would unpack to 314,572,800 bytes"),
        ("assets/words.txt", r"such as assets/words.txt in the archive would unpack to"),
    ],
)
def test_members_that_unpack_to_far_more_are_refused(refuse, members, name, match):
    refuse(members | {name: zeros(300)}, match)


def test_many_assets_are_refused(refuse, members):
    refuse(members | {f"assets/{i}": b"" for i in range(200)}, "204 other files, such as")


@pytest.mark.parametrize("missing", ["config.json", WEIGHTS])
def test_an_archive_without_a_member_of_keras_is_refused(refuse, members, missing):
    refuse({n: m for n, m in members.items() if n != missing}, f"no {missing}, so this is no Keras")


@pytest.mark.parametrize(
    "config",
    [
        b"[]",
        b"{",
        b"[" * 200_000,
        json.dumps(keras.saving.serialize_keras_object(keras.layers.Dense(3))).encode(),
        json.dumps({"module": "builtins", "class_name": "dict", "config": {}}).encode(),
    ],
)
def test_an_archive_whose_root_is_no_model_is_refused(refuse, members, config):
    refuse(members | {"config.json": config}, "its root is|config.json is damaged")


def test_a_registered_class_of_the_users_opens(tmp_path):
    @keras.saving.register_keras_serializable("test_keras_archives")
    class Mine(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.top = keras.layers.Dense(2)

        def build(self, shape):
            self.top.build(shape)
            self.built = True

        def call(self, x):
            return self.top(x)

    model = Mine()
    x = np.ones((1, 3), "float32")
    y = np.asarray(model(x))
    model.save(tmp_path / "mine.keras")
    assert np.array_equal(np.asarray(keras.saving.load_model(tmp_path / "mine.keras")(x)), y)
    from keras_mobilenet.models.keras_check import check_archive

    check_archive(str(tmp_path / "mine.keras"))


def test_checking_draws_no_seed(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    from keras_mobilenet.models.keras_check import check_archive

    keras.utils.set_random_seed(1)
    expected = keras.initializers.GlorotUniform()((3, 3))
    keras.utils.set_random_seed(1)
    check_archive(str(tmp_path / "m.keras"))
    assert np.array_equal(keras.initializers.GlorotUniform()((3, 3)), expected)


def test_a_pipe_in_place_of_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.keras")
    with at_most(SOON, SMALL), pytest.raises(CheckpointError, match="this is not a file"):
        load_model(tmp_path / "pipe.keras")
