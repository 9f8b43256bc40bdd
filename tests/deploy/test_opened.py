"""The one door: a model is asked once, and what it said goes with it."""

import numpy as np
import pytest
from deploy_nets import SIZE, named_net, net, random_images

from keras_mobilenet import Predictor, export
from keras_mobilenet.checkpoints.net_weights import RANDOM, Builder, net_weights
from keras_mobilenet.deploy.engines.engine import EngineSettings
from keras_mobilenet.deploy.graphs.traced import copies, folding
from keras_mobilenet.deploy.opened import open_exported, open_model
from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE, PIXELS
from keras_mobilenet.models import model_files

LABELS = ("ant", "bee", "cat", "dog", "eel")


@pytest.fixture
def asked(monkeypatch):
    """The models that somebody asks for their preprocessing and labels."""
    models = []
    info_of = model_files.info_of
    for module in (model_files, folding):
        monkeypatch.setattr(module, "info_of", lambda x: models.append(x) or info_of(x))
    return models


def test_export_and_predictor_ask_a_model_once(asked, tmp_path):
    model = net()
    export(model, tmp_path / "m.tflite", include_preprocessing=True)
    assert asked == [model]
    Predictor(model, engine="litert").close()
    assert asked == [model, model]
    Predictor(open_model(model), engine="litert").close()
    assert asked == [model] * 3


def test_what_the_door_found_goes_through_every_step():
    opened = open_model(named_net(LABELS)).given("0..1", None)
    folded = opened.then(copies.in_float32).then(folding.without_batch_norms)
    assert folded.model is not opened.model
    assert (folded.info.labels, str(folded.info.preprocessing)) == (LABELS, "0..1")
    assert open_model(folded) is folded


def test_random_values_are_the_same_in_keras():
    given = {"input_shape": (SIZE, SIZE, 3), "alpha": 0.25, "include_top": False}
    opened = open_model(Builder("mobilenet_v2", {**given, "weights": RANDOM}))
    images = MINUS_ONE_TO_ONE.scaled(random_images())
    ours, keras = (np.asarray(x.outputs(images)) for x in (opened, opened.in_keras()))
    near = 1e-4 * np.abs(ours).max()  # float32 sums in another order
    assert np.ptp(ours) > 100 * near
    assert np.allclose(keras, ours, rtol=0, atol=near)


def test_models_files_and_exports_come_in_alike(tmp_path):
    model = named_net(LABELS)
    model_files.save_model(model, tmp_path / "m.keras")
    export(model, tmp_path / "m.tflite", include_preprocessing=True)
    kept, again = open_model(model), open_model(str(tmp_path / "m.keras"))
    file = open_exported(tmp_path / "m.tflite", "litert", EngineSettings(1))
    for opened in (kept, again, file):
        assert (opened.input_shape, opened.classes) == ((SIZE, SIZE, 3), 5)
        assert (opened.info.labels, opened.info.size) == (LABELS, (SIZE, SIZE))
    assert kept.info == again.info
    assert kept.info.preprocessing == MINUS_ONE_TO_ONE
    assert file.info.preprocessing == PIXELS
    assert (kept.input_dtype, file.input_dtype) == ("float32", "uint8")
    expected = model(MINUS_ONE_TO_ONE.scaled(random_images()), training=False)
    np.testing.assert_allclose(file.model.run(random_images()), expected, atol=1e-4)
    file.model.close()


def test_arrays_that_take_pixels_become_a_keras_model_that_does():
    builder = Builder("mobilenet", {
        "input_shape": (32, 32, 3), "alpha": 0.25, "weights": "random",
        "include_preprocessing": True,
    })  # fmt: skip
    weights = net_weights(builder)
    model = open_model(weights).in_keras().model
    pixels = random_images(2, (32, 32))
    with Predictor(weights, engine="litert") as predictor:
        expected = predictor.predict(pixels)
    assert np.allclose(model.predict(pixels.astype("float32"), verbose=0), expected, atol=1e-5)
