"""Peak memory: against LiteRT's own arena, and against the definition."""

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from litert_arena import arena
from random_models import randomise

from keras_mobilenet import MobileNet, layer_costs, peak_memory
from keras_mobilenet.nets.costs.memory import weight_bytes
from keras_mobilenet.nets.families.v1 import BLOCKS, FULL_BLOCKS, Block

SLACK = 64 << 10  # bytes that a file's graph may take beside its weights
# The paper's first blocks, in which its nets take the most, and one more stride.
FIRST = (Block(64), Block(128, stride=2), Block(128), Block(256, stride=2))


@pytest.mark.parametrize(
    ("alpha", "size", "dtype", "arena"),
    # Read from ai-edge-litert's arena, as the test below does: slowly, for those of alpha 1.0.
    [(1.0, 224, "float32", 5_419_008), (1.0, 224, "int8", 1_354_752),
     (0.25, 100, "float32", 470_016)],
)  # fmt: skip
def test_peak_is_the_arena_that_litert_took(alpha, size, dtype, arena):
    assert peak_memory(layer_costs(alpha, size=size), dtype).bytes == arena


def converted(model, dtype, size):
    import tensorflow as tf

    def images():
        rng = np.random.default_rng(0)
        yield [rng.uniform(-1, 1, (1, size, size, 3)).astype("float32")]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if dtype == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = images
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@pytest.mark.filterwarnings("ignore")  # TensorFlow's converter has some of its own
@pytest.mark.parametrize(
    ("alpha", "size", "dtype", "padding", "blocks"),
    [
        (0.25, 128, "float32", "keras", FIRST),
        (0.25, 128, "int8", "keras", FIRST),
        (0.25, 64, "float32", "symmetric", FIRST),
        pytest.param(1.0, 224, "float32", "keras", BLOCKS, marks=pytest.mark.slow),
        pytest.param(1.0, 224, "int8", "keras", BLOCKS, marks=pytest.mark.slow),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else None,
)
def test_litert_takes_what_is_counted(alpha, size, dtype, padding, blocks, capfd):
    net = {"alpha": alpha, "padding": padding, "blocks": blocks}
    model = randomise(MobileNet((size, size, 3), weights=None, **net))
    content = converted(model, dtype, size)
    costs = layer_costs(size=size, **net)
    assert arena(content) == peak_memory(costs, dtype).bytes
    assert 0 <= len(content) - weight_bytes(costs, dtype) < SLACK
    capfd.readouterr()  # the converter prints


@pytest.mark.filterwarnings("ignore")
def test_float16_weights_take_what_is_counted(capfd):
    import tensorflow as tf

    model = randomise(MobileNet((64, 64, 3), 0.25, weights=None, blocks=FIRST))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    costs = layer_costs(0.25, size=64, blocks=FIRST)
    found = len(converter.convert()) - weight_bytes(costs, "float16")
    assert 0 <= found < SLACK
    capfd.readouterr()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_minimal_is_the_largest_input_and_output_of_a_convolution(dtype):
    costs = layer_costs(0.5, size=160)
    kernels = [cost for cost in costs if cost.kernel]
    sizes = [prod(cost.output_shape) for cost in (costs[0], *kernels)]
    pairs = [a + b for a, b in pairwise(sizes)]
    found = peak_memory(costs, dtype, runtime="minimal")
    assert found.bytes == max(pairs) * (4 if dtype == "float32" else 1)
    assert found.bytes == sum(found.live.values())
    assert found.layer == "conv_pw_1"


def test_padding_that_no_convolution_does_alike_is_a_step_of_its_own():
    keras, symmetric = (
        peak_memory(layer_costs(padding=padding), runtime="minimal")
        for padding in ("keras", "symmetric")
    )
    assert (keras.layer, symmetric.layer) == ("conv_pw_1", "conv_pad_2")
    assert symmetric.live["output"] == 114 * 114 * 64 * 4


def test_depthwise_in_place_takes_one_channel_more():
    costs = {cost.name: cost for cost in layer_costs()}
    alone = [costs["conv1_relu"], costs["conv_dw_1"]]  # its input, and it
    values = 112 * 112 * 32 * 4
    plain = peak_memory(alone, runtime="minimal")
    assert plain.live == {"input": values, "output": values}
    in_place = peak_memory(alone, runtime="minimal", in_place=True)
    assert in_place.live == {"input": values, "one channel": 112 * 112 * 4}
    strided = [costs["conv_pw_1_relu"], costs["conv_pad_2"], costs["conv_dw_2"]]
    assert "output" in peak_memory(strided, runtime="minimal", in_place=True).live


def test_full_convolutions_copy_their_windows_in_litert_only():
    costs = layer_costs(0.25, size=64, blocks=FULL_BLOCKS)
    assert "patches" in peak_memory(costs).live
    assert "patches" not in peak_memory(costs, runtime="minimal").live


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float16"}, "`dtype` must be one of float32, int8. Received: dtype='float16'"),
        (
            {"runtime": "tflm"},
            "must be one of litert, tflite-micro, minimal. Received: runtime='tflm'",
        ),
        ({"in_place": True}, "`in_place` must be False with runtime='litert'"),
        (
            {"in_place": True, "runtime": "tflite-micro"},
            "`in_place` must be False with runtime='tflite-micro'",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        peak_memory(layer_costs(), **arguments)
    with pytest.raises(ValueError, match="Received: nothing"):
        peak_memory(())
    with pytest.raises(ValueError, match="float32, float16, int8. Received: dtype='int4'"):
        weight_bytes(layer_costs(), "int4")
