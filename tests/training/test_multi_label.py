"""Images of several classes, or of none: each class is told by itself."""

import json
import warnings

import keras
import numpy as np
import pytest
from coloured_shapes import COLOURS, NET, write_weights

from keras_mobilenet import Predictor, cam, finetune
from keras_mobilenet.evaluation.multi_label_metrics import evaluate_multi_label
from keras_mobilenet.evaluation.report.mistakes import find_wrong_answers
from keras_mobilenet.models.model_files import info_of, load_model
from keras_mobilenet.training.data.sources import read_source
from keras_mobilenet.training.finetune.settings import positive_weights
from keras_mobilenet.training.finetune.top import Problem, scores, solve
from keras_mobilenet.training.finetune.with_keras.steps import Objective

NAMES = tuple(COLOURS)
X = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3)).astype("uint8")
ONE_HOT = np.eye(3, dtype="int64")[np.arange(12) % 3]
ROWS = np.concatenate([ONE_HOT[:10], [[1, 1, 0], [0, 0, 0]]])


def coloured(count, seed):
    """Return images in which each colour may be, and which ones are."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 90, (count, 44, 40, 3)).astype(np.uint8)
    y = rng.random((count, 3)) < 0.5
    for pixels, row in zip(x, y, strict=True):
        for place in np.flatnonzero(row):
            left = rng.integers(0, 15)
            pixels[14 * place : 14 * place + 14, left : left + 25] = COLOURS[NAMES[place]]
    return x, y


# Reading


def source_of(y, **options):
    return read_source((X, y), **{"validation": None, "seed": 0, **options})


def classes_of(source):
    found = {image.pixels.tobytes(): image.classes for image in source.train}
    return [found[x.tobytes()] for x in X]


def test_rows_of_several_classes_or_none_are_multi_label():
    expected = [*((i % 3,) for i in range(10)), (0, 1), ()]
    for y in (ROWS, ROWS.astype(bool), ROWS.astype("float32"), ROWS.tolist()):
        source = source_of(y)
        assert source.multi_label
        assert classes_of(source) == expected


def test_one_hot_rows_are_single_classes_unless_asked():
    assert not source_of(ONE_HOT).multi_label
    assert source_of(ONE_HOT, multi_label=True).multi_label
    held = source_of(ROWS, validation=(X[:2], ONE_HOT[:2]))
    assert [image.classes for image in held.validation] == [(0,), (1,)]


def test_lists_of_names_are_multi_label():
    y = [["red"], ["blue", "red"], *[["green"]] * 9, []]
    source = source_of(y)
    assert source.labels == NAMES
    assert classes_of(source) == [(2,), (0, 2), *[(1,)] * 9, ()]


@pytest.mark.parametrize(
    ("y", "options", "match"),
    [
        (ROWS, {"multi_label": False}, "must be of one class.*2 rows of no class or of several"),
        (ONE_HOT, {"validation": (X[:3], ROWS[-3:])}, "Each image of `validation` must be of one"),
        (np.arange(12) % 3, {"multi_label": True}, "must be rows with a 0 or 1"),
    ],
)
def test_what_does_not_go_with_one_class_an_image_is_refused(y, options, match):
    with pytest.raises(ValueError, match=match):
        source_of(y, **options)


def test_files_are_of_one_class(tmp_path):
    with pytest.raises(ValueError, match="give each image one class"):
        read_source(tmp_path, validation=None, seed=0, multi_label=True)


def test_a_split_has_rare_classes_on_both_sides():
    x = np.random.default_rng(1).integers(0, 256, (100, 4, 4, 3)).astype("uint8")
    y = np.ones((100, 3), int)
    y[10:, 0] = y[50:, 1] = 0
    source = read_source((x, y), validation=0.2, seed=0)
    counts = [sum(i in p.classes for p in source.validation) for i in range(3)]
    assert counts == [2, 10, 20]


# The solver and the losses


def test_the_solver_finds_each_class_by_itself():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4))
    y = (x[:, :2] + rng.normal(size=(80, 2)) > 0).astype(float)

    def optimum(targets):
        problem = Problem(x, targets, np.ones(80), 0.03, multi_label=True)
        *_, step = solve(problem, 200)
        return step

    both = optimum(y)
    for i in range(2):
        alone = optimum(y[:, i : i + 1])
        assert np.allclose(both.kernel[:, i], alone.kernel[:, 0], atol=2e-3)
    # At the optimum the gradient is zero: of the bias, the mean error.
    errors = 1 / (1 + np.exp(-(x @ both.kernel + both.bias))) - y
    assert np.abs(errors.mean(axis=0)).max() < 1e-3


def test_losses_are_those_of_keras():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(9, 3)).astype("float32") * 3
    truth = (rng.random((9, 3)) < 0.4).astype("float32")
    keras_loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1)
    expected = float(keras_loss(truth, logits))
    ours = Objective(0.1, (1.0, 1.0, 1.0)).loss()
    assert float(ours(truth, logits)) == pytest.approx(expected, rel=1e-5)
    found = scores(logits, truth, 0.1)
    assert found.loss == pytest.approx(expected, rel=1e-5)
    assert found.accuracy == ((logits > 0) == (truth > 0)).all(axis=1).mean()
    doubled = Objective(0.0, (2.0, 2.0, 2.0)).loss(None)(truth, logits)
    halves = Objective(0.0, (1.0, 1.0, 1.0)).loss(None)(truth, logits)
    extra = np.logaddexp(0, -logits) * truth
    assert np.allclose(np.asarray(doubled), np.asarray(halves) + extra.mean(axis=1), atol=1e-5)


def test_balanced_classes_count_as_much_as_what_is_none_of_them():
    assert positive_weights("balanced", NAMES, ROWS) == pytest.approx((7 / 5, 8 / 4, 9 / 3))
    assert positive_weights({"red": 3}, NAMES, ROWS) == (1, 1, 3)


# Metrics


def test_metrics_are_as_computed_by_hand():
    true = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]
    rows = [[0.9, 0.2, 0.1], [0.8, 0.4, 0.1], [0.6, 0.7, 0.1], [0.1, 0.5, 0.1]]
    found = evaluate_multi_label(("a", "b", "c"), true, rows)
    assert (found.count, found.correct, found.accuracy) == (4, 1, 0.25)
    a, b, c = found.classes
    assert (a.precision, a.recall, a.f1, a.average_precision) == (2 / 3, 1, 0.8, 1)
    assert (b.precision, b.recall, b.f1) == (0.5, 0.5, 0.5)
    assert b.average_precision == pytest.approx((1 + 2 / 3) / 2)  # ranked 0.7, not 0.5, 0.4
    assert (c.precision, c.recall, c.f1, c.average_precision) == (None, None, None, None)
    assert (found.precision, found.recall, found.micro_f1) == (3 / 5, 3 / 4, 6 / 9)
    assert found.macro_f1 == pytest.approx(0.65)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(seed)
    true = rng.random((60, 5)) < [0.5, 0.3, 0.1, 0.7, 0.05]
    rows = np.round(np.clip(true * 0.3 + rng.random((60, 5)) * 0.7, 0, 1), 1)  # with ties
    true[0] = True
    found = evaluate_multi_label("abcde", true, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found.accuracy == pytest.approx(sklearn.accuracy_score(true, rows >= 0.5))
        for average, value in (("micro", found.micro_f1), ("macro", found.macro_f1)):
            expected = sklearn.f1_score(true, rows >= 0.5, average=average)
            assert value == pytest.approx(expected)
        expected = sklearn.average_precision_score(true, rows, average=None)
    assert [c.average_precision for c in found.classes] == pytest.approx(list(expected))


def test_what_are_no_multi_label_answers_is_refused():
    for true, rows in [([[2, 0]], [[0, 1]]), ([[1, 0]], [[0, 1.5]]), ([1, 0], [[0, 1]]), ([], [])]:
        with pytest.raises(ValueError, match="Received"):
            evaluate_multi_label("ab", true, rows)


def test_the_surest_wrong_answers_come_first():
    probabilities = np.array([[0.9, 0.4], [0.2, 0.99]])
    found, count = find_wrong_answers([(None, (0, 1)), ("x/a.png", ())], probabilities)
    assert count == len(found) == 2
    assert (found[0].name, found[0].class_index, found[0].is_of_it) == ("x/a.png", 1, False)
    assert (found[1].name, found[1].class_index, found[1].is_of_it) == ("example 0", 1, True)


# Training


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "net.weights.h5")


@pytest.fixture(scope="module")
def trained(weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    run = finetune(
        coloured(60, 0), validation=coloured(30, 1), labels=NAMES, weights=weights, out=out,
        train_from="block_5", epochs=1, views=1, learning_rate=1e-4, class_weight="balanced",
        **NET,
    )  # fmt: skip
    return run, out


@pytest.mark.builds
def test_several_classes_of_an_image_are_learnt(trained):
    run, out = trained
    told = json.loads((out / "metrics.json").read_text())
    assert told["multi_label"] is told["settings"]["multi_label"] is True
    assert told["macro_f1"] > 0.7  # of a net that knows nothing; all at once 0.67
    assert told["mean_average_precision"] > 0.7  # chance is a half
    assert told["accuracy"] == run.accuracy
    assert run.history[-1]["val_accuracy"] == pytest.approx(run.accuracy)
    assert run.history[-2]["val_loss"] > 0
    assert run.validation[0] == (None, tuple(np.flatnonzero(coloured(30, 1)[1][0])))


@pytest.mark.builds
def test_each_class_has_a_probability_of_its_own_in_the_file(trained):
    run, out = trained
    x = coloured(30, 1)[0]
    model = load_model(out / "model.keras")
    assert info_of(model).labels == NAMES
    assert model.layers[-1].activation is keras.activations.sigmoid
    from PIL import Image

    resized = np.stack([np.asarray(Image.fromarray(p).resize((32, 32), 2)) for p in x])
    y = Predictor(model, engine="keras").predict(resized)
    assert np.abs(y - run.probabilities).max() < 0.05  # Pillow reduces otherwise
    assert np.ptp(y.sum(axis=1)) > 0.5
    found = cam(run.model, x[0], class_="red")
    assert found.label == "red"
    logit = np.log(run.probabilities[0, 2] / (1 - run.probabilities[0, 2]))
    assert found.array.mean() == pytest.approx(logit, abs=1e-2)


@pytest.mark.builds
def test_the_report_says_how_each_class_fares(trained):
    _, out = trained
    page = (out / "report.html").read_text()
    for words in ("Macro F1", "Micro F1", "Mean average precision", "All classes right"):
        assert words in page
    assert "Confusion matrix" not in page
    assert all(name in page for name in NAMES)
