"""One place finds the net within a model, whoever built around it and however it was made."""

import keras
import numpy as np
import pytest
from keras import layers
from random_models import randomise

from keras_mobilenet import (
    MobileNet,
    MobileNetV3Large,
    MobileNetV3Small,
    features,
    freeze,
    load_weights,
    replace_top,
    save_weights,
)
from keras_mobilenet.checkpoints.inspection import inspect_weights
from keras_mobilenet.deploy.graphs.traced.folding import fold_batch_norm
from keras_mobilenet.display.boxes import boxes_and_links
from keras_mobilenet.models.parts import find_net, find_nets
from keras_mobilenet.nets.families import v1
from keras_mobilenet.transfer.freezing import trainable_summary

SHAPE = (32, 32, 3)
BLOCKS = (v1.Block(32), v1.Block(64, stride=2), v1.Block(64, separable=False))
DEEP = tuple(v1.Block(64, stride=2) for _ in range(5))


def base(**options):
    fixed = {"weights": None, "include_top": False, "blocks": BLOCKS, "input_shape": SHAPE}
    return MobileNet(**{"alpha": 0.25} | fixed | options)


def with_top(net):
    """Put a user's own layers behind a net, in the net's own graph."""
    x = layers.Conv2D(4, 1, activation="relu", name="mine")(net.output)
    x = layers.ReLU(name="own")(x)
    return keras.Model(net.input, layers.Dense(3, name="head")(layers.Flatten()(x)))


def nested(net, *before):
    pool = layers.GlobalAveragePooling2D()
    return keras.Sequential([keras.Input(SHAPE), *before, net, pool, layers.Dense(3, name="head")])


def functional(net):
    inputs = keras.Input(SHAPE)
    x = net(inputs / 127.5 - 1.0, training=False)
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


def opened(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


WAYS = {
    "flat": lambda _: base(),
    "with a top": lambda _: base(include_top=True, classes=3),
    "prefixed": lambda _: base(name_prefix="left_"),
    "symmetric": lambda _: base(padding="symmetric"),
    "one channel": lambda _: base(input_shape=(32, 32, 1)),
    "stride 16": lambda _: base(blocks=DEEP, output_stride=16),
    "preprocessing": lambda _: base(include_preprocessing=True),
    "on the user's input": lambda _: base(input_tensor=layers.Rescaling(2)(keras.Input(SHAPE))),
    "under the user's layers": lambda _: with_top(base()),
    "nested": lambda _: nested(base()),
    "nested and prefixed": lambda _: nested(base(name_prefix="left_")),
    "nested behind layers": lambda _: nested(base(), layers.Rescaling(1 / 127.5, -1)),
    "nested twice": lambda _: keras.Sequential([keras.Input(SHAPE), nested(base())]),
    "in a functional model": lambda _: functional(base()),
    "cloned": lambda _: keras.models.clone_model(nested(base())),
    "opened": lambda folder: opened(nested(base(name_prefix="left_")), folder),
    "folded": lambda _: fold_batch_norm(nested(base())),
    "re-topped": lambda _: replace_top(base(name_prefix="left_"), 3),
    "layer by layer": lambda _: keras.Sequential(base().layers),
}


@pytest.fixture(scope="module", params=WAYS)
def model(request, tmp_path_factory):
    return randomise(WAYS[request.param](tmp_path_factory.mktemp("model")))


def test_every_way_of_making_a_model_shows_its_net(model):
    net = find_net(model)
    assert net.path[0] is model
    assert find_nets(model) == [net] or len(find_nets(model)) == 1
    assert net.stem.name == f"{net.prefix}conv1"
    assert [*net.parts][:4] == ["stem", "block_1", "block_2", "block_3"]
    assert net.ends_part
    own = [x for x in net.owner.layers if x not in net.layers.values()]
    assert not [x for x in own if type(x).__name__ == "DepthwiseConv2D"]
    assert {x.name for x in own}.isdisjoint({f"{net.prefix}{name}" for name in net.layers})


def images(model):
    shape = (2, *model.inputs[0].shape[1:])
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


BEFORE = {
    "on the user's input": lambda x: 2 * x,
    **dict.fromkeys(
        ("preprocessing", "nested behind layers", "in a functional model"), lambda x: x / 127.5 - 1
    ),
}


@pytest.fixture
def by_hand(model, request):
    """What each part of the net puts out, layer after layer, without a graph."""
    way = request.node.callspec.params["model"]
    x, found = BEFORE.get(way, lambda x: x)(images(model)), {}
    for part, of_part in find_net(model).parts.items():
        for layer in of_part:
            x = layer(x)
        found[part] = np.asarray(x)
    return found


def close(found, expected):
    # Keras runs a graph's layers in the same order, but for a nested one in other tensors' memory.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_features_are_those_of_the_net_not_of_the_users_layers(model, by_hand):
    found = features(model, strides=(2, 4))(images(model))
    for stride in (2, 4):
        at_stride = [x for x in by_hand.values() if x.shape[1] == 32 // stride]
        close(found[f"stride_{stride}"], at_stride[-1])


def test_new_top_stands_on_the_net_alone(model, by_hand):
    new = replace_top(model, 2, activation=None)
    kernel, bias = find_net(new).top[2].get_weights()
    pooled = [*by_hand.values()][-1].mean(axis=(1, 2))
    close(new(images(model)), pooled @ kernel[0, 0] + bias)
    assert find_net(new).stem is find_net(model).stem
    assert new.outputs[0].shape == (None, 2)


def weights_of(layers):
    return [[np.array(x) for x in layer.get_weights()] for layer in layers]


def same(a, b):
    return all(
        np.array_equal(x, y) for i, j in zip(a, b, strict=True) for x, y in zip(i, j, strict=True)
    )


def test_frozen_parts_and_batch_norms_stay_in_a_step_of_training_and_the_rest_moves(model):
    before, net = model.get_weights(), find_net(model)
    freeze(model, until="block_2")
    assert trainable_summary(model).startswith("trains block_3")
    kept = [layer for part in ("stem", "block_1", "block_2") for layer in net.parts[part]]
    norms = [x for x in net.layers.values() if type(x).__name__ == "BatchNormalization"]
    moving = [x for x in net.parts["block_3"] if type(x).__name__.endswith("Conv2D")]
    at_first = weights_of(kept), weights_of(norms), weights_of(moving)
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    x = images(model)
    if not isinstance(model, keras.Sequential) and isinstance(model.input, list):
        x = [x]  # as Keras' own builder leaves a model on the user's tensor
    model.train_on_batch(x, 1 + np.asarray(model(x)))
    assert same(weights_of(kept), at_first[0])
    assert same(weights_of(norms), at_first[1])
    assert moving
    assert not any(same([a], [b]) for a, b in zip(weights_of(moving), at_first[2], strict=True))
    model.set_weights(before)
    freeze(model, until=None, batch_norm="train")


def test_weights_go_to_a_file_by_plain_names_and_into_a_bare_net_without_the_users_layers(
    model, tmp_path
):
    net = find_net(model)
    save_weights(model, tmp_path / "model.safetensors")
    names = inspect_weights(tmp_path / "model.safetensors").arrays
    of_net = [f"{n}/{w.name}" for n, layer in net.layers.items() for w in layer.weights]
    assert set(of_net) <= set(names)
    other = randomise(keras.models.clone_model(net.owner), seed=1)
    bare = keras.Model(other.inputs[0], find_net(other).last.output)
    report = load_weights(bare, tmp_path / "model.safetensors")
    assert set(report.loaded) == set(of_net)
    assert set(report.unexpected) == set(names) - set(of_net)
    for name, layer in find_net(bare).layers.items():
        assert same([layer.get_weights()], [net.layers[name].get_weights()])


def test_diagram_has_a_box_for_each_part(model):
    net = find_net(model)
    drawn = [box.part for box in boxes_and_links(model)[0] if box.part]
    assert drawn == [*net.parts, *(["top"] if net.top else [])]


PREFETCH = {
    "on the user's input": ["Rescaling"],
    "preprocessing": ["Rescaling"],
    "nested behind layers": ["Rescaling"],
    "in a functional model": ["TrueDivide", "Subtract"],
}


def test_what_stands_between_the_input_and_the_net_is_told(model, request):
    way = request.node.callspec.params["model"]
    found = [type(operation).__name__ for operation in find_net(model).ahead]
    assert found == PREFETCH.get(way, [])


@pytest.mark.parametrize("options", [{}, {"include_top": False}])
@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"])
def test_keras_own_nets_of_the_family_are_told_apart(name, options):
    model = getattr(keras.applications, name)(SHAPE, weights=None, **options)
    (net,) = find_nets(model)
    assert net.family.name == name
    convolutions = [x.name for x in model.layers if x.name in net.layers and hasattr(x, "kernel")]
    known = [x for x in net.family.network().convolutions if x.part != "top"]
    assert convolutions == [layer.name for layer in known]
    assert bool(net.top) == ("include_top" not in options)


def test_layers_of_other_nets_and_users_are_no_mobilenet():
    inputs = keras.Input(SHAPE)
    stem = layers.Conv2D(8, 3, name="conv1")(inputs)
    block = layers.ReLU()(layers.Conv2D(8, 3, name="conv_2")(stem))
    assert find_nets(keras.Model(inputs, block)) == []
    net = base()
    behind = layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="conv_4")(net.output))
    assert find_net(keras.Model(net.input, behind)).last is net.layers[-1]


@pytest.mark.parametrize("minimalistic", [False, True])
@pytest.mark.parametrize("build", [MobileNetV3Small, MobileNetV3Large])
def test_the_two_v3_are_told_apart(build, minimalistic):
    model = build(
        (32, 32, 3), 0.35, minimalistic, include_top=False, weights=None, pooling="avg"
    )  # fmt: skip
    assert find_net(model).family.name == build.__name__
