"""Each way to make a model x each engine and precision: what plain Keras puts out."""

import pytest
from ways import WAYS, answer_of, error, model_of, outputs

from keras_mobilenet import Predictor, fold_batch_norm

EXACT = 1e-4  # of the outputs' variation: rounding in float32
ENGINES = ("keras", "litert", "onnxruntime", "openvino")


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("engine", ENGINES)
def test_predictor_gives_keras_answer_to_pixels_and_to_inputs(name, engine):
    way = WAYS[name]
    with Predictor(model_of(name), engine=engine) as predictor:
        for x in (way.images(), way.scaling(way.images())):
            assert error(answer_of(name), predictor.predict(x)) < EXACT


@pytest.mark.filterwarnings("ignore::keras_mobilenet.errors.AgreementWarning")
@pytest.mark.parametrize("name", WAYS)
def test_int8_says_how_far_it_agrees(name):
    way = WAYS[name]
    with Predictor(model_of(name), precision="int8", calibration=way.images()) as predictor:
        found = predictor.predict(way.images())
        agreement = (found.argmax(1) == answer_of(name).argmax(1)).mean()
        assert predictor.agreement == pytest.approx(agreement)
        assert error(answer_of(name), found) < 0.5  # these nets have no calibration to be robust by


@pytest.mark.parametrize("name", WAYS)
def test_folded_model_gives_keras_answer(name):
    way = WAYS[name]
    folded = fold_batch_norm(model_of(name))
    found = outputs(folded, way.scaling(way.images()))
    # The copy is of the model's own precision: half precision has 3 or 2 digits.
    rounding = {"mixed_float16": 0.02, "mixed_bfloat16": 0.1}.get(name, EXACT)
    assert error(answer_of(name), found) < rounding
