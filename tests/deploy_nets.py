"""Small nets to deploy, and pictures for them."""

import numpy as np

from keras_mobilenet import MobileNet, preprocess_input
from keras_mobilenet.deploy.comparison import generated_pictures
from keras_mobilenet.images.recipes import recipe_for
from keras_mobilenet.models.model_files import set_recipe
from keras_mobilenet.nets.v1 import Block

SIZE = 32
BLOCKS = (Block(64), Block(128, stride=2))  # what is done to them is done to thirteen


def net(shape=(SIZE, SIZE, 3), seed=1, classes=5, blocks=BLOCKS, **options):
    """A net whose batch norms all do something, and none of them much, as in a trained one."""
    model = MobileNet(shape, alpha=0.25, weights=None, classes=classes, blocks=blocks, **options)
    random = np.random.default_rng(seed)
    for variable in model.weights:
        values = np.asarray(variable)
        if "kernel" not in variable.path:
            low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.2
            values = random.uniform(low, low + 1, values.shape)
        elif "conv_preds" in variable.path:
            values = random.normal(size=values.shape) / 4  # outputs far from all alike
        variable.assign(values)
    return model


def named_net(labels):
    """Such a net whose recipe names its classes."""
    model = net()
    set_recipe(model, recipe_for((SIZE, SIZE), len(labels), labels))
    return model


def outputs_of(model):
    """What Keras puts out for `pictures(7)`."""
    return np.asarray(model(preprocess_input(pictures(7)), training=False))


def pictures(count=4, size=(SIZE, SIZE), channels=3, seed=0):
    """Pixels, `uint8`, of pictures that differ."""
    return generated_pictures((count, *size, channels), seed=seed).astype(np.uint8)
