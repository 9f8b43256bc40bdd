"""What the package computes under Keras' present backend: `backend_outputs.py FILE [DATA]`.

Writes a .npz of named outputs for fixed weights, inputs and images, for `test_backends.py` to
compare. DATA is the folder of real weights and images, where it is there.

Under another backend than TensorFlow, what export says there is among them, and the tests that hold
under each of them run: all in one process, as Keras takes long to import and JAX to compile.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from coloured_shapes import write_shapes
from random_models import randomise

import keras_mobilenet
from keras_mobilenet import (
    MobileNet,
    Predictor,
    export,
    finetune,
    fold_batch_norm,
    freeze,
    load_weights,
    save_weights,
)
from keras_mobilenet.deploy.comparison import difference
from keras_mobilenet.deploy.graphs.traced import conversion
from keras_mobilenet.deploy.opened import open_model
from keras_mobilenet.errors import BackendError
from keras_mobilenet.images.images import read_image
from keras_mobilenet.models import backends
from keras_mobilenet.models.frozen import batch_norms_of
from keras_mobilenet.models.model_files import load_model, save_model
from keras_mobilenet.nets.families import v2, v3
from keras_mobilenet.nets.families.v1 import Block

SIZE = 64
BLOCKS = [Block(64), Block(128, stride=2), Block(256, stride=2), Block(256)]
TESTS = ("test_train.py", "test_train_recipe.py", "test_freezing.py")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
X = keras_mobilenet.preprocess_input(PIXELS)
CLASSES = np.array([0, 2])


def build(**options):
    fixed = {
        "input_shape": (SIZE, SIZE, 3), "alpha": 0.25, "classes": 3, "weights": None,
        "blocks": BLOCKS, "initializer": "zeros",  # JAX compiles others for each shape
    }  # fmt: skip
    return MobileNet(**fixed | options)


def nets():
    """The builder's options, each with random weights."""
    no_top = {"include_top": False}
    yield "plain", randomise(build(classifier_activation=None)), X
    yield "symmetric", randomise(build(padding="symmetric", epsilon=1e-5, **no_top)), X
    yield "dense", randomise(build(output_stride=8, **no_top)), X
    yield "multiplied", randomise(build(depth_multiplier=2, pooling="max", **no_top)), X
    yield "pixels", randomise(build(include_preprocessing=True)), PIXELS.astype("float32")


def family(folder):
    """V2 and V3, some of their rows: built, folded, and loaded from a file."""
    rows = {
        "MobileNetV2": (v2.BLOCKS[0], v2.Block(24, stride=2), v2.Block(24)),
        "MobileNetV3Small": (v3.SMALL[0], v3.SMALL[3], v3.SMALL[4]),
    }
    for name, blocks in rows.items():
        make = partial(
            getattr(keras_mobilenet, name), (SIZE, SIZE, 3), blocks=blocks, classes=3,
            weights=None, initializer="zeros", include_preprocessing=True,
        )  # fmt: skip
        model, again = randomise(make()), make()
        x = PIXELS.astype("float32")
        yield name, model.predict_on_batch(x)
        yield f"folded {name}", fold_batch_norm(model).predict_on_batch(x)
        save_weights(model, folder / f"{name}.safetensors")
        load_weights(again, folder / f"{name}.safetensors")
        assert all(map(np.array_equal, again.get_weights(), model.get_weights())), name


def pyramid():
    model = randomise(build(include_top=False))
    for name, values in keras_mobilenet.features(model, strides=(4, 8)).predict_on_batch(X).items():
        yield f"features {name}", values


def channels_first(plain):
    """The same net in the other data format; TensorFlow cannot compute it on a processor."""
    keras.config.set_image_data_format("channels_first")
    try:
        model = build(input_shape=(3, SIZE, SIZE), classifier_activation=None)
    finally:
        keras.config.set_image_data_format("channels_last")
    model.set_weights(plain.get_weights())
    return model.predict_on_batch(X.transpose(0, 3, 1, 2))


def fitted(folder):
    """A frozen net after `trainable = True`, `fit`, its file and `fit` again."""
    base = randomise(build(input_shape=(32, 32, 3), blocks=BLOCKS[:2]))  # JAX compiles each step
    model = freeze(keras_mobilenet.replace_top(base, 3, dropout=0), until=None)
    randomise(model)
    before = statistics(model)
    model.trainable = False
    model.trainable = True
    fit(model)
    # Up to here; Keras itself imports it to write a configuration, as to save or to clone a model.
    if keras.backend.backend() != "tensorflow":
        assert "tensorflow" not in sys.modules, "TensorFlow was imported"
    save_model(model, folder / "model.keras")
    opened = load_model(folder / "model.keras")
    opened.trainable = False
    opened.trainable = True
    fit(opened)
    assert np.array_equal(statistics(opened), before), "a frozen batch norm moved"
    yield "fit kernel", opened.get_layer("conv_pw_2").get_weights()[0]
    yield "fit top", opened.get_layer("conv_preds").get_weights()[0]


def fit(model):
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    model.fit(X[:, ::2, ::2], CLASSES, epochs=2, batch_size=2, verbose=0)


def statistics(model):
    norms = [norm for layer in batch_norms_of(model) for norm in layer.get_weights()]
    return np.concatenate(norms)


def finetuned(folder):
    """The losses of two epochs of the last blocks, from the same weights and in the same order."""
    base = build(input_shape=(32, 32, 3), include_top=False)
    for weight in base.weights:  # as a new net has them, from numbers that no backend draws
        if "kernel" in weight.path:
            weight.assign(RNG.normal(size=weight.shape) * np.sqrt(2 / np.prod(weight.shape[:-1])))
    save_weights(base, folder / "base.safetensors")
    run = finetune(
        write_shapes(folder / "shapes", 8), weights=folder / "base.safetensors", alpha=0.25,
        blocks=BLOCKS, size=32, train_from="block_3", epochs=2, batch_size=7, learning_rate=1e-4,
        engine="litert", out=folder / "run",
    )  # fmt: skip
    rows = [row for row in run.history if row["stage"] == "tail"]
    assert 0.01 < rows[-1]["loss"] < 1.0, "it has learnt nothing"  # which is a loss of 1.1
    yield "finetune losses", np.array([[row["loss"], row["val_loss"]] for row in rows])
    yield "finetune outputs", run.probabilities


def exported(folder):
    """What a net's files and engines answer, which are made without a second process."""
    model = randomise(build(input_shape=(32, 32, 3)))
    x = np.ascontiguousarray(X[:, ::2, ::2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "in_tensorflow", refused)
        patch.setattr(conversion, "in_tensorflow", refused)
        patch.setattr(subprocess, "Popen", refused)  # which `subprocess.run` calls
        for end in ("tflite", "onnx", "xml"):
            export(model, folder / f"net.{end}")
            with Predictor(folder / f"net.{end}") as predictor:
                yield f"exported {end}", predictor.predict(x)
        for engine in ("litert", "onnxruntime", "openvino"):
            with Predictor(model, engine=engine) as predictor:
                yield f"compiled {engine}", predictor.predict(x)
    if keras.backend.backend() != "tensorflow":
        assert "tensorflow" not in sys.modules, "TensorFlow was imported"


def refused(*arguments, **_):
    raise AssertionError(f"a second process was to be started: {arguments}")


def real(data):
    """The published net of alpha 0.25 on four photographs."""
    model = MobileNet(alpha=0.25, weights=data / "weights/keras/mobilenet_2_5_224_tf.h5")
    paths = sorted((data / "images" / "imagenet_sample").iterdir())[::50][:4]
    x = keras_mobilenet.preprocess_input(np.stack([read_image(p, size=224) for p in paths]))
    yield "real", model.predict_on_batch(x)


def outputs(folder, data):
    models = {}
    for name, model, x in nets():
        models[name] = model
        yield name, model.predict_on_batch(x)
    plain = models["plain"]
    yield "cam", keras_mobilenet.cam(plain, PIXELS[0], class_=1).array
    yield from pyramid()
    for end in (".safetensors", ".weights.h5", ".h5"):
        save_weights(plain, folder / f"plain{end}")
        again = build(classifier_activation=None)
        load_weights(again, folder / f"plain{end}")
        assert all(map(np.array_equal, again.get_weights(), plain.get_weights())), end
    on_tensorflow = keras.backend.backend() == "tensorflow"
    yield "channels first", plain.predict_on_batch(X) if on_tensorflow else channels_first(plain)
    yield from exported(folder)
    yield from fitted(folder)
    yield from finetuned(folder)
    yield from family(folder)
    for name in ("plain", "multiplied"):
        yield f"folded {name}", fold_batch_norm(models[name]).predict_on_batch(X)
    if data is not None:
        yield from real(data)


class Own(keras.layers.Layer):
    """A layer that another process does not know."""

    def call(self, x):
        return keras.ops.mean(x, (1, 2))


def said(call, *arguments, **options):
    """Return what a call says that needs TensorFlow as the backend."""
    with pytest.raises(BackendError) as caught:
        call(*arguments, **options)
    return np.array(str(caught.value))


def borrowed(folder):
    """What is done in a process with TensorFlow, and what is not."""
    model = randomise(build(input_shape=(32, 32, 3), classifier_activation="selu"))
    assert open_model(model).graph is None  # no writer knows that activation
    export(model, folder / "other.tflite")
    with Predictor(folder / "other.tflite") as predictor:
        x = np.ascontiguousarray(X[:, ::2, ::2])
        found, expected = predictor.predict(x), model.predict_on_batch(x)
    assert difference(np.asarray(expected), found).relative_error < 1e-5
    yield "says keras engine", said(Predictor, model, engine="keras")
    inputs = keras.Input((32, 32, 3))
    own = keras.Model(inputs, Own()(inputs))
    (folder / "empty").mkdir()
    yield "says own layer", said(export, own, folder / "empty" / "net.tflite")
    assert not list((folder / "empty").iterdir())


def main(target, data=None):
    with tempfile.TemporaryDirectory() as temporary:
        found = dict(outputs(Path(temporary), data))
        found |= dict(borrowed(Path(temporary)))
    np.savez(target, **found)
    here = Path(__file__).parent
    os.environ.pop("PYTEST_XDIST_WORKER", None)  # of the process that started this one
    files = [str(file) for name in TESTS for file in here.rglob(name)]
    return pytest.main(["-n0", "-m", "backends", *files])


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
