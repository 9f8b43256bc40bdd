"""TFLite files of MobileNetV2 and V3: graphs with sums and weighed channels."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from test_tflite import changed, converted, refuse

from keras_mobilenet import MobileNetV2, MobileNetV3Small, inspect_weights, load_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.images.images import read_image
from keras_mobilenet.nets.families import v2

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning"),
]


def small_v3(**arguments):
    return MobileNetV3Small(
        (33, 33, 3), 0.5, classes=4, classifier_activation=None, **{"weights": None} | arguments
    )


@pytest.fixture(scope="module")
def v3(tmp_path_factory):
    """A V3 that weighs its channels, and the TFLite file that TensorFlow made of it."""
    model, random = small_v3(), np.random.default_rng(0)
    for variable in model.weights:
        if variable.name != "kernel":
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    path = tmp_path_factory.mktemp("tflite") / "v3.tflite"
    path.write_bytes(converted(model, 33, quantized=False))
    return model, path


def test_a_converted_v3_computes_what_the_model_did(v3):
    model, path = v3
    pixels = np.random.default_rng(1).uniform(0, 255, (2, 33, 33, 3)).astype("float32")
    found, wanted = (np.asarray(net(pixels)) for net in (small_v3(weights=path), model))
    assert abs(found - wanted).max() < 1e-4 * abs(wanted).max()
    inspection = inspect_weights(path)
    assert inspection.origin.net == "MobileNetV3Small"
    assert inspection.origin.alpha == 0.5
    assert "its graph scales pixels to -1 to 1 itself" in inspection.notes[1]


def test_a_file_of_another_net_is_named(v3):
    model = MobileNetV2((32, 32, 3), weights=None, alpha=0.35, padding="same")
    with pytest.raises(CheckpointError, match="weights of MobileNetV3Small, alpha=0.5, 4 classes"):
        load_weights(model, v3[1])


def operators(model, graph, name):
    from ai_edge_litert import schema_py_generated as schema

    code = getattr(schema.BuiltinOperator, name)
    numbers = [i for i, c in enumerate(model.operatorCodes) if c.builtinCode == code]
    return [o for o in graph.operators if o.opcodeIndex in numbers]


def a_sum_of_other_images(model, graph):
    first, second = operators(model, graph, "ADD")[1:3]
    second.inputs = [first.outputs[0], first.outputs[0]]


def a_sum_with_an_activation(model, graph):
    operators(model, graph, "ADD")[1].builtinOptions.fusedActivationFunction = 1


def a_gate_of_other_scale(model, graph):
    gate = next(o for o in operators(model, graph, "MUL")[1:] if len(o.inputs) == 2)
    constant = graph.tensors[gate.inputs[1]]
    model.buffers[constant.buffer].data = list(np.float32([0.2]).view("uint8"))


def a_gate_of_another_image(model, graph):
    weighed = operators(model, graph, "MUL")[2]
    weighed.inputs = [operators(model, graph, "MUL")[1].outputs[0]] * 2


def no_hard_swish(model, graph):
    from ai_edge_litert import schema_py_generated as schema

    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.HARD_SWISH:
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (a_sum_of_other_images, "takes another image than in MobileNetV3Small, so this is another"),
        (a_sum_with_an_activation, "is ADD, so this is another net"),
        (a_gate_of_other_scale, "squeeze_excite_conv_1 is followed by activation 3 .*hard_sigmoid"),
        (a_gate_of_another_image, "takes another image than in MobileNetV3Small"),
        (no_hard_swish, "conv is followed by activation 0 of TFLite's schema, not by hard_swish"),
    ],
)
def test_a_changed_file_is_refused(v3, tmp_path, change, match):
    refuse(changed(v3[1], tmp_path, change), match)


@pytest.mark.parametrize(
    "name", ["mobilenet_v2_1.0_224_quant.tflite", "tf2_mobilenet_v2_1.0_224_ptq.tflite"]
)
def test_quantised_v2_nets_tell_images_as_their_float_reference(shared_data, name):
    path = shared_data / "weights/v2" / name
    paths = sorted((shared_data / "images/imagenet_sample").iterdir())[1::5]
    pixels = np.stack([read_image(p, size=224, crop=0.875) for p in paths])
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    theirs = []
    for image in pixels:
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        theirs.append(interpreter.get_tensor(end["index"])[0, 1:].argmax())
    model = MobileNetV2((224, 224, 3), weights=path)
    ours = model.predict(pixels / 127.5 - 1, verbose=0, batch_size=25).argmax(axis=1)
    # Of all 200 images 0.985 agree, of either file, and as many but one in a hundred are right.
    assert (ours == theirs).mean() >= 0.93
    assert model.count_params() == 3_538_984 == v2.FAMILY.network().count_params()
