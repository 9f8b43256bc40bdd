"""Folders for timm; `make_timm_goldens.py` opened the very same ones with the real timm."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from make_timm_goldens import GOLDENS
from safetensors.numpy import load_file
from timm_cases import CASES, CLASSES, TIMM, Case, digest, image
from typer.testing import CliRunner

import keras_mobilenet
from keras_mobilenet import Predictor, convert_weights, inspect_weights
from keras_mobilenet.checkpoints.net_weights import builder_of, net_weights
from keras_mobilenet.checkpoints.writing.timm_folder import write_timm_folder
from keras_mobilenet.checkpoints.writing.weights_file import write_arrays
from keras_mobilenet.commands.app import app
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.plain.third_party import to_third_party
from keras_mobilenet.formats.plain.timm_models import models
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import Preprocessing

FOUND = json.loads(GOLDENS.read_text())
CLOSE = 1e-4  # float32 sums in another order account for 1e-6
INFO = ModelInfo(
    (96, 96), 0.9, Preprocessing((0.02, 0.03, 0.04), (-1.0, -2.0, -3.0)), tuple("abcde")
)
cases = pytest.mark.parametrize("name", CASES)


def written(case, folder, info=None):
    return write_timm_folder(folder, case.weights(case.sizes[0]), info)


def config_in(folder):
    return json.loads((folder / "config.json").read_text())


def arrays_in(folder):
    return load_file(folder / "model.safetensors")


@cases
def test_folder_holds_the_bits_that_the_real_timm_opened(name, tmp_path):
    case = CASES[name]
    report = written(case, tmp_path / "timm")
    config, arrays = config_in(tmp_path / "timm"), arrays_in(tmp_path / "timm")
    assert digest(arrays) == FOUND["folders"][name]["opened"]
    assert (report.architecture, report.arguments) == (case.architecture, case.model_args)
    assert config["architecture"] == case.architecture
    assert config.get("model_args", {}) == case.model_args
    assert config["num_classes"] == (CLASSES if case.include_top else 0)
    assert config["pretrained_cfg"]["input_size"] == [case.channels, *[case.sizes[0]] * 2]


@cases
def test_logits_are_those_of_the_real_timm(name):
    case = CASES[name]
    for size, logits in FOUND["folders"][name]["logits"].items():
        with Predictor(case.weights(int(size)), engine="litert", threads=1) as predictor:
            found = predictor.predict(image(int(size), case.channels))[0][:CLASSES]
        assert abs(found - logits).max() < CLOSE * abs(np.array(logits)).max()


@cases
def test_a_folder_that_is_read_back_is_the_net_that_was_written(name, tmp_path):
    case, weights = CASES[name], CASES[name].weights(CASES[name].sizes[0])
    write_timm_folder(tmp_path / "timm", weights)
    (tmp_path / "timm" / "config.json").rename(tmp_path / "config.json")  # the file tells as well
    again = net_weights(builder_of(tmp_path / "timm" / "model.safetensors"))
    assert again.arrays.keys() == weights.arrays.keys()
    assert all(np.array_equal(again.arrays[n], weights.arrays[n]) for n in weights.arrays)
    windows = weights.net.windows(weights.size)
    assert again.conventions.fits(case.conventions, windows, weights.family.zeros)
    assert again.info == weights.info


def test_every_model_of_timms_has_the_arrays_that_are_written_for_it():
    found = {}
    for model in models():
        net = model.family.network(alpha=model.alpha, classes=CLASSES, **model.options)
        ours = {name: np.zeros(shape, np.int8) for name, shape in net.arrays().items()}
        theirs = to_third_party(model.source, ours)
        found[model.name] = digest({n: np.zeros(x.shape, np.int8) for n, x in theirs.items()})
    assert found == FOUND["models"]


def test_the_configuration_has_size_crop_scaling_and_labels(tmp_path):
    written(CASES["v3_keras"], tmp_path, INFO)
    config = config_in(tmp_path)
    assert config["label_names"] == [*"abcde"]
    cfg = config["pretrained_cfg"]
    assert (cfg["input_size"], cfg["pool_size"], cfg["crop_pct"]) == ([3, 96, 96], [3, 3], 0.9)
    # Theirs is (pixels / 255 - mean) / std.
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3))
    theirs = (pixels / 255 - cfg["mean"]) / cfg["std"]
    assert np.allclose(theirs, INFO.scaled(pixels), rtol=1e-5)
    assert net_weights(builder_of(tmp_path / "model.safetensors")).info == INFO


def test_pairs_of_identifier_and_name_are_labels_with_descriptions(tmp_path):
    labels = tuple((x, x.upper()) for x in "abcde")
    written(CASES["v3_keras"], tmp_path, replace(INFO, labels=labels))
    config = config_in(tmp_path)
    assert config["label_names"] == [*"abcde"]
    assert config["label_descriptions"] == {x: x.upper() for x in "abcde"}


def test_where_sizes_make_two_functions_of_it_a_note_says_so(tmp_path):
    told = "no multiple of 32 timm pads otherwise than Keras: .* the same at 96 x 96, and not at"
    assert re.search(told, str(written(CASES["v1_keras"], tmp_path)))
    assert written(CASES["v2_keras"], tmp_path).notes == ()
    with pytest.raises(ValueError, match="At 97 x 97 MobileNet pads as neither of timm's ways"):
        write_timm_folder(tmp_path, CASES["v1_keras"].weights(97))


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (Case("mobilenet", 0.25, TIMM, (64,), ""), "timm has no MobileNet with .*alpha 1, 1.25"),
        (
            Case("mobilenet", 1.0, TIMM, (64,), "", options={"depth_multiplier": 2}),
            "depth_multiplier=2.*without these options",
        ),
        (
            Case("mobilenet_v3_small", 0.75, TIMM, (64,), "", include_top=False),
            "a convolution behind the pool, which a net without a top has no values",
        ),
    ],
)  # fmt: skip
def test_a_net_that_timm_has_not_is_refused_and_nothing_is_written(case, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        written(case, tmp_path / "timm")
    with pytest.raises(ValueError, match="How pixels become this model's input is not known"):
        written(CASES["v2_timm"], tmp_path / "timm", ModelInfo(preprocessing=None))
    assert [*tmp_path.iterdir()] == []


def test_other_files_of_a_folder_stay(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    written(CASES["v2_timm"], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md", "config.json", "model.safetensors"
    }  # fmt: skip


# configurations of timm's


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"aa_layer": "avg"}, "has aa_layer='avg' among its model_args, under which"),
        ({"pad_type": "valid"}, "has pad_type='valid', .*which no net here has"),
        ({"pad_type": ["same"]}, "which no net here has"),
        ({"act_layer": "gelu"}, "act_layer='gelu', which no net here has"),
        ({"bn_eps": 2}, "bn_eps=2 is no epsilon of a batch norm"),
    ],
)
def test_arguments_that_make_another_net_are_refused(arguments, message, tmp_path):
    written(CASES["v2_timm"], tmp_path)
    config = config_in(tmp_path) | {"model_args": arguments}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        inspect_weights(tmp_path / "model.safetensors")


def test_arguments_of_others_that_change_no_net_are_passed_over(tmp_path):
    written(CASES["v2_timm"], tmp_path)
    config = config_in(tmp_path) | {"model_args": {"in_chans": 3, "drop_rate": 0.2}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert inspect_weights(tmp_path / "model.safetensors").conventions == TIMM


# as a user


@pytest.fixture
def source(tmp_path):
    weights = CASES["v2_keras"].weights(96)
    path = tmp_path / "mine.safetensors"
    write_arrays(path, weights.arrays, weights.conventions, info=replace(INFO, labels=None))
    return path


def test_convert_writes_the_folder_and_says_how_timm_opens_it(source, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    folder = tmp_path / "timm"
    result = CliRunner().invoke(
        app,
        ["weights", "convert", str(source), str(folder), "--to", "timm", "--labels", str(labels)],
    )
    assert result.exit_code == 0, result.output
    assert (
        f"wrote {folder}: safetensors (timm, MobileNetV2), alpha=0.35, 5 classes" in result.stdout
    )
    assert f'timm.create_model("local-dir:{folder}", pretrained=True)' in result.stderr
    assert config_in(folder)["label_names"] == [*"abcde"]
    assert config_in(folder)["pretrained_cfg"]["crop_pct"] == 0.9
    assert digest(arrays_in(folder)) == FOUND["folders"]["v2_keras"]["opened"]


def test_convert_keeps_what_a_file_says_of_its_input_or_takes_what_is_given(source, tmp_path):
    convert_weights(source, tmp_path / "x.h5")
    assert net_weights(builder_of(tmp_path / "x.h5")).info == replace(INFO, labels=None)
    convert_weights(source, tmp_path / "y.h5", preprocessing="0..1", labels=[*"abcde"])
    found = net_weights(builder_of(tmp_path / "y.h5")).info
    assert (str(found.preprocessing), found.labels) == ("0..1", tuple("abcde"))
    with pytest.raises(ValueError, match="`labels` must name each of the model's 5 outputs"):
        convert_weights(source, tmp_path / "z.h5", labels=["a"])
    with pytest.raises(ValueError, match="`to` must be one of timm"):
        convert_weights(source, tmp_path / "z", to="torchvision")


def test_keras_model_of_a_folder_is_the_net_too(tmp_path):
    case = CASES["v2_keras"]
    written(case, tmp_path, INFO)
    model = keras_mobilenet.MobileNetV2(
        (96, 96, 3), 0.35, weights=tmp_path / "model.safetensors", classes=CLASSES,
        classifier_activation=None,
    )  # fmt: skip
    logits = np.array(FOUND["folders"]["v2_keras"]["logits"]["96"])
    found = np.asarray(model(image(96, 3)))[0]
    assert abs(found - logits).max() < CLOSE * abs(logits).max()
    assert str(keras_mobilenet.preprocessing_of(model)) == str(INFO.preprocessing)
