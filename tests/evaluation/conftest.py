"""What the tests of evaluate() share: the 200 images, and one net in float32 and in int8."""

import pytest

from keras_mobilenet import export


@pytest.fixture(scope="session")
def sample(shared_data):
    """The paths of the images, each with its class' number as text."""
    paths = sorted((shared_data / "images/imagenet_sample").iterdir())
    return [(str(path), str(5 * i)) for i, path in enumerate(paths)]


@pytest.fixture(scope="session")
def deployed(shared_data, sample, tmp_path_factory):
    """The published net of alpha 0.25 as two `.tflite` files: in float32, and in int8."""
    weights = shared_data / "weights/keras/mobilenet_2_5_224_tf.h5"
    folder = tmp_path_factory.mktemp("deployed")
    paths = str(folder / "float32.tflite"), str(folder / "int8.tflite")
    export(weights, paths[0])
    export(weights, paths[1], quantize="int8", calibration=[path for path, _ in sample[100:116]])
    return paths
