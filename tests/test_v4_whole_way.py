"""MobileNetV4 Small from random weights: tuned, exported to every format, asked from a shell."""

import json
from itertools import product

import numpy as np
import pytest
from coloured_shapes import COLOURS, shapes, write_shapes
from deploy_nets import settle
from PIL import Image
from typer.testing import CliRunner

from keras_mobilenet import MobileNetV4ConvSmall, Predictor, export, finetune, save_weights
from keras_mobilenet.commands.app import app
from keras_mobilenet.models.model_files import load_model

pytestmark = pytest.mark.builds
# Probabilities that two runtimes round, behind 46 convolutions in float32.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def tuned(request, tmp_path_factory):
    """Return the folder of a run, with the images that it learned from beside it."""
    folder = tmp_path_factory.mktemp("tuned")
    write_shapes(folder / "images", 8)
    net = MobileNetV4ConvSmall((64, 64, 3), 0.35, include_top=False)
    settle(net, images() / np.float32(127.5) - 1)
    save_weights(net, folder / "net.safetensors")
    net = {"net": "mobilenet_v4_conv_small", "alpha": 0.35, "weights": folder / "net.safetensors"}
    part = {"train_from": request.param, "views": 1}
    if request.param != "top":  # whose epochs are steps of a solver
        part["epochs"] = 2
    run = finetune(folder / "images", size=64, out=folder / "run", validation=None, **part, **net)
    assert run.labels == tuple(COLOURS)
    return folder


@pytest.mark.parametrize(
    ("tuned", "name"),
    [*product(["top"], ["m.tflite", "m.onnx", "m.xml", "m/"]), ("block_15", "m.tflite")],
    indirect=["tuned"],
)
def test_tuned_net_answers_in_every_format_as_in_keras(tuned, tmp_path, name):
    source, file = tuned / "run" / "model.keras", f"{tmp_path}/{name}"
    assert export(source, file).difference.top1_agreement == 1
    pixels = images()
    expected = np.asarray(load_model(source)(pixels / np.float32(127.5) - 1))
    assert expected.std(axis=0).max() > 0.01  # the images differ to it
    with Predictor(file) as predictor:
        np.testing.assert_allclose(predictor.predict(pixels), expected, atol=ROUNDING)
    assert shown(tuned, file) == pytest.approx(shown(tuned, source), abs=ROUNDING)


def images():
    """Return images, two of each class, that the run did not see."""
    pixels, _ = shapes(2, seed=1)
    return np.stack([np.asarray(Image.fromarray(x).resize((64, 64))) for x in pixels])


def shown(tuned, model):
    """Return what `classify` says of one image: a probability for each class."""
    image = next((tuned / "images").rglob("*.png"))
    result = CliRunner().invoke(app, ["classify", str(image), "--json", "--model", str(model)])
    assert result.exit_code == 0, result.output
    scores = {x["name"]: x["score"] for x in json.loads(result.stdout)[0]["classes"]}
    assert scores.keys() == COLOURS.keys()
    return scores
