"""Blocks of the user's own, and the paper's two other nets: built, counted, loaded and saved."""

import keras
import numpy as np
import pytest
from coloured_shapes import write_shapes
from layer_names import fixed_names
from random_models import randomise

from keras_mobilenet import (
    MobileNet,
    Predictor,
    cam,
    export,
    features,
    finetune,
    fold_batch_norm,
    freeze,
    layer_costs,
    load_weights,
    replace_top,
    save_weights,
    train,
)
from keras_mobilenet.deploy.comparison import difference
from keras_mobilenet.display.summaries import layer_rows
from keras_mobilenet.images.images import fit_pixels
from keras_mobilenet.models.model_files import info_of
from keras_mobilenet.nets.families.v1 import BLOCKS, FULL_BLOCKS, SHALLOW_BLOCKS, Block
from keras_mobilenet.transfer.freezing import trainable_summary

OWN = (Block(16), Block(32, stride=2, separable=False), Block(48), *[Block(64)] * 12)
NETS = {"shallow": SHALLOW_BLOCKS, "full": FULL_BLOCKS, "own": OWN}
PADDINGS = ("keras", "same", "symmetric")


def build(blocks, **arguments):
    fixed = {"alpha": 0.25, "classes": 5, "weights": None}
    return MobileNet((64, 64, 3), blocks=blocks, **fixed | arguments)


@pytest.mark.parametrize("output_stride", [32, 8])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("net", NETS)
def test_costs_are_those_of_the_model(net, padding, output_stride):
    arguments = {"alpha": 0.25, "blocks": NETS[net], "padding": padding}
    arguments["output_stride"] = output_stride
    keras.utils.clear_session(free_memory=False)  # names as in a fresh process
    model = MobileNet((97, 97, 3), weights=None, **arguments)
    for cost, row in zip(layer_costs(size=97, **arguments), layer_rows(model), strict=True):
        assert (cost.name, cost.macs, cost.params) == (row.name, row.macs, row.params)
        assert (None, *cost.output_shape) == row.output_shape


def test_default_blocks_are_the_papers():
    assert layer_costs(blocks=list(BLOCKS)) == layer_costs()


@pytest.mark.parametrize(
    ("blocks", "macs", "params"),
    # arXiv 1704.04861, tables 5 and 4, in millions.
    [(SHALLOW_BLOCKS, 307, 2.9), (FULL_BLOCKS, 4866, 29.3)],
)
def test_the_papers_other_nets_cost_what_it_says(blocks, macs, params):
    costs = layer_costs(blocks=blocks)
    # Table 4 leaves the classifier's 1,024,000 MACs out, table 5 counts them.
    counted = sum(c.macs for c in costs if macs == 307 or c.part != "top")
    assert round(counted / 1e6) == macs
    assert round(sum(np.prod(c.kernel) for c in costs if c.kernel) / 1e6, 1) == params


@pytest.mark.parametrize(
    ("net", "end"),
    [("own", ".safetensors"), ("own", ".weights.h5"), ("own", ".h5"), ("shallow", ".weights.h5"),
     ("full", ".weights.h5")],
)  # fmt: skip
def test_own_net_is_saved_and_loaded(net, end, tmp_path):
    model = randomise(build(NETS[net]))
    save_weights(model, tmp_path / f"net{end}")
    again = build(NETS[net])
    load_weights(again, tmp_path / f"net{end}")
    for a, b in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    if end == ".weights.h5":  # Keras goes by the layers' order in such a file
        by_keras = build(NETS[net])
        by_keras.load_weights(tmp_path / f"net{end}")
        np.testing.assert_array_equal(by_keras.get_weights()[-1], model.get_weights()[-1])


def test_own_net_may_begin_with_a_file_of_its_own(tmp_path):
    model = randomise(build(OWN, padding="symmetric"))
    save_weights(model, tmp_path / "own.safetensors")
    again = build(OWN, weights=tmp_path / "own.safetensors")
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    np.testing.assert_array_equal(again(x), model(x))


def test_own_net_trains_and_is_saved_whole(tmp_path):
    model = build(OWN)  # full and separable convolutions
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    model.fit(x, np.array([0, 1]), verbose=0)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), model(x))


def test_own_net_folds_exports_and_gives_features(tmp_path):
    model = randomise(build(OWN))
    x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    assert difference(model(x), fold_batch_norm(model)(x)).rms_error < 1e-5
    report = export(model, tmp_path / "own.tflite", calibration=x)
    assert report.difference.rms_error < 1e-5
    with Predictor(tmp_path / "own.tflite") as predictor:
        assert difference(model(x), predictor.predict(x)).rms_error < 1e-5
    assert features(model, strides=(4,))(x)["stride_4"].shape == (2, 16, 16, 16)  # 64 x alpha


@pytest.mark.parametrize("net", NETS)
def test_new_top_stands_on_all_blocks(net):
    blocks = NETS[net]
    mine = replace_top(randomise(build(blocks)), 3)
    assert fixed_names(mine) == fixed_names(build(blocks, classes=3))
    freeze(mine, until=f"block_{len(blocks) - 1}")
    assert trainable_summary(mine).startswith(f"trains block_{len(blocks)} to conv_preds: ")
    with pytest.raises(
        ValueError, match=f"`until` must be .*block_{len(blocks)}, all, all_but_two, None"
    ):
        freeze(mine, until=f"block_{len(blocks) + 1}")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype("uint8")
    seen = cam(mine, image, class_=1)
    logits = keras.Model(mine.inputs, mine.get_layer("reshape_2").output)
    info = info_of(mine)
    x = info.scaled(fit_pixels(fit_pixels(image, crop=info.crop), size=info.size))
    found = float(np.asarray(logits([x[None]]))[0, 1])
    assert seen.array.mean() == pytest.approx(found, rel=1e-4)


def test_layers_of_ones_own_are_not_taken_for_blocks():
    base = MobileNet((32, 32, 3), 0.25, include_top=False, weights=None)
    x = base.output
    own = [
        keras.layers.Conv2D(8, 3, padding="same", name="conv_1"),
        keras.layers.BatchNormalization(name="conv_1_bn"),
        keras.layers.Conv2D(8, 1, name="conv_14"),
        keras.layers.Dense(3, name="conv_dw_2_head"),
    ]
    for layer in own:
        x = layer(x)
    model = freeze(keras.Model(base.input, x), until="all")
    assert all(layer.trainable for layer in own if "bn" not in layer.name)
    assert not any(layer.trainable for layer in base.layers[1:])
    assert trainable_summary(model).startswith("trains conv_1 to conv_dw_2_head: ")
    with pytest.raises(ValueError, match="until.*block_13, all"):
        freeze(model, until="block_14")


def test_own_net_is_fine_tuned():
    mine = freeze(replace_top(randomise(build(OWN)), 3), until="block_10")
    mine.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    before = {w.path: np.asarray(w) for w in mine.weights}
    x = np.random.default_rng(0).uniform(-1, 1, (4, 64, 64, 3)).astype("float32")
    mine.fit(x, np.array([0, 1, 2, 0]), verbose=0)
    moved = {
        w.path.partition("/")[0] for w in mine.weights if not np.array_equal(w, before[w.path])
    }
    assert {"conv_preds", "conv_pw_15"} <= moved
    assert moved <= {f"conv_{kind}_{i}" for kind in ("dw", "pw") for i in range(11, 16)} | {
        "conv_preds"
    }


FEW = [Block(64), Block(128, stride=2), Block(128, separable=False), Block(256, stride=2)]


def test_own_net_is_trained_from_scratch_and_then_fine_tuned(tmp_path):
    images = write_shapes(tmp_path / "images", 8)
    net = {"blocks": FEW, "alpha": 0.25, "size": 32}
    trained = train(images, out=tmp_path / "train", epochs=1, batch_size=6, **net)
    names = fixed_names(MobileNet((32, 32, 3), 0.25, blocks=FEW, weights=None))
    assert fixed_names(trained.model) == names
    assert trained.settings["blocks"] == [[64, 1, True], [128, 2, True], [128, 1, False],
                                          [256, 2, True]]  # fmt: skip
    with pytest.raises(ValueError, match="state of a training with other settings"):
        train(images, out=tmp_path / "train", epochs=1, batch_size=6, resume=True,
              **net | {"blocks": FEW[:3]})  # fmt: skip

    weights = tmp_path / "train" / "model.keras"
    tuned = finetune(
        images, weights=weights, train_from="block_4", epochs=1, learning_rate=1e-3,
        validation=None, engine="keras", **net,
    )  # fmt: skip
    assert fixed_names(tuned.model) == names
    moved = {
        old.path.partition("/")[0]
        for old, new in zip(trained.model.weights, tuned.model.weights, strict=True)
        if not np.array_equal(old, new)
    }
    assert moved == {"conv_dw_4", "conv_pw_4", "conv_preds"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": FEW, "weights": None, "train_from": "block_5"}, "block_3, block_4. Received"),
        (
            {"blocks": FEW},
            "`blocks` must be keras_mobilenet.nets.families.v1.BLOCKS with weights='imagenet'",
        ),
        ({"blocks": [64]}, "`blocks` must be a sequence of"),
        ({"blocks": FEW, "alpha": "x"}, "`alpha` must be"),
    ],
)
def test_wrong_arguments_for_an_own_net_are_named(arguments, message, tmp_path):
    images = write_shapes(tmp_path / "images", 2)
    with pytest.raises(ValueError, match=message):
        finetune(images, **arguments)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_same_padding_is_that_of_keras_where_the_nets_own_strides_are_even(size, tmp_path):
    blocks = [Block(8, stride=2)] * 6  # more halvings than the paper's four
    path = tmp_path / "net.safetensors"
    save_weights(build(blocks, padding="same"), path)
    found = MobileNet((size, size, 3), alpha=0.25, classes=5, blocks=blocks, weights=path)
    assert "conv_pad_1" not in [layer.name for layer in found.layers]  # needs a multiple of 128


@pytest.mark.parametrize(
    "blocks", [(), 3, [64], [Block(0)], [Block(8, stride=0)], [Block(8.0)], [Block(8, 1, 1)]]
)
def test_wrong_blocks_are_named(blocks):
    with pytest.raises(ValueError, match="`blocks` must be a sequence of .*Received: blocks="):
        build(blocks)


def test_published_weights_are_for_the_papers_blocks_only():
    with pytest.raises(
        ValueError,
        match="`blocks` must be keras_mobilenet.nets.families.v1.BLOCKS with weights='imagenet'",
    ):
        MobileNet(blocks=SHALLOW_BLOCKS)


def test_block_without_channels_is_named():
    with pytest.raises(ValueError, match="`alpha` must be at least 0.5. The narrowest block, of 2"):
        build([Block(2)])
