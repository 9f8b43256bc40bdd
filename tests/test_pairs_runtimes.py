"""Each way to make a model x Keras, ONNX Runtime and OpenVINO: compiled, exported, in int8."""

import keras
import pytest
from ways import (
    CONVERTED_SLOWLY,
    EXACT,
    WAYS,
    answer_of,
    check_engine,
    check_export,
    error,
    kinds_of_input,
    model_of,
    outputs,
    shared_steps,
)

from keras_mobilenet import Predictor
from keras_mobilenet.deploy.graphs.traced import folding
from keras_mobilenet.models.parts import leaves_of

pytestmark = pytest.mark.long

FILES = ("m.onnx", "m.xml", "m/")


@pytest.fixture(scope="module", params=CONVERTED_SLOWLY)
def name(request):
    """Each way in turn, all tests of one after another."""
    with shared_steps():
        yield request.param


@pytest.mark.parametrize("engine", ["keras", "onnxruntime", "openvino"])
def test_predictor_gives_keras_answer_to_pixels_and_to_inputs(name, engine):
    check_engine(name, engine)


@pytest.mark.parametrize("file", FILES)
def test_export_gives_keras_answer_to_pixels_and_to_inputs(name, file, tmp_path):
    for pixels in kinds_of_input(name, file):
        check_export(name, f"{tmp_path}/{file}", pixels=pixels)


@pytest.mark.filterwarnings("ignore::keras_mobilenet.errors.AgreementWarning")
def test_int8_says_how_far_it_agrees(name):
    way = WAYS[name]
    with Predictor(model_of(name), precision="int8", calibration=way.images()) as predictor:
        found = predictor.predict(way.images())
        agreement = (found.argmax(1) == answer_of(name).argmax(1)).mean()
        assert predictor.agreement == pytest.approx(agreement)
        assert error(answer_of(name), found) < 0.5  # these nets have no calibration to be robust by


def test_folded_model_gives_keras_answer(name):
    way = WAYS[name]
    folded = folding.fold_batch_norm(model_of(name))
    found = outputs(folded, way.scaling(way.images()))
    leaves = leaves_of(folded)
    assert not [x for x in leaves if isinstance(x, keras.layers.BatchNormalization)]
    assert {x.compute_dtype for x in leaves if "conv" in x.name} == {
        x.compute_dtype for x in leaves_of(model_of(name)) if "conv" in x.name
    }
    # The copy is of the model's own precision: half precision has 3 or 2 digits.
    rounding = {"mixed_float16": 0.02, "mixed_bfloat16": 0.1}.get(way.policy, EXACT)
    assert error(answer_of(name), found) < rounding
