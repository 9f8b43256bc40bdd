"""`preprocess_input` and `decode_predictions` give Keras' results."""

import hashlib
import json

import keras
import numpy as np
import pytest
from keras.applications import imagenet_utils
from keras.applications import mobilenet as reference

from keras_mobilenet import decode_predictions, preprocess_input, scale_pixels
from keras_mobilenet.images.labels import imagenet_classes


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3))


@pytest.mark.parametrize("data_format", [None, "channels_last", "channels_first"])
@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "int32", "int64", "bool", "float16", "float32", "float64"]
)
def test_arrays_are_scaled_as_keras_scales_them(pixels, dtype, data_format):
    x = pixels.astype(dtype)
    ours = preprocess_input(x.copy(), data_format=data_format)
    theirs = reference.preprocess_input(x.copy(), data_format=data_format)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_float_tensors_are_scaled_as_keras_scales_them(pixels, dtype):
    x = keras.ops.cast(pixels, dtype)
    ours, theirs = preprocess_input(x), reference.preprocess_input(x)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_integer_tensors_become_floats_where_keras_raises(pixels, dtype):
    ours = preprocess_input(keras.ops.cast(pixels, dtype))
    np.testing.assert_array_equal(ours, preprocess_input(pixels))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_symbolic_tensors_are_scaled(pixels, dtype):
    x = keras.Input((8, 9, 3), dtype=dtype)
    ours = keras.Model(x, preprocess_input(x))
    theirs = keras.Model(x, reference.preprocess_input(x))
    np.testing.assert_array_equal(ours(pixels), theirs(pixels))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
def test_float_array_is_overwritten_as_by_keras(pixels, dtype):
    ours, theirs = pixels.astype(dtype), pixels.astype(dtype)
    same = preprocess_input(ours) is ours
    assert same == (reference.preprocess_input(theirs) is theirs) == (dtype != "uint8")
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_scale_pixels_leaves_the_array_alone(pixels, dtype):
    x = pixels.astype(dtype)
    scaled = scale_pixels(x)
    np.testing.assert_array_equal(x, pixels.astype(dtype))
    np.testing.assert_array_equal(scaled, preprocess_input(x))


def test_lists_are_taken():
    np.testing.assert_array_equal(preprocess_input([0, 255]), np.float32([-1, 1]))


def test_unknown_data_format_is_named():
    with pytest.raises(ValueError, match="`data_format` must be one of.*Received: .*'NHWC'"):
        preprocess_input(np.zeros((1, 2, 2, 3)), data_format="NHWC")


@pytest.fixture
def keras_labels(monkeypatch):
    """Keras' decoder with the labels at hand, which it would otherwise fetch."""
    index = {str(i): pair for i, pair in enumerate(imagenet_classes())}
    monkeypatch.setattr("keras.src.applications.imagenet_utils.CLASS_INDEX", index, raising=True)
    return imagenet_utils


@pytest.mark.parametrize("top", [1, 5, 1000, 2000])
def test_decodes_as_keras_does(keras_labels, top):
    scores = np.random.default_rng(0).random((3, 1000), dtype=np.float32)
    ours, theirs = decode_predictions(scores, top), keras_labels.decode_predictions(scores, top)
    assert ours == theirs
    assert type(ours[0][0][2]) is type(theirs[0][0][2])


def test_equal_scores_come_in_keras_order(keras_labels):
    scores = np.zeros((2, 1000), dtype=np.float32)
    scores[1, [3, 700, 20]] = 0.25
    assert decode_predictions(scores) == keras_labels.decode_predictions(scores)


def test_tensors_and_lists_are_decoded():
    scores = np.random.default_rng(0).random((1, 1000), dtype=np.float32)
    expected = decode_predictions(scores)
    assert decode_predictions(keras.ops.convert_to_tensor(scores)) == expected
    assert decode_predictions(scores.tolist())[0][0][:2] == expected[0][0][:2]


def test_own_labels_name_the_classes():
    scores = np.float32([[0.2, 0.8]])
    assert decode_predictions(scores, labels=["cat", "dog"])[0] == [
        ("dog", "dog", np.float32(0.8)),
        ("cat", "cat", np.float32(0.2)),
    ]
    pairs = [("c1", "cat"), ("d1", "dog")]
    assert decode_predictions(scores, 1, labels=pairs) == [[("d1", "dog", np.float32(0.8))]]


def test_top_none_gives_all_classes():
    assert len(decode_predictions(np.zeros((1, 1000)), top=None)[0]) == 1000


@pytest.mark.parametrize("shape", [(1000,), (1, 1001), (1, 10), (1, 1, 1000)])
def test_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match="must be of shape \\(images, 1000\\).*Received: shape"):
        decode_predictions(np.zeros(shape))


@pytest.mark.parametrize("top", [0, -1, 2.5, "5", True])
def test_wrong_top_is_named(top):
    with pytest.raises(ValueError, match="`top` must be a positive integer.*Received"):
        decode_predictions(np.zeros((1, 1000)), top)


def test_labels_equal_the_file_that_keras_downloads(shared_data):
    file = shared_data.parent / "reference" / "imagenet_class_index.json"
    content = file.read_bytes()
    assert hashlib.md5(content).hexdigest() == "c2c37ea517e94d9795004a39431a14cb"
    index = json.loads(content)
    assert imagenet_classes() == tuple(tuple(index[str(i)]) for i in range(1000))
