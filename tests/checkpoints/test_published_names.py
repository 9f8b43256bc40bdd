"""Keras' names of published files, as `weights list` shows them, stand for the weights anywhere."""

import shutil

import numpy as np
import pytest

import keras_mobilenet
from keras_mobilenet import Predictor, inspect_weights
from keras_mobilenet.checkpoints.net_weights import net_weights, published_builder
from keras_mobilenet.checkpoints.published.names import is_name
from keras_mobilenet.deploy.opened import open_model

NAME, NO_TOP = "mobilenet_2_5_224_tf.h5", "mobilenet_2_5_224_tf_no_top.h5"


@pytest.fixture
def folder(shared_data, tmp_path, monkeypatch):
    """The folder of the user's weights; the working folder is another one, and empty."""
    monkeypatch.chdir(tmp_path)
    folder = shared_data / "weights/keras"
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(folder))
    return folder


def test_a_name_is_opened_as_its_file(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    with Predictor(NAME) as named, Predictor(folder / NAME) as opened:
        np.testing.assert_array_equal(named.predict(pixels), opened.predict(pixels))
        assert named.info == opened.info
    with Predictor.from_pretrained(NAME, input_shape=(96, 96, 3)) as predictor:
        assert predictor.input_shape == (96, 96, 3)
    assert inspect_weights(NAME).path == str(folder / NAME)
    assert keras_mobilenet.from_pretrained(NAME).count_params() == 475_544


def test_a_file_without_the_top_has_features(folder):
    assert open_model(NO_TOP).classes is None
    weights = net_weights(published_builder(NO_TOP, {"pooling": "avg"}))
    assert (weights.net.classifier, weights.size) == (None, (224, 224))


def test_a_file_of_that_name_here_comes_first(folder, tmp_path):
    assert is_name(NAME)
    shutil.copy(folder / NO_TOP, tmp_path / NAME)
    assert not is_name(NAME)
    assert open_model(NAME).classes is None


def test_other_names_of_files_are_paths(folder):
    for name in ("mobilenet_2_5_225_tf.h5", "mobilenet.h5", f"./{NAME}"):
        assert not is_name(name)
        with pytest.raises(ValueError, match="No file or folder of the name"):
            open_model(name)
