"""A training of the top alone needs no Keras, and leaves what one in Keras leaves."""

import csv
import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from coloured_shapes import NET as SLOW
from coloured_shapes import write_shapes, write_weights

from keras_mobilenet import finetune
from keras_mobilenet.checkpoints.building import build_net
from keras_mobilenet.checkpoints.loading import save_weights
from keras_mobilenet.formats.keras.model_config import ModelSettings, model_config
from keras_mobilenet.images.images import read_image
from keras_mobilenet.models.model_files import info_of, load_model
from keras_mobilenet.nets.families.registry import FAMILIES
from keras_mobilenet.nets.net import Net
from keras_mobilenet.training.base_nets import base_net
from keras_mobilenet.transfer.freezing import freeze

pytestmark = pytest.mark.builds
SIZE = (64, 65)
NET = SLOW | {"engine": "litert"}


def without_numbers(config):
    """Leave out the number of an object that several layers share: it is an address."""
    if isinstance(config, dict):
        kept = {key: x for key, x in config.items() if key != "shared_object_id"}
        return {key: without_numbers(x) for key, x in kept.items()}
    return [without_numbers(x) for x in config] if isinstance(config, list) else config


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.key)
def test_configuration_is_the_one_that_keras_writes(family):
    keras.backend.clear_session()  # its counters go into names
    model = base_net(
        net=family.key, alpha=1.0, weights=None, size=SIZE, channels=3, labels=list("abc"), seed=0
    )
    freeze(model, until="all")
    keras_own = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    known = family.conventions
    net = family.network(alpha=1.0, include_top=False, size=SIZE, padding=known.padding)
    whole = Net((*net.layers, *family.top(net.layers[-1].channels, 3, "avg")))
    settings = ModelSettings(
        known,
        family.bn_momentum,
        "softmax",
        frozen=net.by_name.keys(),
    )
    ours = json.loads(json.dumps(model_config(whole, SIZE, model.name, settings)))
    assert ours == without_numbers(keras_own)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("images"), 8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "net.weights.h5")


class Watching(keras.callbacks.Callback):
    """Does nothing, but is Keras'."""


def test_both_ways_leave_the_same(images, weights, tmp_path):
    given = {"weights": weights, "seed": 3, **NET}
    light = finetune(images, out=tmp_path / "light", **given)
    heavy = finetune(images, out=tmp_path / "heavy", callbacks=[Watching()], **given)
    # Features of two runtimes' kernels, and a solver that goes to the optimum of either.
    assert np.allclose(light.probabilities, heavy.probabilities, atol=1e-4)
    assert (light.labels, light.validation) == (heavy.labels, heavy.validation)
    names = [sorted(x.name for x in (tmp_path / way).iterdir()) for way in ("light", "heavy")]
    assert names[0] == names[1]
    texts = [(tmp_path / way / "history.csv").read_text() for way in ("light", "heavy")]
    rows = [list(csv.DictReader(text.splitlines())) for text in texts]
    assert rows[0][0].keys() == rows[1][0].keys()
    assert abs(float(rows[0][-1]["val_loss"]) - float(rows[1][-1]["val_loss"])) < 1e-3
    configs = [
        json.loads(zipfile.ZipFile(tmp_path / way / "model.keras").read("config.json"))["config"]
        for way in ("light", "heavy")
    ]
    kinds = [[layer["class_name"] for layer in config["layers"]] for config in configs]
    assert kinds[0] == kinds[1]


def test_written_model_is_what_was_measured(images, weights, tmp_path):
    run = finetune(images, weights=weights, out=tmp_path / "run", **NET)
    model = load_model(tmp_path / "run" / "model.keras")
    info = info_of(model)
    assert info.labels == run.labels
    pixels = [read_image(path, size=info.size, crop=info.crop) for path, _ in run.validation]
    for trained in (model, run.model):
        outputs = trained.predict(info.scaled(np.stack(pixels)), verbose=0)
        # Probabilities whose logits add up some hundred terms, of two runtimes.
        assert np.allclose(outputs, run.probabilities, atol=1e-4)
    assert not any(layer.trainable for layer in model.layers if "conv1" in layer.name)


def test_file_keras_opens_computes_what_its_arrays_do(tmp_path):
    """The archive's own layout of weights, on a net with every kind of layer."""
    from keras_mobilenet.deploy.graphs.reference import reference_outputs
    from keras_mobilenet.deploy.opened import open_model

    model = build_net("mobilenet_v3_small", (64, 64, 3), 0.75, weights=None, classes=4)
    save_weights(model, tmp_path / "net.safetensors")
    from keras_mobilenet.checkpoints.net_weights import Builder, net_weights

    arguments = {"input_shape": (64, 64, 3), "alpha": 0.75, "classes": 4}
    found = net_weights(
        Builder("mobilenet_v3_small", {**arguments, "weights": str(tmp_path / "net.safetensors")})
    )
    opened = open_model(found)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    expected = np.asarray(model(x, training=False))
    assert np.allclose(opened.in_keras().model(x, training=False), expected, atol=1e-6)
    assert np.allclose(reference_outputs(opened.graph, x), expected, atol=1e-5)


PROGRAM = """
import sys
from keras_mobilenet.commands.app import main
sys.argv = ["keras-mobilenet", "finetune", {images!r}, "--out", {out!r}, "--weights", {weights!r},
            "--net", "mobilenet_v2", "--alpha", "0.35", "--size", "32"]
try:
    main()
except SystemExit as error:
    assert not error.code, error.code
loaded = {{"keras", "tensorflow", "torch", "jax"}} & sys.modules.keys()
assert not loaded, loaded
"""


def test_command_loads_neither_keras_nor_tensorflow(images, tmp_path):
    weights = tmp_path / "v2.safetensors"
    save_weights(build_net("mobilenet_v2", (32, 32, 3), 0.35, weights=None, classes=9), weights)
    out = tmp_path / "run"
    program = PROGRAM.format(images=str(images), out=str(out), weights=str(weights))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    assert {"model.keras", "history.csv", "metrics.json", "report.html", "validation.csv"} <= {
        path.name for path in out.iterdir()
    }
    assert (
        "data:image/jpeg" in (out / "report.html").read_text()
        or "No mistake" in (out / "report.html").read_text()
    )
