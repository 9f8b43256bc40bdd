"""Images through the whole pipeline, with the published weights."""

from functools import cache

import keras
import numpy as np
import pytest

from keras_mobilenet import MobileNet, preprocess_input
from keras_mobilenet.deploy.folders.classification import classify_images
from keras_mobilenet.images.images import read_image
from keras_mobilenet.images.labels import imagenet_classes
from keras_mobilenet.images.model_info import EVALUATION_CROP
from keras_mobilenet.images.prefetch import BATCH
from keras_mobilenet.nets.families.v1 import Block


@pytest.fixture(scope="module")
def sample(shared_data):
    """The 200 sample images: in sorted order they show the classes 0, 5, 10, ..."""
    return [str(path) for path in sorted((shared_data / "images/imagenet_sample").iterdir())]


FILES = {1.0: "mobilenet_1_0_224_tf.h5", 0.25: "mobilenet_2_5_224_tf.h5"}


@pytest.fixture(scope="module")
def published(shared_data):
    """Return the net of an alpha with its published weights, made once, and their file."""
    folder = shared_data / "weights" / "keras"
    return cache(lambda a: (MobileNet(alpha=a, weights=folder / FILES[a]), folder / FILES[a]))


@pytest.mark.parametrize(("alpha", "top_1", "top_5"), [(1.0, 91.5, 99.5), (0.25, 60.5, 83.0)])
def test_sample_images_are_told_as_well_as_by_keras(sample, published, alpha, top_1, top_5):
    model, weights = published(alpha)
    results = list(classify_images(model, sample, size=(224, 224), crop=EVALUATION_CROP))
    truth = [imagenet_classes()[5 * i][0] for i in range(200)]
    found = [[key for key, _, _ in result.predictions] for result in results]
    first = sum(t == f[0] for t, f in zip(truth, found, strict=True))
    five = sum(t in f for t, f in zip(truth, found, strict=True))
    # Half a percent is one image.
    assert 100 * first / 200 == pytest.approx(top_1, abs=0.5)
    assert 100 * five / 200 == pytest.approx(top_5, abs=0.5)

    reference = keras.applications.MobileNet(alpha=alpha, weights=None)
    reference.load_weights(weights)
    some = slice(None, None, 8)  # Keras' net is this one layer by layer: it need not see all
    pixels = [read_image(path, size=224, crop=EVALUATION_CROP) for path in sample[some]]
    scores = np.asarray(reference(preprocess_input(np.stack(pixels))))
    by_keras = [imagenet_classes()[i][0] for i in scores.argmax(axis=1)]
    assert [f[0] for f in found[some]] == by_keras


@pytest.mark.parametrize(
    ("image", "name"),
    [("parrot.jpg", "macaw"), ("cat.bmp", "Egyptian_cat"), ("hot_dog.jpg", "hotdog")],
)
def test_single_images_are_told(shared_data, published, image, name):
    model, _ = published(1.0)
    path = str(shared_data / "images" / "pictures" / image)
    (result,) = classify_images(model, [path], size=(224, 224), crop=EVALUATION_CROP, top=1)
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
    results = list(classify_images(model, paths, size=(32, 32), labels=["a", "b"], top=2))
    assert [result.path for result in results] == paths
    assert [i for i, r in enumerate(results) if r.fault] == list(range(3, len(paths), 7))
    for path, result in zip(paths, results, strict=True):
        if not result.fault:
            alone = model(preprocess_input(read_image(path, size=32)[None]))
            # One image and a batch of them take different kernels.
            assert result.predictions[0][2] == pytest.approx(float(np.max(alone)), abs=1e-5)


def test_only_bad_images_need_no_net(tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()])
    (result,) = classify_images(
        model,
        [str(tmp_path / "none.jpg")],
        size=(32, 32),
        preprocessing="none",
        labels=["a"] * 3072,
    )
    assert "none.jpg" in result.fault
    assert result.predictions == []
