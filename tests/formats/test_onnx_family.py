"""ONNX files of MobileNetV2 and V3, as PyTorch's exporters, Keras' and our own write them.

ONNX Runtime says what a file computes; float32 sums in another order account for 1e-5 of the
largest output, a wrong activation or padding for 1e-2 and more.
"""

import keras
import numpy as np
import pytest
from deploy_nets import random_images, settle
from onnx_nets import GATES, HARD_SWISHES, write_net

import keras_mobilenet
from keras_mobilenet import export, inspect_weights, load_weights
from keras_mobilenet.checkpoints.building import build_net
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.runtimes.known_nets import RESCALED
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import registry

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CLOSE = 1e-4
SYMMETRIC = Conventions(1e-5, "symmetric")
NETS = {  # the least widths that have several of everything
    "mobilenet_v2": {"alpha": 0.35},
    "mobilenet_v3_small": {"alpha": 0.75},
    "mobilenet_v3_large": {"alpha": 0.75, "minimalistic": True},
}
V2, V3 = "mobilenet_v2", "mobilenet_v3_small"


@pytest.fixture(scope="module")
def made():
    """Return the Keras model of a net and conventions, with random weights that tell images apart.

    Each is made once.
    """
    models = {}

    def make(key, conventions=SYMMETRIC, size=64, **arguments):
        name = (key, conventions, size, *arguments.items())
        if name not in models:
            scaled = {} if "v3" not in key else {"include_preprocessing": False}
            given = {"classes": 7, "weights": None, "classifier_activation": None} | NETS[key]
            model = build_net(
                key, input_shape=(size, size, 3), padding=conventions.padding,
                epsilon=conventions.epsilon, **given | scaled | arguments,
            )  # fmt: skip
            settle(model, images(size))
            models[name] = model
        return models[name]

    return make


def images(size):
    return random_images(7, [size, size]).astype(np.float32) / 127.5 - 1


def arrays_of(model):
    return {v.path: np.asarray(v) for v in model.weights}


def written(path, key, model, size=64, conventions=SYMMETRIC, **ways):
    """Write a model's net as an exporter does."""
    options = NETS[key]
    arrays = arrays_of(model)
    net = registry.family(key).network(
        **options, classes=7, padding=conventions.padding, size=(size, size)
    )
    onnx.save(write_net(net, arrays, size, epsilon=conventions.epsilon, **ways), path)
    return path


def runs(path, x):
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: x})[0].reshape(len(x), -1)


def difference(found, wanted):
    return abs(np.asarray(found) - wanted).max() / abs(wanted).max()


def read_back(path, key, conventions=SYMMETRIC, size=64, **arguments):
    scaled = {} if "v3" not in key else {"include_preprocessing": False}
    builder = getattr(keras_mobilenet, registry.family(key).name)
    return builder(
        (size, size, 3), weights=path, classes=7, classifier_activation=None,
        padding=conventions.padding, epsilon=conventions.epsilon,
        **NETS[key] | scaled | arguments,
    )  # fmt: skip


@pytest.mark.parametrize("key", NETS)
@pytest.mark.parametrize("folded", [False, True])
def test_a_file_as_pytorch_writes_it_gives_what_it_computes(made, tmp_path, key, folded):
    model = made(key)
    path = written(tmp_path / "x.onnx", key, model, folded=folded)
    x = images(64)
    wanted = runs(path, x.transpose(0, 3, 1, 2))
    assert difference(model(x), wanted) < CLOSE  # else the file is not what this test thinks
    inspection = inspect_weights(path)
    assert inspection.origin.net == registry.family(key).name
    assert inspection.origin.alpha == NETS[key]["alpha"]
    assert inspection.conventions == Conventions(1e-3 if folded else 1e-5, "symmetric")
    back = read_back(path, key, inspection.conventions)
    assert difference(back(x), wanted) < CLOSE


WAYS = [
    *({"hard_swish": way} for way in HARD_SWISHES),
    *({"gate": way} for way in GATES),
    {"matrices": True},
    {"reduced": True},
]


@pytest.mark.parametrize("ways", WAYS, ids=[str(way) for way in WAYS])
def test_every_way_to_write_an_activation_or_a_pool_is_read(made, tmp_path, ways):
    model = made(V3)
    path = written(tmp_path / "x.onnx", V3, model, **ways)
    inspection = inspect_weights(path)
    assert inspection.conventions == SYMMETRIC
    report = load_weights(made(V3, classes=7, name="other"), path)
    assert not report.missing
    assert not report.unexpected
    wanted = arrays_of(model)
    found = arrays_of(made(V3, classes=7, name="other"))
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("key", NETS)
def test_our_own_export_is_read_again(made, tmp_path, key):
    same = Conventions(1e-3, "same")
    model = made(key, same)
    export(model, tmp_path / "x.onnx")
    x = images(64)
    back = read_back(tmp_path / "x.onnx", key, same)
    assert difference(back(x), np.asarray(model(x))) < CLOSE


def keras_export(tmp_path_factory, make):
    """A model of `keras.applications`, and the file that Keras made of it."""
    keras.utils.set_random_seed(0)
    model = make((64, 64, 3), alpha=0.75, weights=None, classes=7)
    pixels = images(64) if "v2" in model.name else (images(64) + 1) * 127.5
    settle(model, pixels)
    path = tmp_path_factory.mktemp("keras") / "x.onnx"
    model.export(path, format="onnx", verbose=False)
    return model, path, pixels


@pytest.mark.filterwarnings("ignore")  # of tf2onnx, about NumPy
@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small"])
def test_a_file_that_keras_exports_is_read(tmp_path_factory, name):
    model, path, pixels = keras_export(tmp_path_factory, getattr(keras.applications, name))
    inspection = inspect_weights(path)
    assert inspection.conventions == Conventions(1e-3, "keras")
    assert (inspection.notes[-1] == RESCALED) is (name != "MobileNetV2")
    back = getattr(keras_mobilenet, name)((64, 64, 3), alpha=0.75, weights=path, classes=7)
    assert difference(back(pixels), np.asarray(model(pixels))) < CLOSE


# Graphs that are none


def nodes(graph, kind):
    return [node for node in graph.node if node.op_type == kind]


def a_sum_of_other_images(graph):
    first, second = nodes(graph, "Add")[:2]
    second.input[1] = first.output[0]


def a_sum_with_an_activation(graph):
    total = nodes(graph, "Add")[0]
    relu = onnx.helper.make_node("Relu", [total.output[0]], ["summed"])
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == total.output[0]:
                node.input[i] = "summed"
    graph.node.insert(list(graph.node).index(total) + 1, relu)


def a_gate_of_another_slope(graph):
    gate = nodes(graph, "HardSigmoid")[0]
    next(a for a in gate.attribute if a.name == "alpha").f = 0.2


def a_gate_of_another_image(graph):
    weighed = nodes(graph, "Mul")[0]
    weighed.input[0] = nodes(graph, "HardSwish")[0].output[0]


def a_relu_for_a_hard_swish(graph):
    nodes(graph, "HardSwish")[1].op_type = "Relu"


def a_squeeze_of_the_whole_image(graph):
    squeeze = nodes(graph, "GlobalAveragePool")[0]
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == squeeze.output[0]:
                node.input[i] = squeeze.input[0]


def a_bias_before_a_batch_norm(graph):
    conv = nodes(graph, "Conv")[0]
    conv.input.append(nodes(graph, "BatchNormalization")[0].input[1])


def one_of_other_epsilon(graph):
    norm = nodes(graph, "BatchNormalization")[3]
    next(a for a in norm.attribute if a.name == "epsilon").f = 1e-3


CHANGES = [
    (a_sum_of_other_images, "takes another image than in MobileNetV3Small, so this is another net"),
    (a_sum_with_an_activation, "is an activation of a sum, a product or a pool, so this is"),
    (a_gate_of_another_slope, "squeeze_excite_conv_1 is followed by another .* hard_sigmoid"),
    (a_gate_of_another_image, "takes another image than in MobileNetV3Small, so this is another"),
    (a_relu_for_a_hard_swish, "expand is followed by relu, not by MobileNet's hard_swish"),
    (a_squeeze_of_the_whole_image, "squeeze_excite_conv takes another image"),
    (a_bias_before_a_batch_norm, "conv has both a bias and a batch norm"),
    (one_of_other_epsilon, "the batch norms differ: in epsilon"),
]


@pytest.mark.parametrize(("change", "match"), CHANGES, ids=[c.__name__ for c, _ in CHANGES])
def test_a_graph_that_computes_something_else_is_refused(made, tmp_path, change, match):
    path = written(tmp_path / "x.onnx", V3, made(V3))
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match=match):
        inspect_weights(path)


def test_pads_of_another_padding_are_refused(made, tmp_path):
    path = written(tmp_path / "x.onnx", V3, made(V3))
    model = onnx.load(path)
    wide = next(n for n in nodes(model.graph, "Conv") if wide_pads(n))
    pads = next(a for a in wide.attribute if a.name == "pads")
    pads.ints[:] = [1, 1, 2, 2]  # TensorFlow's of a kernel of 5, among PyTorch's
    onnx.save(model, path)
    with pytest.raises(
        CheckpointError, match="at 64 x 64 pixels the graph pads as no known Mobile"
    ):
        inspect_weights(path)


def wide_pads(node):
    found = {a.name: list(a.ints) for a in node.attribute}
    return found["pads"] == [2, 2, 2, 2] and found["strides"] == [2, 2]


def test_a_file_loads_into_no_graph_of_other_conventions(made, tmp_path):
    path = written(tmp_path / "x.onnx", V2, made(V2))
    model = made(V2, Conventions(1e-3, "same"))
    with pytest.raises(CheckpointError, match="with epsilon=1e-05, padding='symmetric', or"):
        load_weights(model, path)


def test_a_file_of_another_net_is_named(made, tmp_path):
    path = written(tmp_path / "x.onnx", V3, made(V3))
    with pytest.raises(CheckpointError, match="weights of MobileNetV3Small, alpha=0.75, 7 classes"):
        load_weights(made(V2), path)
