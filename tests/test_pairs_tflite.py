"""Each way to make a model x LiteRT: compiled, exported, quantized, and in how much memory."""

import pytest
from litert_arena import arena
from ways import (
    CONVERTED,
    OTHER_GRAPHS,
    SIZE,
    WAYS,
    answer_of,
    check_engine,
    check_export,
    error,
    kinds_of_input,
    model_of,
    shared_steps,
)

from keras_mobilenet import Predictor, export, layer_costs, peak_memory

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=CONVERTED)
def name(request):
    """Each way in turn, all tests of one after another."""
    with shared_steps():
        yield request.param


def test_predictor_gives_keras_answer_to_pixels_and_to_inputs(name):
    check_engine(name, "litert")


def test_export_gives_keras_answer_to_pixels_and_to_inputs(name, tmp_path):
    for pixels in kinds_of_input(name, "m.tflite"):
        check_export(name, f"{tmp_path}/m.tflite", pixels=pixels)


def test_quantized_export_is_near(name, tmp_path):
    kinds = ("float16", "int8")
    for quantize in kinds if name in OTHER_GRAPHS else kinds[CONVERTED.index(name) % 2 :][:1]:
        check_quantized(name, quantize, tmp_path)


@pytest.mark.parametrize("name", OTHER_GRAPHS, indirect=True)
@pytest.mark.parametrize("quantize", ["dynamic", "full_int8"])
def test_other_kinds_of_int8_are_near(name, quantize, tmp_path):
    """Made of the graph that int8 is made of, with other settings of TensorFlow's converter."""
    check_quantized(name, quantize, tmp_path)


def check_quantized(name, quantize, tmp_path):
    way = WAYS[name]
    path = f"{tmp_path}/m.tflite"
    export(model_of(name), path, quantize=quantize, calibration=way.images())
    with Predictor(path) as predictor:
        found = error(answer_of(name), predictor.predict(way.images()))
    assert found < (0.1 if quantize == "float16" else 0.5)


def test_peak_memory_is_what_the_export_takes(name, tmp_path):
    way = WAYS[name]
    counted = ("output_stride", "minimalistic")
    options = {key: value for key, value in way.options.items() if key in counted}
    options |= {"size": SIZE, "channels": way.channels, "blocks": way.blocks, "net": way.net}
    peak = peak_memory(layer_costs(0.25, classes=5, **options))
    export(model_of(name), f"{tmp_path}/m.tflite", batch=1)
    taken = arena((tmp_path / "m.tflite").read_bytes(), (1, SIZE, SIZE, way.channels))
    # A layer of the user's or a scaling before the net holds one more input at the most.
    more = SIZE * SIZE * way.channels * 4 if way.takes_pixels else 0
    if name == "1 channel":
        # A gap: LiteRT places the largest buffers first, where there is room from the start on:
        # the 16,384 bytes of block 1; over them the 9,216 of the first layer's patches, and behind
        # those its output of 8,192; then the depthwise output, which meets both, behind the latter.
        more += 9216 + 8192 - 16384
    assert peak.bytes <= taken <= peak.bytes + more
