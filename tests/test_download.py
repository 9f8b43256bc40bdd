import gc
import os
import re
import socket
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest
from checkpoint_files import same, weights, write_keras_2

import keras_mobilenet
from keras_mobilenet import pretrained
from keras_mobilenet.download import find_or_fetch, weights_folders
from keras_mobilenet.errors import DownloadError

# requests leaves the connection of a bad answer to the garbage collector.
pytestmark = pytest.mark.filterwarnings(r"ignore:unclosed <socket:ResourceWarning")

NAME = "mobilenet_2_5_224_tf_no_top.h5"
CONTENT = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 100


class Answers(BaseHTTPRequestHandler):
    """Answers every request with what the server was given."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        status, body, length = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(answer):
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.answer, server.asked = answer, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of Keras' cache, not made yet, with no other folder named."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KERAS_MOBILENET_WEIGHTS", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "home" / "models"


@pytest.fixture
def served(cache, monkeypatch):
    """Serve an answer in place of the published files; yields what starts it."""

    @contextmanager
    def start(body=CONTENT, status=200, length=None):
        with serving((status, body, length)) as server:
            url = f"http://127.0.0.1:{server.server_port}/mobilenet/"
            monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", url)
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
def silent(capfd, monkeypatch):
    """Nothing is printed, whatever happens; pooch's logger would, to the stderr of its import."""
    for handler in pooch.get_logger().handlers:
        monkeypatch.setattr(handler, "stream", sys.stderr)
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
    return [path for path in folder.rglob("*") if path.is_file()]


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


HTML = b"<html><title>Please log in</title></html>"
ANSWERS = [
    pytest.param({"status": 404, "body": b"no"}, "404 Client Error: Not Found", id="404"),
    pytest.param({"status": 403, "body": b"no"}, "403 Client Error: Forbidden", id="403"),
    pytest.param({"status": 500, "body": b"no"}, "500 Server Error", id="500"),
    pytest.param({"body": HTML}, "not an HDF5 file, most likely an error page", id="html"),
    pytest.param({"body": b""}, "not an HDF5 file", id="empty"),
    pytest.param({"length": len(CONTENT) + 1}, "IncompleteRead|more expected", id="cut_short"),
]


@pytest.mark.parametrize(("answer", "match"), ANSWERS)
def test_a_bad_answer_is_an_error_and_leaves_no_file(fails, served, answer, match):
    with served(**answer) as asked:
        fails(match)
        assert asked == [f"/mobilenet/{NAME}"]


def test_another_hash_than_the_recorded_one_is_an_error(fails, served):
    with served():
        fails("hash", known_sha256=pretrained.find(0.25, 224).sha256_no_top)


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
