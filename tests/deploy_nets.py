"""Small nets to deploy, and images for them."""

import keras
import numpy as np

from keras_mobilenet import MobileNet, preprocess_input
from keras_mobilenet.deploy.comparison import generated_images, variation
from keras_mobilenet.images.model_info import info_for
from keras_mobilenet.models.model_files import set_info
from keras_mobilenet.nets.families.v1 import Block

SIZE = 32
BLOCKS = (Block(64), Block(128, stride=2))  # what is done to them is done to thirteen
# Errors of such nets, as shares of the outputs, which vary by 0.4 of themselves: twice and three
# times what was measured, and for float32 more: 1e-6 is the order in which sums are taken.
FLOAT32 = 1e-5
ROUNDED = {"float16": 3e-3, "dynamic": 0.04, "int8": 0.06, "full_int8": 0.06}
CLASSIFIERS = ("conv_preds", "predictions", "logits")
OVERFLOW = 0.4  # of OpenVINO's int8 without VNNI, where products that do not fit are cut off: 0.22


def net(shape=(SIZE, SIZE, 3), seed=1, classes=5, blocks=BLOCKS, **options):
    """A net whose batch norms all do something, and whose outputs differ from image to image."""
    model = unsettled(shape, seed, classes, blocks=blocks, **options)
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if "kernel" in variable.path:
            scale = np.sqrt(6 / (np.prod(variable.shape[:-1]) + variable.shape[-1]))
            scale *= 4 if "conv_preds" in variable.path else 1  # classes that are told apart
            variable.assign(random.uniform(-scale, scale, variable.shape))
    *size, channels = model.inputs[0].shape[1:]
    pixels = random_images(7, [n or SIZE for n in size], channels)
    takes_pixels = options.get("include_preprocessing") or "input_tensor" in options
    x = pixels.astype("float32") if takes_pixels else preprocess_input(pixels)
    settle(model, x)
    softmax = options.get("classifier_activation", "softmax") == "softmax"
    if softmax and options.get("include_top", True):  # no class is above the others by itself
        logarithms = np.log(np.asarray(model(given(model, x), training=False)))
        bias = next(v for v in model.weights if "conv_preds/bias" in v.path)
        bias.assign(bias - logarithms.mean(axis=0))
    return model


def unsettled(shape, seed=1, classes=5, build=MobileNet, **options):
    """A net with random values, whose outputs are nearly one constant: its biases'."""
    model = build(shape, alpha=0.25, weights=None, classes=classes, **options)
    random = np.random.default_rng(seed)
    for variable in model.weights:
        values = np.asarray(variable)
        if "kernel" not in variable.path:
            low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.2
            values = random.uniform(low, low + 1, values.shape)
        elif any(name in variable.path for name in CLASSIFIERS):
            values = classifying(random, values.shape) / 4  # outputs far from all alike
        variable.assign(values)
    return model


def classifying(random, shape):
    """Random values, of a scale at which outputs of many features vary as those of 32 do."""
    features = np.prod(shape[:-1])
    return random.normal(size=shape) * np.sqrt(min(1, 32 / features))


def settle(model, x):
    """Give the batch norms the statistics of `x`: else all images have nearly the same features."""
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(given(model, x), training=True)
    for norm in norms:
        norm.momentum = 0.99


def given(model, x):
    """Return `x` as Keras takes it: in a list, where an `input_tensor` was given."""
    in_list = not isinstance(model, keras.Sequential) and isinstance(model.input, list)
    return [x] if in_list else x


def named_net(labels):
    """Such a net whose info names its classes."""
    model = net()
    set_info(model, info_for((SIZE, SIZE), len(labels), labels))
    return model


def outputs_of(model):
    """What Keras puts out for `random_images(7)`."""
    outputs = np.asarray(model(preprocess_input(random_images(7)), training=False))
    assert variation(outputs) > 0.1, "outputs that do not vary show nothing"
    return outputs


def random_images(count=4, size=(SIZE, SIZE), channels=3, seed=0):
    """Pixels, `uint8`, of images that differ."""
    return generated_images((count, *size, channels), seed=seed).astype(np.uint8)
