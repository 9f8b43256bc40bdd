"""fold_batch_norm: the same outputs from the same inputs, without batch norm."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_mobilenet import MobileNet, fold_batch_norm, preprocess_input
from keras_mobilenet.deploy.comparison import Difference, difference, generated_images
from keras_mobilenet.deploy.graphs.traced import folding
from keras_mobilenet.errors import AccuracyError
from keras_mobilenet.images.images import read_image
from keras_mobilenet.nets.families import v1

BatchNorm = layers.BatchNormalization
BLOCKS = [v1.Block(64), v1.Block(96, stride=2), v1.Block(96)]


def batch_norms(model):
    return [x.name for x in model._flatten_layers() if isinstance(x, BatchNorm)]


def shake(model, seed=0):
    """Give every weight a value under which a forgotten one would show."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        low = 0.5 if "variance" in variable.path else -0.5
        variable.assign(random.uniform(low, 1, variable.shape))
    return model


def outputs(model, *shape, low=-1.0):
    return np.asarray(model(generated_images(shape, low=low, high=1.0), training=False))


def built(channels=3, size=32, blocks=BLOCKS, **options):
    """A net whose batch norms all do something, and none of them much, as in a trained one."""
    model = MobileNet((size, size, channels), 0.25, weights=None, blocks=blocks, **options)
    random = np.random.default_rng(1)
    for variable in model.weights:
        if "kernel" not in variable.path:
            low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.2
            variable.assign(random.uniform(low, low + 1, variable.shape))
    return model


@pytest.mark.backends
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"include_top": False},
        {"include_top": False, "pooling": "avg"},
        {"include_top": False, "pooling": "max", "depth_multiplier": 2},
        {"classes": 3, "classifier_activation": "sigmoid", "channels": 1},
        {"padding": "same", "epsilon": 1e-5},
        {"padding": "symmetric"},
    ],
)
def test_folded_model_computes_the_same(options):
    channels = options.get("channels", 3)
    model = built(**options)
    folded = fold_batch_norm(model)
    assert batch_norms(folded) == []
    assert folded.name == model.name
    assert [x.name for x in folded.inputs] == [x.name for x in model.inputs]
    convolutions = [
        x for x in folded.layers if isinstance(x, (layers.Conv2D, layers.DepthwiseConv2D))
    ]
    assert all(x.use_bias for x in convolutions)
    assert sum(x.name != "conv_preds" for x in convolutions) == 1 + 2 * len(BLOCKS)
    shape = (2, 32, 32, channels)
    assert difference(outputs(model, *shape), outputs(folded, *shape)).relative_error < 1e-5


def test_model_is_as_it_was():
    model = built()
    before = model.get_weights()
    fold_batch_norm(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def cancelling(**options):
    """A net whose classifier is nearly at right angles to its features: rounding weighs more."""
    model = built(initializer="he_normal", **options)
    pooled = keras.Model(model.input, model.get_layer("dropout").output)
    x = generated_images((2, 32, 32, 3), low=-1.0, high=1.0)  # what folding compares on
    axes, _ = np.linalg.qr(np.asarray(pooled(x, training=False)).reshape(2, -1).T)
    classifier = model.get_layer("conv_preds")
    kernel = np.asarray(classifier.kernel)
    small = kernel - 0.999 * axes @ (axes.T @ kernel)
    classifier.set_weights([small, np.zeros(classifier.filters)])
    return model


@pytest.fixture(scope="module")
def fragile():
    return cancelling(classes=2)


@pytest.fixture(scope="module")
def nested(fragile):
    return keras.Sequential([keras.Input((32, 32, 3)), fragile])


@pytest.mark.parametrize("name", ["fragile", "nested"])
def test_small_outputs_of_large_features_fold(request, name):
    model = request.getfixturevalue(name)
    assert batch_norms(fold_batch_norm(model)) == []


def test_one_small_output_folds():
    fold_batch_norm(cancelling(classes=1, classifier_activation="sigmoid"))


FAULTS = {  # what a layer's folded kernel and bias become
    "without the bias": lambda conv, kernel, bias: [kernel, 0 * bias],
    "without gamma and variance": lambda conv, kernel, bias: [np.asarray(conv.kernel), bias],
    "every other bias missing": lambda conv, kernel, bias: [
        kernel,
        bias * (np.arange(bias.size) % 2),
    ],
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("layer", ["conv1", "conv_dw_2", "conv_pw_3"])
def test_wrong_fold_of_one_layer_is_refused(monkeypatch, fragile, layer, fault):
    right = folding._folded_weights
    monkeypatch.setattr(
        folding,
        "_folded_weights",
        lambda conv, norm: (
            fault(conv, *right(conv, norm)) if conv.name == layer else right(conv, norm)
        ),
    )
    with pytest.raises(AccuracyError, match="changes its outputs"):
        fold_batch_norm(fragile)


@pytest.mark.parametrize("name", ["fragile", "nested"])
def test_another_librarys_epsilon_is_refused(monkeypatch, request, name):
    right = folding._folded_weights

    def wrong(convolution, norm):
        other = BatchNorm.from_config(norm.get_config() | {"epsilon": 1e-5})
        other.build((None, None, None, norm.gamma.shape[0]))
        other.set_weights(norm.get_weights())
        return right(convolution, other)

    model = request.getfixturevalue(name)
    monkeypatch.setattr(folding, "_folded_weights", wrong)
    with pytest.raises(AccuracyError, match="changes its outputs"):
        fold_batch_norm(model)


@pytest.mark.parametrize("alpha", [1.0, 0.25])
def test_real_weights_fold_within_rounding(shared_data, monkeypatch, alpha):
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(shared_data / "weights" / "keras"))
    model = MobileNet(alpha=alpha)
    paths = sorted((shared_data / "images" / "imagenet_sample").iterdir())[::25]
    pixels = np.stack([read_image(path, size=224, crop=0.875) for path in paths])
    x = preprocess_input(pixels)
    found = difference(model(x, training=False), fold_batch_norm(model)(x, training=False))
    assert found.relative_error < 1e-5  # of softmax' outputs, of which one is near 1
    assert found.top1_agreement == 1.0


def test_folded_model_is_saved_and_opened(tmp_path):
    folded = fold_batch_norm(built())
    folded.save(tmp_path / "folded.keras")
    opened = keras.saving.load_model(tmp_path / "folded.keras")
    assert np.array_equal(outputs(opened, 1, 32, 32, 3), outputs(folded, 1, 32, 32, 3))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Conv1D(4, 3), (8, 3)),
        (layers.Conv2D(4, 3, use_bias=False), (8, 8, 3)),
        (layers.Conv2D(4, 3, groups=2), (8, 8, 4)),
        (layers.Conv3D(4, 3), (8, 8, 8, 3)),
        (layers.DepthwiseConv1D(3, depth_multiplier=2), (8, 3)),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 3)),
        (layers.Conv1DTranspose(4, 3), (8, 3)),
        (layers.Conv2DTranspose(4, 3), (8, 8, 3)),
        (layers.Conv3DTranspose(4, 3), (4, 4, 4, 3)),
        (layers.Dense(4), (5,)),
    ],
)
@pytest.mark.parametrize("norm", [{}, {"center": False}, {"scale": False}])
def test_every_layer_with_a_kernel_folds(layer, shape, norm):
    inputs = keras.Input(shape)
    layer = type(layer).from_config(layer.get_config())
    model = shake(keras.Model(inputs, BatchNorm(**norm)(layer(inputs))))
    folded = fold_batch_norm(model)  # compares by itself ...
    x = np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype("float32")
    assert batch_norms(folded) == []
    np.testing.assert_allclose(folded(x), model(x, training=False), rtol=1e-4, atol=1e-5)


def shared_convolution(x):
    conv = layers.Conv2D(4, 3)
    return layers.Add()([BatchNorm(name="norm")(conv(x)), conv(x)])


def used_twice(x):
    y = layers.Conv2D(4, 3)(x)
    return layers.Add()([BatchNorm(name="norm")(y), y])


def shared_norm(x):
    norm = BatchNorm(name="norm")
    return layers.Add()([norm(layers.Conv2D(4, 3)(x)), norm(layers.Conv2D(4, 3)(x))])


class Scaled(layers.Conv2D):
    def call(self, inputs):
        return 2 * super().call(inputs)


NOT_SAFE = {
    "no convolution before it": BatchNorm(name="norm"),
    "an activation between": lambda x: BatchNorm(name="norm")(
        layers.ReLU()(layers.Conv2D(4, 3)(x))
    ),
    "an activation inside": lambda x: BatchNorm(name="norm")(
        layers.Conv2D(4, 3, activation="relu")(x)
    ),
    "another axis": lambda x: BatchNorm(axis=1, name="norm")(layers.Conv2D(4, 3)(x)),
    "training mode": lambda x: BatchNorm(name="norm")(layers.Conv2D(4, 3)(x), training=True),
    "a convolution used twice": shared_convolution,
    "an output used twice": used_twice,
    "a norm used twice": shared_norm,
    "a class that is not Keras'": lambda x: BatchNorm(name="norm")(Scaled(4, 3)(x)),
}


@pytest.mark.parametrize("graph", NOT_SAFE.values(), ids=NOT_SAFE)
def test_what_is_not_safe_is_left_and_named(graph):
    inputs = keras.Input((8, 8, 3))
    model = shake(keras.Model(inputs, graph(inputs)))
    with pytest.warns(UserWarning, match="cannot be folded: norm"):
        folded = fold_batch_norm(model)
    assert batch_norms(folded) == ["norm"]
    x = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=1e-5)


def test_output_before_the_norm_is_kept():
    inputs = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3)(inputs)
    model = shake(keras.Model(inputs, {"raw": y, "normed": BatchNorm(name="norm")(y)}))
    with pytest.warns(UserWarning, match="norm"):
        folded = fold_batch_norm(model)
    assert set(folded.output) == {"raw", "normed"}


def test_models_of_unknown_graph_are_refused():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="Only functional and Sequential.*Subclassed"):
        fold_batch_norm(Subclassed())
    with pytest.raises(ValueError, match="not built"):
        fold_batch_norm(keras.Sequential([layers.Dense(3)]))


def test_model_with_nan_is_refused():
    model = built()
    model.get_layer("conv1_bn").moving_mean.assign(np.full(8, np.nan))
    with pytest.raises(AccuracyError, match="changes its outputs"):
        fold_batch_norm(model)


def test_difference_counts_rows_and_errors():
    a = np.array([[0.0, 2.0], [1.0, 0.0]])
    assert difference(a, a) == Difference(0.0, 0.0, 0.0, 1.0)
    off = np.array([[0, 0], [0, 1.5]])
    assert difference(a, a + off) == Difference(1.5, 0.75, 1.5 / 5**0.5, 0.5)
    assert difference(a, a * np.nan).relative_error == np.inf
    with pytest.raises(ValueError, match="shape"):
        difference(a, a[:1])


def test_generated_images_fill_their_range():
    images = generated_images((3, 40, 60, 3))
    assert images.shape == (3, 40, 60, 3)
    assert images.min() >= 0
    assert 200 < images.max() <= 255
    assert np.abs(np.diff(images, axis=2)).mean() < 10
