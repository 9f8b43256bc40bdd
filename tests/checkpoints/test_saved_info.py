"""What pixels become before a net, and its classes' names, in every file of weights."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from checkpoint_files import weights
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from keras_mobilenet import (
    MobileNet,
    MobileNetV3Small,
    MobileNetV4ConvSmall,
    Predictor,
    convert_weights,
    export,
    inspect_weights,
    load_weights,
    preprocessing_of,
    replace_top,
    save_weights,
    set_preprocessing,
)
from keras_mobilenet.checkpoints.loading import info_in
from keras_mobilenet.checkpoints.net_weights import Builder, builder_of, net_weights
from keras_mobilenet.checkpoints.writing.model_file import write_model_file
from keras_mobilenet.deploy.opened import open_model
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.keras.model_config import ModelSettings
from keras_mobilenet.formats.registry import open_checkpoint
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE, PIXELS, Preprocessing
from keras_mobilenet.models.model_files import info_of, load_model, save_model, set_info
from keras_mobilenet.nets.families.registry import FAMILIES

OWN = Preprocessing((0.02, 0.03, 0.04), (-1.0, -2.0, -3.0))
INFO = ModelInfo((64, 64), 0.9, OWN, ("one", "two", "three"))
SUFFIXES = (".safetensors", ".weights.h5", ".h5")
SMALL = {"input_shape": (64, 64, 3), "alpha": 0.25, "classes": 3}
formats = pytest.mark.parametrize("suffix", SUFFIXES)


def small(**options):
    fixed = {"alpha": 0.1, "classes": 3, "weights": None}
    return MobileNet(**{"input_shape": (64, 64, 3)} | fixed | options)


def saved(path, info=INFO, **options):
    model = small(**options)
    if info is not None:
        set_info(model, info)
    save_weights(model, path)
    return model


@formats
def test_a_file_alone_is_opened_with_size_crop_scaling_and_names(suffix, tmp_path):
    model = saved(tmp_path / f"x{suffix}")
    opened = open_model(str(tmp_path / f"x{suffix}"))
    assert opened.info == INFO
    assert opened.input_shape == (64, 64, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with Predictor(opened, engine="litert", threads=1) as predictor:
        # Two runtimes' rounding in float32, of probabilities that sum to 1.
        assert np.allclose(predictor.predict(pixels), model(OWN.scaled(pixels)), atol=1e-5)


@formats
def test_a_model_that_is_built_or_loaded_with_a_file_goes_by_it(suffix, tmp_path):
    saved(tmp_path / f"x{suffix}")
    assert info_of(small(weights=tmp_path / f"x{suffix}")) == INFO
    model = small(input_shape=(96, 96, 3))
    load_weights(model, tmp_path / f"x{suffix}")
    assert info_of(model) == replace(INFO, size=(96, 96))


@formats
@pytest.mark.parametrize("activation", ["sigmoid", None, "softmax", "elu"])
def test_a_file_alone_puts_out_what_its_model_did(activation, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    model = saved(path, classifier_activation=activation)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    # Two runtimes' rounding in float32, of outputs of 1 at most.
    expected = pytest.approx(np.asarray(model(OWN.scaled(pixels))), abs=1e-5)
    with Predictor(path, engine="litert", threads=1) as predictor:
        assert predictor.predict(pixels) == expected
    assert open_model(path).in_keras().model(OWN.scaled(pixels)).numpy() == expected
    assert info_of(model) == INFO  # which belongs to the model, whose layers tell the activation


def test_so_does_one_that_was_made_of_a_whole_model(tmp_path):
    model = small(classifier_activation="sigmoid")
    save_model(model, tmp_path / "x.keras")
    convert_weights(tmp_path / "x.keras", tmp_path / "x.safetensors")
    weights = net_weights(builder_of(tmp_path / "x.safetensors"))
    assert weights.classifier_activation == "sigmoid"
    settings = ModelSettings(weights.conventions, 0.99, "sigmoid")
    write_model_file(
        tmp_path / "y.keras", weights.net, weights.arrays, name="y", size=(64, 64),
        settings=settings, info=weights.info,
    )  # fmt: skip
    assert net_weights(builder_of(tmp_path / "y.keras")).classifier_activation == "sigmoid"


@pytest.mark.parametrize("activation", ["sigmoid", None, "softmax"])
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_so_does_one_that_was_made_of_an_exported_file(suffix, activation, tmp_path):
    model = small(classifier_activation=activation)
    set_info(model, INFO)
    export(model, tmp_path / f"x{suffix}")
    convert_weights(tmp_path / f"x{suffix}", tmp_path / "x.safetensors")
    weights = net_weights(builder_of(tmp_path / "x.safetensors"))
    assert weights.classifier_activation == activation


def test_of_two_files_the_last_one_counts(tmp_path):
    saved(tmp_path / "x.h5")
    saved(tmp_path / "y.h5", replace(INFO, preprocessing=PIXELS))
    model = small(weights=tmp_path / "x.h5")
    load_weights(model, tmp_path / "y.h5")
    assert preprocessing_of(model) == PIXELS


def test_a_model_that_scales_pixels_itself_is_saved_as_what_its_net_takes(tmp_path):
    path = tmp_path / "x.safetensors"
    saved(path, None, include_preprocessing=True)
    assert net_weights(builder_of(path)).info.preprocessing == MINUS_ONE_TO_ONE
    assert preprocessing_of(small(weights=path)) == MINUS_ONE_TO_ONE
    assert preprocessing_of(small(weights=path, include_preprocessing=True)) == PIXELS


def test_what_is_left_to_do_before_a_layer_that_scales_leads_to_the_same(tmp_path):
    path = tmp_path / "x.safetensors"
    saved(path)
    scaling = small(weights=path, include_preprocessing=True)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    left = preprocessing_of(scaling)
    # Rounding of values up to 255 in float32.
    assert np.allclose(MINUS_ONE_TO_ONE.scaled(left.scaled(pixels)), OWN.scaled(pixels), atol=1e-5)
    save_weights(scaling, tmp_path / "again.safetensors")
    again = net_weights(builder_of(tmp_path / "again.safetensors")).info
    assert again.preprocessing.is_close(OWN)


@pytest.mark.parametrize("builder", [MobileNet, MobileNetV4ConvSmall])
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize("pixels", [False, True])
def test_an_exported_file_is_taken_for_its_weights_with_what_its_net_takes(
    builder, suffix, pixels, tmp_path
):
    path = tmp_path / f"x{suffix}"
    net = net_weights(Builder(builder_key(builder), {**SMALL, "weights": "random"}))
    export(replace(net, saved=INFO), path, include_preprocessing=pixels)
    found = net_weights(builder_of(path)).info
    assert replace(found, preprocessing=OWN) == INFO
    # Float32's rounding of what the graph multiplies by.
    assert np.allclose(found.preprocessing.scale, OWN.scale, rtol=1e-6)
    assert found.preprocessing.offset == OWN.offset


def builder_key(builder):
    return next(family.key for family in FAMILIES if family.name == builder.__name__)


@pytest.mark.parametrize("options", [{}, {"include_preprocessing": True}])
def test_a_whole_model_is_taken_for_its_weights_with_what_its_net_takes(options, tmp_path):
    saved(tmp_path / "x.safetensors")
    model = small(weights=tmp_path / "x.safetensors", **options)
    save_model(model, tmp_path / "x.keras")
    assert net_weights(builder_of(tmp_path / "x.keras")).info.preprocessing.is_close(OWN)
    again = small(weights=tmp_path / "x.keras")
    assert preprocessing_of(again).is_close(OWN)
    assert info_of(again).labels == INFO.labels
    assert info_of(load_model(tmp_path / "x.keras")) == info_of(model)


def test_so_is_a_whole_model_that_was_written_without_keras(tmp_path):
    saved(tmp_path / "x.safetensors")
    net = net_weights(builder_of(tmp_path / "x.safetensors"))
    write_model_file(
        tmp_path / "x.keras", net.net, net.arrays, name="x", size=(64, 64), info=net.info,
        settings=ModelSettings(net.conventions, 0.99, "softmax"),
    )  # fmt: skip
    assert net_weights(builder_of(tmp_path / "x.keras")).info.preprocessing.is_close(OWN)


def test_a_graph_that_scales_its_input_by_nothing_is_told(tmp_path):
    saved(tmp_path / "x.safetensors")
    with open_checkpoint(tmp_path / "x.safetensors") as checkpoint:
        wrong = replace(checkpoint, scaling=(0.0, 1.0))
        with pytest.raises(CheckpointError, match="scales its input as no net does.*\nSave"):
            info_in(tmp_path / "x.safetensors", wrong)


def test_a_base_without_a_top_takes_the_scaling_and_no_names(tmp_path):
    saved(tmp_path / "x.h5")
    base = small(include_top=False, pooling="avg")
    load_weights(base, tmp_path / "x.h5")
    assert info_of(base) == replace(INFO, labels=None)
    assert preprocessing_of(replace_top(base, 2)) == OWN


@pytest.mark.parametrize("builder", [MobileNetV3Small, MobileNetV4ConvSmall])
def test_a_top_that_stands_on_the_pool_itself_comes_back_from_its_file(builder, tmp_path):
    """So it is in a fine-tuned V3 or V4, whose own top has a convolution between the two."""
    path = tmp_path / "x.safetensors"
    base = builder((64, 64, 3), alpha=0.5, include_top=False, weights=None)
    model = replace_top(base, 3, labels=INFO.labels)
    save_weights(model, path)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    # Two runtimes' rounding in float32, of probabilities that sum to 1.
    with Predictor(str(path), engine="litert", threads=1) as predictor:
        assert np.allclose(predictor.predict(x), model(x), atol=1e-5)
        assert predictor.info.labels == INFO.labels
    again = builder((64, 64, 3), alpha=0.5, classes=3, weights=path, name_prefix="a_")
    assert np.allclose(again(x), model(x), atol=1e-5)
    assert inspect_weights(path).origin.on_pool
    with pytest.raises(ValueError, match="a net without its own top has no values for"):
        convert_weights(path, tmp_path / "timm", to="timm")


def test_other_channels_have_no_scaling_that_is_known(tmp_path):
    saved(tmp_path / "x.safetensors")
    grey = small(input_shape=(64, 64, 1), weights=tmp_path / "x.safetensors")
    assert preprocessing_of(grey) is None


def test_another_number_of_classes_keeps_its_own_names(tmp_path):
    saved(tmp_path / "x.safetensors")
    model = small(classes=5)
    set_info(model, replace(info_of(model), labels=tuple("abcde")))
    load_weights(model, tmp_path / "x.safetensors", strict=False)
    assert info_of(model).labels == tuple("abcde")
    assert preprocessing_of(model) == OWN  # all below the top is the file's


def test_files_without_a_word_leave_what_was_set(tmp_path):
    model = small()
    plain = {name: np.asarray(value) for name, value in weights(model).items()}
    metadata = {"format": "keras_mobilenet", "epsilon": "0.001", "padding": "keras"}
    save_file(plain, tmp_path / "x.safetensors", metadata)
    set_preprocessing(model, "0..1")
    load_weights(model, tmp_path / "x.safetensors")
    assert str(preprocessing_of(model)) == "0..1"


def test_names_longer_than_an_attribute_of_hdf5_are_kept(tmp_path):
    labels = tuple(f"{i} {'ö' * 40}" for i in range(3000))
    saved(tmp_path / "x.h5", replace(INFO, labels=labels), classes=3000)
    with h5py.File(tmp_path / "x.h5") as file:
        assert {"keras_mobilenet0", "keras_mobilenet1"} < set(file.attrs)
    assert net_weights(builder_of(tmp_path / "x.h5")).info.labels == labels


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"version": 99})])
def test_a_damaged_word_is_refused_and_the_model_as_it_was(text, tmp_path):
    saved(tmp_path / "x.safetensors")
    arrays = load_file(tmp_path / "x.safetensors")
    metadata = {"format": "keras_mobilenet", "epsilon": "0.001", "padding": "keras", "info": text}
    save_file(arrays, tmp_path / "x.safetensors", metadata)
    model = small()
    before = weights(model)
    with pytest.raises(CheckpointError, match="what the file says of its input is damaged"):
        load_weights(model, tmp_path / "x.safetensors")
    assert all(np.array_equal(before[n], x) for n, x in weights(model).items())
    with pytest.raises(CheckpointError, match="damaged.*\nSave the weights again"):
        open_model(str(tmp_path / "x.safetensors"))


def test_a_model_without_a_mobilenet_says_nothing(tmp_path):
    import keras

    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    save_weights(dense, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", framework="numpy") as file:
        assert "info" not in file.metadata()
