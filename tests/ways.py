"""The ways in which users make a model with a MobileNet, each small, with plain Keras' answer.

Each way is held against each room of the package: `test_pairs_*.py`. Building, folding and
converting a net costs nearly all the time of a cell, so that the rooms of a way share what does not
depend on them: `shared_steps`.
"""

import shutil
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from deploy_nets import (
    BLOCKS,
    CLASSIFIERS,
    SIZE,
    classifying,
    given,
    random_images,
    settle,
    unsettled,
)

import keras_mobilenet
from keras_mobilenet import Predictor, export, fold_batch_norm, replace_top
from keras_mobilenet.deploy.engines.choice import ENGINES, engine_module
from keras_mobilenet.deploy.graphs.traced import bias_correction, conversion, copies, folding
from keras_mobilenet.nets.families import v1, v2, v3, v4
from keras_mobilenet.nets.families.v1 import Block

CLASSES = 5
LABELS = ("ant", "bee", "cat", "dog", "eel")
DEEP = tuple(Block(n, stride=2) for n in (64, 128, 128, 256))  # to stride 32
MIXED = (Block(64, stride=2), Block(128, separable=False), Block(128, stride=2))
EXACT = 1e-4  # of the outputs' variation: rounding in float32
COUNT = 7  # images: an odd number, more than LiteRT runs one by one

# What rooms have in common: functions of a model, which return something or write a file.
RETURNING = (
    copies.in_float32,
    folding.without_batch_norms,
    bias_correction.bias_corrected,
    conversion.with_preprocessing,
    conversion.of_batch,
    conversion.to_tflite,
)
WRITING = (conversion.save_graph, conversion.save_frozen_graph, conversion.to_onnx)


@dataclass(frozen=True)
class Way:
    """One way to make a model, what it is made of, and what it takes."""

    blocks: tuple[Any, ...] = BLOCKS
    options: dict[str, Any] = field(default_factory=dict)  # of the builder
    channels: int = 3
    takes_pixels: bool = False  # 0 to 255: it scales them itself
    policy: str = "float32"
    wrap: Any = None  # from the net to the user's model
    include_top: bool = True
    size: int | None = SIZE  # that the model is built for
    net: str = "MobileNet"  # its builder
    freezes: tuple[str, str] = ("block_1", "conv_pw_1_relu")  # a part, and the last layer of it

    @property
    def scaling(self):
        """From pixels to what the model takes, as its own documentation says."""
        return (lambda x: x.astype("float32")) if self.takes_pixels else scaled

    def images(self):
        """Pixels, `uint8`, of the channels that the model takes."""
        return random_images(COUNT, channels=self.channels)


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
    dense.set_weights([classifying(random, w.shape) / 2 for w in dense.get_weights()])
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
    for variable in classifier_of(new).weights:
        variable.assign(classifying(random, variable.shape) / 2)
    return new


def classifier_of(model):
    return [x for x in model.layers if x.name.endswith((*CLASSIFIERS, "dense")) and x.weights][-1]


WAYS = {
    "flat": Way(),
    "flat, thirteen blocks": Way(blocks=v1.BLOCKS),
    "prefixed": Way(options={"name_prefix": "left_"}),
    "preprocessing inside": Way(options={"include_preprocessing": True}, takes_pixels=True),
    "user's Rescaling": Way(takes_pixels=True),  # `made` puts it before the net
    "in Sequential": Way(wrap=in_sequential, include_top=False),
    "in a functional model": Way(wrap=in_functional, include_top=False),
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
    "unknown size": Way(size=None),
}

# The family's other nets: each in some of the ways, so that each way meets a branch, a gate and a
# top of another kind. Their own rows are few, and have what a whole net's have.
V2_BLOCKS = (v2.BLOCKS[0], v2.Block(24, stride=2), v2.Block(24))
SMALL_BLOCKS = (v3.SMALL[0], v3.SMALL[3], v3.SMALL[4])
LARGE_BLOCKS = (v3.LARGE[0], v3.LARGE[1], v3.LARGE[10], v3.LARGE[11])
V2 = Way(blocks=V2_BLOCKS, net="MobileNetV2", freezes=("block_1", "block_1_project_BN"))
SMALL = Way(
    blocks=SMALL_BLOCKS, net="MobileNetV3Small", takes_pixels=True,
    freezes=("block_1", "expanded_conv_1_project_bn"),
)  # fmt: skip
LARGE = replace(SMALL, blocks=LARGE_BLOCKS, net="MobileNetV3Large")
MINIMALISTIC = {"minimalistic": True}
V4_BLOCKS = (
    v4.Block(24, 2, fused=True),
    v4.Block(24, expansion=2, start=5, kernel=3),
    v4.Block(24, start=3, kernel=0),
    v4.Block(40, expansion=None, kernel=1),
)
V4 = Way(
    blocks=V4_BLOCKS, net="MobileNetV4ConvSmall", freezes=("block_1", "universal_1_project_bn")
)
FAMILY = {
    "V2": V2,
    "V2, prefixed": replace(V2, options={"name_prefix": "left_"}),
    "V2, preprocessing inside": replace(
        V2, options={"include_preprocessing": True}, takes_pixels=True
    ),
    "V2, in Sequential": replace(V2, wrap=in_sequential, include_top=False),
    "V2, re-topped": replace(V2, wrap=retopped),
    "V2, saved and opened": replace(V2, wrap=saved_and_opened),
    "V2, mixed_float16": replace(V2, policy="mixed_float16"),
    "V3 Small": SMALL,
    "V3 Small, takes -1 to 1": replace(
        SMALL, options={"include_preprocessing": False}, takes_pixels=False
    ),
    "V3 Small, folded": replace(
        SMALL, wrap=fold_batch_norm, freezes=("block_1", "expanded_conv_1_project")
    ),
    "V3 Small, re-topped": replace(SMALL, wrap=retopped),
    "V3 Small, in a functional model": replace(SMALL, wrap=in_functional, include_top=False),
    "V3 Small, saved and opened": replace(SMALL, wrap=saved_and_opened),
    "V3 Large, unknown size": replace(LARGE, size=None),
    "V3 Large, minimalistic, cloned": replace(LARGE, options=MINIMALISTIC, wrap=cloned),
    "V4": V4,
    "V4, prefixed, preprocessing inside": replace(
        V4, options={"name_prefix": "left_", "include_preprocessing": True}, takes_pixels=True
    ),
    "V4, folded": replace(V4, wrap=fold_batch_norm, freezes=("block_1", "universal_1_project")),
    "V4, re-topped, saved and opened": replace(V4, wrap=lambda x: saved_and_opened(retopped(x))),
}
WAYS |= FAMILY

# Those whose graph of operators is another; that of a cloned net, say, is the flat one's.
OTHER_GRAPHS = (
    "flat", "preprocessing inside", "user's Rescaling", "in Sequential", "1 channel",
    "output stride 16", "own blocks", "sigmoid top", "unknown size", "V2", "V3 Small",
    "V3 Large, minimalistic, cloned", "V4",
)  # fmt: skip

# Blocks are converted one by one, and all thirteen by the tests with published weights.
CONVERTED = [name for name in WAYS if name != "flat, thirteen blocks"]
# Of the family's other nets, in the formats that take seconds each, those whose graphs differ: how
# a user came to one is the same story for every net.
SAME_GRAPHS = (
    "V2, prefixed", "V2, in Sequential", "V2, re-topped", "V2, saved and opened",
    "V3 Small, takes -1 to 1", "V3 Small, folded", "V3 Small, re-topped",
    "V3 Small, saved and opened", "V4, prefixed, preprocessing inside", "V4, folded",
    "V4, re-topped, saved and opened",
)  # fmt: skip
CONVERTED_SLOWLY = [name for name in CONVERTED if name not in SAME_GRAPHS]


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
    options = {"blocks": way.blocks, **way.options}
    if not way.include_top:
        options["include_top"] = False
    shape = (way.size, way.size, way.channels)
    if name == "user's Rescaling":
        rescaling = keras.layers.Rescaling(1 / 127.5, offset=-1, name="users_rescaling")
        options["input_tensor"] = rescaling(keras.Input(shape))
    keras.utils.set_random_seed(5)
    build = getattr(keras_mobilenet, way.net)
    model = unsettled(shape, classes=CLASSES, build=build, **options)
    settle(model, way.scaling(way.images()))
    return model if way.wrap is None else way.wrap(model)


@contextmanager
def shared_steps():
    """Let a step that two rooms have in common run once: it depends on its arguments alone.

    The first call with a model runs; a later one with the same model and samples, from wherever in
    the package, gets what that returned or wrote. So each room still goes its own way from the
    user's model to the outputs.
    """
    for engine in ENGINES:
        engine_module(engine)  # so that it is among the modules that have the steps
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        for step in RETURNING:
            share(stack, step, returned_once(step))
        for step in WRITING:
            share(stack, step, written_once(step, folder))
        yield


def share(stack, step, shared):
    """Put `shared` in a function's place, and it back: in modules imported meanwhile too."""
    assert replace_everywhere(step, shared)
    stack.callback(replace_everywhere, shared, step)


def replace_everywhere(old, new):
    """Return the package's modules that had `old` under its name, and now have `new`."""
    name = old.__name__
    modules = [x for key, x in sys.modules.items() if key.startswith("keras_mobilenet.")]
    places = [x for x in modules if vars(x).get(name) is old]
    for module in places:
        setattr(module, name, new)
    return places


def returned_once(step):
    known = {}

    @wraps(step)
    def shared(*args, **options):
        key = tuple(map(hashable, keras.tree.flatten((args, options))))
        if key not in known:
            known[key] = step(*args, **options)
        return known[key]

    return shared


def hashable(x):
    return (x.shape, x.tobytes()) if isinstance(x, np.ndarray) else x


def written_once(step, folder):
    known = {}

    @wraps(step)
    def shared(model, path):
        if model not in known:
            known[model] = folder / str(len(known)) / f"{step.__name__}{Path(path).suffix}"
            known[model].parent.mkdir(exist_ok=True)
            step(model, known[model])
        if known[model].is_dir():
            shutil.copytree(known[model], path, dirs_exist_ok=True)
        else:
            shutil.copyfile(known[model], path)

    return shared


@lru_cache(maxsize=1)
def model_of(name):
    """Return the one model of a way that all tests share: to read, never to change."""
    return made(name)


@lru_cache(maxsize=1)
def spare_of(name):
    """Return another model of a way, to change: a test leaves it with the weights that it had."""
    return made(name)


@lru_cache(maxsize=1)
def float32_of(name):
    """Return a model of the same weights that computes in float32."""
    return model_of(name) if WAYS[name].policy == "float32" else _made(name)


@lru_cache(maxsize=1)
def answer_of(name):
    """Return what plain Keras puts out, in float32, for the way's images."""
    way = WAYS[name]
    return outputs(float32_of(name), way.scaling(way.images()))


def outputs(model, x):
    """Return what plain Keras puts out."""
    found = model(given(model, x), training=False)
    return np.asarray(keras.ops.convert_to_numpy(found), "float64")


def error(reference, found):
    """Return the root mean square of the differences, over that of the reference's variation."""
    found = np.asarray(found, "float64")
    assert found.shape == reference.shape
    assert np.isfinite(found).all()
    assert reference.std(axis=0).max() > 0.01, "outputs that do not vary show nothing"
    return float(np.sqrt(np.square(found - reference).mean()) / reference.std(axis=0).max())


def check_engine(name, engine):
    """Assert that a compiled model gives Keras' answer to pixels and to the model's inputs."""
    way = WAYS[name]
    with Predictor(model_of(name), engine=engine) as predictor:
        for x in (way.images(), way.scaling(way.images())):
            assert error(answer_of(name), predictor.predict(x)) < EXACT


def kinds_of_input(name, file):
    """Return whether a file of a way takes pixels: both, or one where the graph is the flat one's.

    Each way, each kind of file and each kind of input meet in pairs all the same.
    """
    if name in OTHER_GRAPHS:
        return (False, True)
    files = ("m.tflite", "m.onnx", "m.xml", "m/")
    return ((list(WAYS).index(name) + files.index(file)) % 2 == 1,)


def check_export(name, path, *, pixels):
    """Assert that an exported file gives Keras' answer to pixels and to what it takes."""
    way = WAYS[name]
    report = export(model_of(name), path, include_preprocessing=pixels)
    assert report.difference.top1_agreement == 1.0
    with Predictor(path) as predictor:
        assert error(answer_of(name), predictor.predict(way.images())) < EXACT
        floats = way.images().astype("float32") if pixels else way.scaling(way.images())
        assert error(answer_of(name), predictor.predict(floats)) < EXACT
