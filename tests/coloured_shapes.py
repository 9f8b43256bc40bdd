"""Small generated images of three classes, and a net with weights that tell them apart."""

import numpy as np
from PIL import Image

from keras_mobilenet.nets.families.v1 import Block

COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}
# Five blocks are built, traced and compiled in a third of the time of the paper's thirteen.
FEW = (Block(64), Block(128, stride=2), Block(128), Block(256, stride=2), Block(256))
NET = {"alpha": 0.25, "size": 32, "blocks": FEW, "engine": "keras"}  # which compiles the fastest


def shapes(count, seed=0):
    """Return `count` images of each class, and their class numbers."""
    rng = np.random.default_rng(seed)
    x, y = [], []
    for number, colour in enumerate(COLOURS.values()):
        for _ in range(count):
            pixels = rng.integers(0, 90, (44, 40, 3)).astype(np.uint8)
            top, left = rng.integers(0, 20, 2)
            pixels[top : top + 20, left : left + 20] = colour
            x.append(pixels)
            y.append(number)
    return np.stack(x), np.array(y)


def write_shapes(folder, count, seed=0):
    """Write them as a folder of class folders, and return it."""
    for i, (pixels, number) in enumerate(zip(*shapes(count, seed), strict=True)):
        place = folder / list(COLOURS)[number]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i:03}.png")
    return folder


def write_weights(path, blocks=FEW):
    """Write the weights of an untrained net, through which colours still show; return the path."""
    import keras

    from keras_mobilenet import MobileNet, save_weights

    keras.utils.set_random_seed(0)
    model = MobileNet((32, 32, 3), 0.25, include_top=False, weights=None, blocks=blocks)
    save_weights(model, path)
    return path
