"""Images through the whole pipeline, with the published weights."""

import keras
import numpy as np
import pytest

from keras_mobilenet import MobileNet, Predictor, preprocess_input
from keras_mobilenet.images.images import read_image
from keras_mobilenet.images.model_info import EVALUATION_CROP
from keras_mobilenet.images.prefetch import BATCH
from keras_mobilenet.nets.families.v1 import Block


@pytest.fixture(scope="module")
def sample(shared_data):
    """The 200 sample images: in sorted order they show the classes 0, 5, 10, ..."""
    return [str(path) for path in sorted((shared_data / "images/imagenet_sample").iterdir())]


FILES = {1.0: "mobilenet_1_0_224_tf.h5", 0.25: "mobilenet_2_5_224_tf.h5"}


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "weights" / "keras"


@pytest.mark.parametrize(("alpha", "top_1", "top_5"), [(1.0, 91.5, 99.5), (0.25, 60.5, 83.0)])
@pytest.mark.parametrize("engine", ["litert", "openvino"])
def test_sample_images_are_told_as_well_as_by_keras(sample, folder, alpha, top_1, top_5, engine):
    weights = folder / FILES[alpha]
    pixels = np.stack([read_image(path, size=224, crop=EVALUATION_CROP) for path in sample])
    with Predictor(weights, engine=engine) as predictor:
        scores = predictor.predict(pixels)
    best = np.argsort(-scores)[:, :5]
    truth = 5 * np.arange(200)
    # Half a percent is one image.
    assert 100 * np.mean(best[:, 0] == truth) == pytest.approx(top_1, abs=0.5)
    assert 100 * np.mean((best == truth[:, None]).any(1)) == pytest.approx(top_5, abs=0.5)

    reference = keras.applications.MobileNet(alpha=alpha, weights=None)
    reference.load_weights(weights)
    expected = reference.predict(preprocess_input(pixels), batch_size=40, verbose=0)
    assert np.array_equal(scores.argmax(1), expected.argmax(1))
    # Each of the two is up to 1e-5 from what float64 gives.
    assert np.abs(scores - expected).max() < 2e-5


@pytest.mark.parametrize(
    ("image", "name"),
    [("parrot.jpg", "macaw"), ("cat.bmp", "Egyptian_cat"), ("hot_dog.jpg", "hotdog")],
)
def test_single_images_are_told(shared_data, folder, image, name):
    path = str(shared_data / "images" / "pictures" / image)
    with Predictor(folder / FILES[1.0]) as predictor:
        (result,) = predictor.classify(path, top=1)
    assert result.predictions[0][1] == name
    assert result.fault is None


def test_results_keep_their_order_across_batches_and_bad_images(tmp_path):
    from PIL import Image

    model = MobileNet((32, 32, 3), 0.25, classes=2, weights=None, blocks=[Block(64)])
    paths = []
    for i in range(2 * BATCH + 3):
        paths.append(str(tmp_path / f"{i}.png"))
        if i % 7 == 3:
            (tmp_path / f"{i}.png").write_text("no image")
        else:
            Image.new("RGB", (40, 30), (i, 2 * i, 0)).save(paths[-1])
    with Predictor(model, labels=["a", "b"]) as predictor:
        results = list(predictor.classify(paths, top=2))
    assert [result.path for result in results] == paths
    assert [i for i, r in enumerate(results) if r.fault] == list(range(3, len(paths), 7))
    for path, result in zip(paths, results, strict=True):
        if not result.fault:
            alone = model(preprocess_input(read_image(path, size=32, crop=EVALUATION_CROP)[None]))
            # One image and a batch of them take different kernels.
            assert result.predictions[0][2] == pytest.approx(float(np.max(alone)), abs=1e-5)


def test_only_bad_images_need_no_net(tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()])
    with Predictor(model, preprocessing="none", labels=["a"] * 3072) as predictor:
        (result,) = predictor.classify(str(tmp_path / "none.jpg"))
    assert "none.jpg" in result.fault
    assert result.predictions == []
