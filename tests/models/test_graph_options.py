"""Prefixes, pixels as input, and what training from scratch may set."""

import random

import keras
import numpy as np
import pytest
from random_models import randomise

from keras_mobilenet import MobileNet, load_weights, preprocess_input, save_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.models.model_files import info_of, load_model, save_model
from keras_mobilenet.nets.families import v1

pytestmark = pytest.mark.backends
SIZE = 32
BLOCKS = v1.BLOCKS[:2]  # what is set is set of each of thirteen as of each of two


def build(**arguments):
    fixed = {"alpha": 0.25, "classes": 5, "weights": None, "blocks": BLOCKS}
    if "input_tensor" not in arguments:
        fixed["input_shape"] = (SIZE, SIZE, 3)
    return MobileNet(**fixed | arguments)


def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype("float32")


def two_nets():
    inputs = keras.Input((SIZE, SIZE, 3))
    nets = [build(input_tensor=inputs, name_prefix=prefix) for prefix in ("left_", "right_")]
    return keras.Model(inputs, [net.output for net in nets]), nets


def values(model):
    return [np.asarray(weight) for weight in model.weights]


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(values(a), values(b), strict=True))


def test_prefix_goes_before_every_name_and_changes_nothing_else():
    plain, prefixed = (build(blocks=v1.BLOCKS, name_prefix=prefix) for prefix in ("", "left_"))
    names = [layer.name for layer in v1.network()]
    assert [f"left_{name}" for name in names] == [layer.name for layer in prefixed.layers]
    assert plain.name == prefixed.name
    prefixed.set_weights(randomise(plain).get_weights())
    np.testing.assert_array_equal(prefixed(pixels()), plain(pixels()))


@pytest.mark.parametrize("end", [".safetensors", ".weights.h5", ".h5"])
def test_two_nets_in_one_graph_load_and_save_by_plain_names(end, tmp_path):
    first, second = randomise(build(), seed=1), randomise(build(), seed=2)
    paths = [tmp_path / f"{i}{end}" for i in range(2)]
    save_weights(first, paths[0])
    save_weights(second, paths[1])
    both, (left, right) = two_nets()
    load_weights(left, paths[0])
    load_weights(right, paths[1])
    assert equal(left, first)
    assert equal(right, second)
    x = pixels() / 255
    for found, net in zip(both(x), (first, second), strict=True):
        np.testing.assert_array_equal(found, net(x))
    save_weights(right, tmp_path / f"again{end}")
    again = build()
    load_weights(again, tmp_path / f"again{end}")
    assert equal(again, second)


def test_both_nets_of_one_graph_are_saved_under_their_full_names(tmp_path):
    both, _ = two_nets()
    randomise(both)
    save_weights(both, tmp_path / "both.safetensors")
    other, _ = two_nets()
    load_weights(other, tmp_path / "both.safetensors")
    assert equal(other, both)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_weights(build(), tmp_path / "both.safetensors")


@pytest.mark.parametrize("end", [".weights.h5", ".keras"])
def test_files_that_keras_writes_of_a_prefixed_net_load_anywhere(end, tmp_path):
    prefixed = randomise(build(name_prefix="left_"))
    path = tmp_path / f"net{end}"
    (prefixed.save if end == ".keras" else prefixed.save_weights)(path)
    for prefix in ("", "left_", "right_"):
        net = build(name_prefix=prefix)
        load_weights(net, path)
        assert equal(net, prefixed)


@pytest.mark.parametrize("padding", ["keras", "same", "symmetric"])
def test_prefixed_net_tells_its_conventions(padding, tmp_path):
    path = tmp_path / "net.safetensors"
    save_weights(randomise(build(padding=padding, epsilon=1e-5, name_prefix="a_")), path)
    again = build(weights=path, name_prefix="b_")
    assert again.get_layer("b_conv1_bn").epsilon == 1e-5
    assert ("b_conv1_pad" in [x.name for x in again.layers]) == (padding == "symmetric")


def test_head_of_the_users_own_keeps_its_name(tmp_path):
    base = build(name_prefix="left_", include_top=False, pooling="avg")
    model = keras.Model(base.inputs[0], keras.layers.Dense(2, name="mine")(base.output))
    randomise(model)
    save_weights(model, tmp_path / "model.safetensors")
    plain = build(include_top=False, pooling="avg")
    report = load_weights(plain, tmp_path / "model.safetensors", strict=False)
    assert set(report.unexpected) == {"mine/kernel", "mine/bias"}
    assert equal(plain, base)


def test_published_weights_load_under_a_prefix(shared_data):
    path = shared_data / "weights" / "keras" / "mobilenet_2_5_224_tf.h5"
    plain, prefixed = (
        MobileNet(alpha=0.25, weights=path, name_prefix=prefix) for prefix in ("", "left_")
    )
    assert equal(plain, prefixed)


def test_net_with_preprocessing_takes_pixels(tmp_path):
    plain, model = build(), build(include_preprocessing=True)
    scaling = model.layers[1]
    assert isinstance(scaling, keras.layers.Rescaling)
    model.set_weights(randomise(plain).get_weights())
    scaled = keras.Model(model.inputs[0], scaling.output)(pixels())
    np.testing.assert_allclose(scaled, preprocess_input(pixels()), atol=1e-6)
    # What differs by an ulp of the input differs by few in the scores.
    np.testing.assert_allclose(model(pixels()), plain(preprocess_input(pixels())), atol=1e-5)
    assert not info_of(plain).takes_pixels
    assert info_of(model).takes_pixels
    save_model(model, tmp_path / "model.keras")
    assert info_of(load_model(tmp_path / "model.keras")).takes_pixels


@pytest.mark.parametrize("momentum", [0.99, 0.9997])
def test_momentum_is_that_of_every_batch_norm(momentum):
    model = build(bn_momentum=momentum)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} == {momentum}
    assert len(norms) == 1 + 2 * len(BLOCKS)


def test_initializer_is_that_of_every_kernel_and_a_new_one_each():
    blocks = [v1.Block(1024)] * 3
    model = build(initializer=keras.initializers.RandomNormal(stddev=0.09), blocks=blocks)
    kernels = {w.path: np.asarray(w) for w in model.weights if w.path.endswith("/kernel")}
    assert len(kernels) == 2 + 2 * len(blocks)
    every = np.concatenate([kernel.ravel() for kernel in kernels.values()])
    assert every.std() == pytest.approx(0.09, rel=0.01)  # of 140 thousand values
    assert not np.array_equal(kernels["conv_pw_2/kernel"], kernels["conv_pw_3/kernel"])


def test_initializer_draws_the_same_seeds_by_name_class_and_configuration():
    config = {"class_name": "HeNormal", "config": {}}
    found = []
    for initializer in ("he_normal", keras.initializers.HeNormal, config):
        keras.utils.set_random_seed(3)
        found.append((values(build(initializer=initializer)), random.random()))
    keras.utils.set_random_seed(3)
    build()  # which draws what Keras' own builder draws: test_parity.py
    assert {draw for _, draw in found} == {random.random()}
    for arrays, _ in found[1:]:
        assert all(map(np.array_equal, arrays, found[0][0]))


def test_weight_decay_is_half_its_times_the_squares_and_spares_depthwise_kernels():
    model = randomise(build(weight_decay=4e-5))
    decayed = [w for w in model.weights if w.path.endswith("/kernel") and "_dw_" not in w.path]
    assert len(decayed) == 2 + len(BLOCKS)
    expected = sum(2e-5 * np.square(np.asarray(w, "float64")).sum() for w in decayed)
    total = keras.ops.convert_to_numpy(sum(model.losses))
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert build().losses == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name_prefix": "a/"}, "`name_prefix` must be a string without '/'"),
        ({"name_prefix": None}, "`name_prefix` must be a string"),
        ({"include_preprocessing": "yes"}, "`include_preprocessing` must be True or False"),
        ({"bn_momentum": 1.1}, "`bn_momentum` must be between 0 and 1"),
        ({"bn_momentum": None}, "`bn_momentum` must be between 0 and 1"),
        ({"weight_decay": -1}, "`weight_decay` must be a number of at least 0, or None"),
        ({"weight_decay": "l2"}, "`weight_decay` must be a number of at least 0, or None"),
        ({"initializer": "glorot"}, "`initializer` must be the name of a Keras initializer"),
        ({"initializer": 3}, "`initializer` must be the name of a Keras initializer"),
    ],
)
def test_wrong_values_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"{message}.*Received: "):
        build(**arguments)
