"""A new top on the same net: the layers under it are shared, the others are MobileNet's."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from layer_names import fixed_names
from random_models import randomise

from keras_mobilenet import MobileNet, freeze, replace_top
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.models.model_files import info_of, load_model, save_model, set_info
from keras_mobilenet.nets.families import v1

pytestmark = pytest.mark.builds
BLOCKS = v1.BLOCKS[:3]  # the top does not see how many there are
TOP = [layer.kind for layer in v1.top(1, 1)]


def mobilenet(shape=(32, 32, 3), **options):
    return randomise(MobileNet(shape, 0.25, weights=None, **{"blocks": BLOCKS} | options))


def under_the_top(model):
    return {layer.name: layer for layer in model.layers if layer.name.startswith("conv")}


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((32, 32, 3), {"classes": 7, "blocks": v1.BLOCKS}),
        ((32, 32, 3), {"include_top": False}),
        ((32, 32, 3), {"include_top": False, "pooling": "avg"}),
        ((32, 32, 3), {"include_top": False, "pooling": "max"}),
        ((64, 32, 1), {"classes": 7, "padding": "symmetric"}),
        ((None, None, 5), {"include_top": False, "padding": "same"}),
    ],
)
def test_is_the_model_that_mobilenet_builds(shape, options):
    model = mobilenet(shape, **options)
    new = replace_top(model, 3)
    same = {key: options[key] for key in ("padding", "blocks") if key in options}
    whole = MobileNet(shape, 0.25, weights=None, classes=3, **{"blocks": BLOCKS} | same)
    assert fixed_names(new) == fixed_names(whole)
    assert [w.path for w in new.weights] == [w.path for w in whole.weights]
    whole.set_weights(new.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 32, shape[2])).astype(np.float32)
    x = x[:, : shape[0] or 64]
    assert np.array_equal(new(x), whole(x))
    assert new.get_layer("conv1") is model.get_layer("conv1")


def test_can_be_replaced_again():
    first = replace_top(mobilenet(), 3)
    second = replace_top(first, 4)
    assert first.output_shape == (None, 3)
    assert second.output_shape == (None, 4)
    assert [type(layer).__name__ for layer in second.layers][-5:] == TOP
    assert second.get_layer("conv_preds") is not first.get_layer("conv_preds")
    assert second.get_layer("conv_pw_3") is first.get_layer("conv_pw_3")


def test_frozen_net_stays_frozen_under_the_new_top():
    model = replace_top(freeze(mobilenet(), until="all"), 3)
    assert [w.path for w in model.trainable_weights] == ["conv_preds/kernel", "conv_preds/bias"]


def test_maximum_is_pooled_where_asked_for():
    base = mobilenet((64, 64, 3), include_top=False)
    model = replace_top(base, 3, pooling="max", activation=None)
    assert isinstance(model.layers[-5], keras.layers.GlobalMaxPooling2D)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    kernel, bias = model.get_layer("conv_preds").get_weights()
    expected = np.max(base(x), axis=(1, 2)) @ kernel[0, 0] + bias
    assert np.allclose(model(x), expected, atol=1e-5)  # float32 sums in another order


def test_dropout_and_activation_are_the_callers():
    model = replace_top(mobilenet(), 1, dropout=0.5, activation="sigmoid")
    assert model.get_layer("dropout").rate == 0.5
    assert model.get_layer("predictions").activation is keras.activations.sigmoid


def test_seed_fixes_the_new_weights():
    base, kernels = mobilenet(), []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        kernels.append(replace_top(base, 3).get_layer("conv_preds").get_weights()[0])
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_model_info_keeps_the_input_and_gets_the_labels(tmp_path):
    base = mobilenet()
    set_info(base, ModelInfo((32, 32), crop=1.0, preprocessing=Preprocessing()))
    model = replace_top(base, 3, labels=("a", "b", "c"))
    assert info_of(model) == replace(info_of(base), labels=("a", "b", "c"))
    save_model(model, tmp_path / "model.keras")
    assert info_of(load_model(tmp_path / "model.keras")) == info_of(model)
    assert info_of(replace_top(model, 2)).labels is None


def test_thousand_classes_of_a_user_are_not_imagenets():
    assert info_of(replace_top(mobilenet(), 1000)).labels is None


@pytest.mark.parametrize(
    ("classes", "options", "match"),
    [
        (0, {}, "`classes` must be a positive integer"),
        (2.5, {}, "`classes` must be a positive integer"),
        (3, {"dropout": 2}, "`dropout` must be between 0 and 1"),
        (3, {"pooling": None}, "`pooling` must be 'avg' or 'max'"),
        (3, {"activation": "sofmax"}, "`activation` must be the name of a Keras activation"),
        (1, {}, "Pass activation='sigmoid', or classes=2"),
        (3, {"labels": ("a", "b")}, "each of the model's 3 outputs. Received: 2 labels"),
    ],
)
def test_wrong_arguments_are_named(classes, options, match):
    with pytest.raises(ValueError, match=match):
        replace_top(mobilenet(), classes, **options)


def test_model_without_a_net_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="other")
    with pytest.raises(
        ValueError, match="'other' must have one MobileNet .*None of them is a Mobile"
    ):
        replace_top(model, 3)


def test_net_that_is_cut_between_blocks_ends_there():
    base = mobilenet()
    cut = keras.Model(base.input, base.get_layer("conv_pw_2_relu").output)
    assert replace_top(cut, 3).layers[-6] is base.get_layer("conv_pw_2_relu")
    within = keras.Model(base.input, base.get_layer("conv_dw_2_relu").output)
    with pytest.raises(ValueError, match=r"They end with conv_dw_2_relu\. Pass a model"):
        replace_top(within, 3)


def test_net_in_a_subclassed_model_is_named():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.base = mobilenet(include_top=False)

        def call(self, x):
            return self.base(x)

    model = Own()
    with pytest.raises(ValueError, match="here model.get_layer\\('mobilenet_0.25_32'\\)"):
        replace_top(model, 3)
    assert replace_top(model.get_layer("mobilenet_0.25_32"), 3).output_shape == (None, 3)


def test_two_nets_are_named():
    inputs = keras.Input((32, 32, 3))
    nets = [mobilenet(input_tensor=inputs, name_prefix=prefix).output for prefix in ("a_", "b_")]
    with pytest.raises(ValueError, match="one MobileNet .* end with a_conv_pw_3_relu, b_conv_pw"):
        replace_top(keras.Model(inputs, nets), 3)


def test_other_data_format_is_refused():
    base = mobilenet(include_top=False)
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="Call keras.config.set_image_data_format\\('channe"):
            replace_top(base, 3)
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("nested", [False, True])
def test_users_layer_ahead_of_the_net_may_have_the_name_of_one_of_the_top(nested):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Dropout(0.1, name="dropout")(inputs)
    base = mobilenet(include_top=False, input_tensor=None if nested else x)
    model = keras.Model(inputs, base(x)) if nested else base
    new = replace_top(model, 3)
    assert new.output_shape == (None, 3)
    assert {"dropout", "dropout_1", "conv_preds"} <= {layer.name for layer in new.layers}
    again = replace_top(new, 4)  # what a top before had is free
    assert [x.name for x in again.layers if type(x) is keras.layers.Dropout] == (
        ["dropout", "dropout_1"]
    )
