"""A model's graph tells how pixels become its input, wherever they are scaled in it."""

import deploy_nets
import keras
import numpy as np
import pytest
from deploy_nets import SIZE, random_images
from keras import layers
from keras.applications import mobilenet as reference

from keras_mobilenet import (
    Predictor,
    export,
    features,
    fold_batch_norm,
    preprocessing_of,
    replace_top,
    set_preprocessing,
)
from keras_mobilenet.models.model_files import info_of, load_model, save_model
from keras_mobilenet.nets.families.v1 import BLOCKS

SHAPE = (SIZE, SIZE, 3)
UNKNOWN = "How pixels become this model's input is not known"


def net(shape=SHAPE, **options):
    """A net of few blocks, which is as good here."""
    return deploy_nets.unsettled(shape, blocks=BLOCKS[:2], **options)


def inputs():
    return keras.Input(SHAPE)


def behind(*steps, base=None):
    """A model of a net behind layers or functions."""
    x = y = inputs()
    for step in steps:
        y = step(y)
    return keras.Model(x, (base or net())(y))


def minus_one_to_one():
    return layers.Rescaling(1 / 127.5, offset=-1)


MODELS = {  # how it is built, what it takes
    "flat": (net, "-1..1"),
    "prefixed": (lambda: net(name_prefix="a_"), "-1..1"),
    "prefixed, rescaling inside": (
        lambda: net(name_prefix="a_", include_preprocessing=True),
        "none",
    ),
    "rescaling inside": (lambda: net(include_preprocessing=True), "none"),
    "input tensor": (lambda: net(None, input_tensor=minus_one_to_one()(inputs())), "none"),
    "cloned": (lambda: keras.models.clone_model(net(include_preprocessing=True)), "none"),
    "folded": (lambda: fold_batch_norm(net(include_preprocessing=True)), "none"),
    "re-topped": (lambda: replace_top(net(include_preprocessing=True), 3), "none"),
    "pyramid": (lambda: features(net(include_preprocessing=True), strides=(4,)), "none"),
    "nested": (behind, "-1..1"),
    "sequential": (
        lambda: keras.Sequential(
            [inputs(), layers.RandomFlip(), minus_one_to_one(), net(), layers.Dense(2)]
        ),
        "none",
    ),
    "augmented in a model of its own": (
        lambda: keras.Sequential(
            [
                inputs(),
                keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)]),
                layers.Resizing(32, 32),
                net(),
            ]
        ),
        "-1..1",
    ),
    "operations": (lambda: behind(reference.preprocess_input), "none"),
    "operations in the other order": (lambda: behind(lambda x: (x - 127.5) / 127.5), "none"),
    "multiplied": (lambda: behind(lambda x: x * (1 / 255)), "none"),
    "0 to 1": (lambda: behind(layers.Rescaling(2.0, offset=-1.0)), "0..1"),
    "0 to 1, of a net that takes pixels": (
        lambda: behind(layers.Rescaling(255.0), base=net(include_preprocessing=True)),
        "0..1",
    ),
    "normalised": (
        lambda: behind(layers.Normalization(mean=[127.5] * 3, variance=[127.5**2] * 3)),
        "none",
    ),
    "channels thrice": (
        lambda: behind(lambda x: layers.Concatenate()([x, x, x]), base=net((SIZE, SIZE, 9))),
        "-1..1",
    ),
    "Keras' own": (
        lambda: keras.applications.MobileNet(SHAPE, 0.25, weights=None, classes=2),
        "-1..1",
    ),
    "V3": (
        lambda: keras.applications.MobileNetV3Small(
            SHAPE, include_top=False, minimalistic=True, weights=None
        ),
        "none",
    ),
    "the mean subtracted": (
        lambda: behind(
            keras.applications.resnet.preprocess_input, base=keras.Sequential([layers.Conv2D(2, 3)])
        ),
        "none",
    ),
    # What is not known
    "another net": (lambda: behind(base=keras.Sequential([layers.Conv2D(2, 3)])), None),
    "V2": (
        lambda: keras.applications.MobileNetV2(SHAPE, 0.35, include_top=False, weights=None),
        "-1..1",
    ),
    "scaled oddly": (lambda: behind(layers.Rescaling(3.0, offset=0.2)), None),
    "scaled to nothing": (lambda: behind(layers.Rescaling(0.0)), None),
    "two uses": (lambda: behind(lambda x: layers.Add()([x, 2 * x])), None),
}


@pytest.mark.parametrize(("build", "expected"), MODELS.values(), ids=MODELS)
def test_graph_tells_what_the_input_must_be(build, expected):
    found = preprocessing_of(build())
    assert expected == (None if found is None else str(found))


def test_file_that_plain_keras_wrote_tells_the_same(tmp_path):
    for i, model in enumerate(
        (net(include_preprocessing=True), behind(reference.preprocess_input))
    ):
        model.save(tmp_path / f"{i}.keras")  # as ModelCheckpoint does
        assert str(preprocessing_of(load_model(tmp_path / f"{i}.keras"))) == "none"


def test_names_of_imagenet_are_those_of_the_nets_own_classifier_only():
    assert len(info_of(behind(base=net(classes=1000))).labels) == 1000
    assert info_of(replace_top(net(), 1000)).labels is None
    other = behind(net(include_top=False), base=keras.Sequential([layers.Dense(1000)]))
    assert info_of(other).labels is None


@pytest.fixture(scope="module")
def scaling():
    """A model with a Rescaling behind its input, and what Keras puts out for pixels."""
    model = net(None, input_tensor=minus_one_to_one()(inputs()))
    return model, np.asarray(model([random_images(7).astype("float32")], training=False))


def test_predictor_gives_pixels_to_a_model_that_scales_them(scaling):
    model, expected = scaling
    with Predictor(model, engine="litert") as predictor:
        np.testing.assert_allclose(predictor.predict(random_images(7)), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["m.tflite", "m.xml"])
def test_export_scales_pixels_once(scaling, tmp_path, name):
    model, expected = scaling
    for included in (True, False):
        export(model, tmp_path / name, include_preprocessing=included)
        with Predictor(tmp_path / name) as predictor:
            assert predictor.info.takes_pixels
            np.testing.assert_allclose(predictor.predict(random_images(7)), expected, atol=1e-5)
            assert (predictor._engine.input_dtype == np.uint8) == included


@pytest.fixture(scope="module")
def unknown():
    """A model that says nothing of its input."""
    return keras.Sequential([inputs(), layers.Conv2D(4, 3), layers.GlobalMaxPooling2D()])


def test_what_is_not_known_is_not_guessed(unknown, tmp_path):
    x = np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE)).astype(np.float32)
    export(unknown, tmp_path / "m.tflite")  # which takes floats as the model does
    for model in (unknown, tmp_path / "m.tflite"):
        with Predictor(model, engine="litert") as predictor:
            np.testing.assert_allclose(predictor.predict(x), unknown(x), atol=1e-5)
            with pytest.raises(ValueError, match=UNKNOWN):
                predictor.predict(random_images(2))
    with pytest.raises(ValueError, match=UNKNOWN):
        export(unknown, tmp_path / "m.tflite", include_preprocessing=True)
    with pytest.raises(ValueError, match=UNKNOWN):
        Predictor(unknown, engine="litert", precision="int8", calibration=random_images(2))


def test_what_is_said_is_used_and_recorded(unknown, tmp_path):
    model = keras.models.clone_model(unknown)
    expected = np.asarray(model(random_images(3) / np.float32(255)))
    with Predictor(model, engine="litert", preprocessing="0..1") as predictor:
        np.testing.assert_allclose(predictor.predict(random_images(3)), expected, atol=1e-5)
    export(model, tmp_path / "m.tflite", preprocessing="0..1", labels=list("abcd"))
    with Predictor(tmp_path / "m.tflite") as predictor:
        np.testing.assert_allclose(predictor.predict(random_images(3)), expected, atol=1e-5)
        assert predictor.labels() == tuple("abcd")
    with Predictor(tmp_path / "m.tflite", labels=list("efgh"), preprocessing="none") as predictor:
        assert predictor.labels() == tuple("efgh")
        assert predictor.info.takes_pixels
    assert preprocessing_of(model) is None
    set_preprocessing(model, "mean=120,110,100;std=60,61,62")
    save_model(model, tmp_path / "m.keras")
    for copy in (model, fold_batch_norm(model), load_model(tmp_path / "m.keras")):
        assert preprocessing_of(copy) == preprocessing_of(model)
        assert preprocessing_of(copy).std == pytest.approx((60, 61, 62))
    export(model, tmp_path / "m.tflite", include_preprocessing=True)
    with Predictor(tmp_path / "m.tflite") as predictor:
        scaled = (random_images(3) - np.float32([120, 110, 100])) / np.float32([60, 61, 62])
        np.testing.assert_allclose(predictor.predict(random_images(3)), model(scaled), atol=1e-5)
        assert predictor.info.takes_pixels


def test_file_that_takes_uint8_takes_no_other_preprocessing(unknown, tmp_path):
    export(unknown, tmp_path / "m.tflite", preprocessing="0..1", include_preprocessing=True)
    with pytest.raises(ValueError, match="takes pixels, uint8, and scales them itself"):
        Predictor(tmp_path / "m.tflite", preprocessing="0..1")


def test_folded_model_keeps_labels():
    model = replace_top(net(), 3, labels=["a", "b", "c"])
    assert info_of(fold_batch_norm(model)) == info_of(model)
