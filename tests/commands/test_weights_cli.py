"""`keras-mobilenet weights`, as a user types it."""

import gc
import io
import json
import os
import shutil
import sys

import pytest
from checkpoint_files import random_arrays, write_keras_2, write_safetensors
from faulty_server import serving, status
from typer.testing import CliRunner

from keras_mobilenet import layer_costs
from keras_mobilenet.checkpoints.published import hashes
from keras_mobilenet.commands.app import app, main
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.families import registry
from keras_mobilenet.nets.published.table import ROWS

# requests leaves the connection of a bad answer to the garbage collector.
pytestmark = pytest.mark.filterwarnings(r"ignore:unclosed <socket:ResourceWarning")

NAME = "mobilenet_2_5_160_tf_no_top.h5"  # of which no hash was published
CHOICE = ["--alpha", 0.25, "--size", 160, "--no-top"]
ARRAYS = random_arrays(alpha=0.25, include_top=False)


@pytest.fixture(autouse=True)
def collected(cache):
    yield
    gc.collect()  # while the mark above holds


def run(*arguments):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def fail(capsys, monkeypatch, *arguments):
    """Run the command as the installed script does, and return what it says of an error."""
    monkeypatch.setattr(sys, "argv", ["keras-mobilenet", "weights", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    return capsys.readouterr().err


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder that the user named."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def cached(cache):
    cache.mkdir(parents=True)
    return write_keras_2(cache / NAME, ARRAYS)


@pytest.fixture
def served(tmp_path, monkeypatch):
    body = write_keras_2(tmp_path / "served.h5", ARRAYS).read_bytes()
    with serving(status(200, body)) as server:
        monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", server.url)
        yield server


# list and where


def test_list_is_the_manifest_and_where_each_file_lies(cached):
    records = json.loads(run("list", "--format", "json").stdout)
    assert [record["file"] for record in records[88:]] == [row.repository for row in ROWS]
    for record, entry in zip(records[:88], pretrained.manifest(), strict=True):
        costs = layer_costs(
            entry["alpha"], net=entry["net"], size=entry["size"],
            include_top=entry["include_top"], minimalistic=entry["minimalistic"],
        )  # fmt: skip
        assert record == {
            "macs": sum(cost.macs for cost in costs),
            "licence": "apache-2.0",
            "commit": None,
            **{key: entry[key] for key in ("file", "alpha", "minimalistic", "size", "params")},
            "net": registry.family(entry["net"]).key,
            "top": entry["include_top"],
            "top-1": entry["top_1"],
            "top-5": entry["top_5"],
            "where": str(cached.parent) if entry["file"] == NAME else None,
        }


@pytest.mark.parametrize(("written", "lines"), [("text", 1), ("markdown", 2)])
def test_list_has_a_line_a_file(cached, written, lines):
    table = run("list", "--format", written).stdout.splitlines()
    assert len(table) == lines + 88 + len(ROWS)
    [line] = [line for line in table if NAME in line]
    for cell in ("0.25", "160", " no ", "218,544", "45.5", "70.3", str(cached.parent)):
        assert cell in line
    assert all(line == line.rstrip() for line in table)


def test_list_names_the_hubs_files_with_what_their_publishers_state():
    records = {record["file"]: record for record in json.loads(run("list", "--json").stdout)}
    record = records["timm/mobilenetv1_100.ra4_e3600_r224_in1k"]
    assert (record["size"], record["top-1"], record["licence"]) == (256, 76.088, "apache-2.0")
    assert record["macs"] == sum(cost.macs for cost in layer_costs(1.0, size=256))
    assert record["where"] is None
    assert record["commit"] == "636812647d7a669e4ce6d6d367f27c8ee71155f6"
    assert records["google/mobilenet_v2_1.0_224"]["commit"] == "newest"
    assert records["google/mobilenet_v2_1.0_224"]["licence"] == "other"
    assert records["google/mobilenet_v2_1.0_224"]["top-1"] is None


def test_list_sorts_and_leaves_out_what_is_too_large():
    arguments = ("--sort", "top-1", "--max-params", "5M")
    records = json.loads(run("list", "--json", *arguments).stdout)
    accuracies = [record["top-1"] for record in records]
    known = [value for value in accuracies if value is not None]
    assert known == sorted(known, reverse=True)
    assert set(accuracies[len(known) :]) == {None}  # what is not stated comes last
    assert max(record["params"] for record in records) <= 5_000_000
    smallest = json.loads(run("list", "--json", "--sort", "macs").stdout)
    assert smallest == sorted(smallest, key=lambda record: record["macs"])


def test_where_prints_the_folders_in_order_and_the_one_that_gives_the_file(cached, mine):
    assert run("where", *CHOICE).stdout.splitlines() == [
        f"{NAME} is looked for in:",
        f"  {mine} (not here)",
        f"  {cached.parent} (here)",
    ]
    shutil.copy(cached, mine)
    assert run("where", *CHOICE).stdout.splitlines()[1:] == [
        f"  {mine} (here)",
        f"  {cached.parent} (here too, not used)",
    ]


def test_where_says_where_a_file_would_be_fetched_to(cache):
    assert run("where").stdout.splitlines() == [
        "mobilenet_1_0_224_tf.h5 is looked for in:",
        f"  {cache} (no such folder)",
        f"and would be fetched into {cache}",
    ]


@pytest.mark.parametrize("command", ["where", "fetch"])
@pytest.mark.parametrize("options", [("--alpha", 0.3), ("--size", 225)])
def test_what_was_never_published_is_an_error_with_what_was(capsys, monkeypatch, command, options):
    message = fail(capsys, monkeypatch, command, *options)
    assert "There are alpha 0.25, 0.5, 0.75, 1.0 and size 128, 160, 192, 224" in message


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--net", "mobilenet_v2", "--alpha", 0.35, "--size", 96, "--no-top"),
         "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"),
        (("--net", "mobilenet_v3_small", "--minimalistic"),
         "weights_mobilenet_v3_small_minimalistic_224_1.0_float.h5"),
        (("--net", "mobilenet_v3_large", "--alpha", 0.75, "--no-top"),
         "weights_mobilenet_v3_large_224_0.75_float_no_top_v2.h5"),
    ],
)  # fmt: skip
def test_where_takes_any_net(options, name):
    assert run("where", *options).stdout.startswith(f"{name} is looked for in:")


def test_what_was_never_published_of_a_net_is_an_error_with_what_was(capsys, monkeypatch):
    message = fail(capsys, monkeypatch, "where", "--net", "mobilenet_v2", "--alpha", 0.25)
    assert "There are alpha 0.35, 0.5, 0.75, 1.0, 1.3, 1.4 and size 96, 128" in message
    small = ("--net", "mobilenet_v3_small", "--minimalistic", "--alpha", 0.75)
    assert "MobileNetV3Small minimalistic, alpha 0.75" in fail(capsys, monkeypatch, "where", *small)


# fetch


def test_fetch_prints_the_path_and_fetches_once(cache, served):
    for _ in range(2):
        result = run("fetch", *CHOICE)
        assert (result.stdout, result.stderr) == (f"{cache / NAME}\n", "")
    assert len(served.asked) == 1
    assert hashes.recorded(cache, NAME).digest == hashes.sha256_of(cache / NAME)


def test_fetch_force_replaces_what_is_broken(capsys, monkeypatch, cached, served):
    os.truncate(cached, 1000)
    message = fail(capsys, monkeypatch, "fetch", *CHOICE)
    assert f"{cached}: " in message
    command = message.partition("run `keras-mobilenet weights ")[2].partition("`")[0]
    assert run(*command.split()).stdout == f"{cached}\n"
    assert run("verify").exit_code == 0


def test_fetch_force_says_which_file_will_be_used(cached, mine, served):
    own = shutil.copy(cached, mine)
    result = run("fetch", *CHOICE, "--force")
    assert result.stdout == f"{cached}\n"
    assert f"{own} comes first" in result.stderr


def test_fetch_all_goes_on_after_a_failure(served, cache):
    """The server gives one file under all names: three of the 88 names may have it."""
    hashed = pretrained.find(0.25, 224)
    result = run("fetch", "--all")
    paths = [line.rpartition("/")[2] for line in result.stdout.splitlines()]
    rows = [pretrained.find(0.25, size) for size in (192, 160, 128)]
    assert paths == [row.file_name(include_top=False) for row in rows]
    assert hashed.sha256_no_top in result.stderr  # the fourth has a published hash
    assert "85 of 88 files are not at hand" in result.stderr
    assert result.exit_code == 1
    assert len(served.asked) == 88


def test_fetch_draws_its_progress_on_a_terminal(served, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    stdout, stderr = io.StringIO(), io.StringIO()
    stderr.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", stdout)
    monkeypatch.setattr("sys.stderr", stderr)
    app(["weights", "fetch", *map(str, CHOICE)], standalone_mode=False)
    assert NAME in stderr.getvalue()
    assert "MB" in stderr.getvalue()
    assert stdout.getvalue().count(NAME) == 1


def test_fetch_without_a_network_is_an_error(capsys, monkeypatch):
    monkeypatch.setenv("KERAS_MOBILENET_OFFLINE", "1")
    assert "KERAS_MOBILENET_OFFLINE is set" in fail(capsys, monkeypatch, "fetch", *CHOICE)


# verify


def test_verify_says_what_is_known_of_each_file(cached, mine, shared_data):
    published = shared_data / "weights" / "keras" / "mobilenet_2_5_224_tf_no_top.h5"
    other = write_safetensors(mine / "any.safetensors", ARRAYS)
    result = run("verify", published, cached, other)
    assert result.exit_code == 0
    first, second, third = result.stdout.splitlines()
    assert first == f"ok   {published}: its arrays fit; its SHA-256 is the one published"
    assert second.endswith(f"{hashes.sha256_of(cached)}, with none to compare")
    assert third.startswith(f"ok   {other}: its arrays fit")
    assert result.stderr == "3 files, 0 bad\n"


def test_verify_looks_at_every_copy_of_a_published_file(cached, mine):
    other = write_keras_2(mine / NAME, random_arrays(alpha=0.5, include_top=False))
    hashes.record(cached.parent, NAME, "0" * 64)
    result = run("verify")
    assert result.exit_code == 1
    assert f"BAD  {other} does not fit" in result.stdout
    assert f"BAD  {cached}: the file is damaged, or another one; its SHA-256" in result.stdout
    assert result.stderr == "2 files, 2 bad\n"


def test_verify_of_an_own_copy_tells_that_its_hash_is_another(mine):
    path = write_keras_2(mine / "mobilenet_2_5_224_tf_no_top.h5", ARRAYS)
    result = run("verify")
    assert result.stdout.startswith(f"ok   {path}")
    assert "not the one published" in result.stdout
    assert result.exit_code == 0


def test_verify_names_what_is_no_mobilenet_or_is_not_there(tmp_path):
    path = write_safetensors(tmp_path / "a.safetensors", {"x/kernel": ARRAYS["conv1/kernel"]})
    result = run("verify", path, tmp_path / "nowhere.h5")
    assert f"BAD  {path}: its arrays are not those of a MobileNet." in result.stdout
    assert f"BAD  {tmp_path / 'nowhere.h5'}" in result.stdout
    assert result.exit_code == 1


def test_verify_without_any_file_says_so():
    result = run("verify")
    assert (result.stdout, result.stderr) == ("", "no published file is here\n")
    assert result.exit_code == 0
