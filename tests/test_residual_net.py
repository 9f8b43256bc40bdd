"""A small net with a residual add and a squeeze-excite branch, as rows, in every room.

No published net is like it: what holds here follows from the rows, not from a net's name.
"""

import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from litert_arena import arena

from keras_mobilenet import (
    Predictor,
    export,
    features,
    fold_batch_norm,
    freeze,
    load_weights,
    peak_memory,
    plot_model,
    replace_top,
    save_weights,
    summary,
)
from keras_mobilenet.models.layers import graph
from keras_mobilenet.models.parts import find_net
from keras_mobilenet.nets.costs.layers import net_costs
from keras_mobilenet.nets.families import registry, v1
from keras_mobilenet.nets.net import Layer, Net

SIZE, CLASSES = 32, 5
# part, channels in, expanded, out, stride, of the squeeze (0: none)
ROWS = (("block_1", 8, 16, 8, 1, 4), ("block_2", 8, 24, 12, 2, 0))


def conv(name, part, role, shape, *, stride=1, bias=False, activation="relu6", inputs=()):
    """Yield a convolution, with its batch norm and activation unless it has a bias."""
    depthwise = role == "depthwise"
    channels = shape[2] * shape[3] if depthwise else shape[3]
    kind = "DepthwiseConv2D" if depthwise else "Conv2D"
    yield Layer(name, kind, part, channels, shape, stride, bias=bias, role=role, inputs=inputs)
    if not bias:
        yield Layer(f"{name}_norm", "BatchNormalization", part, channels)
    if activation:
        kind = "ReLU" if activation.startswith("relu") else "Activation"
        yield Layer(f"{name}_act", kind, part, channels, activation=activation)


def block(part, channels, expanded, out, stride, squeezed):
    before = f"{part}_expand"
    yield from conv(before, part, "expand", (1, 1, channels, expanded))
    window = (3, 3, expanded, 1)
    yield from conv(f"{part}_window", part, "depthwise", window, stride=stride, activation="relu")
    if squeezed:
        wide = f"{part}_window_act"
        yield Layer(f"{part}_pool", "GlobalAveragePooling2D", part, expanded, keepdims=True)
        shapes = (1, 1, expanded, squeezed), (1, 1, squeezed, expanded)
        yield from conv(f"{part}_squeeze", part, "squeeze", shapes[0], bias=True, activation="relu")
        yield from conv(
            f"{part}_excite", part, "excite", shapes[1], bias=True, activation="hard_sigmoid"
        )
        inputs = (wide, f"{part}_excite_act")
        yield Layer(f"{part}_gate", "Multiply", part, expanded, inputs=inputs)
    yield from conv(f"{part}_project", part, "project", (1, 1, expanded, out), activation=None)
    if stride == 1 and channels == out:
        inputs = ("first_act", f"{part}_project_norm")
        yield Layer(f"{part}_sum", "Add", part, out, inputs=inputs)


def network(classes=CLASSES):
    layers = [Layer("image", "InputLayer", "input", 3)]
    layers += conv("first", "stem", "stem", (3, 3, 3, 8), stride=2)
    for row in ROWS:
        layers += block(*row)
    return Net((*layers, *v1.top(layers[-1].channels, classes)))


FAMILY = replace(
    v1.FAMILY,
    name="Residual",
    key="residual",
    network=network,
    top=v1.top,
    convolutions=re.compile(r"(.*?)(first|block_\d_(?:expand|window|squeeze|excite|project))"),
    describe=lambda names: network(),
    recognise=lambda shapes: None,
)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, FAMILY))


@pytest.fixture(scope="module")
def model():
    return settled(build(network()))


def build(net, size=SIZE):
    x = keras.Input((size, size, 3), name="image")
    return keras.Model(x, graph.build(net, x, graph.Settings(1e-3, "softmax")), name="residual")


def settled(model):
    """Return the model with random weights, and batch norms of the statistics of some images."""
    random = np.random.default_rng(3)
    for variable in model.trainable_weights:
        variable.assign(random.normal(size=variable.shape) / np.sqrt(np.prod(variable.shape[:-1])))
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.gamma.assign(np.ones(norm.gamma.shape))
        norm.momentum = 0.0
    model(images().astype("float32") / 127.5 - 1, training=True)
    for norm in norms:
        norm.momentum = 0.99
    return model


def images():
    return np.random.default_rng(0).integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)


def inputs():
    return images().astype("float32") / 127.5 - 1


def outputs(model):
    return np.asarray(model(inputs(), training=False))


def test_keras_builds_it_layer_by_layer(model):
    net = network()
    assert [layer.name for layer in model.layers if "pool" not in layer.name] == [
        layer.name for layer in net if "pool" not in layer.name
    ]
    assert model.count_params() == net.count_params()
    shapes = net.shapes((SIZE, SIZE))
    for layer in model.layers[1:]:
        if layer.name in shapes:
            assert tuple(layer.output.shape[1:]) == shapes[layer.name], layer.name


@pytest.mark.parametrize("activation", ["relu6", "relu"])
def test_layers_with_an_activation_of_their_own_keep_it(activation):
    x = keras.Input((SIZE, SIZE, 3))
    settings = graph.Settings(1e-3, "softmax", activation=activation)
    model = keras.Model(x, graph.build(network(), x, settings))
    assert model.get_layer("first_act").max_value == 6
    assert model.get_layer("block_1_window_act").max_value is None


def test_macs_are_those_of_a_count_by_hand():
    costs = net_costs(network(), (SIZE, SIZE))
    stem = 16 * 16 * 27 * 8
    first = 16 * 16 * (8 * 16 + 9 * 16 + 16 * 8) + 2 * 16 * 4  # the gate's are of 1 x 1
    second = 16 * 16 * 8 * 24 + 8 * 8 * (9 * 24 + 24 * 12)
    assert sum(cost.macs for cost in costs) == stem + first + second + 12 * CLASSES


@pytest.mark.parametrize("size", [32, 33, 46])
def test_peak_memory_is_what_litert_takes(size, tmp_path):
    export(build(network(), size), tmp_path / "m.tflite", batch=1)
    taken = arena((tmp_path / "m.tflite").read_bytes())
    peak = peak_memory(net_costs(network(), (size, size)))
    (skip,) = (n for what, n in peak.live.items() if what.startswith("held for"))
    # LiteRT places the largest buffers first: at some sizes a gap of a skip tensor's length is left
    # between them, and the gate has buffers of a few hundred bytes.
    assert peak.bytes <= taken <= 1.02 * peak.bytes + (0 if size == 32 else skip)


def test_summary_and_diagrams_show_it(model, tmp_path):
    text = summary(model, costs=True)
    assert all(layer.name in text for layer in model.layers)
    plot_model(model, tmp_path / "full.dot", show_layer_names=True)
    full = Path(tmp_path / "full.dot").read_text()
    assert all(layer.name in full for layer in model.layers)
    plot_model(model, tmp_path / "compact.dot", compact=True)
    compact = Path(tmp_path / "compact.dot").read_text()
    assert [part for part in ("stem", "block 1", "block 2", "top") if part not in compact] == []


def test_folded_model_computes_the_same(model):
    folded = fold_batch_norm(model)
    kinds = {type(layer).__name__ for layer in folded.layers}
    assert "BatchNormalization" not in kinds
    assert np.abs(outputs(folded) - outputs(model)).max() < 1e-6  # rounding in float32


@pytest.mark.parametrize("suffix", ["safetensors", "h5", "weights.h5"])
def test_weights_come_back_by_name(model, suffix, tmp_path):
    save_weights(model, tmp_path / f"m.{suffix}")
    other = build(network())
    load_weights(other, tmp_path / f"m.{suffix}")
    assert np.array_equal(outputs(other), outputs(model))


def test_freezing_stops_at_a_block():
    model = freeze(settled(build(network())), until="block_1", batch_norm="train")
    trains = {layer.name: layer.trainable for layer in model.layers}
    parts = {layer.name: layer.part for layer in network()}
    for name, trainable in trains.items():
        if name in parts:
            assert trainable == (parts[name] in ("input", "block_2", "top")), name


def test_features_are_what_the_last_block_of_a_stride_puts_out(model):
    found = features(model, strides=(2, 4))(inputs())
    for key, name in (("stride_2", "block_1_sum"), ("stride_4", "block_2_project_norm")):
        tensor = keras.Model(model.inputs[0], model.get_layer(name).output)(inputs())
        assert np.array_equal(found[key], tensor)


def test_new_top_stands_on_the_same_net(model):
    new = replace_top(model, 3, labels=["a", "b", "c"])
    assert new.output_shape == (None, 3)
    assert find_net(new).family is FAMILY
    assert find_net(keras.Sequential([model])).parts.keys() == {"stem", "block_1", "block_2"}


@pytest.mark.parametrize("file", ["m.tflite", "m.onnx", "m.xml"])
def test_export_agrees(model, file, tmp_path):
    report = export(model, tmp_path / file)
    assert report.difference.top1_agreement == 1.0
    with Predictor(tmp_path / file) as predictor:
        assert np.abs(predictor.predict(images()) - outputs(model)).max() < 1e-5
