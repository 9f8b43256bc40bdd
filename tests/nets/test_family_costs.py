"""Costs of V2, V3 and V4: to the last digit of what others counted, and against LiteRT."""

import pytest
from litert_arena import arena
from random_models import randomise
from test_memory import SLACK, converted
from typer.testing import CliRunner

from keras_mobilenet import (
    MobileNetV2,
    MobileNetV3Small,
    MobileNetV4ConvMedium,
    layer_costs,
    peak_memory,
)
from keras_mobilenet.commands.app import app
from keras_mobilenet.display.charts import cost_chart
from keras_mobilenet.display.cost_tables import cost_table
from keras_mobilenet.nets.costs.layers import SQUEEZE_EXCITE, cost_shares, kind_of
from keras_mobilenet.nets.costs.memory import weight_bytes
from keras_mobilenet.nets.families import v2, v3, v4

SIZES = (224, 192, 160, 128, 96)
# Parameters with and without the top, and MACs by size, of keras.applications' nets.
V2 = {
    0.35: (1_691_208, 410_208, 59_285_808, 43_896_512, 30_874_800, 20_220_672, 11_934_128),
    0.5: (1_987_224, 706_224, 97_131_840, 71_701_760, 50_184_000, 32_578_560, 18_885_440),
    0.75: (2_663_064, 1_382_064, 209_069_792, 153_941_888, 107_295_200, 69_129_728, 39_445_472),
    1.0: (3_538_984, 2_257_984, 300_774_272, 221_316_608, 154_083_200, 99_074_048, 56_289_152),
    1.3: (5_431_048, 3_766_048, 509_374_560, 374_675_840, 260_700_000, 167_447_040, 94_916_960),
    1.4: (6_156_712, 4_363_712, 582_195_824, 428_211_136, 297_916_400, 191_311_616, 108_396_784),
}
# The same of V3 at 224, and the MACs of squeeze-excite and of the net without its top.
V3 = {
    ("small", 0.75, False): (2_051_552, 583_160, 43_399_344, 278_272, 41_932_976),
    ("small", 1.0, False): (2_554_968, 939_120, 56_510_400, 458_752, 54_896_576),
    ("small", 1.0, True): (2_056_848, 441_000, 52_288_448, 0, 50_674_624),
    ("large", 0.75, False): (4_012_616, 1_808_736, 154_560_624, 903_552, 152_359_024),
    ("large", 1.0, False): (5_507_432, 2_996_352, 216_589_760, 1_507_200, 214_080_960),
    ("large", 1.0, True): (3_948_688, 1_437_608, 209_136_704, 0, 206_627_904),
}
V3_UNPUBLISHED = {
    ("small", 0.5): (1_599_720, 24_188_688),
    ("small", 1.25): (3_660_640, 87_703_648),
    ("large", 0.5): (2_702_512, 73_663_088),
    ("large", 1.25): (8_286_760, 349_904_800),
}
# Of timm's nets: parameters, those that train, those without the top; and MACs by size.
V4 = {
    ("small", 1.0): (
        (3_799_112, 3_774_024, 1_284_192),
        {224: 186_005_568, 256: 242_178_048, 320: 376_992_000},
    ),
    ("small", 0.5): ((2_252_808, 2_238_952, 352_288), {224: 64_741_408}),
    ("small", 0.35): ((1_916_072, 1_905_384, 199_872), {224: 47_723_040}),
    ("medium", 1.0): (
        (9_783_416, 9_715_512, 7_268_496),
        {224: 827_649_984, 256: 1_080_244_224, 320: 1_686_470_400},
    ),
    ("large", 1.0): (
        (32_740_416, 32_590_864, 30_225_496),
        {256: 2_835_269_632, 384: 6_376_220_672, 448: 8_677_838_848},
    ),
}
# Of timm's hybrid nets, as torch's FlopCounterMode counts them where attention is not one kernel:
# values with the top and without; MACs by size; and the factors of channels, which timm has too.
V4_HYBRID = {
    "medium": (
        (11_144_312, 8_629_392),
        {224: 966_311_360, 256: 1_271_183_360, 384: 2_974_991_360},
        6_176,
    ),
    "large": (
        (37_916_736, 35_401_816),
        {256: 3_345_008_640, 384: 7_711_877_120, 448: 10_662_801_408},
        12_288,
    ),
}
V4_HYBRID_TRAINED = {"medium": 11_074_648, "large": 37_764_624}  # of timm's


def counted(**net):
    """Return a net's parameters and MACs."""
    costs = layer_costs(**net)
    return sum(cost.params for cost in costs), sum(cost.macs for cost in costs)


@pytest.mark.parametrize("alpha", V2)
def test_v2_has_the_parameters_and_macs_of_keras(alpha):
    net = {"net": "mobilenet_v2", "alpha": alpha}
    with_top, without, *macs = V2[alpha]
    assert [counted(size=size, **net) for size in SIZES] == [(with_top, m) for m in macs]
    top = 1000 * (1280 if alpha <= 1 else v2.width(1280, alpha))  # of which MACs are one a weight
    for size, m in zip(SIZES, macs, strict=True):
        assert counted(size=size, include_top=False, **net) == (without, m - top)


@pytest.mark.parametrize(("size", "alpha", "minimalistic"), V3)
def test_v3_has_the_parameters_and_macs_of_keras(size, alpha, minimalistic):
    net = {"net": f"mobilenet_v3_{size}", "alpha": alpha, "minimalistic": minimalistic}
    params, no_top, macs, squeeze_excite, no_top_macs = V3[size, alpha, minimalistic]
    assert counted(**net) == (params, macs)
    assert counted(include_top=False, **net) == (no_top, no_top_macs)
    kernels = [cost for cost in layer_costs(**net) if cost.kernel]
    assert sum(c.macs for c in kernels if kind_of(c) == SQUEEZE_EXCITE) == squeeze_excite


@pytest.mark.parametrize(("size", "alpha"), V3_UNPUBLISHED)
def test_v3_of_other_alphas_has_the_parameters_and_macs_of_keras(size, alpha):
    expected = V3_UNPUBLISHED[size, alpha]
    assert counted(net=f"mobilenet_v3_{size}", alpha=alpha) == expected


@pytest.mark.parametrize(("size", "alpha"), V4)
def test_v4_has_the_parameters_and_macs_of_timm(size, alpha):
    net = {"net": f"mobilenet_v4_conv_{size}", "alpha": alpha}
    (params, trainable, no_top), macs = V4[size, alpha]
    for pixels, expected in macs.items():
        assert counted(size=pixels, **net) == (params, expected)
    assert counted(include_top=False, **net)[0] == no_top
    norms = [cost for cost in layer_costs(**net) if cost.kind == "BatchNormalization"]
    assert params - sum(norm.params // 2 for norm in norms) == trainable


@pytest.mark.parametrize("size", V4_HYBRID)
def test_v4_hybrid_has_the_values_and_macs_of_timm(size):
    net = {"net": f"mobilenet_v4_hybrid_{size}"}
    (params, no_top), macs, factors = V4_HYBRID[size]
    for pixels, expected in macs.items():
        assert counted(size=pixels, **net) == (params, expected)
    assert counted(include_top=False, **net)[0] == no_top
    costs = layer_costs(**net)
    norms = [cost for cost in costs if cost.kind == "BatchNormalization"]
    assert params - sum(x.params // 2 for x in norms) + factors == V4_HYBRID_TRAINED[size]
    assert {share.kind: share.macs > 1 for share in cost_shares(costs)}["attention"]


def test_builders_names_are_keys_too():
    assert counted(net="MobileNetV2") == counted(net="mobilenet_v2")
    with pytest.raises(ValueError, match="`net` must be one of mobilenet, .*net='mobilenet_v9'"):
        layer_costs(net="mobilenet_v9")
    with pytest.raises(ValueError, match="`minimalistic` must be left out for mobilenet_v2"):
        layer_costs(net="mobilenet_v2", minimalistic=True)


@pytest.mark.parametrize("net", ["mobilenet_v2", "mobilenet_v3_large"])
def test_shares_are_of_all_kinds_and_not_beside_v1s_paper(net):
    shares = cost_shares(layer_costs(net=net))
    assert sum(share.macs for share in shares) == pytest.approx(100)
    assert sum(share.params for share in shares) == pytest.approx(100)
    assert (SQUEEZE_EXCITE in [s.kind for s in shares]) == (net == "mobilenet_v3_large")
    assert "paper" not in cost_table(layer_costs(net=net), by="kind")


# The arena that LiteRT took for whole nets at 96 pixels, read as the test below reads it.
@pytest.mark.parametrize(
    ("net", "alpha", "dtype", "arena"),
    [
        ("mobilenet_v2", 0.35, "float32", 663_552),
        ("mobilenet_v2", 1.0, "float32", 1_216_512),
        ("mobilenet_v2", 1.0, "int8", 304_128),
        ("mobilenet_v3_small", 1.0, "float32", 506_880),
        ("mobilenet_v3_small", 1.0, "int8", 126_720),
        ("mobilenet_v3_large", 0.75, "float32", 847_872),
        ("mobilenet_v3_large", 0.75, "int8", 211_968),
        ("mobilenet_v4_conv_small", 1.0, "float32", 1_167_872),
        ("mobilenet_v4_conv_small", 1.0, "int8", 291_968),
        ("mobilenet_v4_conv_medium", 0.5, "float32", 1_389_056),
        ("mobilenet_v4_conv_medium", 0.5, "int8", 347_264),
    ],
)
def test_peak_is_the_arena_that_litert_took(net, alpha, dtype, arena):
    assert peak_memory(layer_costs(alpha, net=net, size=96), dtype).bytes == arena


@pytest.mark.filterwarnings("ignore")  # TensorFlow's converter has some of its own
@pytest.mark.parametrize(
    ("builder", "net", "blocks"),
    [
        (MobileNetV2, "mobilenet_v2", v2.BLOCKS[:3]),
        (MobileNetV3Small, "mobilenet_v3_small", (v3.SMALL[0], v3.SMALL[3])),
        (
            MobileNetV4ConvMedium,
            "mobilenet_v4_conv_medium",
            (v4.MEDIUM[0], v4.MEDIUM[1], v4.MEDIUM[2], v4.MEDIUM[8]),
        ),
    ],
)
def test_litert_takes_what_is_counted(builder, net, blocks, capfd):
    options = {"include_preprocessing": False} if "v3" in net else {}
    model = builder((64, 64, 3), 0.5, weights=None, classes=10, blocks=blocks, **options)
    content = converted(randomise(model), "float32", 64)
    costs = layer_costs(0.5, net=net, size=64, classes=10, blocks=blocks)
    assert arena(content) == peak_memory(costs).bytes
    assert 0 <= len(content) - weight_bytes(costs) < SLACK
    capfd.readouterr()  # the converter prints


def test_a_chart_has_a_colour_for_each_kind(tmp_path):
    pytest.importorskip("matplotlib")
    image = tmp_path / "costs.svg"
    cost_chart(layer_costs(net="mobilenet_v3_small", alpha=0.75), image)
    assert "squeeze-excite" in image.read_text()


def test_command_prints_the_costs_of_any_net():
    command = ["cost", "--net", "mobilenet_v3_small", "--minimalistic", "--size", "96"]
    expected = cost_table(layer_costs(net="mobilenet_v3_small", minimalistic=True, size=96))
    assert CliRunner().invoke(app, command).stdout == expected + "\n"
