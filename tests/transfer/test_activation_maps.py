"""The map's mean is the logit; it is high where the thing is."""

import keras
import numpy as np
import pytest
from PIL import Image
from random_models import randomise

from keras_mobilenet import MobileNet, MobileNetV3Small, cam, freeze, replace_top
from keras_mobilenet.errors import ImageError
from keras_mobilenet.images.images import fit_pixels, read_image
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.models.model_files import info_of, set_info
from keras_mobilenet.nets.families import v3
from keras_mobilenet.nets.families.v1 import BLOCKS, Block
from keras_mobilenet.transfer.heat_maps import RAMP, coloured
from keras_mobilenet.transfer.linear_ends import classifier_end

pytestmark = pytest.mark.builds
PIXELS = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
FLOWERS = ("daisy", "rose", "tulip")


def logits_model(shape=(64, 96, 3), classes=3, labels=FLOWERS, **options):
    blocks = (Block(64, stride=2),) * 4  # to stride 32
    model = MobileNet(
        shape, 0.25, weights=None, classes=classes, classifier_activation=None,
        **{"blocks": blocks} | options,
    )  # fmt: skip
    set_info(randomise(model), ModelInfo(shape[:2] if shape[0] else None, labels=labels))
    return model


@pytest.mark.parametrize("options", [{"blocks": BLOCKS}, {"padding": "symmetric"}], ids=str)
@pytest.mark.parametrize("class_", [0, 1, 2])
def test_mean_of_the_map_is_the_logit(class_, options):
    model = logits_model(**options)
    found = cam(model, PIXELS, class_=class_)
    x = info_of(model).scaled(fit_pixels(PIXELS, size=(64, 96), crop=0.875))[None]
    assert found.array.shape == (2, 3)
    assert found.array.dtype == np.float32
    assert (found.class_index, found.label) == (class_, FLOWERS[class_])
    logit = np.asarray(model(x))[0, class_]
    assert abs(found.array.mean() - logit) < 1e-5 * max(1, abs(logit))  # float32, another order


def test_most_probable_class_is_the_default():
    model = logits_model(labels=None)
    assert cam(model, PIXELS, class_=np.int64(2)).class_index == 2
    x = info_of(model).scaled(fit_pixels(PIXELS, size=(64, 96), crop=0.875))[None]
    found = cam(model, PIXELS)
    assert found.class_index == np.argmax(model(x))
    assert found.label is None


def test_model_of_any_size_takes_the_images_own():
    assert cam(logits_model((None, None, 3)), PIXELS).array.shape == (2, 4)  # of 88 x 132


def test_new_top_and_frozen_net_have_maps():
    new = replace_top(logits_model(), 1, activation="sigmoid", labels=["rose"])
    model = freeze(new, until="block_3")
    assert cam(model, PIXELS).label == "rose"


def test_class_can_be_named():
    model = logits_model(labels=(("n1", "daisy"), ("n2", "rose"), ("n3", "daisy")))
    assert cam(model, PIXELS, class_="rose").class_index == 1
    assert cam(model, PIXELS, class_="n3").class_index == 2
    with pytest.raises(ValueError, match="name 'daisy': 2 classes have this name"):
        cam(model, PIXELS, class_="daisy")


def test_file_and_its_pixels_have_one_map(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "x.png")
    model = logits_model()
    a, b = cam(model, tmp_path / "x.png"), cam(model, PIXELS)
    assert np.array_equal(a.array, b.array)
    assert np.array_equal(a.image, b.image)
    assert np.array_equal(a.image, fit_pixels(PIXELS, crop=0.875))


def test_greys_are_taken_as_a_model_of_one_channel_takes_them():
    model = logits_model((64, 96, 1))
    greys = np.random.default_rng(0).integers(0, 256, (64, 96, 1), np.uint8)
    expected = cam(model, np.repeat(greys, 3, axis=2)).array
    assert np.array_equal(cam(model, greys).array, expected)


def test_overlay_goes_from_the_image_to_the_map():
    found = cam(logits_model(), PIXELS)
    assert np.array_equal(found.overlay(alpha=0), found.image)
    assert found.overlay().shape == found.image.shape
    heat = found.overlay(size=(40, 60), alpha=1)
    assert (heat.shape, heat.dtype) == ((40, 60, 3), np.uint8)
    brightest = np.unravel_index(heat.sum(axis=2).argmax(), (40, 60))
    highest = np.unravel_index(found.array.argmax(), found.array.shape)
    assert (brightest[0] // 20, brightest[1] // 20) == highest


def test_colours_rise_in_brightness():
    colours = coloured(np.linspace(-3, 7, 256))
    assert colours[0].tolist() == RAMP[0].tolist()
    assert colours[-1].tolist() == RAMP[-1].tolist()
    assert (np.diff(colours @ [0.2126, 0.7152, 0.0722]) >= -0.8).all()  # 8 bits a channel, rounded
    assert (coloured(np.ones((2, 2))) == RAMP[0]).all()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), True, "half"])
def test_wrong_alpha_is_refused(alpha):
    with pytest.raises(ValueError, match="`alpha` must be between 0 and 1"):
        cam(logits_model(), PIXELS).overlay(alpha=alpha)


@pytest.mark.parametrize(
    ("class_", "match"),
    [
        (3, "`class_` must be an index from 0 to 2, .* Received: class_=3"),
        (-1, "Received: class_=-1"),
        (True, "Received: class_=True"),
        ("lily", "name 'lily': its names are daisy, rose, tulip"),
    ],
)
def test_unknown_class_is_refused(class_, match):
    with pytest.raises(ValueError, match=match):
        cam(logits_model(), PIXELS, class_=class_)


@pytest.mark.parametrize(
    "model",
    [
        lambda: replace_top(logits_model(), 3, pooling="max"),
        lambda: MobileNet((32, 32, 3), 0.25, weights=None, include_top=False, pooling="avg"),
        object,
    ],
)
def test_other_tops_are_refused(model):
    with pytest.raises(ValueError, match="Only a model that ends in global average pooling"):
        cam(model(), PIXELS)


@pytest.mark.parametrize(
    ("pixels", "match"),
    [
        (PIXELS[..., 0], "Received: uint8 of shape \\(100, 150\\)"),
        (PIXELS / 255, "Received: float64 of shape"),
        (PIXELS[:0], "of shape \\(0, 150, 3\\)"),
        (None, "Received: NoneType"),
    ],
)
def test_what_is_no_image_is_refused(pixels, match):
    with pytest.raises(ValueError, match=match):
        cam(logits_model(), pixels)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ImageError, match=r"x\.png: cannot be read"):
        cam(logits_model(), tmp_path / "x.png")


@pytest.mark.parametrize(("column", "expected"), [(0, "left"), (1, "right")])
def test_bright_is_where_the_parrot_is(shared_data, column, expected):
    weights = shared_data / "weights" / "keras" / "mobilenet_1_0_224_tf.h5"
    parrot = fit_pixels(read_image(shared_data / "images/pictures/parrot.jpg"), size=112)
    scene = np.full((224, 224, 3), 128, np.uint8)
    scene[56:168, 112 * column : 112 * (column + 1)] = parrot
    found = cam(MobileNet(weights=weights), scene, class_="macaw")
    left, right = found.array[:, :3].mean(), found.array[:, 4:].mean()
    assert ("left" if left > right else "right") == expected


def ends():
    """Users' tops on a base: in its graph, around it, in models of their own."""
    pool, dense = keras.layers.GlobalAveragePooling2D, keras.layers.Dense
    net = {"alpha": 0.25, "weights": None, "include_top": False, "blocks": BLOCKS[:2]}
    base = MobileNet((64, 96, 3), **net, name_prefix="left_")
    yield keras.Model(base.input, dense(3, "softmax")(pool()(base.output)))
    yield keras.Sequential([keras.Input((64, 96, 3)), base, pool(), dense(3)])
    tail = [pool(keepdims=True), keras.layers.Flatten(), keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5), dense(4), dense(3), keras.layers.Softmax()]  # fmt: skip
    yield keras.Sequential([base, keras.Sequential(tail)])
    pooled = MobileNet((64, 96, 3), **net, pooling="avg")
    inputs = keras.Input((64, 96, 3))
    x = pooled(keras.layers.RandomFlip()(inputs), training=False)
    yield keras.Model(inputs, dense(3, "sigmoid")(x))


def test_mean_of_the_map_is_the_logit_under_tops_of_the_users():
    for model in ends():
        x = np.zeros((1, 64, 96, 3))
        model(x)
        set_info(randomise(model), ModelInfo((64, 96), labels=FLOWERS))
        x = info_of(model).scaled(fit_pixels(PIXELS, size=(64, 96), crop=0.875))[None]
        expected = np.asarray(model(x, training=False))[0]  # or Keras flips at random
        means = [cam(model, PIXELS, class_=name).array.mean() for name in FLOWERS]
        activation = model.layers[-1]
        while hasattr(activation, "layers"):
            activation = activation.layers[-1]
        means = np.asarray(means)[None]
        if isinstance(activation, keras.layers.Softmax):
            means = keras.ops.softmax(means)
        elif activation.activation is not keras.activations.linear:
            means = activation.activation(keras.ops.convert_to_tensor(means))
        np.testing.assert_allclose(np.asarray(means)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("own", ["relu", "relu6", "hard_swish"])
def test_map_behind_a_hidden_layer_is_of_first_order(own):
    """Its matrix is the slope of each logit, by differences; its mean still the logit."""
    pool, dense = keras.layers.GlobalAveragePooling2D, keras.layers.Dense
    features = keras.Input((2, 3, 4))
    hidden = dense(5, own)(pool(name="pool")(features))
    model = keras.Model(features, dense(3, "softmax", name="last")(hidden))
    randomise(model)
    end = classifier_end(model)
    assert not end.is_linear
    pooled = np.linspace(-3, 5, 4)
    weights, bias = end.at(pooled)

    def logits(x):
        head = keras.Model(model.get_layer("pool").output, model.get_layer("last").output)
        return np.log(np.asarray(head(np.asarray(x, "float32"))))

    steps = 0.01 * np.eye(4)  # of 1e-6 in float32, over 0.02
    slopes = (logits(pooled + steps) - logits(pooled - steps)) / 0.02
    centred = weights - weights.mean(axis=1, keepdims=True)  # softmax keeps differences of logits
    np.testing.assert_allclose(centred - centred[:, :1], slopes - slopes[:, :1], atol=2e-3)
    found = pooled @ weights + bias
    (expected,) = logits(pooled[None])
    np.testing.assert_allclose(found - found[0], expected - expected[0], rtol=1e-4)


def test_map_of_v3_is_marked_as_of_first_order():
    model = MobileNetV3Small(
        (64, 64, 3), weights=None, classes=3, blocks=v3.SMALL[:3], classifier_activation=None
    )
    randomise(model)
    found = cam(model, PIXELS, class_=1)
    x = fit_pixels(PIXELS, size=(64, 64), crop=0.875).astype("float32")[None]
    assert not found.exact
    assert found.array.mean() == pytest.approx(float(model(x)[0, 1]), rel=1e-4)


@pytest.mark.parametrize("between", ["tanh", "flatten"])
def test_top_without_a_map_is_refused_by_name(between):
    base = MobileNet((32, 32, 3), 0.25, weights=None, include_top=False)
    first = [keras.layers.Flatten(name="flat")]
    if between == "tanh":
        first = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4, "tanh", name="own")]
    model = keras.Sequential([base, *first, keras.layers.Dense(3, name="last")])
    name = "own, last" if between == "tanh" else "flat, last"
    with pytest.raises(ValueError, match=f"Received one that ends in: .*{name}. Pass what"):
        cam(model, PIXELS)
