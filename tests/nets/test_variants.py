"""The published net for a budget, against brute force over all of them."""

import itertools
import json

import pytest
from typer.testing import CliRunner

from keras_mobilenet import layer_costs, peak_memory, select_variant
from keras_mobilenet.commands.app import app
from keras_mobilenet.commands.terminal.options import bytes_in, count_in
from keras_mobilenet.display.cost_tables import selection_table
from keras_mobilenet.nets.costs.latency import Latency, LatencyTable
from keras_mobilenet.nets.costs.memory import weight_bytes
from keras_mobilenet.nets.costs.selection import variants
from keras_mobilenet.nets.pretrained import PRETRAINED
from keras_mobilenet.nets.published.table import ROWS

DTYPES = {"float32": 93, "int8": 20}  # of so many the accuracy in it was published
FIELDS = {"max_macs": "macs", "max_params": "params", "max_ram": "ram", "max_flash": "flash"}
# Limits under, between and over what the nets need, so that each one binds for some.
LIMITS = {
    "max_macs": (2e7, 1.2e8, 1e9),
    "max_params": (1e5, 2e6, 1e7),
    "max_ram": (2e5, 8e5, 3e6),
    "max_flash": (7e5, 3e6, 2e7),
    "min_top1": (45, 62),
}


def key(variant):
    """Return what tells a published net from all others."""
    return variant.net, variant.alpha, variant.size, variant.minimalistic, variant.name


def table(dtype, runtime="litert"):
    """Return every published net's numbers, worked out one by one."""
    own = [
        (row, row.net, row.minimalistic, row.size, None,
         row.top_1 if dtype == "float32" else row.top_1_int8)
        for row in PRETRAINED
    ]  # fmt: skip
    hub = [
        (row, row.family.name, "minimal" in row.repository, x.size, row.repository,
         x.top_1 if dtype == "float32" else None)
        for row in ROWS
        for x in row.evaluations
    ]  # fmt: skip
    rows = []
    for published, net, minimalistic, size, name, top_1 in (*own, *hub):
        if top_1 is None:
            continue
        options = {"minimalistic": True} if minimalistic else {}
        costs = layer_costs(published.alpha, net=net, size=size, **options)
        rows.append({
            "net": (net, published.alpha, size, minimalistic, name),
            "top_1": top_1,
            "macs": sum(cost.macs for cost in costs),
            "params": sum(cost.params for cost in costs),
            "ram": peak_memory(costs, dtype, runtime=runtime).bytes,
            "flash": weight_bytes(costs, dtype),
        })  # fmt: skip
    return rows


@pytest.mark.parametrize("dtype", DTYPES)
def test_best_is_that_of_brute_force(dtype):
    rows, outcomes = table(dtype), set()
    assert len(rows) == len(variants(dtype)) == DTYPES[dtype]
    for limits in itertools.product(*[(None, *values) for values in LIMITS.values()]):
        budget = dict(zip(LIMITS, limits, strict=True))
        fitting = [
            row for row in rows
            if all(limit is None or row[FIELDS[name]] <= limit
                   for name, limit in budget.items() if name in FIELDS)
            and (budget["min_top1"] is None or row["top_1"] >= budget["min_top1"])
        ]  # fmt: skip
        found = select_variant(**budget, dtype=dtype)
        outcomes.add(found.best)
        if not fitting:
            assert (found.best, found.runners_up, found.next_up) == (None, (), None)
            assert found.excess(found.nearest)
            continue
        best = max(fitting, key=lambda row: (row["top_1"], -row["macs"]))
        assert key(found.best) == best["net"]
        nets = {key(v) for v in (found.best, *found.runners_up)}
        assert nets == {row["net"] for row in fitting}
        better = [row["top_1"] for row in rows if row["top_1"] > best["top_1"]]
        assert (found.next_up.top_1 if better else found.next_up) == min(better, default=None)
        assert not better or found.excess(found.next_up)
    assert len(outcomes) > 4  # the limits do tell the nets apart


@pytest.mark.parametrize("dtype", DTYPES)
def test_nearest_misses_by_the_smallest_factor(dtype):
    found = select_variant(max_ram=1000, max_flash=1000, dtype=dtype)
    factors = [max(row["ram"], row["flash"]) for row in table(dtype)]
    assert max(found.nearest.ram, found.nearest.flash) == min(factors)
    assert found.excess(found.nearest) == {
        "ram": found.nearest.ram - 1000,
        "flash": found.nearest.flash - 1000,
    }


def test_runtime_without_patches_fits_more():
    budget = {"max_ram": 256_000, "max_flash": 1_000_000, "dtype": "int8"}
    litert, minimal = (select_variant(**budget, runtime=r).best for r in ("litert", "minimal"))
    assert (litert.alpha, litert.size) == (0.25, 128)
    assert (minimal.alpha, minimal.size) == (0.25, 192)


def test_without_limits_the_best_of_all_is_taken():
    found = select_variant(publisher="keras")
    assert key(found.best) == ("MobileNetV3Large", 1.0, 224, False, None)
    assert len(found.runners_up) == 43
    found = select_variant()
    assert found.best.name == "timm/mobilenetv4_hybrid_large.ix_e600_r384_in1k"
    assert (found.best.size, found.best.licence) == (448, "apache-2.0")
    assert str(found.best) == f"{found.best.name} at 448, float32"
    assert found.next_up is None
    assert "most accurate of the published nets" in selection_table(found)


def test_publisher_narrows_the_choice_and_an_unknown_one_is_named():
    budget = {"max_params": 4_000_000, "publisher": "timm"}
    assert {v.publisher for v in select_variant(**budget).runners_up} == {"timm"}
    with pytest.raises(ValueError, match="`publisher` must be one of keras, timm. Received"):
        select_variant(publisher="google")  # states no accuracy of its files on the hub
    with pytest.raises(ValueError, match=r"in int8 are published by keras alone.*--dtype float32"):
        select_variant(dtype="int8", publisher="timm")
    command = ["--dtype", "float32", "--params", "3.5M", "--publisher", "timm"]
    best, *_, up = [x for x in run(*command).stdout.splitlines() if "timm/" in x]
    assert best.split()[:2] == ["best", "timm/tf_mobilenetv3_small_100.in1k"]
    assert "3,948,688" in up  # the first with more, of those that are more accurate


def test_time_is_estimated_and_kept_where_a_machines_times_are_given(tmp_path):
    rows = tuple(
        Latency(alpha, size, 1e-12 * sum(x.macs for x in layer_costs(alpha, size=size)))
        for alpha in (0.25, 0.5, 0.75, 1.0)
        for size in (128, 160, 192, 224)
    )
    times = LatencyTable("here", "litert", "float32", 2, rows)
    found = select_variant(latencies=times, max_latency=3e-4)
    assert {v.latency is None for v in (found.best, *found.runners_up)} == {False}
    assert found.best.latency <= 3e-4 < found.next_up.latency
    # Times that are nothing but MACs: the choice is the one by MACs.
    assert found.best.name == select_variant(max_macs=3e8).best.name
    path = tmp_path / "times.json"
    path.write_text(times.to_text())
    result = run("--dtype", "float32", "--latency", str(path), "--ms", "0.3")
    assert result.stdout.splitlines()[0].endswith("  ms")
    assert "takes" in result.stdout
    with pytest.raises(ValueError, match="`max_latency` needs `latencies`"):
        select_variant(max_latency=1.0)
    with pytest.raises(ValueError, match="`latencies` must be of int8.*Received: float32"):
        select_variant(latencies=times, dtype="int8")


@pytest.mark.parametrize(
    ("text", "value"),
    [("5M", 5_000_000), ("3.5M", 3_500_000), ("5,000,000", 5_000_000), ("9k", 9000)],
)
def test_counts_are_read_with_their_unit(text, value):
    assert count_in("--max-params", text) == value


@pytest.mark.parametrize("text", ["", "M", "0", "-5M", "5MB", "many"])
def test_other_counts_are_refused(text):
    with pytest.raises(ValueError, match="--max-params must be a number, as in 3.5M"):
        count_in("--max-params", text)


@pytest.mark.parametrize("value", [0, -1, "1MB", True, float("nan")])
def test_wrong_limits_are_named(value):
    with pytest.raises(ValueError, match="`max_ram` must be a positive number.*Received: max_ram="):
        select_variant(max_ram=value)
    with pytest.raises(ValueError, match="`min_top1` must be a positive number"):
        select_variant(min_top1=value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("256kB", 256_000), ("1MB", 10**6), ("1.5 MB", 1_500_000), ("512KiB", 1 << 19),
     ("2MiB", 1 << 21), ("1000", 1000), ("64k", 64_000), ("1GiB", 1 << 30),
     ("1.001MB", 1_001_000), ("4.35kB", 4350)],
)  # fmt: skip
def test_bytes_are_read_in_decimal_and_binary_units(text, value):
    assert bytes_in("--ram", text) == value


@pytest.mark.parametrize("text", ["", "kB", "1 TB", "-1kB", "1e6", "256KB "])
def test_other_units_are_refused(text):
    with pytest.raises(ValueError, match="--ram must be a number of bytes.*Received: "):
        bytes_in("--ram", text)


def run(*arguments):
    return CliRunner().invoke(app, ["select", *arguments])


def test_command_prints_the_best_and_the_next_step():
    result = run("--ram", "256kB", "--flash", "1MB")
    assert result.exit_code == 0
    assert "MobileNet, alpha 0.25 at 128, int8" in result.stdout.splitlines()[1]
    assert "The next step up, 3.6 % more, needs 44,800 bytes of RAM more." in result.stdout


@pytest.mark.parametrize("dtype", DTYPES)
def test_command_answers_as_brute_force_does(dtype):
    """256 kB and 1 MB, over all published nets, whatever they are stored as."""
    result = run("--ram", "256kB", "--flash", "1MB", "--dtype", dtype, "--format", "json")
    found, rows = json.loads(result.stdout), table(dtype)
    fitting = [row for row in rows if row["ram"] <= 256_000 and row["flash"] <= 1_000_000]
    fitting.sort(key=lambda row: -row["top_1"])
    told = [v for v in (found["best"], *found["runners_up"]) if v is not None]
    fields = ("net", "alpha", "size", "minimalistic", "name")
    assert [tuple(v[f] for f in fields) for v in told] == [row["net"] for row in fitting]
    assert result.exit_code == (0 if fitting else 1)
    if fitting:
        up = min(r["top_1"] for r in rows if r["top_1"] > fitting[0]["top_1"])
        assert found["next_up"]["top_1"] == up
    else:
        miss = [max(row["ram"] / 256_000, row["flash"] / 1e6) for row in rows]
        nearest = tuple(found["nearest"][f] for f in fields)
        assert nearest == rows[miss.index(min(miss))]["net"]


def test_command_says_by_how_much_nothing_fits():
    result = run("--ram", "100kB", "--runtime", "minimal")
    assert result.exit_code == 0
    result = run("--ram", "90kB", "--runtime", "minimal", "--top1", "70")
    assert result.exit_code == 1
    assert "No published net fits. The nearest" in result.stdout


@pytest.mark.parametrize("macs", ["300M", "0.3G", "300,000,000", "300000000"])
def test_command_takes_counts_as_people_write_them(macs):
    best = json.loads(run("--macs", macs, "--format", "json").stdout)["best"]
    assert best["macs"] == select_variant(max_macs=3e8, dtype="int8").best.macs


def test_command_tells_a_count_that_is_none():
    error = run("--macs", "300m").exception
    assert isinstance(error, ValueError)
    assert str(error).startswith("--macs must be a number, as in 3.5M")


def test_command_writes_json_and_markdown():
    found = json.loads(run("--macs", "50000000", "--format", "json").stdout)
    assert (found["best"]["alpha"], found["best"]["size"]) == (0.5, 128)
    assert run("--format", "markdown").stdout.startswith("|")
    with pytest.raises(ValueError, match="Received: format='html'"):
        selection_table(select_variant(), format="html")
