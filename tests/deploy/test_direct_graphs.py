"""A net and its arrays become a runtime's graph without Keras, and compute what Keras computes."""

import json
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace

import keras
import numpy as np
import pytest
from deploy_nets import random_images, settle
from keras.src.saving import serialization_lib
from keras.src.utils.module_utils import LazyModule
from ml_dtypes import bfloat16

from keras_mobilenet import Predictor, export
from keras_mobilenet.checkpoints.building import build_net
from keras_mobilenet.checkpoints.loading import save_weights
from keras_mobilenet.checkpoints.net_weights import RANDOM, Builder, net_weights
from keras_mobilenet.deploy.comparison import difference, variation
from keras_mobilenet.deploy.engines.choice import engine_module
from keras_mobilenet.deploy.engines.engine import EngineSettings
from keras_mobilenet.deploy.engines.litert_engine import LiteRTEngine, int8_of
from keras_mobilenet.deploy.graphs.keras_file import graph_in_keras_file
from keras_mobilenet.deploy.graphs.keras_graph import UnknownLayerError, graph_of_model
from keras_mobilenet.deploy.graphs.net_graph import graph_of_net
from keras_mobilenet.deploy.graphs.operations import simplified
from keras_mobilenet.deploy.graphs.reference import reference_outputs
from keras_mobilenet.deploy.graphs.writers.quantization import _as_bfloat16, bfloat16_graph
from keras_mobilenet.deploy.graphs.writers.tflite import tflite_content
from keras_mobilenet.deploy.opened import open_model
from keras_mobilenet.errors import AccuracyError
from keras_mobilenet.formats.runtimes import tflite_model
from keras_mobilenet.models.model_files import save_model
from keras_mobilenet.nets.families.v1 import Block

ENGINES = ("litert", "onnxruntime", "openvino")
# Of the largest output: nets that tell images apart amplify what each layer rounds, in NumPy and
# engines alike to 4e-5. Wrong padding or epsilon makes 1e-2 and more.
ROUNDING = 1e-4
NETS = {  # key: what its builder gets; the widths are the least that have several of everything
    "mobilenet": {"alpha": 0.25},
    "mobilenet_v2": {"alpha": 0.35},
    "mobilenet_v3_small": {"alpha": 0.75},
    "mobilenet_v3_large": {"alpha": 0.75, "minimalistic": True},
}
WAYS = {
    "even": {"input_shape": (96, 96, 3)},
    "odd, not square": {"input_shape": (97, 65, 3)},
    "any size": {"input_shape": (None, None, 3)},
    "as PyTorch pads": {"input_shape": (65, 64, 3), "padding": "symmetric", "epsilon": 1e-5},
    "SAME, pixels": {"input_shape": (65, 64, 3), "padding": "same", "include_preprocessing": True},
    "features": {"input_shape": (64, 64, 3), "include_top": False, "pooling": "max"},
    "dense, any size": {
        "input_shape": (None, None, 3),
        "include_top": False,
        "output_stride": 8,
    },
}


@pytest.fixture(scope="module", params=NETS)
def made(request, tmp_path_factory):
    """Return, for a way of building, a Keras model and the builder of the same net."""
    folder = tmp_path_factory.mktemp(request.param)

    def make(way):
        given = {"classes": 7, **NETS[request.param], **WAYS[way]}
        model = build_net(request.param, weights=None, **given)
        settle(model, images(model, way))
        path = folder / "weights.safetensors"
        save_weights(model, path)
        return model, Builder(request.param, given | {"weights": str(path)})

    return make


def images(model, way):
    """Inputs that a model tells apart."""
    pixels = random_images(7, [n or 81 for n in model.input_shape[1:3]]).astype(np.float32)
    return pixels if WAYS[way].get("include_preprocessing") else pixels / 127.5 - 1


@pytest.mark.parametrize("way", WAYS)
def test_every_engine_computes_what_keras_does(made, way):
    model, builder = made(way)
    x = images(model, way)[:2]
    expected = np.asarray(model(x, training=False))
    assert variation(expected) > 0.02
    graph = graph_of_net(net_weights(builder))
    outputs = {"NumPy": reference_outputs(graph, x)}
    for name in ENGINES:
        engine = engine_module(name).compile_graph(graph, EngineSettings(1))
        outputs[name] = engine.run(x)
        engine.close()
    errors = {name: difference(expected, y).relative_error for name, y in outputs.items()}
    assert max(errors.values()) < ROUNDING, errors


def test_numpy_computes_in_double_when_asked():
    graph = graph_of_net(net_weights(Builder(arguments=SMALL)))
    x = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    single, double = (reference_outputs(graph, x, dtype) for dtype in (np.float32, np.float64))
    assert [single.dtype, double.dtype] == [np.float32, np.float64]
    # A step in float32 would leave its 6e-8 somewhere: the probabilities would not sum to one.
    assert abs(double.sum() - 1) < 1e-15
    assert 0 < difference(double, single).relative_error < 1e-6


def test_a_living_model_has_the_graph_of_its_builder(made):
    model, builder = made("even")
    ours, keras_own = graph_of_net(net_weights(builder)), graph_of_model(model)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 96, 96, 3)).astype(np.float32)
    found = difference(reference_outputs(ours, x), reference_outputs(keras_own, x))
    assert found.relative_error < ROUNDING
    kinds = [Counter(x.kind for x in simplified(g).operations) for g in (ours, keras_own)]
    assert kinds[0] == kinds[1]


def test_what_rounding_takes_from_a_folded_window_stays_in_its_sum(made):
    graph = graph_of_net(net_weights(made("even")[1]))
    done = simplified(graph).by_name
    errors = {"kept": [], "plain": []}
    for norm in (x for x in graph.operations if x.kind == "scale"):
        kernel = graph.by_name[norm.inputs[0]].kernel
        if kernel.shape[:2] == (1, 1):
            continue
        depthwise = graph.by_name[norm.inputs[0]].kind == "depthwise"
        exact = kernel * (norm.kernel[:, None] if depthwise else norm.kernel)
        folded = done[norm.inputs[0]].kernel
        assert np.allclose(folded, exact, rtol=0, atol=np.spacing(np.float32(abs(exact).max())))
        for name, rounded in (("kept", folded), ("plain", exact.astype(np.float32))):
            errors[name] += [abs(np.sum(rounded - exact, (0, 1))).mean() / abs(exact).mean()]
    # Half the last digit of the least value of nine stays, in place of nine halves of theirs.
    assert np.mean(errors["kept"]) < 0.2 * np.mean(errors["plain"])


def test_tensorflow_is_not_imported_for_what_keras_looks_for_in_a_configuration(monkeypatch):
    model = build_net("mobilenet", weights=None, input_shape=(32, 32, 3), alpha=0.25)
    lazy = LazyModule("tensorflow")
    monkeypatch.setattr(lazy, "initialize", lambda: pytest.fail("it was imported"))
    monkeypatch.setattr(serialization_lib, "tf", lazy)
    monkeypatch.delitem(sys.modules, "tensorflow")  # as under another backend
    assert graph_of_model(model).classifies
    assert lazy._available is None  # Keras may look for it again, for others


def operators(content):
    return Counter(operator.name for operator in tflite_model.parse(content).operators)


def test_operators_are_those_of_tensorflows_converter_or_fewer(made):
    from keras_mobilenet.deploy.graphs.traced.conversion import to_tflite
    from keras_mobilenet.deploy.graphs.traced.folding import without_batch_norms

    model, builder = made("odd, not square")
    theirs = operators(to_tflite(without_batch_norms(model)))
    ours = operators(tflite_content(simplified(graph_of_net(net_weights(builder)))))
    assert ours.total() <= theirs.total(), (ours, theirs)
    assert ours.keys() <= theirs.keys() | {"HARD_SWISH", "RESHAPE"}


def test_batch_and_half_precision_are_the_callers():
    arguments = SMALL | {"blocks": [Block(512), Block(512, 2)]}
    graph = graph_of_net(net_weights(Builder(arguments=arguments)))
    whole = tflite_content(simplified(graph), batch=1)
    half = tflite_content(simplified(graph), batch=1, float16=True)
    (tensor,) = (t for t in tflite_model.parse(whole).tensors if t.name == "input")
    assert tensor.shape == (1, 32, 32, 3)
    assert 0.4 < len(half) / len(whole) < 0.7  # the weights are half as large, the names are not
    assert operators(half)["DEQUANTIZE"] == 2 * (4 + 2)  # kernels and biases of six


# Of the outputs' own: 0.03 to 0.3 were measured, as through TensorFlow's converter, of nets that
# amplify what they round; a wrong scale makes 1 and more.
INT8 = 0.5


def test_int8_is_near_and_all_int8(made):
    model, builder = made("even")
    graph, x = graph_of_net(net_weights(builder)), images(model, "even")
    content = int8_of(graph, x, batch=1)
    engine = LiteRTEngine(content, EngineSettings(1))
    assert engine.precision == "int8"
    found = difference(reference_outputs(graph, x), engine.run(x))
    assert 1e-3 < found.rms_error < INT8
    tensors = tflite_model.parse(content).tensors
    # The input before it is quantised, and the output behind.
    assert [t.name for t in tensors if t.type == "FLOAT32"] == ["input", "output"]
    engine.close()


def test_bfloat16_kernels_are_the_nearest_and_biases_make_up_for_them(made):
    model, builder = made("even")
    graph, x = simplified(graph_of_net(net_weights(builder))), images(model, "even")
    first = graph.operations[0]
    assert np.array_equal(_as_bfloat16(first), first.kernel.astype(bfloat16).astype(np.float32))

    def mean(graph):
        """Return what the first convolution puts out on average, of rounded kernels or not."""
        linear = replace(graph.operations[0], activation="")
        outputs = reference_outputs(replace(graph, operations=(linear,)), x, np.float64)
        return outputs.mean((0, 1, 2))

    def rounded(graph):
        done = [replace(graph.operations[0], kernel=_as_bfloat16(graph.operations[0]))]
        return replace(graph, operations=tuple(done))

    plain, corrected = (
        np.abs(mean(rounded(g)) - mean(graph)).mean() for g in (graph, bfloat16_graph(graph, x))
    )
    assert corrected < plain / 3  # not nothing: the zeros at the borders count for one, not both


SMALL = {
    "input_shape": (32, 32, 3), "alpha": 0.25, "classes": 3, "weights": RANDOM,
    "blocks": [Block(64), Block(128, 2)],
}  # fmt: skip


def test_a_kernel_too_large_for_float32_is_refused():
    weights = net_weights(Builder(arguments=SMALL))
    arrays = dict(weights.arrays)
    name = next(n for n in arrays if n.endswith("/gamma"))
    arrays[name] = np.full_like(arrays[name], 3e38)
    arrays[name.replace("gamma", "moving_variance")] = np.zeros_like(arrays[name])
    with pytest.raises(AccuracyError, match="too large for float32"):
        simplified(graph_of_net(replace(weights, arrays=arrays)))


def small(*before, top=None):
    base = build_net(
        "mobilenet", **SMALL | {"weights": None, "include_top": False, "pooling": "avg"}
    )
    return keras.Sequential(
        [keras.Input((32, 32, 3)), *before, base, top or keras.layers.Dense(3, "softmax")]
    )


class Own(keras.layers.Layer):
    def call(self, x):
        return 2 * x


UNKNOWN = {
    "a layer of the user's own": (lambda: small(Own()), "Own"),
    "an activation": (lambda: small(top=keras.layers.Dense(3, "elu")), "activates by elu"),
    "a convolution in groups": (
        lambda: small(keras.layers.Conv2D(3, 1, groups=3)),
        "several strides",
    ),
    "no net": (
        lambda: keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(2, 3)]),
        "no MobileNet",
    ),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_known_goes_through_keras(kind):
    make, words = UNKNOWN[kind]
    model = make()
    with pytest.raises(UnknownLayerError, match=words):
        graph_of_model(model)
    assert open_model(model).graph is None
    x = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    with Predictor(model, engine="litert", preprocessing="-1..1") as predictor:
        assert np.allclose(predictor.predict(x), model(x), atol=1e-5)


def edited(path, member, change):
    """Write a `.keras` file again, with one of its texts changed."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents[member] = change(contents[member])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def test_a_keras_file_of_ours_is_read_and_one_that_was_edited_goes_to_keras(tmp_path):
    model = small(keras.layers.Rescaling(1 / 127.5, -1))
    path = tmp_path / "model.keras"
    save_model(model, path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected = np.asarray(model(pixels.astype("float32")))
    opened = open_model(path)
    assert opened.model is None
    assert opened.info.takes_pixels
    with Predictor(path) as predictor:
        assert np.allclose(predictor.predict(pixels), expected, atol=1e-6)

    def retyped(text):
        config = json.loads(text)
        config["config"]["layers"][-1]["config"]["activation"] = "relu"
        config["config"]["layers"][-1]["config"]["bias_regularizer"] = None
        config["config"]["layers"][-1]["class_name"] = "EinsumDense"
        return json.dumps(config).encode()

    edited(path, "config.json", retyped)
    with pytest.raises(UnknownLayerError, match="EinsumDense"):
        graph_in_keras_file(path)


def test_arrays_of_another_shape_than_the_configuration_says_are_refused(tmp_path):
    path = tmp_path / "model.keras"
    save_model(small(), path)

    def wider(text):
        config = json.loads(text)
        config["config"]["layers"][-1]["config"]["units"] = 2**40
        return json.dumps(config).encode()

    edited(path, "config.json", wider)
    with pytest.raises(UnknownLayerError, match=r"kernel is of shape \(32, 3\)"):
        graph_in_keras_file(path)


PROGRAM = """
import sys
from keras_mobilenet.commands.app import main
sys.argv = ["keras-mobilenet", *{arguments!r}]
try:
    main()
except SystemExit as error:
    assert not error.code, error.code
loaded = {{"keras", "tensorflow", "torch", "jax"}} & sys.modules.keys()
assert not loaded, loaded
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with an image, a model, weights and what was exported."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("shop")
    model = small(keras.layers.Rescaling(1 / 127.5, -1))
    save_model(model, folder / "model.keras")
    save_weights(build_net("mobilenet_v2", (32, 32, 3), 0.35, weights=None, classes=3),
                 folder / "weights.safetensors")  # fmt: skip
    export(model, folder / "model.tflite", labels=list("abc"))
    (folder / "labels.txt").write_text("a\nb\nc\n")
    Image.new("RGB", (40, 40), (200, 10, 90)).save(folder / "image.png")
    return folder


OF_WEIGHTS = ["--net", "mobilenet_v2", "--alpha", "0.35", "--size", "32"]
OF_WEIGHTS += ["--weights", "weights.safetensors", "--labels", "labels.txt"]
COMMANDS = [
    ["classify", "image.png", *OF_WEIGHTS],
    ["classify", "image.png", "--model", "model.keras", "--labels", "labels.txt"],
    ["classify", "image.png", "--model", "model.tflite"],
    ["classify", "image.png", "--out", "out.csv", *OF_WEIGHTS],
    ["classify", "image.png", "--out", "out.npz", "--features", *OF_WEIGHTS[:-2]],
    [
        "export",
        "weights.safetensors",
        "of_weights.tflite",
        *OF_WEIGHTS[:6],
        "--labels",
        "labels.txt",
    ],
    [
        "export",
        "weights.safetensors",
        "8.tflite",
        *OF_WEIGHTS[:6],
        "--labels",
        "labels.txt",
        "--quantize",
        "int8",
        "--calibration",
        ".",
    ],
    ["export", "model.keras", "of_model.onnx"],
    ["export", "model.keras", "of_model.xml", "--quantize", "float16"],
    ["weights", "inspect", "weights.safetensors"],
    ["weights", "convert", "weights.safetensors", "weights.h5"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands_load_neither_keras_nor_tensorflow(shop, arguments):
    program = PROGRAM.format(arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=shop, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
