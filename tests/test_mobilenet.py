"""The model that `MobileNet` returns: counts, saving, weights by name of file."""

import keras
import numpy as np
import pytest

from keras_mobilenet import MobileNet
from keras_mobilenet.errors import CheckpointError, DownloadError
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.families import v1

pytestmark = pytest.mark.backends
BLOCKS = v1.BLOCKS[:2]


def test_reference_counts():
    model = MobileNet(weights=None)
    assert model.count_params() == 4_253_864
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == 4_231_976
    assert model.name == "mobilenet_1.00_224"


@pytest.mark.parametrize(
    ("alpha", "with_top", "without_top"),
    [(0.75, 2_601_976, 1_832_976), (0.5, 1_342_536, 829_536), (0.25, 475_544, 218_544)],
)
def test_counts_of_the_other_published_alphas(alpha, with_top, without_top):
    assert MobileNet(alpha=alpha, weights=None).count_params() == with_top
    no_top = MobileNet(alpha=alpha, weights=None, include_top=False)
    assert no_top.count_params() == without_top


@pytest.fixture
def small():
    return MobileNet((64, 64, 3), alpha=0.25, classes=5, weights=None, blocks=BLOCKS)


@pytest.fixture
def batch():
    return np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")


def test_saves_to_keras_and_loads_without_custom_objects(small, batch, tmp_path):
    small.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(batch), small(batch))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in small.layers]


def test_is_cloned_by_keras(small, batch):
    clone = keras.models.clone_model(small)
    clone.set_weights(small.get_weights())
    np.testing.assert_array_equal(clone(batch), small(batch))


def test_trains(small, batch):
    # Not under JAX, which would compile every operation of the step by itself.
    eagerly = keras.backend.backend() != "jax"
    small.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=eagerly)
    before = small.get_layer("conv1").get_weights()[0]
    small.fit(batch, np.array([0, 1]), verbose=0)
    assert not np.array_equal(before, small.get_layer("conv1").get_weights()[0])


def test_weights_may_be_a_path_of_any_format(small, batch, tmp_path):
    small.save(tmp_path / "model.keras")
    again = MobileNet(
        (64, 64, 3), alpha=0.25, classes=5, weights=tmp_path / "model.keras",
        classifier_activation="sigmoid", blocks=BLOCKS,
    )  # fmt: skip
    assert again.get_layer("predictions").activation is keras.activations.sigmoid
    np.testing.assert_array_equal(again.get_weights()[0], small.get_weights()[0])


def test_file_for_another_alpha_is_refused_with_the_right_one(tmp_path):
    quarter = MobileNet((64, 64, 3), alpha=0.25, classes=5, weights=None)
    quarter.save_weights(tmp_path / "quarter.weights.h5")
    with pytest.raises(CheckpointError, match="made with alpha=0.25.*Build the model with alpha="):
        MobileNet(alpha=0.5, classes=5, weights=tmp_path / "quarter.weights.h5")


@pytest.mark.parametrize(
    ("arguments", "file", "name"),
    [
        ({}, "mobilenet_1_0_224_tf.h5", "mobilenet_1.00_224"),
        ({"alpha": 1}, "mobilenet_1_0_224_tf.h5", "mobilenet_1.00_224"),
        ({"alpha": 0.75, "include_top": False}, "mobilenet_7_5_224_tf_no_top.h5", "..._0.75_224"),
        ({"alpha": 0.5, "input_shape": (160, 160, 3)}, "mobilenet_5_0_160_tf.h5", "..._0.50_160"),
        ({"input_shape": (128, 128, 3), "include_top": False}, "mobilenet_1_0_128_tf_no_top.h5",
         "..._1.00_128"),
        ({"alpha": 0.25, "input_shape": (192, 192, 3)}, "mobilenet_2_5_192_tf.h5", "..._0.25_192"),
    ],
)  # fmt: skip
def test_imagenet_takes_the_file_that_keras_takes(arguments, file, name, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "keras_mobilenet.checkpoints.published.weights.find_or_fetch",
        lambda name, *_, **__: asked.append(name),
    )
    assert MobileNet(**arguments).name.endswith(name.removeprefix("..."))
    assert asked == [file]


@pytest.mark.parametrize("shape", [(96, 96, 3), (160, 192, 3), (300, 300, 3), (None, 224, 3)])
def test_size_without_published_weights_takes_those_of_224_with_a_warning(shape, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "keras_mobilenet.checkpoints.published.weights.find_or_fetch",
        lambda name, *_, **__: asked.append(name),
    )
    with pytest.warns(UserWarning, match="Those for 224 are taken"):
        model = MobileNet(shape)
    assert asked == ["mobilenet_1_0_224_tf.h5"]
    assert model.name == "mobilenet_1.00_224"
    assert model.input_shape == (None, *shape)


def test_default_without_a_top_does_not_warn(monkeypatch):
    monkeypatch.setattr(
        "keras_mobilenet.checkpoints.published.weights.find_or_fetch", lambda *_, **__: None
    )
    assert MobileNet(include_top=False).input_shape == (None, None, None, 3)


def test_without_network_the_error_says_where_it_looked(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(tmp_path / "mine"))
    monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", "http://127.0.0.1:9/")
    with pytest.raises(DownloadError) as error:
        MobileNet(alpha=0.5)
    for part in ("mobilenet_5_0_224_tf.h5", "mine", "home", "KERAS_MOBILENET_WEIGHTS"):
        assert part in str(error.value)


def test_file_names_are_those_of_keras():
    names = {row.file_name(top) for row in pretrained.rows_of("MobileNet") for top in (True, False)}
    assert len(names) == 32
    assert {"mobilenet_1_0_224_tf.h5", "mobilenet_2_5_128_tf_no_top.h5"} <= names
