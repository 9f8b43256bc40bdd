"""MobileNetV4, which Keras has not: its builders are as V2's, its graph and weights are timm's."""

import inspect

import keras
import numpy as np
import pytest
from deploy_nets import settle
from random_models import randomise

from keras_mobilenet import (
    MobileNetV2,
    MobileNetV3Small,
    MobileNetV4ConvLarge,
    MobileNetV4ConvMedium,
    MobileNetV4ConvSmall,
    export,
    inspect_weights,
    load_weights,
    mobilenet_v4,
    replace_top,
    save_weights,
)
from keras_mobilenet.display.paper_tables import paper_table
from keras_mobilenet.display.sizes import size_table
from keras_mobilenet.nets.families import v4
from keras_mobilenet.nets.families.registry import family, recognise

BUILDERS = (MobileNetV4ConvSmall, MobileNetV4ConvMedium, MobileNetV4ConvLarge)
# A full convolution, a fused block, and universal ones with both windows, either, and neither.
ROWS = (
    v4.Block(16, 2, expansion=None),
    v4.Block(24, 2, fused=True),
    v4.Block(32, 2, 3, start=5, kernel=5),
    v4.Block(32, start=3, kernel=0),
    v4.Block(32, start=0, kernel=0),
    v4.Block(40, 2, start=0),
    v4.Block(40, start=3),
)


def build(size=64, builder=MobileNetV4ConvSmall, **options):
    fixed = {"alpha": 0.5, "classes": 5, "blocks": ROWS}
    return builder((size, size, 3), **fixed | options)


def names(model):
    return [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]


@pytest.mark.parametrize("builder", BUILDERS)
def test_signature_begins_with_that_of_v2(builder):
    v2, ours = (list(inspect.signature(b).parameters.values()) for b in (MobileNetV2, builder))
    theirs = [p for p in v2 if p.kind is not p.KEYWORD_ONLY]
    for a, b in zip(ours, theirs, strict=False):
        default = None if a.name == "weights" else b.default  # Keras publishes none
        assert (a.name, a.default, a.kind) == (b.name, default, b.kind)
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


def test_module_offers_the_names_of_keras_modules():
    assert {b.__name__ for b in BUILDERS} < set(mobilenet_v4.__all__)
    assert {"preprocess_input", "decode_predictions"} < set(mobilenet_v4.__all__)


@pytest.mark.parametrize(("builder", "size"), [*zip(BUILDERS, (224, 256, 384), strict=True)])
def test_default_size_is_that_of_timms_first_weights(builder, size):
    model = builder(alpha=0.35)
    assert model.input_shape == (None, size, size, 3)
    assert model.name.endswith(f"_0.35_{size}")


def test_default_graph_is_timms():
    model = build()
    assert {x.epsilon for x in model.layers if hasattr(x, "epsilon")} == {1e-5}
    pads = {x.name: x.padding for x in model.layers if x.name.endswith("_pad")}
    assert pads == {
        "conv_pad": ((1, 1), (1, 1)),
        "full_0_pad": ((1, 1), (1, 1)),
        "fused_1_expand_pad": ((1, 1), (1, 1)),
        "universal_2_depthwise_pad": ((2, 2), (2, 2)),
        "universal_5_depthwise_pad": ((1, 1), (1, 1)),
    }
    assert names(build(padding="symmetric")) == names(build(padding="keras")) == names(model)
    assert not any(name.endswith("_pad") for name in names(build(padding="same")))


def test_a_start_window_has_no_activation_and_strides_where_it_is_alone():
    model = build(blocks=(v4.Block(24, 2, start=5, kernel=0), v4.Block(24, start=3)))
    assert model.get_layer("universal_0_start").strides == (2, 2)
    assert model.get_layer("universal_0_start_pad").padding == ((2, 2), (2, 2))
    assert "universal_0_start_relu" not in names(model)
    assert model.get_layer("universal_1_expand_relu").max_value is None
    assert "universal_1_add" in names(model)


def test_names_are_the_same_in_every_model():
    assert names(build()) == names(build())
    image = keras.Input((64, 64, 3))
    nets = [build(input_tensor=image, name_prefix=name) for name in ("a_", "b_")]
    own = [keras.layers.Dropout(0.1)(net.output) for net in nets]
    assert keras.Model(image, own)


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize(("size", "stride"), [(64, 16), (97, 8)])
def test_a_denser_net_gives_what_the_sparse_one_gives_too(padding, size, stride):
    rows = (*ROWS, v4.Block(48, 2, start=3, kernel=5), v4.Block(48, start=5))
    options = {"include_top": False, "blocks": rows[1:], "padding": padding}
    sparse = randomise(build(size, **options))
    dense = build(size, output_stride=stride, **options)
    dense.set_weights(sparse.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype("float32")
    step = 32 // stride
    # SAME centres a stride of 2 over an even length on odd places.
    first = step - 1 if padding == "same" and size % 2 == 0 else 0
    expected = np.asarray(sparse(x))
    # Depthwise convolutions of one graph are other kernels in the other: sums of float32.
    found = np.asarray(dense(x))[:, first::step, first::step]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "block",
    [
        v4.Block(16, 2, start=0, kernel=0),  # nothing has the stride
        v4.Block(16, expansion=None, kernel=0),
        v4.Block(16, expansion=None, start=3),
        v4.Block(16, fused=True, start=3),
        v4.Block(16, fused=True, kernel=0),
        v4.Block(16, expansion=0),
        v4.Block(16, start=-1),
        v4.Block(16, kernel=2.5),
    ],
    ids=str,
)
def test_blocks_of_which_no_net_can_be_made_are_refused(block):
    with pytest.raises(ValueError, match="`blocks` must be"):
        build(blocks=[block])


def test_weights_of_keras_are_said_not_to_be():
    with pytest.raises(ValueError, match="Keras publishes no weights of MobileNetV4ConvSmall"):
        MobileNetV4ConvSmall(weights="imagenet")


def test_what_is_not_known_of_v4_is_said_so():
    with pytest.raises(ValueError, match="of the others no table is here. .*v4_conv_small"):
        paper_table(1, "mobilenet_v4_conv_small")
    with pytest.raises(ValueError, match="`alpha` must be a positive number. 1 is the paper's"):
        MobileNetV4ConvSmall(alpha=0)


def test_sizes_are_beside_timms_net():
    header, *rows = size_table((224, 225), net="mobilenet_v4_conv_small").splitlines()
    assert header.split()[-2:] == ["as", "timm"]
    same = {tuple(row.split()[i] for i in (0, 3)): row.split()[-1] for row in rows if "x" in row}
    assert same == {
        ("224", "keras"): "yes", ("224", "same"): "no", ("224", "symmetric"): "yes",
        ("225", "keras"): "yes", ("225", "same"): "yes", ("225", "symmetric"): "yes",
    }  # fmt: skip


def test_a_file_that_tells_no_conventions_goes_with_the_default_ones(tmp_path):
    model = randomise(build(blocks=v4.SMALL, alpha=0.35))
    path = tmp_path / "a.weights.h5"
    model.save_weights(path)  # Keras' own
    again = MobileNetV4ConvSmall((64, 64, 3), 0.35, classes=5, weights=path)
    x = np.ones((1, 64, 64, 3), "float32")
    np.testing.assert_array_equal(again(x), model(x))


def test_a_file_of_ours_tells_net_and_conventions(tmp_path):
    model = randomise(build(blocks=v4.SMALL, alpha=0.35))
    save_weights(model, tmp_path / "a.safetensors")
    inspection = inspect_weights(tmp_path / "a.safetensors")
    assert (inspection.origin.net, inspection.origin.alpha) == ("MobileNetV4ConvSmall", 0.35)
    assert (inspection.conventions.epsilon, inspection.conventions.padding) == (1e-5, "symmetric")


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_a_tflite_file_gives_its_net_back(tmp_path, padding):
    options = {"alpha": 0.35, "blocks": v4.MEDIUM, "builder": MobileNetV4ConvMedium}
    model = randomise(build(padding=padding, **options))
    export(model, tmp_path / "m.tflite")
    assert inspect_weights(tmp_path / "m.tflite").origin.net == "MobileNetV4ConvMedium"
    again = build(weights=tmp_path / "m.tflite", **options)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    expected = np.asarray(model(x))
    assert abs(np.asarray(again(x)) - expected).max() < 1e-4 * expected.max()  # batch norms folded


def test_a_net_with_a_block_more_is_not_recognised():
    known = family("mobilenet_v4_conv_small")
    more = known.network(blocks=(*v4.SMALL, v4.SMALL[-1]))
    assert recognise(more.arrays()) is None


@pytest.mark.parametrize("file", ["m.tflite", "m.onnx"])
@pytest.mark.parametrize("builder", [MobileNetV3Small, MobileNetV4ConvSmall])
def test_a_file_with_a_top_of_ones_own_gives_it_back(tmp_path, builder, file):
    """One convolution stands on the pool there, where the paper's top has two."""

    def net():
        base = builder((64, 64, 3), 0.35, include_top=False, weights=None)
        # Sigmoids of some random nets are 1e-7 on export's own images, and all of that is rounding.
        return replace_top(base, 3, activation="softmax")

    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    model = net()
    settle(model, x)
    export(model, tmp_path / file)
    again = net()
    load_weights(again, tmp_path / file)
    expected = np.asarray(model(x))
    assert expected.std(axis=0).max() > 0.01
    np.testing.assert_allclose(again(x), expected, atol=1e-4)  # batch norms were folded


def test_an_onnx_file_gives_its_net_back(tmp_path):
    """At 64 pixels as at all others: V4 pads in one way only, beside SAME."""
    model = randomise(build(blocks=v4.SMALL, alpha=0.35))
    export(model, tmp_path / "m.onnx")
    found = inspect_weights(tmp_path / "m.onnx")
    assert found.origin.net == "MobileNetV4ConvSmall"
    assert (found.conventions.epsilon, found.conventions.padding) == (1e-5, "symmetric")
    again = build(blocks=v4.SMALL, alpha=0.35)
    load_weights(again, tmp_path / "m.onnx")
    x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(again(x), model(x), atol=1e-4)  # batch norms were folded
