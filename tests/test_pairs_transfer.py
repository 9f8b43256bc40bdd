"""Each way to make a model x what is done with a model: freezing, tops, features, maps, weights."""

import re

import keras
import numpy as np
import pytest
from ways import (
    CLASSES,
    DEEP,
    MIXED,
    SMALL_BLOCKS,
    WAYS,
    answer_of,
    classifier_of,
    error,
    float32_of,
    given,
    model_of,
    outputs,
    spare_of,
)

from keras_mobilenet import (
    cam,
    features,
    freeze,
    load_weights,
    plot_model,
    replace_top,
    save_weights,
    summary,
)
from keras_mobilenet.images.images import fit_pixels
from keras_mobilenet.images.model_info import EVALUATION_CROP
from keras_mobilenet.nets.families import v1

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=WAYS)
def name(request):
    """Each way in turn, all tests of one after another."""
    return request.param


HEADS = ("out_relu", "conv_1_relu", "conv_1_hard_swish")
NESTED = ("in Sequential", "in a functional model")


def layers_of(model):
    """Return all layers, those of nested models too, in the order of the graph."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        else:
            yield layer


def net_of(model):
    """Return the model whose own layers are the net's."""
    return next((x for x in model.layers if isinstance(x, keras.Model)), model)


def test_new_top_stands_on_the_same_features(name):
    way = WAYS[name]
    new = replace_top(spare_of(name), 3, labels=["a", "b", "c"])
    x = way.scaling(way.images())
    found = outputs(new, x)
    assert found.shape == (len(x), 3)
    kernel, bias = classifier_of(new).get_weights()
    logits = classified(float32_of(name), x) @ kernel.reshape(-1, 3) + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(found - expected).max() < (2e-2 if "mixed" in name else 1e-5)


def classified(model, x):
    """Return what goes into the classifier, `(images, features)`, by plain Keras."""
    features = outputs(keras.Model(model.inputs, classifier_of(model).input), x)
    return features.reshape(len(x), -1)


def last_features(model, x):
    """Return what the net puts out under its top, by plain Keras."""
    net = net_of(model)
    relus = [layer for layer in net.layers if isinstance(layer, keras.layers.ReLU)]
    heads = [layer for layer in net.layers if layer.name.endswith(HEADS)]
    return outputs(keras.Model(net.inputs[0], (heads or relus)[-1].output), x)


def test_features_are_those_of_the_last_block_at_a_stride(name):
    way = WAYS[name]
    stride = {v1.BLOCKS: 32, DEEP: 16, MIXED: 8, SMALL_BLOCKS: 8}.get(way.blocks, 4)
    x = way.scaling(way.images())
    found = features(float32_of(name), strides=(stride,))(x)
    assert list(found) == [f"stride_{stride}"]
    assert error_of_features(last_features(float32_of(name), x), found[f"stride_{stride}"]) < 1e-5


def error_of_features(reference, found):
    return np.abs(reference - np.asarray(found)).max() / np.abs(reference).max()


def test_map_has_the_logit_for_its_mean(name):
    way = WAYS[name]
    pixels = np.repeat(way.images()[0], 3 // way.channels, axis=-1)
    seen = fit_pixels(pixels, crop=EVALUATION_CROP, size=way.size and (way.size, way.size))
    before = classified(float32_of(name), way.scaling(seen[None, ..., : way.channels]))
    kernel, bias = classifier_of(float32_of(name)).get_weights()
    expected = (before @ kernel.reshape(-1, CLASSES) + bias)[0, 2]
    found = cam(model_of(name), pixels, class_=2)
    assert found.array.mean() == pytest.approx(expected, abs=0.1 if "mixed" in name else 1e-4)


def test_weights_come_back_from_their_file(name, tmp_path):
    way, other = WAYS[name], spare_of(name)
    for variable in other.weights:
        variable.assign(np.zeros(variable.shape))
    path = tmp_path / ("m.safetensors" if name.endswith(NESTED) else "m.weights.h5")
    save_weights(model_of(name), path)
    load_weights(other, path)
    x = way.scaling(way.images())
    assert np.array_equal(outputs(other, x), outputs(model_of(name), x))


def test_summary_counts_what_keras_counts(name):
    model = model_of(name)
    for text in (summary(model), summary(model, expand_nested=True, costs=True)):
        total = re.search(r"Total params: ([\d,]+)", text)
        assert int(total[1].replace(",", "")) == model.count_params()
    for layer in layers_of(model):
        assert layer.name in text


@pytest.mark.parametrize("compact", [False, True], ids=["full", "compact"])
def test_diagram_shows_every_part(name, compact, tmp_path):
    path = tmp_path / "m.dot"
    plot_model(model_of(name), path, show_layer_names=True, expand_nested=True, compact=compact)
    text = path.read_text()
    if compact:
        assert len(re.findall(r"block \d+", text)) >= len(WAYS[name].blocks)
    else:
        assert all(layer.name in text for layer in layers_of(model_of(name)))


def test_answers_can_tell_right_from_wrong(name):
    """The table's own check: another scaling of the pixels is far from the answer."""
    way = WAYS[name]
    twice = way.scaling(way.images()) / 127.5 - 1
    assert error(answer_of(name), outputs(float32_of(name), twice)) > 0.1


def test_a_step_of_fit_moves_what_is_not_frozen(name):
    """The last of the tests: it leaves the model frozen and changed."""
    way, model = WAYS[name], spare_of(name)
    part, ends = way.freezes
    assert freeze(model, until=part) is model
    leaves = list(layers_of(model))
    last = next(i for i, x in enumerate(leaves) if x.name.endswith(ends))
    before = [[np.asarray(v) for v in x.weights] for x in leaves]
    loss = "binary_crossentropy" if name == "sigmoid top" else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)  # tracing takes far longer
    y = np.arange(len(way.images())) % CLASSES
    y = np.eye(CLASSES)[y] if name == "sigmoid top" else y
    steps = (
        12 if way.policy == "mixed_float16" else 1
    )  # Keras finds its loss' scale in the first ones
    x = given(model, way.scaling(way.images()))
    history = model.fit(x, y, batch_size=7, epochs=steps, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for i, (layer, values) in enumerate(zip(leaves, before, strict=True)):
        moves = i > last and not isinstance(layer, keras.layers.BatchNormalization)
        for old, variable in zip(values, layer.weights, strict=True):
            assert np.array_equal(old, np.asarray(variable)) != moves, variable.path
