"""Sizes: every stage against arithmetic of its own and real nets; any size, in every room."""

import json
from pathlib import Path

import numpy as np
import pytest
from deploy_nets import random_images, unsettled
from random_models import randomise
from typer.testing import CliRunner

from keras_mobilenet import (
    MobileNet,
    MobileNetV2,
    MobileNetV3Small,
    Predictor,
    export,
    features,
    fold_batch_norm,
    layer_costs,
    load_weights,
    preprocess_input,
    save_weights,
)
from keras_mobilenet.commands.app import app
from keras_mobilenet.deploy.comparison import difference
from keras_mobilenet.display.cost_tables import cost_table
from keras_mobilenet.display.sizes import EXAMPLES, PADDINGS, size_table, stage_sizes
from keras_mobilenet.nets.families import v2, v3
from keras_mobilenet.nets.families.v1 import BLOCKS, Block

STRIDES = (32, 16, 8)
PAGE = Path(__file__).parents[2] / "docs" / "sizes.md"
NARROW = {"alpha": 1 / 32, "include_top": False, "weights": None}  # a channel, and up to 32
# The strides of the thirteen blocks, and one block behind the last of them.
STRIDED = (*(Block(32, stride=2),) * 4, Block(32))


def positions(length, stride, before, after):
    """Count, one by one, the places of a window of 3 in a padded row."""
    padded = [False] * before + [True] * length + [False] * after
    return sum(1 for i in range(0, len(padded), stride) if len(padded[i : i + 3]) == 3)


def tensorflow_same(length, stride):
    """Return the zeros that TensorFlow's documentation says SAME pads, before and after."""
    rest = length % stride
    zeros = max(3 - (rest or stride), 0)
    return zeros // 2, zeros - zeros // 2


def expected(length, padding, output_stride):
    """Return the lengths after the stem and the four strided blocks, counted window by window."""
    lengths, reached = [], 1
    for place in range(5):
        if reached < output_stride:
            if padding == "symmetric":
                zeros = (1, 1)
            elif padding == "keras" and place > 0:
                zeros = (0, 1)
            else:
                zeros = tensorflow_same(length, 2)
            length, reached = positions(length, 2, *zeros), 2 * reached
        lengths.append(length)  # what has no stride keeps its length
    return lengths


@pytest.mark.parametrize("output_stride", STRIDES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_stages_are_what_counting_windows_gives(padding, output_stride):
    for n in range(32, 300):
        stages = stage_sizes((n, 331 - n), padding=padding, output_stride=output_stride)
        found = [stage.size for stage in stages]
        rows = expected(n, padding, output_stride), expected(331 - n, padding, output_stride)
        assert found == list(zip(*rows, strict=True)), n
        assert stages[-1].stride == output_stride


def test_last_length_is_that_of_the_formula():
    for n in range(32, 300):
        last = {padding: stage_sizes(n, padding=padding)[-1].size[0] for padding in PADDINGS}
        assert last == {"keras": -(-n // 2) // 16, "same": -(-n // 32), "symmetric": -(-n // 32)}


@pytest.mark.parametrize("output_stride", STRIDES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_nets_of_unknown_size_put_out_what_the_table_says(padding, output_stride):
    net = {"padding": padding, "output_stride": output_stride}
    blocks = BLOCKS if net == {"padding": "keras", "output_stride": 16} else STRIDED
    model = MobileNet((None, None, 3), **NARROW, **net, blocks=blocks)
    there = [stride for stride in (2, 4, 8, 16, 32) if stride <= output_stride]
    pyramid = features(model, strides=there)
    for size in ((32, 33), (100, 161), (193, 225)):
        found = pyramid(np.zeros((1, *size, 3), "float32"))
        shapes = [tuple(found[f"stride_{stride}"].shape[1:3]) for stride in there]
        stages = stage_sizes(size, **net)
        assert shapes == [stage.size for stage in stages][: len(there)]
        assert shapes[-1] == stages[-1].size


@pytest.mark.parametrize("output_stride", [32, 16])
def test_as_keras_is_where_the_same_weights_are_the_same_function(output_stride):
    sizes = ((32, 64), (64, 96), (33, 33), (64, 65), (100, 100))
    nets = {
        padding: MobileNet(
            (None, None, 3), 0.25, include_top=False, weights=None, padding=padding,
            output_stride=output_stride, blocks=STRIDED,
        )
        for padding in PADDINGS
    }  # fmt: skip
    weights = randomise(nets["keras"]).get_weights()
    for model in nets.values():
        model.set_weights(weights)
    for size in sizes:
        x = np.random.default_rng(0).uniform(-1, 1, (1, *size, 3)).astype("float32")
        table = size_table([size], output_stride=output_stride).splitlines()[1:]
        found = {padding: np.asarray(model(x)) for padding, model in nets.items()}
        for (padding, ours), row in zip(found.items(), table, strict=True):
            # Sums of float32 in another order, against outputs of up to 6.
            same = ours.shape == found["keras"].shape and np.allclose(
                ours, found["keras"], atol=1e-4
            )
            assert row.split()[-1] == ("yes" if same else "no"), (size, padding)


def test_unknown_lengths_stay_unknown():
    assert [stage.size for stage in stage_sizes((None, 225))] == [
        (None, 113), (None, 56), (None, 28), (None, 14), (None, 7)
    ]  # fmt: skip
    assert {stage.size for stage in stage_sizes(None)} == {(None, None)}


def test_v2_and_v3_round_up_where_the_size_is_known_and_down_where_it_is_not():
    for net in ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"):
        for n in range(32, 300, 9):
            known = stage_sizes((n, 331 - n), net=net)[-1].size
            assert known == (-(-n // 32), -(-(331 - n) // 32)), (net, n)
            unknown = stage_sizes(n, net=net, any_size=True)[-1].size[0]
            assert unknown == -(-n // 2) // 16, (net, n)  # as V1's


@pytest.mark.parametrize(
    ("builder", "net", "blocks"),
    [
        (MobileNetV2, "mobilenet_v2", v2.BLOCKS[:4]),
        (MobileNetV3Small, "mobilenet_v3_small", v3.SMALL[:4]),
    ],
)
def test_v2_and_v3_put_out_what_the_table_says(builder, net, blocks):
    for shape, any_size in (((65, 98, 3), False), ((None, None, 3), True)):
        model = builder(shape, 0.35, include_top=False, weights=None, blocks=blocks)
        stages = stage_sizes((65, 98), net=net, blocks=blocks, any_size=any_size)
        found = model(np.zeros((1, 65, 98, 3), "float32")).shape[1:3]
        assert tuple(found) == stages[-1].size


def test_table_of_v2_says_where_a_net_of_any_size_is_another_function():
    rows = json.loads(size_table([224, 225], net="mobilenet_v2", format="json"))
    told = {(row["input"], row["padding"]): (row["block_13"], row["as Keras"]) for row in rows}
    assert told["224 x 224", "keras, any size"] == ("7 x 7", "yes")
    assert told["225 x 225", "keras"] == told["225 x 225", "symmetric"] == ("8 x 8", "yes")
    assert told["225 x 225", "keras, any size"] == ("7 x 7", "no")
    assert told["224 x 224", "symmetric"] == ("7 x 7", "no")


def test_page_has_the_table_as_it_is():
    assert size_table(format="markdown") in PAGE.read_text()
    assert size_table((224, 225), net="mobilenet_v2", format="markdown") in PAGE.read_text()
    assert len(size_table().splitlines()) == 1 + len(EXAMPLES) * len(PADDINGS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 31}, "at least 32"),
        ({"size": (64, 1)}, "at least 32"),
        ({"padding": "valid"}, "`padding` must be one of"),
        ({"output_stride": 4}, "`output_stride` must be one of 8, 16, 32"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        stage_sizes(**arguments)


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_command_prints_the_table():
    assert run("sizes").stdout.strip() == size_table()
    found = run("sizes", "224x321", "any", "--padding", "same", "--output-stride", 16).stdout
    assert found.strip() == size_table(
        [(224, 321), (None, None)], paddings=("same",), output_stride=16
    )
    found = run("sizes", "225", "--net", "mobilenet_v3_large").stdout
    assert found.strip() == size_table([225], net="mobilenet_v3_large")
    with pytest.raises(ValueError, match="Received: format='html'"):
        size_table(format="html")


def test_commands_take_height_and_width():
    net = ("--no-top", "--alpha", 0.25, "--padding", "symmetric")
    assert "(None, 4, 7, 256)" in run("summary", "--size", "97x193", *net).stdout
    assert "(None, None, None, 256)" in run("summary", "--size", "any", *net).stdout
    expected = cost_table(layer_costs(size=(128, 224)))
    assert run("cost", "--size", "128x224").stdout.strip() == expected
    assert "must be known here" in str(run("cost", "--size", "any").exception)
    for wrong in ("2x", "x2", "-1", "224x224x3", "", "2.5"):
        assert run("cost", "--size", wrong).exit_code == 2


# Any size in every room

SHAPES = [(None, None, 3), (None, 72, 3), (40, 72, 3)]
HERE = (40, 72)
TWICE = (Block(32, stride=2),) * 2  # to stride 8
OTHER = (65, 72)  # for a net of unknown height


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def model(request):
    padding = "symmetric" if request.param[1] else "keras"
    return unsettled(request.param, blocks=TWICE, padding=padding)


def sizes_of(model):
    return [HERE, OTHER] if model.input_shape[1] is None else [HERE]


def scores(model, size):
    return np.asarray(model(preprocess_input(random_images(3, size)), training=False))


def test_weights_fold_and_features_go_with_any_size(model, tmp_path):
    save_weights(model, tmp_path / "net.safetensors")
    again = MobileNet(
        model.input_shape[1:], 0.25, classes=5, weights=tmp_path / "net.safetensors", blocks=TWICE
    )
    load_weights(again, tmp_path / "net.safetensors")
    folded = fold_batch_norm(model)
    for size in sizes_of(model):
        assert np.array_equal(scores(again, size), scores(model, size))
        assert difference(scores(model, size), scores(folded, size)).rms_error < 1e-5
        found = features(model, strides=(8,))(preprocess_input(random_images(1, size)))
        padding = "keras" if model.input_shape[2] is None else "symmetric"
        assert found["stride_8"].shape[1:3] == stage_sizes(size, padding=padding)[2].size


@pytest.mark.parametrize("name", ["m.tflite", "m.onnx", "m.xml", "m/"])
def test_exports_take_the_sizes_that_the_model_takes(model, tmp_path, name):
    report = export(model, f"{tmp_path}/{name}", calibration=random_images(4, HERE))
    assert report.difference.rms_error < 1e-5
    with Predictor(f"{tmp_path}/{name}") as predictor:
        for size in sizes_of(model):
            found = predictor.predict(random_images(3, size))
            assert difference(scores(model, size), found).rms_error < 1e-5
        with pytest.raises(ValueError, match="`x` must be of shape"):
            predictor.predict(
                random_images(1, (40, 73)) if model.input_shape[2] else random_images(1)[0]
            )


@pytest.mark.parametrize("name", ["m.tflite", "m.xml"])
def test_int8_takes_the_sizes_that_the_model_takes(model, tmp_path, name):
    export(model, f"{tmp_path}/{name}", quantize="int8", calibration=random_images(20, HERE))
    with Predictor(f"{tmp_path}/{name}") as predictor:
        for size in sizes_of(model):
            found = predictor.predict(random_images(3, size))
            assert difference(scores(model, size), found).rms_error < 0.2  # int8, and not broken
