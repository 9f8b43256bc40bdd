"""Ours and `keras.applications`' nets are one model, whatever the arguments."""

import itertools
import random
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_models import randomise

import keras_mobilenet
from keras_mobilenet import MobileNet

pytestmark = pytest.mark.long

# Of each kind of size and number of channels one: the cases are as many as shapes times tops.
SHAPES = (None, (33, 97, 4), (96, 64, 1), (None, None, 3))
FEW = {  # of nets with more layers
    "top": (
        {"include_top": True},
        {"include_top": False, "pooling": None},
        {"include_top": False, "pooling": "avg"},
        {"include_top": False, "pooling": "max"},
    ),
}
V3 = FEW | {
    "alpha": (0.1, 0.75, 1.0, 1.25),
    "minimalistic": (False, True),
    "include_preprocessing": (True, False),
    "dropout_rate": (0.2, 0.0),
}
NETS = {  # what a builder alone has, and alphas whose widths tell one rule from another
    "MobileNet": {
        "alpha": (0.1, 0.25, 1.0, 1.3),
        "depth_multiplier": (1, 2),
        "dropout": (1e-3, 0.5),
    },
    "MobileNetV2": FEW | {"alpha": (0.1, 0.35, 1.0, 1.4)},
    "MobileNetV3Small": V3,
    "MobileNetV3Large": V3 | {"alpha": (0.5, 1.0), "input_shape": SHAPES[2:]},
}
AXES = {
    "top": (
        {"include_top": True},
        {"include_top": False, "pooling": None},
        {"include_top": False, "pooling": "avg"},
        {"include_top": False, "pooling": "max"},
        {"include_top": True, "pooling": "avg"},
    ),
    "input_shape": SHAPES,
    "classes": (1000, 10),
    "classifier_activation": ("softmax", None, "sigmoid"),
    "name": (None, "mine"),
    "data_format": ("channels_last", "channels_first"),
}


def is_possible(case):
    """Keras refuses V1's and V2's top on an unknown size; ours does not, and has a test of it."""
    unknown = case["top"]["include_top"] and case["input_shape"] == (None, None, 3)
    return not unknown or case["net"].startswith("MobileNetV3")


def axes_of(net):
    return {"net": (net,)} | AXES | NETS[net]


def every_case(net):
    axes = axes_of(net)
    for values in itertools.product(*axes.values()):
        case = dict(zip(axes, values, strict=True))
        if is_possible(case):
            yield case


def pairwise_cases(net):
    """A few dozen cases in which each pair of values of two axes stands at least once."""

    rng = np.random.default_rng(0)
    cases = list(every_case(net))
    axes = axes_of(net)
    numbered = [  # each value by its number on its axis: quick to compare
        tuple(values.index(case[axis]) for axis, values in axes.items()) for case in cases
    ]
    axis_pairs = list(itertools.combinations(range(len(axes)), 2))

    def pairs(i):
        row = numbered[i]
        return {(a, row[a], b, row[b]) for a, b in axis_pairs}

    missing = set().union(*map(pairs, range(len(cases))))
    while missing:
        best = max(rng.integers(len(cases), size=300), key=lambda i: len(pairs(i) & missing))
        if pairs(best) & missing:
            missing -= pairs(best)
            yield cases[best]


UNNAMED = re.compile(r"(re_lu|activation)(_\d+)?")  # Keras leaves them to its counters


PACKAGES = (keras_mobilenet, keras.applications)


def case_id(case):
    return "-".join(str(value).replace(" ", "") for value in case.values())


@pytest.fixture
def data_format(request):
    keras.config.set_image_data_format(request.param)
    yield request.param
    keras.config.set_image_data_format("channels_last")


def build_both(case):
    apart = ("net", "top", "data_format")
    arguments = {k: v for k, v in case.items() if k not in apart} | case["top"]
    shape = case["input_shape"]
    if case["data_format"] == "channels_first" and shape is not None:
        arguments["input_shape"] = (shape[2], *shape[:2])
    ours, theirs = (seeded(getattr(x, case["net"]), weights=None, **arguments) for x in PACKAGES)
    return ours, theirs


def seeded(build, /, **arguments):
    """Build from a seed of Python's, which all initializers go by, and of NumPy's."""
    random.seed(3)
    np.random.seed(3)
    model = built(build, **arguments)
    model.next_draws = random.random(), np.random.random()
    return model


def seeded_by_keras(build, /, **arguments):
    """Build from a seed of each generator, at which TensorFlow throws its kernels away."""
    keras.utils.set_random_seed(3)
    model = built(build, **arguments)
    draws = (random.random(), np.random.random(), keras.random.uniform(()), tf.random.uniform(()))
    model.next_draws = [float(draw) for draw in draws]  # a user's own layers and programs draw them
    return model


def built(build, /, **arguments):
    keras.utils.clear_session(free_memory=False)  # and with it the numbers in names
    return build(**arguments)


def assert_same_layers(ours, theirs):
    names = {}
    for a, b in zip(ours.operations, theirs.operations, strict=True):
        assert type(a) is type(b)
        names[b.name] = a.name
        if isinstance(a, keras.layers.Layer):
            config_a, config_b = a.get_config(), b.get_config()
            if isinstance(a, keras.layers.InputLayer) or UNNAMED.fullmatch(b.name):
                config_a.pop("name"), config_b.pop("name")
            assert config_a == config_b
        assert sources(a) == [names[name] for name in sources(b)]


def sources(layer):
    return [t._keras_history.operation.name for t in layer._inbound_nodes[0].input_tensors]


def assert_same_weights(ours, theirs):
    assert [(w.path, w.shape, w.dtype, w.trainable) for w in ours.weights] == [
        (w.path, w.shape, w.dtype, w.trainable) for w in theirs.weights
    ]


def assert_same_values(ours, theirs):
    assert all(map(np.array_equal, ours.get_weights(), theirs.get_weights()))
    assert ours.next_draws == theirs.next_draws


def assert_same_outputs(ours, theirs, size=64):
    ours.set_weights(theirs.get_weights())
    shape = [n or size for n in theirs.input_shape[1:]]
    x = np.random.default_rng(1).uniform(-1, 1, (2, *shape)).astype("float32")
    np.testing.assert_array_equal(ours(x, training=False), theirs(x, training=False))


def check(case):
    ours, theirs = build_both(case)
    assert type(ours) is type(theirs)
    assert ours.name == theirs.name
    assert ours.input_shape == theirs.input_shape
    assert ours.output_shape == theirs.output_shape
    assert_same_layers(ours, theirs)
    assert_same_weights(ours, theirs)
    assert_same_values(ours, theirs)
    # TensorFlow has no channels_first on a CPU. What two equal graphs put out is equal too, and is
    # looked at in half of the cases.
    if case["data_format"] == "channels_last" and case["classes"] == 10:
        randomise(theirs)
        assert_same_outputs(ours, theirs)


def parametrize(cases):
    rows = [pytest.param(case, case["data_format"], id=case_id(case)) for case in cases]
    return pytest.mark.parametrize(("case", "data_format"), rows, indirect=["data_format"])


@parametrize(case for net in NETS for case in pairwise_cases(net))
@pytest.mark.filterwarnings("ignore:This model usually expects 1 or 3 input:UserWarning")
def test_same_model_as_keras(case, data_format):
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("data_format", AXES["data_format"], indirect=True)
@pytest.mark.parametrize(
    ("net", "alpha"), [(n, a) for n, own in NETS.items() for a in own["alpha"]]
)
@pytest.mark.filterwarnings("ignore:This model usually expects 1 or 3 input:UserWarning")
def test_same_model_as_keras_for_every_combination(net, alpha, data_format):
    fixed = {"alpha": alpha, "data_format": data_format, "name": None}
    for case in every_case(net):
        if fixed.items() <= case.items() and case.get("dropout", 1e-3) == 1e-3:
            check(case)


# A float of each size with a net of each kind, and all nets with the policy that most people set.
@pytest.mark.parametrize(
    ("policy", "net"),
    [
        *(("mixed_float16", net) for net in NETS),
        ("mixed_bfloat16", "MobileNet"),
        ("float64", "MobileNet"),
        ("float64", "MobileNetV3Small"),
    ],
)
def test_same_model_under_a_dtype_policy(policy, net):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        options = {"input_shape": (64, 64, 3), "alpha": 0.25, "weights": None}
        ours, theirs = (seeded_by_keras(getattr(x, net), **options) for x in PACKAGES)
        assert_same_layers(ours, theirs)
        assert_same_weights(ours, theirs)
        assert_same_values(ours, theirs)
        randomise(theirs)
        assert_same_outputs(ours, theirs)
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("net", "include_top"),
    [*((net, False) for net in NETS), ("MobileNet", True), ("MobileNetV3Small", True)],
)
def test_same_model_on_an_input_tensor(net, include_top):
    def make(build):
        image = keras.Input((96, 96, 3), dtype="uint8", name="image")
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scaled")(image)
        return build(
            input_tensor=scaled, alpha=0.25, weights=None, include_top=include_top, classes=10
        )

    ours, theirs = (seeded(make, build=getattr(x, net)) for x in PACKAGES)
    assert ours.name == theirs.name
    assert_same_layers(ours, theirs)
    assert_same_weights(ours, theirs)
    randomise(theirs)
    ours.set_weights(theirs.get_weights())
    x = np.random.default_rng(1).integers(0, 256, (2, 96, 96, 3), dtype="uint8")
    assert ours.input_shape == theirs.input_shape
    np.testing.assert_array_equal(ours([x], training=False), theirs([x], training=False))


@pytest.mark.parametrize("net", NETS)
def test_weights_of_a_process_second_model_have_the_same_paths(net):
    build = getattr(keras_mobilenet, net)
    first, second = (build(alpha=0.25, weights=None) for _ in range(2))
    assert [w.path for w in first.weights] == [w.path for w in second.weights]


def test_same_outputs_with_the_published_weights(shared_data, monkeypatch):
    folder = shared_data / "weights" / "keras"
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(folder))
    for alpha, digits in ((1.0, "1_0"), (0.25, "2_5")):
        theirs = keras.applications.MobileNet(alpha=alpha, weights=None)
        theirs.load_weights(folder / f"mobilenet_{digits}_224_tf.h5")
        ours = MobileNet(alpha=alpha)
        for a, b in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(a, b)
        x = np.random.default_rng(1).uniform(-1, 1, (2, 224, 224, 3)).astype("float32")
        np.testing.assert_array_equal(ours.predict(x, verbose=0), theirs.predict(x, verbose=0))
