"""Features at several strides: which activations, of which nets, and what is absent."""

import keras
import numpy as np
import pytest
from random_models import randomise

from keras_mobilenet import MobileNet, features
from keras_mobilenet.nets.families import v1

# The strides of the thirteen, and a block that keeps the last one.
BLOCKS = (v1.Block(64), *(v1.Block(64, stride=2),) * 4, v1.Block(64))
LAST = {2: "conv_pw_1_relu", 4: "conv_pw_2_relu", 8: "conv_pw_3_relu", 16: "conv_pw_4_relu",
        32: "conv_pw_6_relu"}  # fmt: skip
OF_THIRTEEN = {2: "conv_pw_1_relu", 4: "conv_pw_3_relu", 8: "conv_pw_5_relu",
               16: "conv_pw_11_relu", 32: "conv_pw_13_relu"}  # fmt: skip


def build(size=96, **arguments):
    fixed = {"alpha": 0.25, "weights": None, "include_top": False, "blocks": BLOCKS}
    return MobileNet((size, size, 3), **fixed | arguments)


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        ({"blocks": v1.BLOCKS}, OF_THIRTEEN),
        ({"include_top": True}, LAST),
        ({"pooling": "avg"}, LAST),
        ({"padding": "symmetric"}, LAST),
        ({"padding": "same"}, LAST),
    ],
)
def test_outputs_are_the_last_activations_by_name(arguments, last):
    model = randomise(build(**arguments))
    pyramid = features(model, strides=tuple(last))
    x = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype("float32")
    found = pyramid(x)
    assert set(found) == {f"stride_{stride}" for stride in last}
    for stride, name in last.items():
        layer = keras.Model(model.inputs[0], model.get_layer(name).output)
        np.testing.assert_array_equal(found[f"stride_{stride}"], layer(x))
        assert found[f"stride_{stride}"].shape[1] == 96 // stride


def outputs(pyramid):
    """Return the outputs by name, as the model puts them out."""
    return pyramid(pyramid.inputs[0])


def test_default_is_the_usual_pyramid_on_the_models_own_layers():
    model = build()
    pyramid = features(model)
    assert set(outputs(pyramid)) == {"stride_4", "stride_8", "stride_16", "stride_32"}
    assert pyramid.get_layer("conv_pw_3") is model.get_layer("conv_pw_3")
    assert pyramid.inputs[0] is model.inputs[0]


def test_choice_is_the_callers():
    assert set(outputs(features(build(), strides=[16, 4]))) == {"stride_16", "stride_4"}


@pytest.mark.parametrize(("output_stride", "there"), [(16, "2, 4, 8, 16"), (8, "2, 4, 8")])
def test_absent_stride_is_named_with_those_there(output_stride, there):
    model = build(output_stride=output_stride)
    with pytest.raises(ValueError, match=f"each once: {there}. Received: strides=\\(4, 8, 16, 32"):
        features(model)
    pyramid = features(model, strides=(4, output_stride))
    assert set(outputs(pyramid)) == {"stride_4", f"stride_{output_stride}"}
    assert pyramid.get_layer("conv_pw_6_relu") is model.get_layer("conv_pw_6_relu")


def test_unknown_size_will_do():
    pyramid = features(build(None))
    assert pyramid(np.zeros((1, 64, 128, 3)))["stride_16"].shape == (1, 4, 8, 16)


@pytest.mark.parametrize("strides", [(), (4, 4), (3,)])
def test_wrong_strides_are_named(strides):
    with pytest.raises(ValueError, match="each once: 2, 4, 8, 16, 32. Received: strides="):
        features(build(), strides=strides)


def test_model_without_one_net_is_refused():
    inputs = keras.Input((96, 96, 3))
    with pytest.raises(ValueError, match="Found: none. Pass the model that MobileNet returned"):
        features(keras.Model(inputs, keras.layers.ReLU()(inputs)))
    nets = [build(input_tensor=inputs, name_prefix=prefix).output for prefix in ("a_", "b_")]
    with pytest.raises(ValueError, match="Found: a_conv1, b_conv1. Pass the model"):
        features(keras.Model(inputs, nets))


def test_trains_with_targets_by_name():
    pyramid = features(build(64), strides=(16, 32))
    pyramid.compile("sgd", {"stride_16": "mse", "stride_32": "mse"}, run_eagerly=True)
    targets = {"stride_16": np.zeros((1, 4, 4, 16)), "stride_32": np.zeros((1, 2, 2, 16))}
    assert np.isfinite(pyramid.train_on_batch(np.zeros((1, 64, 64, 3)), targets)).all()
