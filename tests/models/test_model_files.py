"""A model's file says how images become its input, and what its classes are called."""

import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_mobilenet import MobileNet, preprocess_input
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.images.labels import imagenet_classes
from keras_mobilenet.images.model_info import ModelInfo, info_for, info_from
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.models.model_files import info_of, load_model, save_model, set_info
from keras_mobilenet.nets.families.v1 import BLOCKS

FLOWERS = ("daisy", "dandelion", "røse")


@pytest.fixture(scope="module")
def small():
    return MobileNet((32, 64, 3), alpha=0.25, weights=None, classes=3, blocks=BLOCKS[:2])


def test_model_of_imagenet_has_its_names(donor):
    assert info_of(donor) == ModelInfo((224, 224), labels=imagenet_classes())


def test_model_of_other_classes_has_no_names(small):
    assert info_of(small) == ModelInfo((32, 64), labels=None)


def test_model_info_scales_as_preprocess_input():
    pixels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(ModelInfo().scaled(pixels), preprocess_input(pixels))
    assert np.array_equal(ModelInfo().taking_pixels().scaled(pixels), pixels)


names = st.text(max_size=8)
scales = st.floats(0.01, 300) | st.tuples(st.floats(0.01, 300), st.floats(0.01, 300))
infos = st.builds(
    ModelInfo,
    st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
    st.floats(0.01, 1),
    st.none() | st.builds(Preprocessing, scales, st.floats(-300, 300)),
    st.none() | st.lists(names | st.tuples(names, names)).map(tuple),
    st.sampled_from(["bilinear", "bicubic"]),
    st.booleans(),
    st.none() | names,
)


@given(infos)
def test_text_tells_the_model_info(info):
    assert info_from(info.to_text()) == info


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        ModelInfo().to_text().replace('"version": 3', '"version": 4'),
        ModelInfo().to_text().replace("null", "[224]", 1),
        ModelInfo().to_text().replace("null", "[0, 224]", 1),
        *(
            ModelInfo(crop=0.75).to_text().replace("0.75", crop).replace("-1.0", offset)
            for crop, offset in (("0", "0"), ("NaN", "0"), ("1" * 400, "0"), ("1", "1e300"))
        ),
        *(
            ModelInfo(preprocessing=Preprocessing(0.5)).to_text().replace("0.5", scale)
            for scale in ("0", "NaN", "1e-300", "null", '"1"', "[]", "true")
        ),
        '{"version": 1, "size": null, "crop": 1, "divisor": 0, "shift": 0, "labels": null}',
        ModelInfo().to_text().replace('"labels": null', '"labels": "daisy"'),
        ModelInfo().to_text().replace('"labels": null', '"labels": [["a", "b", "c"]]'),
        ModelInfo().to_text().replace('"crop"', '"croq"'),
        ModelInfo().to_text().replace('"bilinear"', '"lanczos"'),
        ModelInfo().to_text().replace('"keep_aspect": false', '"keep_aspect": "no"'),
        ModelInfo().to_text().replace('"source": null', '"source": 3'),
        ModelInfo(crop_edges="fractional").to_text().replace("fractional", "round"),
    ],
)
def test_damaged_text_is_refused(text):
    with pytest.raises(CheckpointError, match="what the file says of its input is damaged"):
        info_from(text)


def test_text_of_the_first_version_is_read():
    text = (
        '{"version": 1, "size": [8, 9], "crop": 0.5, "divisor": 127.5, "shift": 1.0, '
        '"labels": null}'
    )
    assert info_from(text) == ModelInfo((8, 9), crop=0.5)


def test_text_of_the_second_version_resizes_as_it_did():
    text = (
        '{"version": 2, "size": [8, 9], "crop": 0.5, "scale": 0.5, "offset": 0.0, "labels": null}'
    )
    info = info_from(text)
    assert info == ModelInfo((8, 9), crop=0.5, preprocessing=Preprocessing(0.5))
    assert info.fit == ModelInfo(crop=0.5).fit
    assert (info.interpolation, info.keep_aspect, info.crop_edges) == ("bilinear", False, "whole")


def test_crop_edges_are_told_where_they_are_not_whole():
    info = ModelInfo((8, 9), crop=0.5, crop_edges="fractional")
    assert info_from(info.to_text()) == info
    assert "crop_edges" not in replace(info, crop_edges="whole").to_text()  # as it was before
    assert info.fit["crop_edges"] == "fractional"


def test_labels_must_be_as_many_as_classes():
    with pytest.raises(ValueError, match="each of the model's 4 outputs.* 3 labels"):
        info_for((224, 224), 4, FLOWERS)


@pytest.mark.parametrize("labels", ["abc", [1, 2, 3], [("a", "b", "c"), "b", "c"]])
def test_labels_must_be_names(labels):
    with pytest.raises(ValueError, match="`labels` must be the classes' names"):
        info_for((224, 224), 3, labels)


def test_saved_model_keeps_model_info_and_outputs(small, tmp_path):
    info = ModelInfo((32, 64), crop=1.0, labels=FLOWERS)
    set_info(small, info)
    path = tmp_path / "flowers.keras"
    save_model(small, path)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 64, 3)).astype(np.float32)
    for opened in (load_model(path), keras.saving.load_model(path)):
        assert np.array_equal(opened(x), small(x))
    assert info_of(load_model(path)) == info


def test_file_of_plain_keras_opens(small, tmp_path):
    small.save(tmp_path / "plain.keras")
    assert info_of(load_model(tmp_path / "plain.keras")) == ModelInfo((32, 64))


def test_only_keras_files_are_saved(small, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.keras"):
        save_model(small, tmp_path / "model.h5")


def test_damaged_files_are_refused(small, tmp_path):
    path = tmp_path / "model.keras"
    save_model(small, path)
    whole = path.read_bytes()
    for content in (b"", whole[:5000], b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.keras: .*\n.*Pass a whole"):
            load_model(path)


def test_damaged_model_info_is_refused(small, tmp_path):
    path = tmp_path / "model.keras"
    small.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("keras_mobilenet.json", b"\xff")
    with pytest.raises(CheckpointError, match="model.keras"):
        load_model(path)


def test_file_that_names_other_classes_than_it_has_is_refused(small, tmp_path):
    path = tmp_path / "model.keras"
    small.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("keras_mobilenet.json", ModelInfo(labels=("daisy",)).to_text())
    with pytest.raises(CheckpointError, match="names 1 classes, and its model has 3 outputs"):
        load_model(path)


def test_code_in_a_file_is_not_run(tmp_path):
    layer = keras.layers.Lambda(lambda x: x)
    inputs = keras.Input((4,))
    keras.Model(inputs, layer(inputs)).save(tmp_path / "code.keras")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        load_model(tmp_path / "code.keras")
