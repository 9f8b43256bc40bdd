"""V2, V3 and V4: what works here, beside `keras.applications` too, and what says why not."""

import keras
import numpy as np
import pytest
from random_models import randomise

import keras_mobilenet
from keras_mobilenet import (
    MobileNetV2,
    MobileNetV3Large,
    MobileNetV3Small,
    MobileNetV4ConvMedium,
    MobileNetV4ConvSmall,
)
from keras_mobilenet.checkpoints.building import build_net
from keras_mobilenet.mobilenet_v3 import preprocess_input
from keras_mobilenet.nets import arguments
from keras_mobilenet.nets.families import v2, v3, v4
from keras_mobilenet.nets.families.registry import FAMILIES, family, recognise

BY_PARITY = (MobileNetV2, MobileNetV3Small, MobileNetV3Large)
BUILDERS = (*BY_PARITY, MobileNetV4ConvSmall, MobileNetV4ConvMedium)
V2_ROWS = (v2.BLOCKS[0], v2.Block(24, stride=2), v2.Block(24))
ROWS = {
    "MobileNetV2": V2_ROWS,
    "MobileNetV3Small": v3.SMALL[:3],
    "MobileNetV3Large": v3.LARGE[:4],
    "MobileNetV4ConvSmall": v4.SMALL[:6],
    "MobileNetV4ConvMedium": v4.MEDIUM[:3],
}


def build(builder, *arguments, **options):
    fixed = {"weights": None, "alpha": 0.35, "classes": 5, "blocks": ROWS[builder.__name__]}
    return builder(*arguments, **fixed | options)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0}, r"`alpha` must be a positive number.*Received: alpha=0"),
        ({"alpha": -1.0}, r"`alpha` must be a positive number.*Received: alpha=-1.0"),
        ({"input_shape": (20, None, 3)}, r"`input_shape` must be .*at least 32.*Received"),
        ({"input_shape": (224, 31, 3)}, r"`input_shape` must be .*at least 32.*Received"),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, r"`input_tensor` must be a KerasTensor"),
        (
            {"blocks": [(16, 1)]},
            r"`blocks` must be a sequence of keras_mobilenet.nets.families.v\d.Block",
        ),
        ({"classes": 0}, "`classes` must be a positive integer"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named_with_the_remedy(builder, options, message):
    with pytest.raises(ValueError, match=message):
        build(builder, **options)


@pytest.mark.parametrize("rate", [None, -1, 1.5])
def test_v3s_dropout_is_a_share_and_is_called_as_keras_calls_it(rate):
    with pytest.raises(ValueError, match="`dropout_rate` must be between 0 and 1"):
        build(MobileNetV3Small, dropout_rate=rate)


@pytest.mark.parametrize(
    ("builder", "options", "message"),
    [
        (MobileNetV2, {"alpha": 0.25}, "one of 0.35, 0.5, 0.75, 1.0, 1.3, 1.4 with weights"),
        (MobileNetV3Small, {"alpha": 0.5}, "one of 0.75, 1.0 with weights"),
        (MobileNetV3Large, {"alpha": 0.75, "minimalistic": True}, "one of 1.0 with weights"),
    ],
)
def test_what_no_published_file_has_is_named(builder, options, message):
    with pytest.raises(ValueError, match=message):
        builder(weights="imagenet", **options)


def test_whole_alpha_is_the_published_one():
    given = {"include_top": True, "pooling": None, "classes": 1000, "weights": "imagenet"}
    checked = arguments.check(family("mobilenet_v3_small"), input_shape=None, alpha=1, **given)
    name = "weights_mobilenet_v3_small_224_1.0_float.h5"
    assert checked.published.file_name(True) == name  # Keras: KeyError 'small_224_1_float'


@pytest.mark.parametrize("builder", BUILDERS)
def test_any_size_goes_with_a_top(builder):
    model = build(builder, (None, None, 3))
    assert model.input_shape == (None, None, None, 3)
    assert model(np.zeros((1, 64, 96, 3))).shape == (1, 5)


@pytest.mark.parametrize("builder", BY_PARITY)
@pytest.mark.parametrize("shape", [(65, None, 3), (None, 65, 3)])
def test_axes_are_padded_apart(builder, shape):
    """Keras takes both as even where the first is unknown, and fails where the second is."""
    pads = [x.padding for x in build(builder, shape).layers if "pad" in x.name]
    known, unknown = (0, 1) if shape[0] else (1, 0)
    assert {pad[known] for pad in pads} <= {(1, 1), (2, 2)}
    assert {pad[unknown] for pad in pads} <= {(0, 1), (1, 2)}


@pytest.mark.parametrize("builder", BY_PARITY)
def test_same_padding_is_right_at_every_size(builder):
    """A net of unknown size takes lengths as even, as Keras' does; SAME needs no size."""
    options = {"include_top": False}
    known = randomise(build(builder, (65, 65, 3), **options))
    x = np.random.default_rng(0).uniform(0, 255, (1, 65, 65, 3)).astype("float32")
    expected = np.asarray(known(x))
    same = build(builder, (None, None, 3), padding="same", **options)
    even = build(builder, (None, None, 3), **options)
    same.set_weights(known.get_weights())
    even.set_weights(known.get_weights())
    np.testing.assert_allclose(same(x), expected, rtol=1e-4, atol=1e-5)
    assert even(x).shape != expected.shape or not np.allclose(even(x), expected, rtol=1e-2)


def test_two_nets_and_users_layers_meet_in_one_graph():
    """Keras' V3 leaves 38 names to its counters; here none of them is anybody's else."""
    image = keras.Input((64, 64, 3))
    nets = [build(MobileNetV3Small, input_tensor=image, name_prefix=name) for name in ("a_", "b_")]
    both = keras.layers.Add(name="re_lu")([net.output for net in nets])
    model = keras.Model(image, keras.layers.ReLU(name="activation")(both))
    assert model(np.zeros((1, 64, 64, 3))).shape == (1, 5)


def test_pixels_go_into_v3_as_they_are():
    x = np.array([0.0, 255.0])
    assert preprocess_input(x) is x


@pytest.mark.parametrize("known", FAMILIES, ids=lambda known: known.key)
@pytest.mark.parametrize("alpha", [0.1, 0.35, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.3, 1.4, 2.0])
def test_shapes_tell_net_and_alpha(known, alpha):
    net = known.network(alpha=alpha, channels=1, classes=7)
    origin = recognise(net.arrays())
    assert (origin.net, origin.channels, origin.classes) == (known.name, 1, 7)
    again = known.network(alpha=origin.alpha, channels=1, classes=7)
    assert again.arrays() == net.arrays()  # 0.1 and 0.11 may be one net


@pytest.mark.parametrize("name", ["MobileNetV3Small", "MobileNetV3Large"])
def test_minimalistic_nets_are_recognised(name):
    net = family(name).network(minimalistic=True, classes=3)
    assert recognise(net.arrays()).options == {"minimalistic": True}


def test_a_file_of_another_net_is_called_so(tmp_path):
    other = build(MobileNetV3Small, (64, 64, 3), blocks=v3.SMALL, alpha=0.5)
    keras_mobilenet.save_weights(other, tmp_path / "v3.safetensors")
    model = build(MobileNetV2, (64, 64, 3))
    with pytest.raises(
        ValueError, match="the weights of MobileNetV3Small, alpha=0.5, 5 classes"
    ) as error:
        keras_mobilenet.load_weights(model, tmp_path / "v3.safetensors")
    assert "(--net mobilenet_v3_small --alpha 0.5 in commands)" in str(error.value)


def test_an_unknown_keyword_is_not_passed_over():
    with pytest.raises(TypeError, match="MobileNetV2 has no argument 'alfa'"):
        build_net("mobilenet_v2", weights=None, alfa=0.5)


def test_a_numpy_epsilon_goes_into_the_configuration_as_a_number():
    model = build(MobileNetV2, (32, 32, 3), epsilon=np.float32(1e-5))
    assert type(model.get_layer("bn_Conv1").epsilon) is float
