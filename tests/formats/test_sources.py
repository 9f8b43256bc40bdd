"""Files of timm, Hugging Face and PyTorch; `make_goldens.py` wrote the goldens with the real ones.

A golden's outputs are compared by the largest difference over the largest output. Its bound is
1e-4; float32 sums in another order account for 1e-6.
"""

import io
import json
import pickle
import shutil
import sys
import zipfile

import numpy as np
import pytest
from checkpoint_files import random_arrays, weights
from make_goldens import ALPHA, CLASSES, FOLDER, SIZES, image
from safetensors.numpy import load_file, save_file

import keras_mobilenet
from keras_mobilenet import load_weights
from keras_mobilenet.errors import CheckpointError, MissingExtraError
from keras_mobilenet.formats.plain import pytorch_names
from keras_mobilenet.formats.registry import open_checkpoint
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import v1

OUTPUTS = json.loads((FOLDER / "outputs.json").read_text())
SHAPES = json.loads((FOLDER / "shapes.json").read_text())
CLOSE = 1e-4
TIMM, HF, BASE = "timm", "hugging_face", "hugging_face_no_top"
NARROW = {"alpha": ALPHA, "classes": CLASSES, "classifier_activation": None}


def golden(name):
    return next((FOLDER / name).glob("model.*"))


def built(name, size=224, **arguments):
    top = {"include_top": False, "pooling": "avg"} if name == BASE else {}
    arguments = NARROW | top | {"weights": golden(name)} | arguments
    return keras_mobilenet.MobileNet((size, size, 3), **arguments)


def difference(model, name, size):
    """The largest difference to what the real library put out, over its largest output."""
    found, expected = np.asarray(model(image(size)))[0], np.array(OUTPUTS[name][str(size)])
    return abs(found - expected).max() / abs(expected).max()


@pytest.fixture
def edited(tmp_path):
    """Write a golden's arrays again, after a change; its configuration only where one is given."""

    def write(name, change, config=None):
        arrays = change(load_file(golden(name)))
        save_file(arrays, tmp_path / "model.safetensors", {"format": "pt"})
        if config is not None:
            (tmp_path / "config.json").write_text(config)
        return tmp_path / "model.safetensors"

    return write


def unchanged(arrays):
    return arrays


# What the real libraries put out


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [n for n in OUTPUTS if "onnx" not in n])
def test_a_file_gives_what_its_library_puts_out_at_even_and_odd_sizes(name, size):
    assert difference(built(name, size), name, size) < CLOSE


@pytest.mark.parametrize("name", [TIMM, HF])
def test_other_conventions_give_something_else(name, monkeypatch):
    monkeypatch.setattr(Conventions, "fits", lambda *_, **__: True)
    for arguments in ({"padding": "keras"}, {"epsilon": 5e-2}):
        assert difference(built(name, 193, **arguments), name, 193) > 100 * CLOSE


def test_every_source_and_every_golden_has_a_test():
    with_files = {path.name for path in FOLDER.iterdir() if path.is_dir()}
    assert with_files == OUTPUTS.keys()
    found = {
        pytorch_names.find(load_file(golden(name))).name for name in OUTPUTS if "onnx" not in name
    }
    assert found == {source.name for source in pytorch_names.sources() if "V1" in source.name}
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.*") if path.is_file()) < 3 << 20


@pytest.mark.parametrize(
    ("name", "alpha", "classes"),
    [
        ("timm_mobilenetv1_100", 1.0, 1000),
        ("timm_mobilenetv1_125", 1.25, 1000),
        ("hugging_face_1.0", 1.0, 1001),
    ],
)
def test_the_published_nets_have_exactly_our_arrays(name, alpha, classes):
    theirs = {array: tuple(shape) for array, shape in SHAPES[name].items()}
    source = pytorch_names.find(theirs)
    expected = v1.network(alpha, classes=classes).arrays()
    assert source.names.keys() == expected.keys()
    assert theirs.keys() == source.counters.union(source.names.values())
    for array, shape in expected.items():
        found = [1 if a is None else theirs[source.names[array]][a] for a in source.axes[array]]
        assert tuple(found) == shape, array


# Conventions


@pytest.mark.parametrize(
    ("name", "conventions"),
    [
        (TIMM, Conventions(1e-5, "symmetric")),
        (HF, Conventions(2e-3, "same")),
        ("hugging_face_symmetric", Conventions(1e-3, "symmetric")),
        (BASE, Conventions(1e-3, "same")),
    ],
)
def test_a_source_tells_its_conventions(name, conventions):
    with open_checkpoint(golden(name)) as checkpoint:
        assert checkpoint.conventions == conventions
        assert not checkpoint.background
        assert checkpoint.format.startswith("safetensors (")


def test_a_file_never_loads_into_a_graph_of_other_conventions():
    model = keras_mobilenet.MobileNet(**NARROW | {"weights": None})
    before = weights(model)
    with pytest.raises(CheckpointError, match=r"epsilon=1e-05, padding='symmetric', or"):
        load_weights(model, golden(TIMM))
    with pytest.raises(
        CheckpointError, match=r"Build the model with epsilon=0.002, padding='same', or"
    ):
        load_weights(model, golden(HF))
    with pytest.raises(CheckpointError, match="the file's weights go with"):
        built(TIMM, epsilon=1e-3)
    assert all(np.array_equal(weights(model)[name], before[name]) for name in before)


def test_timm_loads_into_a_graph_with_the_arguments_that_the_message_names():
    model = built(TIMM, weights=None, epsilon=1e-5, padding="symmetric")
    assert len(load_weights(model, golden(TIMM)).loaded) == 137
    assert difference(model, TIMM, 224) < CLOSE


def test_without_a_configuration_hugging_faces_defaults_are_taken_and_said(edited):
    with open_checkpoint(edited(HF, unchanged)) as checkpoint:
        assert checkpoint.conventions == Conventions(1e-3, "same")
        assert "no config.json beside the file" in checkpoint.notes[0]
    with open_checkpoint(golden(HF)) as checkpoint:
        assert checkpoint.notes == ()


BAD_CONFIGS = [
    ("not json", "is no JSON"),
    ("[" * 100_000, "is no JSON"),
    ("[]", "holds no settings"),
    ('{"model_type": "mobilenet_v2"}', "model_type='mobilenet_v2', where MobileNet V1 has"),
    ('{"hidden_act": "relu"}', "hidden_act='relu', where MobileNet V1 has 'relu6'"),
    ('{"hidden_act": null}', "hidden_act=None"),
    ('{"layer_norm_eps": 0}', "layer_norm_eps=0 is no epsilon"),
    ('{"layer_norm_eps": -1e-3}', "is no epsilon"),
    ('{"layer_norm_eps": NaN}', "is no epsilon"),
    ('{"layer_norm_eps": Infinity}', "is no epsilon"),
    ('{"layer_norm_eps": true}', "is no epsilon"),
    ('{"layer_norm_eps": "0.001"}', "is no epsilon"),
    ('{"layer_norm_eps": 1e-3, "tf_padding": 1}', "tf_padding=1 is neither true nor false"),
    (" " * ((1 << 20) + 1), "has more than 1,048,576 bytes"),
]


@pytest.mark.parametrize(("text", "match"), BAD_CONFIGS, ids=[match for _, match in BAD_CONFIGS])
def test_a_configuration_that_makes_no_sense_is_refused(refuse, edited, text, match):
    refuse(edited(HF, unchanged, text), f"config.json beside the file:? .*{match}")


def test_a_configuration_that_is_no_file_is_refused(refuse, edited, tmp_path):
    (tmp_path / "config.json").mkdir()
    refuse(edited(HF, unchanged), "config.json beside the file is no file")


def test_timm_reads_no_configuration_of_another_kind(tmp_path):
    shutil.copy(golden(TIMM), tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "mobilenetv1_100", "hidden_act": "x"}')
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
        assert checkpoint.conventions == Conventions(1e-5, "symmetric")


# The top


def test_a_file_without_its_top_is_refused_with_the_argument_that_fits():
    with pytest.raises(CheckpointError, match=r"no top. Build .* with include_top=False, or"):
        built(BASE, include_top=True, pooling=None)


@pytest.mark.parametrize("name", [TIMM, HF])
def test_a_file_with_a_top_loads_into_a_net_without(name):
    model = built(name, include_top=False)
    assert len(weights(model)) == 135


def with_background(arrays):
    random = np.random.default_rng(0)
    arrays["classifier.weight"] = random.standard_normal((1001, 96)).astype("float32")
    arrays["classifier.bias"] = np.arange(1001, dtype="float32")
    return arrays


@pytest.mark.parametrize(("name", "background"), [(HF, True), (TIMM, False)])
def test_only_hugging_faces_1001_classes_begin_with_a_background(edited, name, background):
    path = edited(name, with_background)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.background is background
    if background:
        model = built(name, weights=path, classes=1000)
        assert np.array_equal(weights(model)["conv_preds/bias"], np.arange(1, 1001))
    assert weights(built(name, weights=path, classes=1001))["conv_preds/bias"][0] == 0


# Files that are not what they seem


def without(part):
    return lambda arrays: {name: array for name, array in arrays.items() if part not in name}


def added(**extra):
    values = {name.replace("__", "."): np.ones((2, 2), "float32") for name in extra}
    return lambda arrays: arrays | values


def replaced(name, change):
    return lambda arrays: arrays | {name: np.ascontiguousarray(change(arrays[name]))}


BAD_ARRAYS = [
    pytest.param(without("blocks.3.2.conv_dw"), r"not in the file \(1\):\n    conv_dw_8/kernel",
                 id="missing"),
    pytest.param(added(extra__weight=1), r"not in the model \(1\):\n    extra.weight", id="extra"),
    pytest.param(added(blocks__5__0__conv_dw__weight=1), "blocks.5.0.conv_dw.weight",
                 id="one_more_stage"),
    pytest.param(added(bn2__num_batches_tracked=1), "bn2.num_batches_tracked",
                 id="counter_of_no_layer"),
    pytest.param(lambda a: a | {"conv1_bn/gamma": np.ones(3, "float32")},
                 "conv1_bn/gamma is in the file under bn1.weight as well", id="both_names"),
    pytest.param(replaced("blocks.0.0.conv_pw.weight", lambda a: a[:, :, 0, 0]),
                 r"blocks.0.0.conv_pw.weight has the shape \(6, 3\), not 4 axes", id="rank"),
    pytest.param(replaced("classifier.weight", lambda a: a[:, :, None, None]),
                 "classifier.weight has the shape .* not 2 axes", id="classifier_rank"),
    pytest.param(replaced("classifier.weight", np.transpose),
                 r"conv_preds/kernel  file \(1, 1, 5, 96\)  model \(1, 1, 96, 5\)",
                 id="transposed"),
    pytest.param(replaced("blocks.4.0.conv_dw.weight", lambda a: np.repeat(a, 2, 0)),
                 r"conv_dw_12/kernel  file \(3, 3, 96, 1\)  model \(3, 3, 48, 1\)",
                 id="multiplier"),
    pytest.param(replaced("bn1.running_var", lambda a: -a), "conv1_bn/moving_variance .*negative",
                 id="negative_variance"),
    pytest.param(replaced("bn1.weight", lambda a: a.astype("int64")), "holds int64, not floats",
                 id="integers"),
    pytest.param(added(conv_head__weight=1), "conv_head.weight is an extra 1x1 convolution before "
                 "the pool, as mobilenetv1_100h has it, which MobileNet V1 lacks", id="100h"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "match"), BAD_ARRAYS)
def test_arrays_that_are_not_the_nets_are_refused(edited, change, match):
    path = edited(TIMM, change)
    with pytest.raises(CheckpointError, match=f"(?s){match}") as caught:
        built(TIMM, weights=path)
    assert str(caught.value).startswith(str(path))
    assert "\n" in str(caught.value)


def test_another_width_is_told(refuse):
    with pytest.raises(CheckpointError, match=r"file was made with alpha=0.094.*Build the model"):
        built(TIMM, alpha=0.25)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("timm_mobilenetv1_100h", "timm, but conv_head.weight is an extra 1x1 convolution"),
    ],
)
def test_timms_other_nets_are_refused_by_name(refuse, tmp_path, name, match):
    arrays = {
        array: np.zeros([1 for _ in shape], "float32") for array, shape in SHAPES[name].items()
    }
    save_file(arrays, tmp_path / "x.safetensors")
    refuse(tmp_path / "x.safetensors", match)


def test_names_of_no_source_are_shown(refuse, tmp_path):
    arrays = {f"features.{i}.weight": np.ones(2, "float32") for i in range(5)}
    save_file(arrays, tmp_path / "x.safetensors", {"format": "pt"})
    message = refuse(tmp_path / "x.safetensors", "features.0.weight, features.1.weight, features.2")
    assert "... and 2 more" in message
    save_file({}, tmp_path / "x.safetensors", {"format": "pt"})
    refuse(tmp_path / "x.safetensors", "of no source that is known, .*: none")


def test_our_names_without_our_metadata_are_refused(refuse, tmp_path):
    save_file(random_arrays(alpha=0.25), tmp_path / "x.safetensors")
    refuse(tmp_path / "x.safetensors", "its metadata does not say so")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_float_types_are_cast(edited, dtype):
    path = edited(TIMM, lambda arrays: {n: a.astype(dtype) for n, a in arrays.items()})
    stored = load_file(path)["conv_stem.weight"]
    found = weights(built(TIMM, weights=path))["conv1/kernel"]
    assert np.array_equal(found, stored.transpose(2, 3, 1, 0).astype("float32"))


def test_onnx_without_its_extra_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'keras-mobilenet\[onnx\]'"):
        load_weights(built(TIMM), golden("onnx_timm"))


# PyTorch's pickles


def zip_of_pytorch():
    """The archive that torch.save writes: a folder with a pickle and the values' bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("mobilenetv1_100/data.pkl", pickle.dumps({"conv_stem.weight": [1.0]}, 2))
        archive.writestr("mobilenetv1_100/byteorder", "little")
        archive.writestr("mobilenetv1_100/data/0", bytes(108))
        archive.writestr("mobilenetv1_100/version", "3\n")
    return content.getvalue()


def legacy_of_pytorch():
    """What torch.save wrote before 1.6: pickles one after the other, a magic number first."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"conv_stem.weight": [1.0]})
    return b"".join(pickle.dumps(part, 2) for part in parts) + bytes(108)


@pytest.mark.parametrize("content", [zip_of_pytorch(), legacy_of_pytorch()], ids=["zip", "legacy"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_a_pytorch_pickle_is_refused_with_the_lines_that_turn_it_into_safetensors(
    refuse, tmp_path, content, suffix, monkeypatch
):
    monkeypatch.setattr(pickle, "load", None)
    monkeypatch.setattr(pickle, "Unpickler", None)
    path = tmp_path / f"pytorch_model{suffix}"
    path.write_bytes(content)
    message = refuse(path, "a Py(thon|Torch) pickle, which can run code and is never opened")
    assert f"torch.load({str(path)!r}, weights_only=True)" in message
    assert "save_file({k: v.contiguous() for k, v in state.items()}" in message
