"""Folders of generated images, and nets too small to know them."""

import keras
import numpy as np
from coloured_shapes import FEW
from PIL import Image

from keras_mobilenet import MobileNet
from keras_mobilenet.deploy.folders.embedding import features_model
from keras_mobilenet.images.model_info import info_for
from keras_mobilenet.models.model_files import save_model, set_info

SIZE = 32
LABELS = ("kitten", "puppy", "kid, young", 'the "calf"')


def small_model(seed=0, blocks=FEW):
    """A net of four classes whose scores differ from image to image."""
    keras.utils.set_random_seed(seed)
    net = {"alpha": 0.25, "classes": len(LABELS), "blocks": blocks, "weights": None}
    model = MobileNet((SIZE, SIZE, 3), **net)
    for layer in model.layers:  # as it is initialised, the net lets nothing through to its end
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.kernel.assign(20 * layer.kernel)
    set_info(model, info_for((SIZE, SIZE), len(LABELS), LABELS))
    return model


def write_model(path, seed=0):
    save_model(small_model(seed), path)
    return path


def write_features_model(path, seed=0):
    save_model(features_model(small_model(seed)), path)
    return path


def write_images(folder, count, *, bad=()):
    """Write images, some of them no images, into subfolders; return the paths in order."""
    generator = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"{i % 3}" / f"{i:04}{'.png' if i % 2 else '.JPG'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (5, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((40, 36)).save(path)
        if i in bad:
            path.write_bytes(b"no image at all")
    (folder / "notes.md").write_text("not named like an image, so passed over")
    return sorted(str(path) for path in folder.glob("*/*"))
