"""TFLite files: the published quantised ones, and ones that TensorFlow converts here."""

from contextlib import suppress

import numpy as np
import pytest
from conftest import SMALL, SOON, at_most

from keras_mobilenet import MobileNet, load_weights, preprocess_input
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.registry import open_checkpoint
from keras_mobilenet.images.images import read_image

CLASSES = 7
NETS = {  # how a net pads, its size, and whether it is quantised
    "keras": ("keras", 65, False),
    "symmetric": ("symmetric", 64, False),
    "int8": ("keras", 64, True),
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),
]


def images(size, count=4):
    return np.random.default_rng(1).uniform(-1, 1, (count, size, size, 3)).astype("float32")


def net(padding, size, path):
    """A net whose signal reaches the top, and its weights in a file."""
    model = MobileNet((size, size, 3), alpha=0.25, weights=None, padding=padding, classes=CLASSES,
                      classifier_activation=None)  # fmt: skip
    random = np.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.weights:
            value = np.array(variable)
            if "conv" in layer.name and value.ndim == 4:
                fan_in = 9 if "dw" in layer.name else np.prod(value.shape[:3])
                value = random.standard_normal(value.shape) * np.sqrt(2 / fan_in)
            elif variable.name in ("gamma", "moving_variance"):
                value = random.uniform(0.8, 1.2, value.shape)
            elif variable.name in ("beta", "moving_mean", "bias"):
                value = random.uniform(-0.2, 0.2, value.shape)
            variable.assign(value)
    return model


def converted(model, size, quantized):
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([p[None]] for p in images(size, 8))
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@pytest.fixture(scope="module", params=NETS)
def made(request, tmp_path_factory):
    """A Keras model, and the TFLite file that TensorFlow's converter made of it."""
    padding, size, quantized = NETS[request.param]
    path = tmp_path_factory.mktemp("tflite") / "x.tflite"
    model = net(padding, size, path)
    path.write_bytes(converted(model, size, quantized))
    return request.param, model, path


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    path = tmp_path_factory.mktemp("tflite") / "x.tflite"
    path.write_bytes(converted(net("keras", 32, path), 32, quantized=True))
    return path


@pytest.fixture(scope="module")
def target():
    return MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=CLASSES)


def refuse(path, match, max_bytes=1 << 30):
    with at_most(SOON, SMALL), pytest.raises(CheckpointError, match=match):
        read_all(path, max_bytes)


def read_all(path, max_bytes=1 << 30):
    with open_checkpoint(path, max_bytes) as checkpoint:
        for array in checkpoint.arrays.values():
            np.asarray(array)


def test_a_converted_net_computes_what_the_model_did(made):
    kind, model, path = made
    padding, size, quantized = NETS[kind]
    ours = MobileNet((size, size, 3), alpha=0.25, weights=path, classes=CLASSES,
                     classifier_activation=None)  # fmt: skip
    found, wanted = np.asarray(ours(images(size))), np.asarray(model(images(size)))
    # The converter folds in float32: 4e-6 is found. Kernels of 8 bits: 2e-2.
    tolerance = 0.05 if quantized else 1e-4
    assert abs(found - wanted).max() < tolerance * abs(wanted).max()
    with open_checkpoint(path) as checkpoint:
        # At even lengths the converter turns Keras' padding into SAME, which is the same there.
        assert checkpoint.conventions.padding == ("same" if quantized else padding)
        assert not checkpoint.background
        expected = "dequantised from int8 per channel: a float reference" if quantized else "its"
        assert checkpoint.notes[0].startswith(expected)


def test_the_batch_norms_made_up_add_the_bias_and_nothing_else(int8, target):
    load_weights(target, int8)
    norm = target.get_layer("conv_pw_6_bn")
    x = np.random.default_rng(0).standard_normal((1, 4, 4, norm.gamma.shape[0])).astype("float32")
    wanted = x + np.asarray(norm.beta)
    # TensorFlow takes the root of 1 to within a unit of float32's last place.
    np.testing.assert_allclose(np.asarray(norm(x)), wanted, rtol=0, atol=5e-7)
    variance = np.asarray(norm.moving_variance)
    assert (np.sqrt(variance + np.float32(norm.epsilon)) == 1).all()


@pytest.mark.parametrize(
    ("alpha", "size", "share"), [(0.75, 192, 0.95), (0.5, 160, 0.93), (0.25, 128, 0.88)]
)
def test_published_quantised_nets_tell_images_as_their_float_reference(
    shared_data, alpha, size, share
):
    import tensorflow as tf

    path = shared_data / f"weights/tflite/mobilenet_v1_{alpha}_{size}_quant.tflite"
    paths = sorted((shared_data / "images/imagenet_sample").iterdir())
    pixels = np.stack([read_image(p, size=size, crop=0.875) for p in paths])

    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    theirs = []
    for image in pixels:
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        theirs.append(interpreter.get_tensor(end["index"])[0, 1:].argmax())

    model = MobileNet((size, size, 3), alpha=alpha, weights=path)
    scores = model.predict(preprocess_input(pixels.astype("float32")), verbose=0, batch_size=25)
    ours, truth = scores.argmax(axis=1), 5 * np.arange(len(paths))
    # Found: 0.955, 0.965, 0.93. The interpreter's scores have 256 steps: ties make half of it.
    assert (ours == theirs).mean() >= share
    assert (ours == truth).mean() == pytest.approx((np.array(theirs) == truth).mean(), abs=0.02)


def changed(path, folder, change):
    """Write a copy of a TFLite file with something changed in the schema's own objects."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    for operator in model.subgraphs[0].operators:
        operator.inputs = list(operator.inputs)  # read-only arrays else
    change(model, model.subgraphs[0])
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    (folder / "changed.tflite").write_bytes(builder.Output())
    return folder / "changed.tflite"


def kernel(graph, number=1):
    """The kernel of a convolution, by its operator's number."""
    operators = [o for o in graph.operators if len(o.inputs) == 3]
    return graph.tensors[operators[number].inputs[1]]


def no_change(model, graph):
    pass


def huge_shape(model, graph):
    kernel(graph).shape = [1, 1 << 20, 1 << 20, 8]


def negative_shape(model, graph):
    kernel(graph).shape = [1, -3, -3, 8]


def wrong_number_of_scales(model, graph):
    kernel(graph).quantization.scale = kernel(graph).quantization.scale[:5]


def scale_of_nan(model, graph):
    kernel(graph).quantization.scale = [np.nan] * 8


def no_scale(model, graph):
    kernel(graph).quantization = None


def axis_out_of_range(model, graph):
    kernel(graph).quantization.quantizedDimension = 9


def no_buffer(model, graph):
    kernel(graph).buffer = 100_000


def without_a_block(model, graph):
    start = next(i for i, o in enumerate(graph.operators) if len(o.inputs) == 3)
    first, last = graph.operators[start + 9], graph.operators[start + 10]
    following = graph.operators[start + 11]
    following.inputs[0] = first.inputs[0]
    graph.operators = [o for o in graph.operators if o not in (first, last)]


def other_activation(model, graph):
    for operator in graph.operators:
        if len(operator.inputs) == 3:
            operator.builtinOptions.fusedActivationFunction = 4  # TANH


def other_stride(model, graph):
    operator = next(o for o in graph.operators if len(o.inputs) == 3)
    operator.builtinOptions.strideW = operator.builtinOptions.strideH = 1


def two_subgraphs(model, graph):
    model.subgraphs = [graph, graph]


def skip_connection(model, graph):
    graph.operators[5].inputs[0] = graph.operators[3].outputs[0]


def short_bias(model, graph):
    operator = next(o for o in graph.operators if len(o.inputs) == 3)
    operator.inputs[2] = graph.operators[1].inputs[1]


def test_an_unchanged_copy_is_read(int8, tmp_path, target):
    load_weights(target, changed(int8, tmp_path, no_change))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (huge_shape, "declares the shape"),
        (negative_shape, "declares the shape"),
        (wrong_number_of_scales, "conv_dw_1 has 5 scales"),
        (scale_of_nan, "conv_dw_1 has a scale that is not a positive number"),
        (no_scale, "conv_dw_1 holds INT8 without a scale"),
        (axis_out_of_range, "zero points for the axis 9"),
        (no_buffer, "truncated or damaged"),
        (without_a_block, "so this is another net"),
        (other_activation, "not by MobileNet's ReLU6"),
        (other_stride, "Conv2D with a stride of 1, where MobileNet V1 has"),
        (two_subgraphs, "2 subgraphs"),
        (skip_connection, "so this is another net"),
        (short_bias, "conv1 has 8 filters and bias"),
    ],
)
def test_a_changed_file_is_refused(int8, tmp_path, change, match):
    refuse(changed(int8, tmp_path, change), match)


def test_another_net_is_refused(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3),
                              keras.layers.GlobalAveragePooling2D()])  # fmt: skip
    path = tmp_path / "x.tflite"
    path.write_bytes(converted(model, 8, quantized=False))
    refuse(path, "so this is another net")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.95, 1.0])  # the last takes one byte away
def test_truncated_files_are_refused(int8, tmp_path, share):
    content = int8.read_bytes()
    path = tmp_path / "x.tflite"
    path.write_bytes(content[: int(len(content) * share) - 1])
    with suppress(CheckpointError):  # the last byte may be a zero that nothing needs
        read_all(path)
        assert share == 1.0


def test_flipped_bytes_end_in_a_refusal_or_in_floats(int8, tmp_path):
    content, random = int8.read_bytes(), np.random.default_rng(0)
    path = tmp_path / "x.tflite"
    with at_most(10 * SOON, 4 * SMALL):
        for _ in range(60):
            broken = bytearray(content)
            for place in random.integers(0, len(content), 300):
                broken[place] = random.integers(256)
            broken[4:8] = b"TFL3"
            path.write_bytes(broken)
            with suppress(CheckpointError):
                read_all(path)


def test_a_file_far_larger_than_the_model_is_refused(int8):
    refuse(int8, "far more than the model needs", max_bytes=1000)
