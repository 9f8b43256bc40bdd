"""Nets within other models, of other precisions, with layers for training: all are deployed."""

import keras
import numpy as np
import pytest
from deploy_nets import random_images
from keras import layers

from keras_mobilenet import (
    MobileNet,
    Predictor,
    export,
    fold_batch_norm,
    preprocess_input,
    replace_top,
)
from keras_mobilenet.deploy.comparison import difference
from keras_mobilenet.deploy.engines.processor import instructions
from keras_mobilenet.deploy.graphs.traced.bias_correction import bias_corrected, to_int8
from keras_mobilenet.deploy.graphs.traced.copies import copied, in_float32
from keras_mobilenet.errors import PrecisionError
from keras_mobilenet.models.frozen import layers_within
from keras_mobilenet.nets.families import v1

BLOCKS = [v1.Block(32), v1.Block(48, stride=2), v1.Block(48)]
SHAPE = (32, 32, 3)
BFLOAT16 = {"avx512f", "amx_bf16", "bf16"}  # one of them computes in it
PIXELS = random_images(12)
X = preprocess_input(PIXELS)


@pytest.fixture(autouse=True)
def one_policy():
    yield
    keras.config.set_dtype_policy("float32")


def net(**options):
    return MobileNet(SHAPE, weights=None, blocks=BLOCKS, initializer="he_normal", **options)


def sequence(base):
    softmax = layers.Dense(5, activation="softmax")
    return keras.Sequential([keras.Input(SHAPE), base, layers.GlobalAveragePooling2D(), softmax])


def functional(base):
    x = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D()(base(x, training=False))
    return keras.Model(x, layers.Dense(5, activation="softmax")(pooled))


def twice_nested(base):
    return sequence(keras.Sequential([keras.Input(SHAPE), base]))


def pooled(features):
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(features))


def shared_convolution(_):
    x, convolution = keras.Input(SHAPE), layers.Conv2D(3, 3, padding="same")
    return keras.Model(x, pooled(convolution(convolution(x))))


def grouped_convolution(_):
    x = keras.Input(SHAPE)
    return keras.Model(x, pooled(layers.Conv2D(12, 3, groups=3)(x)))


MODELS = {
    "sequence": sequence,
    "functional": functional,
    "twice nested": twice_nested,
    "shared convolution": shared_convolution,
    "grouped convolution": grouped_convolution,
}


@pytest.fixture(scope="module")
def models():
    keras.utils.set_random_seed(0)
    base = net(include_top=False)
    return {name: build(base) for name, build in MODELS.items()}


def outputs(model, x=X):
    return np.asarray(model(x, training=False), np.float32)


@pytest.mark.parametrize("name", list(MODELS)[1:])
def test_int8_of_any_graph_computes_the_same(models, tmp_path, name):
    report = export(
        models[name], tmp_path / "m.tflite", quantize="int8", calibration=PIXELS,
        preprocessing="-1..1",
    )  # fmt: skip
    assert report.difference.rms_error < 0.1


# The first class of a net of random weights hangs on rounding.
@pytest.mark.filterwarnings("ignore::keras_mobilenet.errors.AgreementWarning")
@pytest.mark.parametrize(
    ("engine", "precision"), [("openvino", "int8"), ("openvino", "bfloat16"), ("litert", "int8")]
)
def test_nested_net_is_compiled_quantised(models, engine, precision):
    model = models["sequence"]
    options = {"engine": engine, "precision": precision, "calibration": PIXELS}
    if precision == "bfloat16" and not instructions() & BFLOAT16:
        with pytest.raises(PrecisionError):
            Predictor(model, **options)
        return
    with Predictor(model, **options) as predictor:
        assert difference(outputs(model), predictor.predict(PIXELS)).rms_error < 0.1


@pytest.mark.parametrize("name", MODELS)
def test_bias_correction_takes_the_mean_error_away(models, name):
    folded = fold_batch_norm(models[name])
    corrected = bias_corrected(folded, X, to_int8)
    before, after = rounded(folded), rounded(corrected)
    reference = outputs(models[name])

    def shift(model):
        return np.abs((outputs(model) - reference).mean(axis=0)).max()

    assert shift(after) < shift(before)


def rounded(model):
    """A copy whose kernels are as int8 holds them."""
    copy = copied(model)
    for layer in layers_within(copy):
        if type(layer) in (layers.Conv2D, layers.DepthwiseConv2D):
            layer.kernel.assign(to_int8(layer))
    return copy


POLICIES = ("bfloat16", "float64")  # mixed ones: test_pairs_*.py


def of_policy(policy):
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    return sequence(net(include_top=False))


@pytest.mark.parametrize("policy", POLICIES)
def test_model_of_another_precision_is_compiled_in_float32(policy, tmp_path):
    model = of_policy(policy)
    plain = in_float32(model)  # under the policy, which new layers must not take
    reference = outputs(plain)
    assert {w.dtype for w in plain.weights} == {"float32"}
    with Predictor(model, engine="litert") as predictor:
        found = predictor.predict(PIXELS)
    assert difference(reference, found).rms_error < 1e-5
    assert difference(outputs(model), found).rms_error < (0.05 if "float16" in policy else 1e-5)
    report = export(model, tmp_path / "m.tflite", include_preprocessing=True)
    assert report.difference.rms_error < 1e-5


def test_a_layer_of_half_precision_in_a_float32_model_counts():
    x = keras.Input(SHAPE)
    y = layers.Conv2D(4, 3, dtype="mixed_float16")(keras.ops.cast(x * 2, "float16"))
    model = keras.Model(x, pooled(layers.TimeDistributed(layers.Dense(4, dtype="float16"))(y)))
    plain = in_float32(model)
    assert {w.dtype for w in plain.weights} == {"float32"}
    assert {str(op.output.dtype) for op in plain.operations} == {"float32"}
    assert difference(outputs(model), outputs(plain)).rms_error < 1e-2
    assert in_float32(plain) is plain


@pytest.mark.parametrize(
    "layer", [layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomContrast(0.1)]
)
def test_augmentation_is_left_out(layer):
    model = keras.Sequential([keras.Input(SHAPE), layer, *sequence(net(include_top=False)).layers])
    folded = fold_batch_norm(model)
    assert type(layer) not in {type(x) for x in folded.layers}
    assert difference(outputs(model), outputs(folded)).rms_error < 1e-5


def test_net_behind_augmentation_becomes_onnx(tmp_path):
    model = keras.Sequential(
        [keras.Input(SHAPE), layers.RandomRotation(0.1), net(include_top=False, pooling="avg")]
    )
    assert export(model, tmp_path / "m.onnx").difference.rms_error < 1e-5


class Odd(layers.Layer):
    """Computes with operators that some formats have, or none of them."""

    def __init__(self, *functions, **options):
        super().__init__(**options)
        self.functions = functions

    def call(self, x):
        for function in self.functions:
            x = function(x)
        return x

    def get_config(self):
        return {"name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(log_gamma, through_complex, **config)


def log_gamma(x):
    import tensorflow as tf

    return tf.math.lgamma(tf.abs(x) + 1)


def through_complex(x):
    import tensorflow as tf

    return tf.math.real(tf.signal.fft2d(tf.cast(x, tf.complex64)))


@pytest.mark.parametrize(
    ("name", "kind", "operator"),
    [
        ("m.onnx", "ONNX", r"Lgamma \(in .*odd.*Lgamma\), .*FFT2D \(in .*"),
        ("m.tflite", "TFLite", r"FFT2D \(in .*odd.*FFT2D"),
        ("m.xml", "OpenVINO", "Lgamma"),
    ],
)
def test_an_operator_that_a_format_has_not_is_named(name, kind, operator, tmp_path, capsys):
    odd = Odd(log_gamma, through_complex, name="odd")
    model = keras.Sequential([keras.Input(SHAPE), odd, layers.Flatten(), layers.Dense(5)])
    with pytest.raises(ValueError, match=f"^{kind} has no operator for .*{operator}.*; or try "):
        export(model, tmp_path / name)
    assert not list(tmp_path.iterdir())
    assert "Lgamma" not in "".join(capsys.readouterr())


def plain_function(z):
    return keras.ops.softsign(z) / 2 + 0.5


@pytest.mark.parametrize("activation", [plain_function, lambda z: z * 2], ids=["plain", "lambda"])
def test_function_of_the_users_is_an_activation(tmp_path, activation):
    model = replace_top(net(include_top=False), 3, activation=activation)
    with Predictor(model, engine="litert") as predictor:
        assert difference(outputs(model), predictor.predict(X)).rms_error < 1e-5
    report = export(model, tmp_path / "m.tflite", quantize="int8", calibration=PIXELS)
    assert report.difference.rms_error < 0.1


def test_function_of_the_users_is_an_initializer():
    def small(shape, dtype=None):
        return keras.random.normal(shape, dtype=dtype) / 10

    model = MobileNet(SHAPE, weights=None, blocks=BLOCKS, initializer=small, classes=3)
    assert difference(outputs(model), outputs(fold_batch_norm(model))).rms_error < 1e-5
