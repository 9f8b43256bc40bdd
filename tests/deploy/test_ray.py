"""The same job on a cluster: every image once, whatever becomes of the machines."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from image_files import LABELS, small_model, write_features_model, write_images, write_model

from keras_mobilenet.deploy.folders.folder_job import write_results
from keras_mobilenet.deploy.folders.job_file import settings_of, write_settings
from keras_mobilenet.deploy.folders.outputs import write_parquet
from keras_mobilenet.deploy.folders.ray_job import (
    _kept_here,
    classify_with_ray,
    import_ray,
    packed,
    unpacked,
)
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import MissingExtraError
from keras_mobilenet.images.listing import list_images
from keras_mobilenet.images.prefetch import BATCH

# Ray's own: its settings warn of themselves, and it leaves pipes to the garbage collector.
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:ray.*", "ignore::FutureWarning:ray.*", "ignore::ResourceWarning"
    ),
]
COUNT = 5 * BATCH + 7
BAD = (3, 60)
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1 as IPv4, and in IPv6


@pytest.fixture(autouse=True)
def no_niceness(monkeypatch):
    """Ray's workers give way to every other process: beside tests they would stand for minutes."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


def start_cluster(**options):
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    return cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False} | options
    )


def processes_of_ray():
    """Return the names of this process' children that Ray started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue  # it has ended meanwhile
        if int(lines["PPid"]) == os.getpid() and lines["Name"] in ("raylet", "gcs_server"):
            found.append(lines["Name"])
    return found


def listening_addresses():
    """Return the hosts, in /proc's hexadecimal, on which this process' descendants take calls."""
    parents, inodes = {}, set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            stat = (process / "stat").read_text().rpartition(")")[2].split()
            parents[int(process.name)] = int(stat[1])
    for process in parents:
        ancestor = process
        while ancestor not in (0, os.getpid()):
            ancestor = parents.get(ancestor, 0)
        if ancestor:
            with suppress(OSError):
                inodes |= {os.readlink(file) for file in Path(f"/proc/{process}/fd").iterdir()}
    rows = [
        line.split() for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]  # fmt: skip
    return {r[1].split(":")[0] for r in rows if r[3] == "0A" and f"socket:[{r[9]}]" in inodes}


@pytest.fixture
def here(tmp_path):
    """A model, images, and the results of one machine."""
    write_model(tmp_path / "net.keras")
    write_images(tmp_path / "images", COUNT, bad=BAD)
    with Predictor(tmp_path / "net.keras") as predictor:
        write_results(predictor, tmp_path / "images", tmp_path / "one.parquet", top=3)
    return tmp_path


def rows(path):
    from pyarrow import parquet

    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    found = [row for file in files for row in parquet.read_table(file).to_pylist()]
    return sorted(found, key=lambda row: row["path"])


def classify(here, **options):
    return classify_with_ray(
        here / "images", here / "out", model=here / "net.keras", top=3, part_size=BATCH, **options
    )


def write_first_part(here):
    """Write what a run leaves that was killed in its second part."""
    out = here / "out"
    out.mkdir()
    with Predictor(here / "net.keras") as predictor:
        write_settings(str(out), settings_of(predictor, top=3))
        paths = list(list_images(here / "images"))[:BATCH]
        part = out / "part-001-000000.parquet"
        write_parquet(str(part), predictor.classify(paths, top=3), top=3)
    (out / ".part-001-000001.parquet.cut.parquet").write_bytes(b"PAR1")
    return part


def test_run_is_gone_on_with_to_the_results_of_one_machine(here):
    pytest.importorskip("ray")
    part = write_first_part(here)
    before, told, hosts = part.stat().st_mtime_ns, [], set()

    def progress(done):
        told.append(done)
        hosts.update(listening_addresses())

    report = classify(here, address="local", actors=1, resume=True, progress=progress)
    assert hosts == LOOPBACK, "a machine of the network can reach it"
    assert (report.done, report.resumed, report.bad) == (COUNT, BATCH, len(BAD))
    assert told == sorted(told)
    assert (told[0], told[-1]) == (BATCH, COUNT)
    assert rows(here / "out") == rows(here / "one.parquet")
    assert part.stat().st_mtime_ns == before
    assert len(list((here / "out").iterdir())) == 6
    assert processes_of_ray() == []

    again = classify(here, resume=True)  # nothing is left to do: Ray is not started
    assert (again.done, again.resumed) == (COUNT, COUNT)
    assert sorted(again.faults) == sorted(report.faults)
    with pytest.raises(ValueError, match="in another way"):
        classify(here, resume=True, engine="keras")


def test_local_ray_asks_no_cloud_where_it_runs(monkeypatch):
    usage = pytest.importorskip("ray._common.usage.usage_lib")
    hosts = []

    def refuse(host, *args, **kwargs):
        hosts.append(host)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("NO_PROXY", "169.254.169.254,metadata.google.internal")
    ray = import_ray()
    before = dict(os.environ)
    with _kept_here(ray):
        assert usage.get_cloud_from_metadata_requests() == "unknown"
    assert set(hosts) == {"127.0.0.1"}
    assert dict(os.environ) == before


def test_nothing_is_lost_where_ray_cannot_be_used(here, monkeypatch):
    (here / "out").mkdir()
    (here / "out" / "part-001-000000.parquet").write_bytes(b"mine")
    with pytest.raises(ValueError, match="has results. Pass resume"):
        classify(here)
    with pytest.raises(ValueError, match="one of the two"):
        classify(here, resume=True, overwrite=True)
    (here / "empty").mkdir()
    with pytest.raises(ValueError, match="There is no image"):
        classify_with_ray(here / "empty", here / "out", model=here / "net.keras", overwrite=True)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"keras-mobilenet\[ray\]"):
        classify(here)
    assert (here / "out" / "part-001-000000.parquet").read_bytes() == b"mine"


def test_model_travels_as_file_folder_or_model(tmp_path):
    path = write_model(tmp_path / "net.keras")
    with unpacked(packed(path)) as copy:
        assert Path(copy).name == "net.keras"
        assert Path(copy).read_bytes() == path.read_bytes()
    with unpacked(packed(small_model())) as copy, Predictor(copy) as predictor:
        assert predictor.labels() == LABELS
    (tmp_path / "net.xml").write_text("graph")
    (tmp_path / "net.bin").write_text("weights")
    with unpacked(packed(tmp_path / "net.xml")) as copy:
        assert Path(copy).with_suffix(".bin").read_text() == "weights"
    folder = tmp_path / "saved" / "assets"
    folder.mkdir(parents=True)
    (folder / "a").write_text("b")
    with unpacked(packed(f"{tmp_path}/saved/")) as copy:
        assert (Path(copy) / "assets" / "a").read_text() == "b"


@pytest.mark.slow
def test_lost_machine_loses_no_image(here):
    # Ray's own patience with a machine that does not answer is 15 seconds.
    impatience = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
    cluster = start_cluster(_system_config=impatience)
    try:
        nodes = [cluster.add_node(num_cpus=1)]
        cluster.wait_for_nodes()
        done_when_killed = []

        def kill_one(done):
            if nodes and done >= BATCH:
                done_when_killed.append(done)
                cluster.remove_node(nodes.pop(), allow_graceful=False)

        report = classify_with_ray(
            here / "images", here / "out", model=here / "net.keras", top=3, part_size=BATCH,
            address=cluster.address, progress=kill_one,
        )  # fmt: skip
    finally:
        cluster.shutdown()
    assert done_when_killed
    assert done_when_killed[0] < report.done
    assert rows(here / "out") == rows(here / "one.parquet")
    assert processes_of_ray() == []


@pytest.mark.slow
def test_features_and_failures_on_a_cluster(here):
    model = write_features_model(here / "features.keras")
    cluster = start_cluster()
    try:
        options = {"model": model, "features": True, "address": cluster.address}
        classify_with_ray(here / "images", here / "out", **options)
        with pytest.raises(OSError, match="The work on Ray has stopped"):
            classify_with_ray(
                here / "images", here / "gone", **options,
                progress=lambda done: os.rename(here / "gone", here / "elsewhere"),
            )  # fmt: skip
    finally:
        cluster.shutdown()
    with Predictor(model) as predictor:
        write_results(predictor, here / "images", here / "f.parquet", features=True)
    assert rows(here / "out") == rows(here / "f.parquet")
