"""Strides that became dilations: shapes, and the outputs that the net of stride 32 gives too."""

import functools

import keras
import numpy as np
import pytest
from layer_names import fixed_names
from random_models import randomise

from keras_mobilenet import MobileNet, layer_costs, load_weights, save_weights
from keras_mobilenet.display.summaries import layer_rows
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.nets.families import v1

# Depthwise convolutions of one graph are other kernels in the other: sums of float32.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
# Every stride of the thirteen, and behind each that is left out a block that is dilated.
BLOCKS = tuple(v1.Block(64, stride) for stride in (2, 2, 2, 1, 2, 1))


def build(size, output_stride, padding="keras", **arguments):
    fixed = {"alpha": 0.25, "include_top": False, "weights": None, "blocks": BLOCKS}
    shape = (size, size, 3)
    return MobileNet(
        shape, output_stride=output_stride, padding=padding, **fixed | arguments
    )  # fmt: skip


@functools.cache
def net(output_stride, padding):
    """Return a net for images of any size; all of one padding have the same weights."""
    return randomise(build(None, output_stride, padding))


def outputs(size, output_stride, padding):
    """Return the outputs of the net of stride 32, and of the dense one with the same weights."""
    sparse, dense = net(32, padding), net(output_stride, padding)
    x = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3)).astype("float32")
    return np.asarray(sparse(x)), np.asarray(dense(x))


@pytest.mark.parametrize(("output_stride", "last"), [(32, 7), (16, 14), (8, 28)])
def test_last_grid_is_that_of_slims_end_points(output_stride, last):
    """As slim's mobilenet_v1_test.py, testOutputStride16 and -8, has them at 224."""
    net = build(224, output_stride, blocks=v1.BLOCKS)
    assert net.output_shape == (None, last, last, 256)
    rates = [
        layer.dilation
        for layer in v1.network(output_stride=output_stride)
        if layer.kind == "DepthwiseConv2D"
    ]
    # The layer whose stride is left out keeps the rate there is; what follows it is dilated.
    expected = {32: [1] * 13, 16: [1] * 12 + [2], 8: [1] * 6 + [2] * 6 + [4]}
    assert rates == expected[output_stride]


# The end points Conv2d_0 to Conv2d_13 of slim's mobilenet_v1_test.py: testBuildAndCheckAll...
# and the two that begin with testOutputStride16 and testOutputStride8.
GRIDS = {
    32: [112, 112, 56, 56, 28, 28, 14, 14, 14, 14, 14, 14, 7, 7],
    16: [112, 112, 56, 56, 28, 28, 14, 14, 14, 14, 14, 14, 14, 14],
    8: [112, 112, 56, 56, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28],
}
POINTWISE = [64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]


@pytest.mark.parametrize("padding", ["keras", "same", "symmetric"])
@pytest.mark.parametrize("output_stride", GRIDS)
def test_shapes_are_those_of_slims_end_points(output_stride, padding):
    costs = layer_costs(output_stride=output_stride, padding=padding)
    found = {cost.name: cost.output_shape for cost in costs if cost.name.endswith("_relu")}
    first, *grids = GRIDS[output_stride]
    expected = {"conv1_relu": (first, first, 32)}
    depthwise = [32, *POINTWISE[:-1]]
    rows = zip(grids, depthwise, POINTWISE, strict=True)
    for i, (n, before, after) in enumerate(rows, start=1):
        expected[f"conv_dw_{i}_relu"] = (n, n, before)
        expected[f"conv_pw_{i}_relu"] = (n, n, after)
    assert found == expected


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("size", [64, 96, 128, 225])
def test_keras_padding_keeps_every_output_where_strides_meet_even_lengths(size, output_stride):
    sparse, dense = outputs(size, output_stride, "keras")
    step = 32 // output_stride
    np.testing.assert_allclose(dense[:, ::step, ::step], sparse, **TOLERANCE)


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("size", [64, 97, 100, 131, 225])
def test_symmetric_padding_keeps_every_output_at_any_size(size, output_stride):
    sparse, dense = outputs(size, output_stride, "symmetric")
    step = 32 // output_stride
    np.testing.assert_allclose(dense[:, ::step, ::step], sparse, **TOLERANCE)


@pytest.mark.parametrize(
    ("size", "output_stride", "first"),
    # A stride of 2 over an even length is centred on odd places, over an odd length on even ones.
    [(64, 16, 1), (65, 16, 0), (96, 8, 3), (97, 8, 0), (80, 8, 1), (120, 8, 2)],
)
def test_same_padding_keeps_every_output_too_but_begins_elsewhere(size, output_stride, first):
    sparse, dense = outputs(size, output_stride, "same")
    step = 32 // output_stride
    np.testing.assert_allclose(dense[:, first::step, first::step], sparse, **TOLERANCE)


def test_keras_padding_at_an_odd_length_differs_at_the_last_border_only():
    sparse, dense = outputs(240, 16, "keras")  # 15 x 15 before the last stride, which drops one
    assert (sparse.shape[1], dense.shape[1]) == (7, 15)
    np.testing.assert_allclose(dense[:, :12:2, :12:2], sparse[:, :6, :6], **TOLERANCE)
    assert not np.allclose(dense[:, :14:2, :14:2], sparse, **TOLERANCE)


@pytest.mark.parametrize("padding", ["keras", "same", "symmetric"])
def test_layers_and_weights_keep_names_and_shapes(padding):
    sparse, dense = build(96, 32, padding), build(96, 8, padding)
    assert fixed_names(dense) == fixed_names(sparse)
    assert [w.path for w in dense.weights] == [w.path for w in sparse.weights]
    assert [w.shape for w in dense.weights] == [w.shape for w in sparse.weights]


@pytest.mark.parametrize("padding", ["keras", "same", "symmetric"])
@pytest.mark.parametrize("output_stride", [16, 8])
def test_costs_are_those_of_the_model(padding, output_stride):
    net = {"alpha": 0.25, "padding": padding, "output_stride": output_stride, "blocks": BLOCKS}
    keras.utils.clear_session(free_memory=False)  # names as in a fresh process
    model = MobileNet((97, 97, 3), weights=None, **net)
    for cost, row in zip(layer_costs(size=97, **net), layer_rows(model), strict=True):
        assert (cost.name, cost.macs, cost.params) == (row.name, row.macs, row.params)
        assert (None, *cost.output_shape) == row.output_shape


@pytest.mark.parametrize(("alpha", "digits", "output_stride"), [(0.25, "2_5", 8), (1.0, "1_0", 16)])
def test_published_weights_load_and_keep_every_output(alpha, digits, output_stride, shared_data):
    path = shared_data / "weights" / "keras" / f"mobilenet_{digits}_224_tf.h5"
    sparse, dense = (
        build(224, s, alpha=alpha, weights=path, blocks=v1.BLOCKS) for s in (32, output_stride)
    )
    x = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype("float32")
    step = 32 // output_stride
    np.testing.assert_allclose(dense(x)[:, ::step, ::step], sparse(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [4, 64, 16.0, "16", True, None])
def test_other_output_strides_are_refused(value):
    with pytest.raises(ValueError, match="`output_stride` must be one of 8, 16, 32.*Received: out"):
        MobileNet(weights=None, output_stride=value)


# At an output stride of 8 the third block's stride is left out: what follows it is dilated, which
# the last of all cannot show.
LEFT_OUT = (*(v1.Block(32, stride=2),) * 3, v1.Block(32))
DENSE = [(8, LEFT_OUT), (8, LEFT_OUT[:-1])]


@pytest.mark.parametrize(("output_stride", "blocks"), DENSE)
def test_file_of_same_padding_makes_its_own_net_where_a_stride_is_left_out(
    output_stride, blocks, tmp_path
):
    path = tmp_path / "same.safetensors"
    size, arguments = 64, {"output_stride": output_stride, "blocks": blocks}
    source = randomise(build(size, padding="same", **arguments))
    save_weights(source, path)
    again = build(size, padding=None, weights=path, **arguments)
    x = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype("float32")
    np.testing.assert_array_equal(again(x), source(x))
    other = build(size, **arguments)
    assert not np.allclose(randomise(other)(x), source(x), **TOLERANCE)  # two functions
    with pytest.raises(CheckpointError, match="padding='same'"):
        load_weights(other, path)
    with pytest.raises(CheckpointError, match="padding='same'"):
        build(size, weights=path, **arguments)


@pytest.mark.parametrize(("output_stride", "blocks"), DENSE)
def test_file_of_keras_padding_is_refused_by_a_net_of_same_padding_where_a_stride_is_left_out(
    output_stride, blocks, tmp_path
):
    arguments = {"output_stride": output_stride, "blocks": blocks}
    save_weights(build(64, **arguments), tmp_path / "keras.safetensors")
    with pytest.raises(CheckpointError, match="padding='keras'"):
        build(64, padding="same", weights=tmp_path / "keras.safetensors", **arguments)
