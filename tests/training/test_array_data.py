"""Images and classes in the forms in which Keras' users have them become the same source."""

import math

import keras
import numpy as np
import pytest
from coloured_shapes import COLOURS, shapes, write_shapes

from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.training.data.sources import read_source
from keras_mobilenet.training.data.targets import read_targets

X, Y = shapes(4)
NAMES = tuple(COLOURS)


def source_of(data, **options):
    return read_source(data, **{"validation": None, "seed": 0, **options})


def classes_of(images):
    """The classes in the order of `X`, whose images are all there."""
    index = {image.pixels.tobytes(): image.class_index for image in images}
    return [index[x.tobytes()] for x in X]


def contents(images):
    return sorted((x.shape, x.tobytes()) for x in images)


def pixels_of(images):
    return contents(image.pixels for image in images)


class Batches(keras.utils.PyDataset):
    """A data set of Keras, batch by batch."""

    def __init__(self, x, y, size=5):
        super().__init__()
        self.x, self.y, self.size = x, y, size

    def __len__(self):
        return math.ceil(len(self.x) / self.size)

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        return self.x[rows], self.y[rows]


class Endless(Batches):
    """One that has no length."""

    @property
    def num_batches(self):
        return None


# Classes


@pytest.mark.parametrize(
    "y",
    [
        Y.astype("uint8"),
        Y[:, None],
        Y.astype("float32"),
        Y[:, None].astype("float64"),
        Y.tolist(),
        np.eye(3)[Y],
        np.eye(3, dtype=bool)[Y],
        np.eye(3, dtype="int64")[Y].tolist(),
        keras.utils.to_categorical(Y),
    ],
    ids=lambda y: f"{np.asarray(y).dtype}{np.ndim(y)}{type(y).__name__}",
)
def test_numbers_columns_and_one_hot_rows_are_the_same_classes(y):
    source = source_of((X, y))
    assert classes_of(source.train) == Y.tolist()
    assert source.labels == ("0", "1", "2")


@pytest.mark.parametrize("dtype", [str, object, "S5"])
def test_names_as_classes_are_sorted_labels(dtype):
    names = np.array(NAMES)[Y[::-1]].astype(dtype)
    source = source_of((X, names), validation=(X[:2], ["red", "blue"]))
    assert source.labels == NAMES
    assert classes_of(source.train) == Y[::-1].tolist()
    assert [image.class_index for image in source.validation] == [2, 0]
    other = source_of((X, names), labels=("red", "green", "blue"))
    assert classes_of(other.train) == (2 - Y[::-1]).tolist()
    with pytest.raises(ValueError, match=r"`validation` has classes without a label: white\. The"):
        source_of((X, names), validation=(X[:1], ["white"]))


@pytest.mark.parametrize("y", [Y > 0, (Y > 0)[:, None]])
def test_bools_are_two_classes_named_so(y):
    assert source_of((X, y)).labels == ("False", "True")
    assert source_of((X, y), labels=("no", "yes")).labels == ("no", "yes")
    assert classes_of(source_of((X, y.astype("float32"))).train) == (Y > 0).astype(int).tolist()


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (Y + 0.5, "whole numbers from 0. Received: float64 from 0.5 to 2.5"),
        (Y - 1, "whole numbers from 0. Received: int64 from -1 to 1"),
        (np.full(12, np.nan), "whole numbers from 0"),
        (np.eye(3)[Y] * 0.9 + 0.03, "must be 0 or 1 where each class has a column"),
        (Y[:5], "a class for each image. Received: 12 images and 5 classes"),
        (np.zeros((12, 2, 2)), "Received: float64 of shape"),
        (np.zeros(12, int), "two classes. Received: 1 labels"),
        ([1, None, 0, *[1] * 9], "not of one kind|numbers from 0, names"),
    ],
)
def test_what_are_no_classes_is_named(y, match):
    with pytest.raises(ValueError, match=match):
        source_of((X, y))


def test_each_column_has_a_label():
    with pytest.raises(ValueError, match="Received: 2 labels, and 3 classes"):
        source_of((X, np.eye(3)[Y]), labels=("a", "b"))
    with pytest.raises(ValueError, match="Received: 4 labels, and 3 classes"):
        source_of((X, np.eye(3)[Y]), labels=("a", "b", "c", "d"))


# Images


@pytest.mark.parametrize(
    "x",
    [
        X.astype("int32"),
        X.astype("float32"),
        X / 255,
        (X / 255).astype("float32"),
        X / 127.5 - 1,
        list(X),
        list(X / np.float32(255)),
        keras.ops.convert_to_tensor(X),
    ],
    ids=lambda x: f"{type(x).__name__}",
)
def test_values_of_each_range_become_the_same_pixels(x):
    assert pixels_of(source_of((x, Y)).train) == contents(X)


def test_the_range_that_was_found_is_told():
    found = [source_of((x, Y)).values for x in (X, X * 1.0, X / 255, X / 127.5 - 1)]
    assert found == [None, "0 to 255", "0 to 1", "-1 to 1"]


BRIGHT = (X // 2 + 128) / 255  # might be dark of 0 to 1 or bright of -1 to 1


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(X.shape, "float32"),
        X[:4] / 255,
        BRIGHT,
        (X > 99).astype("float32"),
        X / 255 - 0.5,
        X / 255 * 5 - 2,
        X / 25.5,
        X / 1.0 - 110,
    ],
    ids=["black", "few", "bright", "binary", "-0.5 to 0.5", "standardised", "0 to 10", "means off"],
)
def test_values_that_may_be_of_several_ranges_are_not_guessed(x):
    with pytest.raises(
        ValueError, match=r"which does not tell their range: .* preprocessing='none', '0\.\.1'"
    ):
        source_of((x, np.arange(len(x)) % 2))


SCALED = Preprocessing((1 / 50, 1 / 60, 1 / 70), (-2.0, -2.1, -1.8))  # each channel by itself


@pytest.mark.parametrize(
    ("x", "preprocessing"),
    [
        (X[:2] / 255, "0..1"),
        (BRIGHT, "0..1"),
        (X[:2] / 127.5 - 1, "-1..1"),
        (X[:2] // 16 * 1.0, "none"),
        (SCALED.scaled(X), SCALED),
        (SCALED.scaled(X), str(SCALED)),
        ((X - 120.0) / 60, "mean=120;std=60"),
        (X, "none"),
    ],
)
def test_a_range_that_is_said_is_taken(x, preprocessing):
    y, held = np.arange(len(x)) % 2, (x[:1], [0])
    found = source_of((x, y), validation=held, preprocessing=preprocessing)
    factor = {"0..1": (255, 0), "-1..1": (127.5, 127.5), "none": (1, 0)}.get(str(preprocessing))
    expected = X if factor is None else np.rint(x * factor[0] + factor[1]).astype("uint8")
    assert pixels_of(found.train) == contents(expected)
    assert pixels_of(found.validation) == contents(expected[:1])


def test_what_is_no_preprocessing_is_named(folder):
    for wrong in ("0..2", 255, object()):
        with pytest.raises(ValueError, match=r"`preprocessing` must be .*'none', '0\.\.1'"):
            source_of((X, Y), preprocessing=wrong)
    with pytest.raises(ValueError, match="those in files are as they are"):
        source_of(folder, preprocessing="0..1")


@pytest.mark.parametrize("scaled", [lambda x: x / 255, lambda x: x / 127.5 - 1, lambda x: x * 1.0])
def test_few_images_to_validate_with_are_of_the_range_of_the_others(scaled):
    dark = np.zeros((2, 44, 40, 3), np.uint8) + 60
    source = source_of((scaled(X), Y), validation=(scaled(dark), Y[:2]))
    assert pixels_of(source.validation) == contents(dark)


def test_pixels_are_found_where_cubic_interpolation_goes_beyond_them():
    x = X.astype("float32")
    x[0, 0, 0], x[0, 0, 1] = -20, 270
    expected = X.copy()
    expected[0, 0, 0], expected[0, 0, 1] = 0, 255
    assert pixels_of(source_of((x, Y)).train) == contents(expected)


def test_greys_without_an_axis_of_channels_are_images():
    grey = X[..., 0]
    for x in (grey, grey[..., None], list(grey)):
        found = pixels_of(source_of((x, Y)).train)
        assert found == contents(np.repeat(grey[..., None], 3, axis=-1))


def test_images_of_a_list_keep_their_sizes():
    images = [X[0], X[1][:30], X[2][:, :20]]
    assert pixels_of(source_of((images, [0, 1, 1])).train) == contents(images)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (X.astype("int32") - 1, "must be pixels from 0 to 255 .* Received: int32 from -1 to"),
        (X.astype("uint16") * 257, "Received: uint16 from 0 to"),
        (X > 9, "Received: bool"),
        (np.full(X.shape, np.inf), "not finite"),
        (np.zeros((12, 8, 8, 4), "uint8"), r"Received: one of shape \(8, 8, 4\)"),
        ([X[0], X[1] / 255], "of one type. Received: float64, uint8"),
    ],
)
def test_what_are_no_images_is_named(x, match):
    with pytest.raises(ValueError, match=match):
        source_of((x, Y[: len(x)]))


# Data sets


def test_a_py_dataset_is_its_arrays():
    source = source_of(Batches(X / 255, np.eye(3)[Y]))
    expected = {(x.tobytes(), y) for x, y in zip(X, Y, strict=True)}
    assert {(p.pixels.tobytes(), p.class_index) for p in source.train} == expected
    with pytest.raises(ValueError, match="`validation` never ends. Give it a length"):
        source_of((X, Y), validation=Endless(X, Y))


def test_later_batches_of_another_range_are_refused():
    x = X / 255
    x[-1] *= 255
    with pytest.raises(ValueError, match="where the first ones are from 0 to 1"):
        source_of(Batches(x, Y, size=8))


def test_a_data_set_with_weights_or_without_classes_is_refused():
    import tensorflow as tf

    x = tf.data.Dataset.from_tensor_slices(X)
    with pytest.raises(ValueError, match=r"pairs of images and classes.*shape \(44, 40, 3\)"):
        source_of(x)
    with pytest.raises(ValueError, match="without sample weights. Received: 3 parts"):
        source_of(tf.data.Dataset.from_tensor_slices((X, Y, Y)).batch(4))
    with pytest.raises(ValueError, match="`validation` must be a pair of arrays.*Received: str"):
        source_of((X, Y), validation="folder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("shapes"), 4)


def keras_data(folder, **options):
    options = {"image_size": (44, 40), "batch_size": 5, "verbose": False, **options}
    return keras.utils.image_dataset_from_directory(folder, **options)


@pytest.mark.parametrize("mode", ["int", "categorical"])
def test_keras_reader_of_folders_is_the_folder(folder, mode):
    source = source_of(keras_data(folder, label_mode=mode))
    assert source.labels == NAMES
    expected = {(x.tobytes(), y) for x, y in zip(X, Y, strict=True)}
    assert {(p.pixels.tobytes(), p.class_index) for p in source.train} == expected
    held = keras_data(folder, label_mode=mode, shuffle=False)
    assert classes_of(source_of((X, Y), validation=held).validation) == Y.tolist()


def test_keras_binary_labels_are_two_classes(folder):
    data = keras_data(folder, label_mode="binary", class_names=None, labels=(Y > 0).tolist())
    assert sorted(classes_of(source_of(data).train)) == sorted((Y > 0).tolist())


def test_a_shuffled_data_set_is_split_alike_each_time(folder):
    data = keras_data(folder, shuffle=True)
    one, other = (source_of(data, validation=0.25) for _ in range(2))
    assert len(one.validation) == 3
    for part in ("train", "validation"):
        pairs = zip(getattr(one, part), getattr(other, part), strict=True)
        assert all(a.content() == b.content() for a, b in pairs)


def test_classes_of_other_names_are_not_validated_with(folder):
    with pytest.raises(ValueError, match="`validation` must have the classes of `data`"):
        source_of((X, np.array(["a", "b", "c"])[Y]), validation=keras_data(folder))


def test_columns_of_one_class_are_no_choice():
    assert read_targets(np.ones((3, 1)), "y").classes == ((1,), (1,), (1,))
