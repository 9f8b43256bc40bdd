"""The ways in which users make a model with a MobileNet, each small, with plain Keras' answer.

Each way is held against each room of the package: `test_pairs_*.py`.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from deploy_nets import SIZE, net, pictures

from keras_mobilenet import fold_batch_norm, replace_top
from keras_mobilenet.spec import Block

CLASSES = 5
LABELS = ("ant", "bee", "cat", "dog", "eel")
BLOCKS = (Block(64), Block(128, stride=2), Block(128), Block(256, stride=2))  # to stride 8
DEEP = tuple(Block(n, stride=2) for n in (64, 128, 128, 256))  # to stride 32
MIXED = (Block(64, stride=2), Block(128, separable=False), Block(128, stride=2))
COUNT = 7  # images: an odd number, more than LiteRT runs one by one


@dataclass(frozen=True)
class Way:
    """One way to make a model, what it is made of, and what it takes."""

    blocks: tuple[Block, ...] = BLOCKS
    options: dict[str, Any] = field(default_factory=dict)  # of MobileNet
    channels: int = 3
    takes_pixels: bool = False  # 0 to 255: it scales them itself
    policy: str = "float32"
    wrap: Any = None  # from the net to the user's model
    include_top: bool = True
    layers: int = 0  # the user's own, beside the net's

    @property
    def scaling(self):
        """From pixels to what the model takes, as its own documentation says."""
        return (lambda x: x.astype("float32")) if self.takes_pixels else scaled

    def images(self):
        """Pixels, `uint8`, of the channels that the model takes."""
        return pictures(COUNT, channels=self.channels)


def scaled(x):
    return x.astype("float32") / 127.5 - 1


def in_sequential(base):
    return keras.Sequential(
        [keras.Input(base.input_shape[1:]), base, *own_top(base)], name="sequential_model"
    )


def in_functional(base):
    x = inputs = keras.Input(base.input_shape[1:])
    for layer in (base, *own_top(base)):
        x = layer(x)
    return keras.Model(inputs, x, name="functional_model")


def own_top(base):
    random = np.random.default_rng(7)
    dense = keras.layers.Dense(CLASSES, activation="softmax", name="own_dense")
    dense.build((None, base.output_shape[-1]))
    dense.set_weights([random.normal(size=w.shape) / 2 for w in dense.get_weights()])
    return [keras.layers.GlobalAveragePooling2D(name="own_pool"), dense]


def saved_and_opened(model):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return keras.saving.load_model(path)


def cloned(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def retopped(model):
    new = replace_top(model, CLASSES, labels=LABELS)
    random = np.random.default_rng(8)
    for variable in new.layers[-3].weights:  # conv_preds
        variable.assign(random.normal(size=variable.shape) / 2)
    return new


WAYS = {
    "flat": Way(),
    "flat, thirteen blocks": Way(blocks=()),
    "prefixed": Way(options={"name_prefix": "left_"}),
    "preprocessing inside": Way(options={"include_preprocessing": True}, takes_pixels=True),
    "user's Rescaling": Way(takes_pixels=True),  # `made` puts it before the net
    "in Sequential": Way(wrap=in_sequential, include_top=False, layers=2),
    "in a functional model": Way(wrap=in_functional, include_top=False, layers=2),
    "re-topped": Way(wrap=retopped),
    "folded": Way(wrap=fold_batch_norm),
    "saved and opened": Way(wrap=saved_and_opened),
    "cloned": Way(wrap=cloned),
    "preprocessing inside, saved and opened": Way(
        options={"include_preprocessing": True}, takes_pixels=True, wrap=saved_and_opened
    ),
    "mixed_float16": Way(policy="mixed_float16"),
    "mixed_bfloat16": Way(policy="mixed_bfloat16"),
    "1 channel": Way(channels=1),
    "output stride 16": Way(blocks=DEEP, options={"output_stride": 16}),
    "own blocks": Way(blocks=MIXED),
    "sigmoid top": Way(options={"classifier_activation": "sigmoid"}),
}


@contextmanager
def dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def made(name):
    """Return a new model of a way, always with the same weights."""
    way = WAYS[name]
    if way.policy == "float32":
        return _made(name)
    with dtype_policy(way.policy):
        model = _made(name)
    model.set_weights(float32_of(name).get_weights())
    return model


def _made(name):
    way = WAYS[name]
    options = dict(way.options)
    if way.blocks:
        options["blocks"] = way.blocks
    if not way.include_top:
        options["include_top"] = False
    shape = (SIZE, SIZE, way.channels)
    if name == "user's Rescaling":
        rescaling = keras.layers.Rescaling(1 / 127.5, offset=-1, name="users_rescaling")
        options["input_tensor"] = rescaling(keras.Input(shape))
    keras.utils.set_random_seed(5)
    model = net(shape, classes=CLASSES, **options)
    settle(model, way.scaling(way.images()))
    return model if way.wrap is None else way.wrap(model)


def settle(model, x):
    """Give the batch norms the statistics of `x`: else all images have nearly the same features."""
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(given(model, x), training=True)
    for norm in norms:
        norm.momentum = 0.99


@cache
def model_of(name):
    """Return the one model of a way that all tests share: to read, never to change."""
    return made(name)


@cache
def float32_of(name):
    """Return a model of the same weights that computes in float32."""
    return model_of(name) if WAYS[name].policy == "float32" else _made(name)


@cache
def answer_of(name):
    """Return what plain Keras puts out, in float32, for the way's images."""
    way = WAYS[name]
    return outputs(float32_of(name), way.scaling(way.images()))


def outputs(model, x):
    """Return what plain Keras puts out."""
    found = model(given(model, x), training=False)
    return np.asarray(keras.ops.convert_to_numpy(found), "float64")


def given(model, x):
    """Return `x` as Keras takes it: in a list, where an `input_tensor` was given."""
    in_list = not isinstance(model, keras.Sequential) and isinstance(model.input, list)
    return [x] if in_list else x


def error(reference, found):
    """Return the root mean square of the differences, over that of the reference's variation."""
    found = np.asarray(found, "float64")
    assert found.shape == reference.shape
    assert np.isfinite(found).all()
    assert reference.std(axis=0).max() > 0.01, "outputs that do not vary show nothing"
    return float(np.sqrt(np.square(found - reference).mean()) / reference.std(axis=0).max())
