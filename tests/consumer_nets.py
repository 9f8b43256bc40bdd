"""Small nets of every family for other programs, and images that they tell apart; no Keras."""

from dataclasses import replace
from functools import cache

import numpy as np

from keras_mobilenet.checkpoints.net_weights import RANDOM, Builder, net_weights
from keras_mobilenet.deploy.graphs.net_graph import graph_of_net
from keras_mobilenet.deploy.graphs.reference import reference_outputs

SIZE, CLASSES = 96, 5
NETS = {
    "mobilenet": 0.25,
    "mobilenet_v2": 0.35,
    "mobilenet_v3_small": 0.75,
    "mobilenet_v4_conv_small": 0.5,
}


@cache
def lively_net(net="mobilenet", seed=1, size=SIZE, **options):
    """A net whose layers neither fade nor grow, and whose classes differ from image to image."""
    shape = {"input_shape": (size, size, 3), "classes": CLASSES}
    options = {"alpha": NETS[net], "weights": RANDOM} | shape | options
    weights = net_weights(Builder(net, options))
    random = np.random.default_rng(seed)

    gain = 3 if net == "mobilenet" else 2  # what is added to a block's input does not fade

    def lively(values):
        if values.ndim < 2:
            return values
        depthwise = values.ndim == 4 and values.shape[3] == 1
        taken = np.prod(values.shape[:2]) if depthwise else np.prod(values.shape[:-1])
        return random.normal(0, np.sqrt(gain / taken), values.shape).astype(np.float32)

    arrays = {n: lively(np.asarray(v)) for n, v in weights.arrays.items()}
    return telling(replace(weights, arrays=arrays), size)


def telling(weights, size):
    """The net with its logits about 0 and 1 apart, so that no class is above all others."""
    logits = reference_outputs(
        graph_of_net(replace(weights, classifier_activation=None)),
        coloured_images(size=size).astype(np.float32) / 127.5 - 1,
    )
    name, spread = weights.net.classifier.name, logits.std(axis=0)
    arrays = dict(weights.arrays)
    arrays[f"{name}/kernel"] = arrays[f"{name}/kernel"] / spread
    arrays[f"{name}/bias"] = np.asarray(-logits.mean(axis=0) / spread, np.float32)
    return replace(weights, arrays=arrays)


def coloured_images(count=8, seed=0, size=SIZE):
    """Pixels, uint8: two colours and noise."""
    random = np.random.default_rng(seed)
    colours = random.integers(0, 256, (count, 2, 1, 1, 3))
    across = np.linspace(0, 1, size)[:, None, None]
    images = [a * across + b * (1 - across) for a, b in colours]
    noise = random.normal(0, 20, (count, size, size, 3))
    return np.asarray((np.stack(np.broadcast_arrays(*images)) + noise).clip(0, 255), np.uint8)
