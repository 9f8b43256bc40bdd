"""The command `keras-mobilenet export`."""

import keras
import numpy as np
import pytest
from deploy_nets import BLOCKS, net, random_images
from PIL import Image
from typer.testing import CliRunner

from keras_mobilenet import Predictor
from keras_mobilenet.commands.app import app
from keras_mobilenet.models.model_files import save_model

LABELS = ("ant", "bee", "cat", "dog", "eel")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model, labels and images, in the working folder."""
    monkeypatch.chdir(tmp_path)
    save_model(net(), "model.keras")
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    (tmp_path / "images").mkdir()
    for i, pixels in enumerate(random_images(8, size=(40, 50))):
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["export", *arguments], catch_exceptions=False)


def test_int8_file_knows_its_labels_and_takes_pixels(folder):
    result = run(
        *("model.keras", "m.tflite", "--quantize", "int8", "--calibration", "images"),
        *("--labels", "labels.txt", "--include-preprocessing"),
    )
    assert result.exit_code == 0
    assert "wrote m.tflite (int8)" in result.stdout
    assert "8 calibration images" in result.stdout
    assert f" {len(BLOCKS)} DEPTHWISE_CONV_2D" in result.stderr
    with Predictor("m.tflite") as predictor:
        assert predictor.info.labels == LABELS
        assert predictor.info.takes_pixels
        assert predictor.predict(folder / "images" / "0.png").shape == (1, 5)


def test_preprocessing_is_written_into_the_file(folder):
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()]).save("plain.keras")
    with pytest.raises(ValueError, match="is not known"):
        run("plain.keras", "m.tflite", "--include-preprocessing")
    options = ("--preprocessing", "mean=120,110,100;std=60", "--include-preprocessing")
    for some in (options[:2], options):
        assert run("plain.keras", "m.tflite", *some).exit_code == 0
        pixels = random_images(2, size=(8, 8))
        with Predictor("m.tflite") as predictor:
            expected = (pixels - np.float32([120, 110, 100])) / 60
            np.testing.assert_allclose(
                predictor.predict(pixels), expected.reshape(2, -1), atol=1e-5
            )


def test_a_file_of_weights_tells_its_net_where_no_option_does(folder, shared_data):
    weights = shared_data / "weights/keras/mobilenet_2_5_224_tf.h5"
    assert run(str(weights), "m.tflite").exit_code == 0
    with Predictor("m.tflite") as predictor:
        assert predictor.input_shape == (224, 224, 3)
    assert run(str(weights), "m.tflite", "--alpha", "0.25", "--size", "96").exit_code == 0
    with Predictor("m.tflite") as predictor:
        assert predictor.input_shape == (96, 96, 3)
    with pytest.raises(ValueError, match=r"does not fit MobileNet\(alpha=0.5"):
        run(str(weights), "m.tflite", "--alpha", "0.5")


def test_what_cannot_be_exported_is_an_error(folder):
    for arguments, message in (
        (("model.keras", "m.tflite", "--quantize", "int8"), "int8 needs `calibration`"),
        (("model.keras", "m"), "must end in .tflite"),
        (("missing.keras", "m.tflite"), "missing.keras"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            run(*arguments)
    assert not (folder / "m.tflite").exists()
