"""Wrong arguments: each is named, with what is right, before any layer is made."""

import keras
import numpy as np
import pytest

from keras_mobilenet import MobileNet
from keras_mobilenet.models.layers import graph


@pytest.fixture(autouse=True)
def no_layer_is_made(request, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("a layer was made")

    if "builds" not in request.keywords:
        monkeypatch.setattr(graph, "build", fail)
        monkeypatch.setattr(keras, "Input", fail)


SHAPE = "`input_shape` must be three integers \\(height, width, channels\\).*at least 32 or None"
ALPHA = "`alpha` must be a positive number.*0.25, 0.5, 0.75 and 1.0"
DEPTH = "`depth_multiplier` must be a positive integer.*pass `alpha`.*pass `input_shape`"
CLASSES = "`classes` must be a positive integer"
WEIGHTS = "`weights` must be None .*, 'imagenet' .* or the path of a file"
DROPOUT = "`dropout` must be between 0 and 1"


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("input_shape", (224, 224), SHAPE),
        ("input_shape", (31, 224, 3), SHAPE),
        ("input_shape", (224, 31, 3), SHAPE),
        ("input_shape", (-224, 224, 3), SHAPE),
        ("input_shape", (224, 224, 0), SHAPE),
        ("input_shape", (224, 224, None), SHAPE),
        ("input_shape", (224.0, 224.0, 3), SHAPE),
        ("input_shape", (1, 224, 224, 3), SHAPE),
        ("input_shape", (), SHAPE),
        ("input_shape", 224, SHAPE),
        ("input_shape", "224", SHAPE),
        ("input_shape", (True, 224, 3), SHAPE),
        ("alpha", 0, ALPHA),
        ("alpha", -1, ALPHA),
        ("alpha", float("nan"), ALPHA),
        ("alpha", float("inf"), ALPHA),
        ("alpha", "1", ALPHA),
        ("alpha", None, ALPHA),
        ("alpha", True, ALPHA),
        ("alpha", 0.03, "`alpha` must be at least 0.03125. .* without channels"),
        ("depth_multiplier", 0, DEPTH),
        ("depth_multiplier", -1, DEPTH),
        ("depth_multiplier", 0.25, DEPTH),
        ("depth_multiplier", 1.0, DEPTH),
        ("depth_multiplier", "1", DEPTH),
        ("depth_multiplier", None, DEPTH),
        ("depth_multiplier", True, DEPTH),
        ("dropout", -0.1, DROPOUT),
        ("dropout", 1.1, DROPOUT),
        ("dropout", "0.5", DROPOUT),
        ("dropout", None, DROPOUT),
        ("include_top", "no", "`include_top` must be True or False"),
        ("include_top", None, "`include_top` must be True or False"),
        ("include_top", 2, "`include_top` must be True or False"),
        ("weights", "no_such_file.h5", f"{WEIGHTS}.*No file of that name exists"),
        ("weights", "ImageNet", WEIGHTS),
        ("weights", False, WEIGHTS),
        ("weights", 3.5, WEIGHTS),
        ("weights", b"imagenet", WEIGHTS),
        ("input_tensor", np.zeros((1, 224, 224, 3)), "`input_tensor` must be a KerasTensor"),
        ("classes", 0, CLASSES),
        ("classes", -10, CLASSES),
        ("classes", 10.0, CLASSES),
        ("classes", "10", CLASSES),
        ("classifier_activation", "softmacks", "`classifier_activation` must be the name of"),
        ("classifier_activation", 3, "`classifier_activation` must be the name of"),
        ("padding", "valid", "`padding` must be one of 'keras', 'same', 'symmetric' or None"),
        ("epsilon", 0, "`epsilon` must be a positive number or None"),
        ("epsilon", "1e-3", "`epsilon` must be a positive number or None"),
        ("output_stride", 4, "`output_stride` must be one of 8, 16, 32"),
        ("blocks", (), "`blocks` must be a sequence of"),
        ("name_prefix", "a/", "`name_prefix` must be a string without '/'"),
        ("include_preprocessing", "no", "`include_preprocessing` must be True or False"),
        ("bn_momentum", 2, "`bn_momentum` must be between 0 and 1"),
        ("weight_decay", -1, "`weight_decay` must be a number of at least 0, or None"),
        ("initializer", "glorot", "`initializer` must be the name of a Keras initializer"),
        ("name", 3, "`name` must be a string without '/'"),
        ("name", "a/b", "`name` must be a string without '/'"),
    ],
)
def test_wrong_value_is_named_before_any_layer_is_made(argument, value, message):
    with pytest.raises(ValueError, match=message) as error:
        MobileNet(**{"weights": None, argument: value})
    assert "Received: " in str(error.value)


def test_wrong_shape_under_channels_first_names_its_axes():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="\\(channels, height, width\\).*'channels_first'"):
            MobileNet((224, 224, 3), weights=None)
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.3}, "`alpha` must be one of 0.25, 0.5, 0.75, 1.0 with weights='imagenet'"),
        ({"depth_multiplier": 2}, "`depth_multiplier` must be 1 with weights='imagenet'"),
        ({"classes": 10}, "`classes` must be 1000 with .* Pass include_top=False"),
        ({"classifier_activation": "sigmoid"}, "`classifier_activation` must be 'softmax' or None"),
    ],
)
def test_what_no_published_file_has_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MobileNet(**arguments)


@pytest.mark.builds
@pytest.mark.parametrize(
    "shape", [[96, 160, 3], np.array([96, 160, 3]), (np.int64(96), np.int32(160), np.uint8(3))]
)
def test_shape_may_be_a_list_or_of_numpy_integers(shape):
    assert MobileNet(shape, alpha=0.25, weights=None).input_shape == (None, 96, 160, 3)


@pytest.mark.builds
@pytest.mark.parametrize("shape", [(None, None, 3), (300, None, 3), (45, 77, 3)])
def test_top_stands_on_any_size(shape):
    model = MobileNet(shape, alpha=0.25, weights=None, classes=7)
    assert model.output_shape == (None, 7)
    assert model(np.zeros((1, 300, 77, 3) if None in shape else (1, *shape))).shape == (1, 7)


@pytest.mark.builds
def test_wrong_pooling_is_ignored_as_in_keras_with_one_warning():
    with pytest.warns(UserWarning, match="can be None, 'avg' or 'max'. Received: pooling='mean'"):
        model = MobileNet(alpha=0.25, weights=None, include_top=False, pooling="mean")
    assert model.output_shape == (None, None, None, 256)


@pytest.mark.builds
def test_values_that_nothing_reads_do_not_matter():
    model = MobileNet(alpha=0.25, weights=None, include_top=False, classes=0, dropout=None)
    assert model.count_params() == 218_544


@pytest.mark.builds
def test_numbers_of_numpy_are_numbers():
    alpha, depth_multiplier = np.float32(0.25), np.int64(2)
    model = MobileNet(weights=None, alpha=alpha, depth_multiplier=depth_multiplier)
    assert model.name == "mobilenet_0.25_224"
