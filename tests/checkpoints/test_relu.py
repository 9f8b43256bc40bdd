"""Nets with ReLU in the place of ReLU6, biases before batch norms, and numbered layers."""

import keras
import numpy as np
import pytest
from random_models import randomise

from keras_mobilenet import MobileNet, load_weights, save_weights
from keras_mobilenet.checkpoints.inspection import inspect_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.arrays import without_conv_biases

SIZE = 32


def small(**arguments):
    return MobileNet(
        **{"input_shape": (SIZE, SIZE, 3), "alpha": 0.25, "classes": 3, "weights": None} | arguments
    )


def images(size=SIZE, count=2):
    return np.random.default_rng(0).uniform(0, 1, (count, size, size, 3)).astype("float32")


def limits(model):
    return {layer.max_value for layer in model.layers if isinstance(layer, keras.layers.ReLU)}


@pytest.fixture(scope="module")
def relu():
    return randomise(small(activation="relu"))


def test_relu_has_no_limit_and_relu6_is_the_default(relu):
    assert limits(relu) == {None}
    assert limits(small()) == {6.0} == limits(small(activation="relu6"))
    with pytest.raises(ValueError, match="`activation` must be one of 'relu6', 'relu' or None"):
        small(activation="gelu")


@pytest.mark.parametrize("end", [".safetensors", ".weights.h5"])
def test_activation_travels_with_the_weights(relu, end, tmp_path):
    path = tmp_path / f"net{end}"
    save_weights(relu, path)
    again = small(weights=path)
    np.testing.assert_array_equal(again(images()), relu(images()))
    with pytest.raises(CheckpointError, match="Build the model with activation='relu'"):
        load_weights(small(), path)
    with pytest.raises(CheckpointError, match="Build the model with activation='relu'"):
        small(weights=path, activation="relu6")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(("numbered", "padding"), [(False, "keras"), (True, "symmetric")])
def test_whole_model_of_keras_tells_its_conventions(numbered, padding, tmp_path):
    net = randomise(small(activation="relu", padding=padding, epsilon=1e-4, classes=2))
    count = iter(range(1000))

    def renamed(layer):
        config = layer.get_config()
        return type(layer).from_config(config | {"name": f"layer_{next(count)}"})

    saved = keras.models.clone_model(net, clone_function=renamed) if numbered else net
    saved.set_weights(net.get_weights())
    saved.save(tmp_path / "net.h5")
    again = small(classes=2, weights=tmp_path / "net.h5")
    np.testing.assert_array_equal(again(images()), net(images()))
    conventions = inspect_weights(tmp_path / "net.h5").conventions
    assert (conventions.activation, conventions.padding) == ("relu", padding)


def test_bias_before_a_batch_norm_goes_into_its_mean():
    x = keras.Input((4, 4, 2))
    with_bias = [keras.layers.Conv2D(3, 1, name="a"), keras.layers.BatchNormalization(name="a_bn")]
    without = [keras.layers.Conv2D(3, 1, use_bias=False), keras.layers.BatchNormalization()]
    theirs, ours = (keras.Model(x, norm(conv(x))) for conv, norm in (with_bias, without))
    randomise(theirs)
    arrays = {f"{x.name}/{w.name}": w.numpy() for x in with_bias for w in x.weights}
    ours.set_weights(
        [np.asarray(array) for array in without_conv_biases(arrays, {"a": "a_bn"}).values()]
    )
    inputs = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype("float32")
    # One rounding of float32 is at another place.
    np.testing.assert_allclose(ours(inputs), theirs(inputs), rtol=1e-5, atol=1e-6)


def test_weights_with_biases_before_batch_norms_load_as_what_they_compute(tmp_path):
    x = keras.Input((SIZE, SIZE, 3))
    net = small(include_top=False)

    def biased(layer):
        config = layer.get_config()
        return type(layer).from_config(
            config | ({"use_bias": True} if "use_bias" in config else {})
        )

    theirs = randomise(keras.models.clone_model(net, input_tensors=x, clone_function=biased))
    save_weights(theirs, tmp_path / "biased.safetensors")
    report = load_weights(net, tmp_path / "biased.safetensors")
    assert "biases" in str(report)
    np.testing.assert_allclose(net(images()), theirs(images()), rtol=1e-3, atol=1e-4)
    load_weights(theirs, tmp_path / "biased.safetensors")  # which has a place for them


@pytest.fixture(scope="module")
def wake_words(shared_data):
    return shared_data / "weights" / "foreign"


@pytest.fixture(scope="module")
def from_h5(wake_words):
    return MobileNet((96, 96, 3), 0.25, classes=2, weights=wake_words / "vww_96.h5")


def test_visual_wake_words_net_computes_what_keras_does(from_h5, wake_words):
    class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
        def __init__(self, *, groups, **config):  # of Keras 2.4, which Keras 3 has no place for
            super().__init__(**config)

    objects = {"DepthwiseConv2D": DepthwiseConv2D}
    path = wake_words / "vww_96.h5"
    theirs = keras.models.load_model(path, custom_objects=objects, compile=False)
    assert limits(from_h5) == {None}
    inputs = images(96, 8)
    expected = np.asarray(theirs([inputs]))
    # Sums of float32 in another order: padding is a layer of its own here.
    np.testing.assert_allclose(from_h5(inputs), expected, atol=1e-5)
    assert expected.min() > 1e-3  # scores that tell


def test_quantised_visual_wake_words_net_is_the_float_one_but_for_rounding(from_h5, wake_words):
    ours = MobileNet((96, 96, 3), 0.25, classes=2, weights=wake_words / "vww_96_int8.tflite")
    assert limits(ours) == {None}
    inputs = images(96, 8)
    # Weights of 8 bits; of another net the scores would differ by up to 1.
    np.testing.assert_allclose(ours(inputs), from_h5(inputs), atol=0.1)
