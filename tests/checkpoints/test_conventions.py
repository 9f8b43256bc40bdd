"""Padding and epsilon travel with weights; input channels and background classes adapt."""

import keras
import numpy as np
import pytest
from checkpoint_files import random_arrays
from random_models import randomise

from keras_mobilenet import MobileNet, load_weights, save_weights
from keras_mobilenet.checkpoints.loading import adapted_stem
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats import registry
from keras_mobilenet.formats.checkpoint import Checkpoint
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import v1

PADDINGS = ("keras", "same", "symmetric")
# The strides of the thirteen, behind which a net is one function or another as theirs is.
STRIDED = (v1.Block(64), *(v1.Block(64, stride=2),) * 4)


def build(size=96, channels=3, **arguments):
    fixed = {"alpha": 0.25, "classes": 5, "classifier_activation": None, "weights": None}
    return MobileNet((size, size, channels), **fixed | {"blocks": STRIDED} | arguments)


def fits(padding, other, size):
    windows = v1.network().windows((size, size))
    return Conventions(padding=padding).fits(Conventions(padding=other), windows, v1.zeros)


def images(size, channels=3):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (2, size, size, channels)).astype("float32")


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(96, 96), (97, 131), (225, 225)])
def test_sizes_are_those_of_the_spec(padding, size):
    net = {"alpha": 0.25, "padding": padding, "include_top": False}
    net["blocks"] = v1.BLOCKS if size == (225, 225) else STRIDED
    model = MobileNet((*size, 3), weights=None, **net)
    layers = v1.network(**net)
    shapes = [(None, *shape) for shape in layers.shapes(size).values()]
    assert [tuple(layer.output.shape) for layer in model.layers] == shapes


@pytest.mark.parametrize(
    ("padding", "before"), [("keras", (0, 1)), ("same", None), ("symmetric", (1, 1))]
)
def test_first_strided_block_pads_as_its_source_does(padding, before):
    """Against the definition: each output is the kernel times the image, padded by hand."""
    size = 9  # odd, where the three differ
    x = np.random.default_rng(0).normal(size=(1, size, size, 2)).astype("float32")
    model = build(64, padding=padding)
    depthwise = model.get_layer("conv_dw_2")
    kernel = np.random.default_rng(1).normal(size=(3, 3, 2, 1)).astype("float32")
    if before is None:  # TensorFlow's SAME: one zero at both ends of an odd length
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    else:
        assert model.get_layer("conv_pad_2").padding == (before, before)
        padded = np.pad(x, ((0, 0), before, before, (0, 0)))
    count = (padded.shape[1] - 3) // 2 + 1
    expected = np.array(
        [
            [
                (padded[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * kernel[..., 0]).sum((0, 1))
                for j in range(count)
            ]
            for i in range(count)
        ]
    )
    given = x if before is None else padded
    found = keras.ops.depthwise_conv(given, kernel, depthwise.strides, depthwise.padding)
    # A sum of nine products of order one in float32
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [96, 128, 192, 224, 223])
def test_same_and_keras_padding_are_one_function_where_strides_are_even(size):
    assert fits("same", "keras", size)
    same, ours = randomise(build(size, padding="same")), build(size)
    ours.set_weights(same.get_weights())
    x = images(size)
    np.testing.assert_allclose(ours(x), same(x), rtol=1e-4)  # two convolution algorithms


@pytest.mark.parametrize("size", [97, 100, 225])
def test_same_and_keras_padding_differ_elsewhere(size):
    assert not fits("same", "keras", size)
    same, ours = randomise(build(size, padding="same")), build(size)
    ours.set_weights(same.get_weights())
    x = images(size)
    assert not np.allclose(ours(x), same(x), rtol=1e-4)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [96, 97])
def test_model_follows_its_file(padding, size, tmp_path):
    source = randomise(build(size, padding=padding, epsilon=1e-5))
    save_weights(source, tmp_path / "weights.safetensors")
    again = build(size, weights=tmp_path / "weights.safetensors")
    assert again.get_layer("conv1_bn").epsilon == 1e-5
    # "same" in a graph of Keras' padding is another algorithm for the same function
    np.testing.assert_allclose(again(images(size)), source(images(size)), rtol=1e-4)


def test_even_size_takes_a_file_of_same_padding_into_the_default_graph(tmp_path):
    save_weights(build(padding="same"), tmp_path / "weights.safetensors")
    assert "conv_pad_2" in [
        layer.name for layer in build(weights=tmp_path / "weights.safetensors").layers
    ]
    load_weights(build(), tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("arguments", "size", "remedy"),
    [
        ({"padding": "symmetric"}, 96, "padding='symmetric'"),
        ({"padding": "same"}, 97, "padding='same'"),
        ({"padding": "same"}, None, "padding='same'"),
        ({"epsilon": 1e-5}, 96, "epsilon=1e-05"),
        ({"padding": "symmetric", "epsilon": 1e-5}, 96, "epsilon=1e-05, padding='symmetric'"),
    ],
)
def test_file_of_another_convention_is_refused_with_the_arguments_that_fit(
    arguments, size, remedy, tmp_path
):
    save_weights(build(size, **arguments), tmp_path / "weights.safetensors")
    model = build(size)
    before = model.get_weights()
    with pytest.raises(CheckpointError, match=f"Build the model with {remedy}"):
        load_weights(model, tmp_path / "weights.safetensors")
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_callers_conventions_win_over_the_files_and_are_then_refused(tmp_path):
    save_weights(build(padding="symmetric"), tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="Shapes cannot show it"):
        build(weights=tmp_path / "weights.safetensors", padding="keras")


def test_unknown_size_follows_the_file_of_same_padding(tmp_path):
    save_weights(build(padding="same"), tmp_path / "weights.safetensors")
    model = build(None, weights=tmp_path / "weights.safetensors")
    assert model.get_layer("conv_dw_2").padding == "same"


@pytest.fixture
def rgb(tmp_path):
    model = randomise(build())
    model.save_weights(tmp_path / "rgb.weights.h5")
    return model, tmp_path / "rgb.weights.h5"


def test_grey_net_of_a_grey_image_is_the_rgb_net_of_its_repetition(rgb):
    model, path = rgb
    grey = build(channels=1, weights=path)
    x = images(96, channels=1)
    # The sum over channels is taken once here and at every pixel there.
    np.testing.assert_allclose(grey(x), model(np.repeat(x, 3, axis=-1)), rtol=1e-4)


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_more_channels_repeat_the_stem_and_keep_its_scale(rgb, channels):
    model, path = rgb
    wide = build(channels=channels, weights=path)
    kernel = wide.get_layer("conv1").get_weights()[0]
    before = model.get_layer("conv1").get_weights()[0]
    for i in range(channels):
        np.testing.assert_allclose(kernel[:, :, i], before[:, :, i % 3] * (3 / channels), rtol=1e-6)


def test_six_equal_channels_see_what_three_see(rgb):
    kernel = rgb[0].get_layer("conv1").get_weights()[0]
    x = np.float32(0.7)
    np.testing.assert_allclose(
        (adapted_stem(kernel, 6) * x).sum(axis=2), (kernel * x).sum(axis=2), rtol=1e-5
    )


def test_channels_adapt_only_when_asked_and_the_report_says_so(rgb):
    grey = build(channels=1)
    with pytest.raises(CheckpointError, match="conv1/kernel +file \\(3, 3, 3, 8\\)"):
        load_weights(grey, rgb[1])
    report = load_weights(grey, rgb[1], adapt_channels=True)
    assert "adapted the stem from 3 input channels to 1" in str(report)


class WithBackground:
    """A format of one file, whose nets have a background class."""

    NAME = "test"

    def recognises(self, path, head):
        return True

    def read(self, path, max_bytes):
        import contextlib

        arrays = random_arrays(alpha=0.25, classes=6, blocks=STRIDED)
        return contextlib.nullcontext(Checkpoint("test", arrays, background=True))


def test_background_class_is_dropped_and_said(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "formats", lambda: [WithBackground()])
    model = build()
    report = load_weights(model, tmp_path)
    assert "dropped class 0, the background: 6 classes became 5" in str(report)
    expected = random_arrays(alpha=0.25, classes=6, blocks=STRIDED)["conv_preds/kernel"][..., 1:]
    np.testing.assert_array_equal(model.get_layer("conv_preds").get_weights()[0], expected)


def test_background_class_stays_where_the_model_has_a_place_for_it(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "formats", lambda: [WithBackground()])
    report = load_weights(build(classes=6), tmp_path)
    assert report.notes == ()
