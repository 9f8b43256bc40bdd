"""Costs of V2 and V3: to the last digit of what was counted in Keras, and against LiteRT."""

import pytest
from litert_arena import arena
from random_models import randomise
from test_memory import SLACK, converted
from typer.testing import CliRunner

from keras_mobilenet import MobileNetV2, MobileNetV3Small, layer_costs, peak_memory
from keras_mobilenet.commands.app import app
from keras_mobilenet.display.charts import cost_chart
from keras_mobilenet.display.cost_tables import cost_table
from keras_mobilenet.nets.costs.layers import SQUEEZE_EXCITE, cost_shares, kind_of
from keras_mobilenet.nets.costs.memory import weight_bytes
from keras_mobilenet.nets.families import v2, v3

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
    ],
)
def test_litert_takes_what_is_counted(builder, net, blocks, capfd):
    options = {"include_preprocessing": False} if net != "mobilenet_v2" else {}
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
