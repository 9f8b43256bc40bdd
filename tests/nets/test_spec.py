"""The architecture as data, against independent arithmetic and the paper."""

from math import prod

import pytest

from keras_mobilenet.nets.families import v1


def depthwise_outputs(layers, size):
    return [
        layers.shapes(size)[layer.name][0] for layer in layers if layer.kind == "DepthwiseConv2D"
    ]


def test_block_ids_are_the_row_numbers():
    names = [layer.name for layer in v1.network() if layer.kind == "DepthwiseConv2D"]
    assert names == [f"conv_dw_{i}" for i in range(1, 14)]


def test_there_are_27_convolutions_and_the_classifier():
    assert len(v1.network().convolutions) == 28
    assert len(v1.network(include_top=False).convolutions) == 27


def test_every_convolution_but_the_classifier_has_a_batch_norm_and_a_relu():
    layers = v1.network()
    kinds = {layer.name: layer.kind for layer in layers}
    for conv in layers.convolutions[:-1]:
        assert kinds[f"{conv.name}_bn"] == "BatchNormalization"
        assert kinds[f"{conv.name}_relu"] == "ReLU"


def test_only_strided_depthwise_convolutions_are_padded():
    strided = {layer.name for layer in v1.network() if layer.stride == 2}
    padded = {
        layer.name.replace("pad", "dw") for layer in v1.network() if layer.kind == "ZeroPadding2D"
    }
    assert strided - {"conv1"} == padded == {f"conv_dw_{i}" for i in (2, 4, 6, 12)}


def test_odd_input_rounds_up_in_the_stem_and_down_after_it():
    sizes = depthwise_outputs(v1.network(), (225, 225))
    assert list(dict.fromkeys(sizes)) == [113, 56, 28, 14, 7]


@pytest.mark.parametrize(
    ("n", "last"),
    # Final grids of Keras' graph; TF's SAME gives 4, 4, 5, 7, 8, 8, 10, 10, 11 at the odd ones.
    [(96, 3), (100, 3), (123, 3), (150, 4), (160, 5), (192, 6), (200, 6), (224, 7), (225, 7),
     (240, 7), (256, 8), (299, 9), (300, 9), (320, 10), (331, 10)],
)  # fmt: skip
def test_last_grid_of_a_size(n, last):
    assert depthwise_outputs(v1.network(), (n, n))[-1] == last


@pytest.mark.parametrize(
    ("alpha", "with_top", "without_top"),
    [
        (1.0, 4_253_864, 3_228_864),
        (0.75, 2_601_976, 1_832_976),
        (0.5, 1_342_536, 829_536),
        (0.25, 475_544, 218_544),
    ],
)
def test_parameters_of_the_published_alphas(alpha, with_top, without_top):
    assert v1.network(alpha).count_params() == with_top
    assert v1.network(alpha, include_top=False).count_params() == without_top


def test_alpha_cuts_off_where_it_does_not_divide():
    first = [layer.channels for layer in v1.network(0.1).convolutions[::2]]
    assert first[:6] == [3, 6, 12, 12, 25, 25]


def test_depth_multiplier_multiplies_depthwise_outputs_only():
    once, twice = v1.network(), v1.network(depth_multiplier=2)
    for a, b in zip(once, twice, strict=True):
        doubled = "_dw_" in a.name
        assert b.channels == a.channels * (2 if doubled else 1)


def test_count_is_the_sum_of_the_arrays():
    layers = v1.network(0.5, classes=10)
    assert layers.count_params() == sum(map(prod, layers.arrays().values()))
