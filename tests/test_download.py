"""Published files: where they are found, and what they are checked against."""

import gc
import hashlib
import json
import os
import re
import shutil
import socket
from contextlib import contextmanager

import faulty_server
import pytest
from checkpoint_files import random_arrays, same, weights, write_keras_2
from faulty_server import CONTENT, HTML, serving

import keras_mobilenet
from keras_mobilenet import hashes, pretrained
from keras_mobilenet.download import addresses, find_or_fetch
from keras_mobilenet.errors import CheckpointError, DownloadError
from keras_mobilenet.local_files import weights_folders
from keras_mobilenet.published import weights_file

# requests leaves the connection of a bad answer to the garbage collector.
pytestmark = pytest.mark.filterwarnings(r"ignore:unclosed <socket:ResourceWarning")

NAME = "mobilenet_2_5_224_tf_no_top.h5"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ROW = pretrained.find(0.25, 224)


@pytest.fixture
def served(cache, monkeypatch):
    """Serve an answer in place of the published files; yields what starts it."""

    @contextmanager
    def start(body=CONTENT, status=200):
        with serving(faulty_server.status(status, body)) as server:
            monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", server.url)
            yield server.asked

    return start


@pytest.fixture
def nobody(monkeypatch):
    """An address that refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", url)
        yield url


@pytest.fixture(autouse=True)
def silent(capfd):
    """Nothing is printed, whatever happens."""
    yield
    gc.collect()  # while the mark above holds
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders named in the environment; the first is not there."""
    named = [tmp_path / "first", tmp_path / "second"]
    named[1].mkdir()
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", os.pathsep.join(map(str, named)))
    return named


def files_below(folder):
    """All but the locks, which are empty and stay."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in paths if path.suffix != ".lock" or path.stat().st_size]


# Where a file is found


def test_the_named_folders_are_looked_in_before_the_cache(cache, folders, nobody):
    assert weights_folders() == [*folders, cache]
    for folder in (cache, folders[1], folders[0]):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NAME).touch()
        assert find_or_fetch(NAME) == str(folder / NAME)


def test_empty_names_and_a_tilde_among_the_folders(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", os.pathsep.join(["", "~/mine", ""]))
    assert weights_folders() == [tmp_path / "mine", cache]
    monkeypatch.delenv("KERAS_MOBILENET_WEIGHTS")
    monkeypatch.delenv("KERAS_HOME")
    assert weights_folders() == [tmp_path / ".keras" / "models"]


def test_a_folder_of_the_files_name_is_not_the_file(cache, folders, served):
    (folders[1] / NAME).mkdir()
    with served():
        assert find_or_fetch(NAME) == str(cache / NAME)


def test_what_is_fetched_lies_in_keras_cache_and_is_not_fetched_again(cache, folders, served):
    with served() as asked:
        assert find_or_fetch(NAME) == find_or_fetch(NAME) == str(cache / NAME)
        assert asked == [f"/mobilenet/{NAME}"]
    assert (cache / NAME).read_bytes() == CONTENT
    assert files_below(cache) == [cache / NAME]
    assert find_or_fetch(NAME) == str(cache / NAME)  # with nobody listening


@pytest.mark.parametrize("slash", ["", "/", "//"])
def test_the_address_may_end_in_a_slash_or_not(cache, served, monkeypatch, slash):
    with served() as asked:
        url = os.environ["KERAS_MOBILENET_BASE_URL"].rstrip("/")
        monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", url + slash)
        find_or_fetch(NAME)
        assert asked == [f"/mobilenet/{NAME}"]


# What goes wrong


@pytest.fixture
def fails(cache, folders):
    """Fail to fetch a file: nothing is left, and the message tells what was tried, what to do."""

    def check(match, **arguments):
        with pytest.raises(DownloadError, match=match) as caught:
            find_or_fetch(NAME, **arguments)
        message = str(caught.value)
        assert message.startswith(f"{NAME} is in none of these folders")
        for named in (*folders, cache, "KERAS_MOBILENET_WEIGHTS", "weights=None"):
            assert str(named) in message
        assert os.environ["KERAS_MOBILENET_BASE_URL"] + NAME in message
        assert files_below(cache.parent) == []

    return check


ANSWERS = [
    pytest.param({"status": 404, "body": b"no"}, "404 Not Found", id="404"),
    pytest.param({"status": 403, "body": b"no"}, "403 Forbidden", id="403"),
    pytest.param({"body": HTML}, "not an HDF5 file, most likely an error page", id="html"),
    pytest.param({"body": b""}, "not an HDF5 file", id="empty"),
]


@pytest.mark.parametrize(("answer", "match"), ANSWERS)
def test_a_bad_answer_is_an_error_and_leaves_no_file(fails, served, answer, match):
    with served(**answer) as asked:
        fails(match)
        assert asked == [f"/mobilenet/{NAME}"]


def test_another_hash_than_the_recorded_one_is_an_error(fails, served):
    with served():
        fails(f"{SHA256}, that published is {ROW.sha256_no_top}", known_sha256=ROW.sha256_no_top)


def test_an_address_that_nobody_listens_at_is_an_error(fails, nobody):
    fails("refused")


@pytest.mark.parametrize("url", ["file:///etc/", "nonsense/", "http://"])
def test_an_address_that_is_none_is_an_error(fails, monkeypatch, url):
    monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", url)
    with pytest.raises(DownloadError, match=re.escape(url.rstrip("/"))):
        find_or_fetch(NAME)


def test_a_cache_that_cannot_be_made_is_an_error(cache, served, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"mine")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file" / "home"))
    with served(), pytest.raises(DownloadError, match=f"(?s){NAME}.*{tmp_path}/file/home/models"):
        find_or_fetch(NAME)
    assert (tmp_path / "file").read_bytes() == b"mine"


# From end to end


def test_a_model_fetches_its_weights_once(donor, cache, served, tmp_path):
    path = write_keras_2(tmp_path / "donor.h5", weights(donor))
    with served(path.read_bytes()) as asked:
        for _ in range(2):
            assert same(weights(keras_mobilenet.MobileNet(alpha=0.25)), weights(donor))
        assert asked == ["/mobilenet/mobilenet_2_5_224_tf.h5"]


def test_a_model_without_top_fetches_the_published_file(shared_data, cache, served):
    published = shared_data / "weights" / "keras" / NAME
    with served(published.read_bytes()) as asked:
        model = keras_mobilenet.MobileNet(alpha=0.25, include_top=False)
        assert asked == [f"/mobilenet/{NAME}"]
    from_file = keras_mobilenet.MobileNet(alpha=0.25, include_top=False, weights=published)
    assert same(weights(model), weights(from_file))


def test_a_model_whose_weights_cannot_be_fetched_is_not_built(cache, nobody):
    with pytest.raises(DownloadError, match=NAME):
        keras_mobilenet.MobileNet(alpha=0.25, include_top=False)
