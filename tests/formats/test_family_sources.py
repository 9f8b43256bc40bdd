"""MobileNetV2, V3 and V4 of timm, torchvision and Hugging Face, against what the real nets put out.

`make_family_goldens.py` wrote the goldens, with arrays that are made of their names alone: an
array taken for another one, or by a wrong name, changes the outputs.
"""

import json

import numpy as np
import pytest
from make_family_goldens import GOLDENS, NETS, SIZES, sizes_of, values
from make_goldens import BACKGROUND_CLASSES, CLASSES, image
from safetensors.numpy import save_file

import keras_mobilenet
from keras_mobilenet import convert_weights, inspect_weights, load_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.plain import pytorch_names
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import registry

OUTPUTS = json.loads(GOLDENS.read_text())
CLOSE = 1e-4
SYMMETRIC, SLIM = Conventions(1e-5, "symmetric"), Conventions(1e-3, "same")
CONVENTIONS = {"timm/mobilenet": SYMMETRIC, "timm/tf_": SLIM, "hugging_face/": SLIM}
CONVENTIONS |= {"torchvision/mobilenet_v2": SYMMETRIC}
CONVENTIONS |= {"torchvision/mobilenet_v3": Conventions(1e-3, "symmetric")}
V2, V3 = "timm/mobilenetv2_035", "timm/mobilenetv3_small_050"
V4, V4_SMALL = "timm/mobilenetv4_conv_medium", "timm/mobilenetv4_conv_small_035"
HYBRID = "timm/mobilenetv4_hybrid_medium_075"
TF_V3, HF = "timm/tf_mobilenetv3_small_075", "hugging_face/MobileNetV2ForImageClassification"


def source_of(name):
    """The row that the golden's library and net have."""
    library, _, kind = name.partition("/")
    builder, arguments = NETS[name]
    net = f"{builder}, minimalistic" if arguments.get("minimalistic") else builder
    words = {"hugging_face": f"Hugging Face, {kind}"}.get(library, f"{library}, {net}")
    (row,) = [source for source in pytorch_names.sources() if source.name == words]
    return row


def arguments_of(name):
    builder, arguments = NETS[name]
    if name.endswith("Model"):
        return builder, arguments | {"include_top": False, "pooling": "avg"}
    scaled = {"include_preprocessing": False} if "V3" in builder else {}
    return builder, arguments | {"classes": CLASSES, "classifier_activation": None} | scaled


def theirs(name):
    """The golden's arrays under PyTorch's names, in PyTorch's order of axes."""
    source, (builder, arguments) = source_of(name), NETS[name]
    classes = BACKGROUND_CLASSES if name == HF else CLASSES
    shapes = registry.family(builder).network(**arguments, classes=classes).arrays()
    found = {array: values(array, ()) for array in source.counters}
    for ours, array in source.names.items():
        axes, shape = source.axes[ours], shapes[ours]
        own = {axis: n for axis, n in zip(axes, shape, strict=True) if axis is not None}
        found[array] = values(array, tuple(own[axis] for axis in sorted(own)))
    found |= {scale: values(scale, shapes[ours][-1:]) for ours, scale in source.scales.items()}
    if name.endswith("Model"):
        return {array: x for array, x in found.items() if "classifier" not in array}
    return found


@pytest.fixture
def file(tmp_path):
    """Write a golden's file, under a name that tells nothing unless one is given."""

    def write(name, called="model", config=None, change=lambda arrays: arrays):
        path = tmp_path / f"{called}.safetensors"
        save_file(change(theirs(name)), path, {"format": "pt"})
        if config is not None:
            (tmp_path / "config.json").write_text(json.dumps(config))
        return path

    return write


def config_of(name):
    library, _, kind = name.partition("/")
    return {"architecture": kind} if library == "timm" else None


def built(name, path, shape=(None, None, 3), **others):
    builder, arguments = arguments_of(name)
    if name == HF:
        arguments = arguments | {"classes": BACKGROUND_CLASSES - 1}
    make = getattr(keras_mobilenet, builder)
    return make(**{"input_shape": shape, "weights": path} | arguments | others)


def difference(model, name, size):
    """The largest difference to what the real library put out, over its largest output."""
    expected = np.array(OUTPUTS[name][str(size)])
    found = np.asarray(model(image(size)))[0][: len(expected)]
    return abs(found - expected).max() / abs(expected).max()


@pytest.mark.parametrize("name", NETS)
def test_a_file_gives_what_its_library_puts_out_at_even_and_odd_sizes(file, name):
    path = file(name, config=config_of(name))
    expected = next(known for begin, known in CONVENTIONS.items() if name.startswith(begin))
    assert inspect_weights(path).conventions == expected
    model = built(name, path)
    assert max(difference(model, name, size) for size in sizes_of(name)) < CLOSE


@pytest.mark.parametrize("size", SIZES)
def test_a_net_of_one_size_takes_a_slim_file_into_keras_own_graph(file, size):
    path = file(TF_V3, config=config_of(TF_V3))
    model = built(TF_V3, path, (size, size, 3))
    assert "conv_pad" not in [layer.name for layer in model.layers]
    assert "expanded_conv_depthwise_pad" in [layer.name for layer in model.layers]
    assert difference(model, TF_V3, size) < CLOSE


def test_every_source_behind_v1_has_a_golden():
    rows = [source.name for source in map(source_of, NETS)]
    ours = {source.name for source in pytorch_names.sources() if "V1" not in source.name}
    assert ours == set(rows)


# What names cannot tell


@pytest.mark.parametrize(
    ("called", "config", "expected"),
    [
        ("mobilenetv3_small_050.lamb_in1k", None, SYMMETRIC),
        ("tf_mobilenetv3_small_050", None, SLIM),
        ("mobilenetv3_small_050", {"architecture": "tf_mobilenetv3_small_050"}, SLIM),
        ("model", {"architecture": "efficientnet_b0"}, None),
        ("my_mobilenetv3_small_050", None, None),
        ("model", None, None),
    ],
)
def test_the_name_of_timms_net_tells_which_of_two_conventions(file, called, config, expected):
    found = inspect_weights(file(V3, called, config))
    assert found.conventions == expected
    assert ("tells" if expected else "compute differently") in found.notes[0]


def test_a_v3_of_timm_that_nothing_tells_is_asked_for_and_never_guessed(file, tmp_path):
    path = file(V3)
    asked = (
        r"those of mobilenetv3_\* and tf_mobilenetv3_\* alike, .*Build the model with what it goes "
        r"with \(epsilon=1e-05, padding='symmetric' for mobilenetv3_\*; epsilon=0.001, "
        r"padding='same' for tf_mobilenetv3_\*\), or let its name begin with the net's"
    )
    for wanted in ({}, {"padding": "same", "epsilon": 1e-5}, {"padding": "keras"}):
        with pytest.raises(CheckpointError, match=f"(?s){asked}"):
            built(V3, path, **wanted)
    with pytest.raises(CheckpointError, match=f"(?s){asked}"):
        convert_weights(path, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=f"(?s){asked}"):
        load_weights(built(V3, None, padding="same", epsilon=1e-5), path)


def test_one_argument_is_enough_for_a_file_that_nothing_tells(file):
    path = file(V3)
    assert difference(built(V3, path, padding="symmetric"), V3, 225) < CLOSE
    assert difference(built(V3, path, epsilon=1e-3), V3, 225) > 10 * CLOSE
    model = built(V3, None, epsilon=1e-5, padding="symmetric")
    assert "compute differently" in str(load_weights(model, path))


# Files that do not fit


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (V2, "with epsilon=1e-05, padding='symmetric', or"),
        (TF_V3, "with padding='same', or"),
        ("torchvision/mobilenet_v3_small", "with padding='symmetric', or"),
        (HF, "with padding='same', or"),
    ],
)
def test_a_file_never_loads_into_a_graph_of_other_conventions(file, name, match):
    path = file(name, config=config_of(name))
    with pytest.raises(CheckpointError, match=match):
        load_weights(built(name, None), path)


def test_a_file_of_another_net_is_named(file):
    model = keras_mobilenet.MobileNet(weights=None, alpha=0.25, epsilon=1e-5, padding="symmetric")
    with pytest.raises(CheckpointError, match="weights of MobileNetV2, alpha=0.35, 5 classes"):
        load_weights(model, file(V2))


def test_hugging_faces_settings_that_make_another_net_are_refused(file):
    for setting in ({"output_stride": 16}, {"first_layer_is_expansion": False}):
        (key,) = setting
        with pytest.raises(CheckpointError, match=f"{key}=.*, where MobileNetV2 has"):
            inspect_weights(file(HF, config=setting))
    with pytest.raises(CheckpointError, match="model_type='mobilenet_v1', where MobileNetV2 has"):
        inspect_weights(file(HF, config={"model_type": "mobilenet_v1"}))


def test_hugging_faces_background_class_is_dropped(file):
    report = load_weights(built(HF, None, padding="same"), file(HF))
    assert "dropped class 0, the background: 1001 classes became 1000" in report.notes


def test_a_squeeze_in_a_v2_of_timm_is_refused(file):
    extra = {"blocks.1.0.se.conv_reduce.weight": values("x", (4, 24, 1, 1))}
    path = file(V2, change=lambda arrays: arrays | extra)
    with pytest.raises(CheckpointError, match="squeeze-and-excitation .*, which MobileNetV2 lacks"):
        inspect_weights(path)


@pytest.mark.parametrize(
    ("called", "config"),
    [
        ("mobilenetv4_conv_aa_medium.e250_r384_in12k", None),
        ("mobilenetv4_conv_blur_medium.e500_r224_in1k", None),
        ("model", {"architecture": "mobilenetv4_conv_aa_medium"}),
    ],
)
def test_a_v4_that_filters_at_its_strides_has_the_same_arrays_and_is_refused(file, called, config):
    with pytest.raises(CheckpointError, match="has the arrays of MobileNetV4ConvMedium, but filte"):
        inspect_weights(file(V4, called, config))


def test_a_v4_that_may_filter_at_its_strides_is_said_to(file):
    (note,) = inspect_weights(file(V4)).notes
    assert "nothing tells that it is no mobilenetv4_conv_aa_* or mobilenetv4_conv_blur_*" in note
    assert inspect_weights(file(V4, "mobilenetv4_conv_medium.e500_r224_in1k")).notes == ()
    assert inspect_weights(file(V4, config={"architecture": "mobilenetv4_conv_medium"})).notes == ()
    assert inspect_weights(file(V4_SMALL)).notes == ()  # of which there is none that filters


def test_an_attention_block_in_a_v4_of_timm_is_refused(file):
    extra = {"blocks.2.19.attn.query.proj.weight": values("x", (4, 24, 1, 1))}
    path = file(V4, change=lambda arrays: arrays | extra)
    with pytest.raises(CheckpointError, match="hybrid nets have them, which MobileNetV4ConvMedium"):
        inspect_weights(path)


def test_a_hybrid_net_without_the_factors_of_its_blocks_is_refused(file):
    def without(arrays):
        return {name: x for name, x in arrays.items() if name != "blocks.2.4.layer_scale.gamma"}

    with pytest.raises(CheckpointError, match="blocks.2.4.layer_scale.gamma is missing, which mu"):
        inspect_weights(file(HYBRID, change=without))
    one = {"blocks.2.4.layer_scale.gamma": np.ones(1, np.float32)}
    with pytest.raises(CheckpointError, match=r"float32 of shape \(1,\) are no factors for 120"):
        inspect_weights(file(HYBRID, change=lambda arrays: arrays | one))
