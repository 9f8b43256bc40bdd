"""Estimates of latency: exact where time is what they take it for, and never below zero."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from keras_mobilenet import layer_costs, peak_memory
from keras_mobilenet.commands.app import app
from keras_mobilenet.deploy.bench import latencies
from keras_mobilenet.display.cost_tables import device_table
from keras_mobilenet.nets.costs.latency import (
    Latency,
    LatencyTable,
    estimate_latency,
    read_latencies,
)
from keras_mobilenet.nets.costs.memory import weight_bytes
from keras_mobilenet.nets.families.v1 import FULL_BLOCKS


def seconds(layers):
    """Return the time on a machine of known speeds: a call, dense and depthwise MACs, weights."""
    depthwise = sum(c.macs for c in layers if c.kind == "DepthwiseConv2D")
    dense = sum(c.macs for c in layers) - depthwise
    return 2e-4 + dense / 50e9 + depthwise / 6e9 + sum(c.params for c in layers) / 3e9


@pytest.fixture(scope="module")
def table():
    rows = [
        Latency(a, s, seconds(layer_costs(a, size=s)), key) for key, a, s in latencies.PUBLISHED
    ]  # fmt: skip
    return LatencyTable("here", "litert", "float32", 2, tuple(rows))


@pytest.mark.parametrize(
    "net",
    [
        {"alpha": 0.35, "size": (176, 320)},
        {"blocks": FULL_BLOCKS},
        {"include_top": False},
        {"net": "mobilenet_v2"},
        {"net": "mobilenet_v3_small", "minimalistic": True},
    ],
)
def test_other_nets_on_a_machine_of_known_speeds_are_told_exactly(table, net):
    layers = layer_costs(**net)
    assert estimate_latency(layers, table) == pytest.approx(seconds(layers), rel=1e-3)


def test_no_net_takes_less_than_nothing(table):
    falling = [replace(row, seconds=1 / (1 + i)) for i, row in enumerate(table.rows[::-1])]
    odd = replace(table, rows=tuple(falling))
    for net in ({"alpha": 0.05, "size": 32}, {"alpha": 2.0, "size": 512}):
        assert estimate_latency(layer_costs(**net), odd) >= 0


def test_table_is_read_as_it_was_written(table, tmp_path):
    path = tmp_path / "here.json"
    path.write_text(table.to_text())
    assert read_latencies(path) == table


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: told | {"version": 2},
        lambda told: told | {"rows": told["rows"][:3]},
        lambda told: told | {"rows": [{"alpha": 1, "size": 224, "seconds": 0}] * 9},
        lambda told: told | {"rows": None},
        lambda told: {"version": 1},
        lambda told: [told],
    ],
)
def test_other_files_are_refused(table, tmp_path, damage):
    path = tmp_path / "here.json"
    path.write_text(json.dumps(damage(json.loads(table.to_text()))))
    with pytest.raises(ValueError, match="holds no table of latencies.*keras-mobilenet latency"):
        read_latencies(path)


def test_no_layers_are_refused(table):
    with pytest.raises(ValueError, match="Received: nothing"):
        estimate_latency((), table)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_cost_tells_what_a_device_needs(table, tmp_path):
    path = tmp_path / "here.json"
    path.write_text(table.to_text())
    costs = layer_costs(0.5, size=(128, 160))
    net = ("cost", "--alpha", 0.5, "--size", "128x160")
    assert run(*net, "--device").stdout == device_table(costs) + "\n"
    told = json.loads(run(*net, "--latency", path, "--format", "json").stdout)
    values = {(row["what"], row["in"]): row["value"] for row in told}
    assert values["RAM in LiteRT", "int8"] == peak_memory(costs, "int8").bytes
    minimal = peak_memory(costs, runtime="minimal").bytes
    assert values["RAM, input and output of a layer", "float32"] == minimal
    assert values["weights", "float16"] == weight_bytes(costs, "float16")
    assert values["one image", "float32"] == pytest.approx(1e6 * seconds(costs), rel=1e-3)
    with pytest.raises(ValueError, match="Received: format='html'"):
        device_table(costs, format="html")


def test_published_nets_are_those_of_the_families_asked_for():
    found = latencies.published("mobilenet_v2", "mobilenet_v3_small")
    assert len(found) == len(set(found)) == 22 + 2
    assert len(latencies.PUBLISHED) == 16
    with pytest.raises(ValueError, match="Received: net='mobilenet_v9'"):
        latencies.published("mobilenet_v9")


def test_nets_are_timed_here_and_the_file_is_written_whole(tmp_path, monkeypatch):
    nets = (("mobilenet", 0.25, 32), ("mobilenet", 0.25, 64))
    measure = latencies.measure_latencies
    found = measure(engine="litert", nets=nets, rounds=2, threads=1)
    assert [(row.net, row.alpha, row.size) for row in found.rows] == list(nets)
    assert (found.engine, found.precision, found.threads) == ("litert", "float32", 1)
    assert min(row.seconds for row in found.rows) > 0
    path = tmp_path / "here.json"
    monkeypatch.setattr(latencies, "measure_latencies", lambda **_: found)
    result = run("latency", path)
    assert result.stdout.startswith("MobileNet, alpha 0.25 at 32:")
    assert path.read_text().strip() == found.to_text()

    def fail(**_):
        raise ValueError("no")

    monkeypatch.setattr(latencies, "measure_latencies", fail)
    assert run("latency", path).exit_code == 1
    assert path.read_text().strip() == found.to_text()
    assert [p.name for p in tmp_path.iterdir()] == ["here.json"]


def test_nets_that_keras_publishes_no_files_of_are_timed_as_on_the_hub():
    nets = latencies.published("mobilenet_v4_conv_small")
    assert {(1.0, 224), (1.0, 256), (0.5, 224)} <= {(alpha, size) for _, alpha, size in nets}
    assert len(nets) == len(set(nets))
