"""Each way to make a model x each format, taking pixels or the model's inputs."""

import pytest
from litert_arena import arena
from ways import SIZE, WAYS, answer_of, error, model_of

from keras_mobilenet import Predictor, export, layer_costs, peak_memory

EXACT = 1e-4  # of the outputs' variation: rounding in float32
FORMATS = ("m.tflite", "m.onnx", "m.xml", "m/")


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("pixels", [False, True], ids=["inputs", "pixels"])
def test_export_gives_keras_answer_to_pixels_and_to_inputs(name, file, pixels, tmp_path):
    way = WAYS[name]
    path = f"{tmp_path}/{file}"
    report = export(model_of(name), path, include_preprocessing=pixels)
    assert report.difference.agreement == 1.0
    with Predictor(path) as predictor:
        assert error(answer_of(name), predictor.predict(way.images())) < EXACT
        floats = way.images().astype("float32") if pixels else way.scaling(way.images())
        assert error(answer_of(name), predictor.predict(floats)) < EXACT


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8", "full_int8"])
def test_quantized_export_is_near(name, quantize, tmp_path):
    way = WAYS[name]
    path = f"{tmp_path}/m.tflite"
    export(model_of(name), path, quantize=quantize, calibration=way.images())
    with Predictor(path) as predictor:
        found = error(answer_of(name), predictor.predict(way.images()))
    # Thirteen layers of random weights magnify what one of them rounds off.
    assert found < (0.1 if quantize == "float16" else 0.5)


@pytest.mark.parametrize("name", WAYS)
def test_peak_memory_is_what_the_export_takes(name, tmp_path):
    way = WAYS[name]
    options = {"blocks": way.blocks} if way.blocks else {}
    options |= {key: value for key, value in way.options.items() if key == "output_stride"}
    peak = peak_memory(layer_costs(0.25, size=SIZE, channels=way.channels, classes=5, **options))
    export(model_of(name), f"{tmp_path}/m.tflite", batch=1)
    taken = arena((tmp_path / "m.tflite").read_bytes())
    # A layer of the user's or a scaling before the net holds one more input at the most.
    more = SIZE * SIZE * way.channels * 4 if way.takes_pixels else 0
    if name == "1 channel":
        # A gap: LiteRT places the largest buffers first, where there is room from the start on:
        # the 16,384 bytes of block 1; over them the 9,216 of the first layer's patches, and behind
        # those its output of 8,192; then the depthwise output, which meets both, behind the latter.
        more += 9216 + 8192 - 16384
    assert peak.bytes <= taken <= peak.bytes + more
