"""A preprocessing is one affine function of pixels, and has a text that tells it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_mobilenet.images.pixel_scaling import NAMED, PIXELS, Preprocessing, as_preprocessing

PIXEL_VALUES = np.arange(255, dtype=np.uint8).reshape(1, 5, 17, 3)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
numbers = st.floats(-500, 500) | st.lists(st.floats(-500, 500), min_size=3, max_size=3)
scales = st.floats(1e-3, 500) | st.lists(st.floats(1e-3, 500), min_size=3, max_size=3)
preprocessings = st.builds(Preprocessing, scales, numbers)


def test_mean_and_std_are_those_of_pixels():
    found = Preprocessing.from_mean_std(MEAN, STD)
    expected = (PIXEL_VALUES - np.float32(MEAN)) / np.float32(STD)
    np.testing.assert_allclose(found.scaled(PIXEL_VALUES), expected, atol=1e-5)
    np.testing.assert_allclose(found.mean, MEAN)
    np.testing.assert_allclose(found.std, STD)


@given(preprocessings, preprocessings)
def test_steps_go_one_after_the_other_and_back(first, second):
    both = first.then(second).scaled(PIXEL_VALUES)
    largest = max(1.0, np.abs(both).max(), *np.abs(np.ravel(second.offset)))
    np.testing.assert_allclose(both, second.scaled(first.scaled(PIXEL_VALUES)), atol=1e-4 * largest)
    assert first.then(first.inverse()).is_close(PIXELS, 1e-3)


@given(preprocessings)
def test_text_tells_the_preprocessing(preprocessing):
    assert Preprocessing.from_text(str(preprocessing)).is_close(preprocessing, 1e-4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Preprocessing()),
        ("0..1", Preprocessing(1 / 255)),
        ("-1..1", Preprocessing(1 / 127.5, -1)),
        ("scale=1/255", Preprocessing(1 / 255)),
        ("scale=1/127.5,offset=-1", Preprocessing(1 / 127.5, -1)),
        ("scale = 7.8e-3; offset = -1", Preprocessing(0.0078, -1)),
        ("mean=123.7,116,104;std=58", Preprocessing.from_mean_std((123.7, 116, 104), 58)),
        ("mean=127.5;std=127.5", Preprocessing(1 / 127.5, -1)),
        ("offset=-103.9,-116.8,-123.7", Preprocessing(1, (-103.9, -116.8, -123.7))),
    ],
)  # fmt: skip
def test_texts_that_can_be_typed(text, expected):
    assert as_preprocessing(text).is_close(expected)


@pytest.mark.parametrize(
    "bad",
    ["", "imagenet", "scale", "scale=", "scale=a", "scale=0", "scale=1/0", "mean=1",
     "mean=0.485;std=0.229", "scale=1;std=2", "scale=1e-300", "0...1", 1.0, None, (1, 2)],
)  # fmt: skip
def test_other_values_are_refused(bad):
    with pytest.raises(ValueError, match=r"`(preprocessing|scale|mean)` .*"):
        as_preprocessing(bad)


@pytest.mark.parametrize(
    "bad",
    [(0.0,), (np.nan,), (1.0, np.inf), ("1",), (True,), ((1.0, 2.0), (1.0, 2.0, 3.0)), ((),)],
)
def test_numbers_that_scale_nothing_are_refused(bad):
    with pytest.raises(ValueError, match="`(scale|offset)`"):
        Preprocessing(*bad)


def test_channels_of_another_number_are_refused():
    with pytest.raises(ValueError, match="is for 3 channels, and the pixels are of shape"):
        Preprocessing(1.0, (1, 2, 3)).scaled(np.zeros((2, 4, 4, 1), np.uint8))


@pytest.mark.parametrize("name", NAMED)
def test_names_say_the_range(name):
    low, high = (0.0, 255.0) if name == "none" else map(float, name.split(".."))
    assert NAMED[name].range == pytest.approx((low, high))
    assert str(NAMED[name]) == name
