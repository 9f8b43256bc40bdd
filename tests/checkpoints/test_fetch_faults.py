"""A server, a disk or another process does its worst: the right file comes, or an error."""

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import filelock
import pytest
import requests
from faulty_server import (
    CONTENT,
    HALF,
    HTML,
    endless,
    first_part,
    serving,
    status,
    whole,
)

from keras_mobilenet.checkpoints.published import download, http_files
from keras_mobilenet.checkpoints.published.download import find_or_fetch
from keras_mobilenet.errors import DownloadError

pytestmark = [
    # requests leaves the connection of a bad answer to the garbage collector.
    pytest.mark.filterwarnings(r"ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.usefixtures("silent"),
]

NAME = "mobilenet_2_5_224_tf_no_top.h5"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SCRIPT = (
    f"from keras_mobilenet.checkpoints.published.download import *; "
    f"print(find_or_fetch({NAME!r}, {SHA256!r}))"
)


@pytest.fixture
def serve(cache, monkeypatch):
    """Start a server that gives these answers in turn, in place of the published files."""
    with pytest.MonkeyPatch.context() as patch:
        running = []

        def start(*answers):
            context = serving(*answers)
            server = context.__enter__()
            running.append(context)
            patch.setenv("KERAS_MOBILENET_BASE_URL", server.url)
            return server

        yield start
        for context in running:
            context.__exit__(None, None, None)


def files_in(folder):
    return [path for path in folder.rglob("*") if path.suffix != ".lock"]


@pytest.fixture
def fails(cache):
    """Fail to fetch; the message names the file, the folders, the address and the remedy."""

    def check(match, **arguments):
        with pytest.raises(DownloadError, match=match) as caught:
            find_or_fetch(NAME, **arguments)
        for part in (NAME, cache, "KERAS_MOBILENET_WEIGHTS"):
            assert str(part) in str(caught.value)
        assert files_in(cache) == []
        return str(caught.value)

    return check


def comes(cache, content=CONTENT, **arguments):
    assert find_or_fetch(NAME, **arguments) == str(cache / NAME)
    assert (cache / NAME).read_bytes() == content
    assert files_in(cache) == [cache / NAME]


# A server that fails for good


@pytest.mark.parametrize(
    ("answer", "match", "times"),
    [
        pytest.param(status(404), "404 Not Found", 1, id="404"),
        pytest.param(status(403), "403 Forbidden", 1, id="403"),
        pytest.param(status(500), "500 Internal Server Error", 3, id="500"),
        pytest.param(status(503), "503 Service Unavailable", 3, id="503"),
        pytest.param(status(204, b""), "204 No Content", 1, id="no_content"),
        pytest.param(status(206, CONTENT), "206 Partial Content", 1, id="206_unasked"),
        pytest.param(status(304, b""), "304 Not Modified", 1, id="304"),
        pytest.param(status(200, HTML), "most likely an error page", 1, id="html"),
        pytest.param(status(200, b""), "not an HDF5 file", 1, id="empty"),
        pytest.param(
            status(200, CONTENT, Content_Encoding="gzip"), "packed", 1, id="packed_unasked"
        ),
        pytest.param(first_part(), f"{HALF} bytes read|after {HALF} of", 3, id="cut"),
        pytest.param(first_part(reset=True), "reset|Connection", 3, id="reset"),
    ],
)
def test_a_bad_answer_is_an_error_and_leaves_no_file(serve, fails, answer, match, times):
    server = serve(answer)
    message = fails(match)
    assert server.url + NAME in message
    assert len(server.asked) == times


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("answer", "match"),
    [
        pytest.param(lambda handler: handler.server.over.wait(), "timed out", id="silent"),
        pytest.param(first_part(stall=True), "timed out", id="stalled"),
    ],
)
def test_a_server_that_falls_silent_is_an_error_soon(serve, fails, answer, match):
    server = serve(answer)
    begin = time.monotonic()
    assert server.url + NAME in fails(match)
    assert time.monotonic() - begin < 20  # three times a second, and what a busy machine adds
    assert len(server.asked) == 3


@pytest.mark.parametrize("answer", [endless, first_part(stall=True)])
def test_no_more_than_the_cap_is_taken(serve, fails, answer):
    server = serve(answer)
    fails("more than 200000 bytes", max_bytes=200_000)
    assert len(server.asked) == 1


# A server that recovers


@pytest.mark.parametrize("bad", [status(500), status(429), first_part(), first_part(reset=True)])
def test_the_third_attempt_may_bring_it(serve, cache, bad):
    server = serve(bad, bad, whole())
    comes(cache)
    assert len(server.asked) == 3


# Redirects


@pytest.fixture
def connections(monkeypatch):
    """The addresses that anything is asked of."""
    asked, get = [], requests.Session.get

    def recorded(self, url, **options):
        asked.append(url)
        return get(self, url, **options)

    monkeypatch.setattr(requests.Session, "get", recorded)
    return asked


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.h5",
        "http://example.org/a.h5",
        "//example.org/a.h5",
        "http://127.0.0.1.example.org/a.h5",
        "http://127.0.0.1@example.org/a.h5",
        "http://example.org\\@127.0.0.1/a.h5",
        "http://2130706434.example/a.h5",
        "http://[::2]/a.h5",
        "https://example.org/a.h5",
        "http://[bad/",
    ],
)
def test_a_redirect_elsewhere_is_refused_before_it_is_asked(serve, fails, connections, target):
    server = serve(status(302, Location=target))
    fails("redirected to .*, which is refused")
    assert connections == [server.url + NAME]


def test_a_redirect_from_https_to_http_is_refused(cache, fails, monkeypatch):
    asked = []

    def get(self, url, **options):
        asked.append(url)
        answer = requests.Response()
        answer.status_code, answer.raw = 302, io.BytesIO()
        answer.headers["location"] = "http://127.0.0.1/a.h5"
        return answer

    monkeypatch.setattr(requests.Session, "get", get)
    monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", "https://example.org")
    fails("which is refused: another scheme")
    assert asked == [f"https://example.org/{NAME}"]


def test_http_is_for_this_machine_only(fails, connections, monkeypatch):
    monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", "http://example.org/ file:///tmp/")
    fails("only https")
    assert connections == []


def test_what_comes_with_a_redirect_is_not_read(serve, cache):
    def redirect(handler):
        handler.head(302, None, Location="other.h5")
        while not handler.server.over.is_set():
            handler.wfile.write(bytes(1 << 16))

    serve(redirect, whole())
    comes(cache)


def test_a_redirect_on_this_machine_is_followed_and_a_circle_is_not(serve, cache, fails):
    server = serve(status(302, Location=f"/mobilenet/{NAME}"))
    fails("redirected more than 5 times")
    assert len(server.asked) == 6
    server = serve(status(307, Location="other.h5"), whole())
    comes(cache)
    assert server.asked == [f"/mobilenet/{NAME}", "/mobilenet/other.h5"]


# Processes


def started(script=SCRIPT):
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_process_that_is_killed_leaves_nothing_that_is_used(serve, cache):
    server = serve(first_part(stall=True), whole())
    process = started()
    assert server.sent.wait(60)
    wait_for(lambda: any(path.stat().st_size for path in files_in(cache)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (cache / NAME).exists()
    assert len(files_in(cache)) == 1  # what it left behind; the next one removes it
    comes(cache)


def wait_for(fact, seconds=20):
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_eight_processes_at_once_fetch_once(serve, cache):
    server = serve(whole(seconds=1))
    processes = [started() for _ in range(8)]
    results = [process.communicate(timeout=120) for process in processes]
    assert results == [(f"{cache / NAME}\n", "")] * 8
    assert len(server.asked) == 1
    comes(cache)


def test_eight_threads_at_once_fetch_once(serve, cache):
    server = serve(whole(seconds=0.2))
    threads = [threading.Thread(target=find_or_fetch, args=(NAME, SHA256)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1
    comes(cache)


def test_a_lock_that_was_left_behind_blocks_nobody(serve, cache):
    cache.mkdir(parents=True)
    (cache / f".{NAME}.lock").write_text("4242")
    serve(whole())
    comes(cache)


def test_a_lock_that_is_held_for_ever_is_an_error(serve, cache, fails, monkeypatch):
    monkeypatch.setattr(download, "LOCK_TIMEOUT", 0.2)
    server = serve(whole())
    cache.mkdir(parents=True)
    lock = cache / f".{NAME}.lock"
    with filelock.FileLock(lock), pytest.raises(DownloadError, match=f"0.2 s.\n.*delete {lock}"):
        find_or_fetch(NAME)
    assert server.asked == []
    comes(cache)


# Disks


class Full(io.FileIO):
    """A file on a disk that is full after half of the content."""

    def write(self, data):
        if self.tell() >= HALF:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_full_disk_is_an_error_at_once(serve, cache, fails, monkeypatch):
    server = serve(whole())
    with monkeypatch.context() as patch:
        patch.setattr(http_files, "open", Full, raising=False)
        fails("(?s)No space left on device.*Make room")
    assert len(server.asked) == 1
    comes(cache)


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_file_that_does_not_reach_the_disk_is_an_error(
    serve, cache, fails, monkeypatch, function
):
    serve(whole())

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        fails("Input/output error")
    comes(cache)


def test_an_interrupt_leaves_no_file(serve, cache):
    serve(whole())

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_or_fetch(NAME, progress=interrupt)
    assert files_in(cache) == []


@pytest.fixture
def plain_user(cache, monkeypatch):
    """Return a read-only cache folder and what runs a script there without root's rights."""
    with tempfile.TemporaryDirectory() as home:  # pytest's own folders are closed to other users
        os.chmod(home, 0o755)
        monkeypatch.setenv("KERAS_HOME", home)
        folder = Path(home) / "models"
        folder.mkdir()

        def run(file_to_have, script):
            if file_to_have:
                (folder / file_to_have).write_bytes(CONTENT)
            folder.chmod(0o555)
            process = started(f"{AS_PLAIN_USER}; {script}")
            return process.communicate(timeout=60)

        yield folder, run
        folder.chmod(0o755)


# The interpreter itself may be closed to other users, so all is imported before.
AS_PLAIN_USER = (
    "import os, keras_mobilenet.checkpoints.published.http_files, filelock; "
    "from keras_mobilenet.checkpoints.published.download import *; "
    "os.geteuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))"
)
CHECKED = f"print(find_or_fetch({NAME!r}, check=str))"


@pytest.mark.parametrize("script", [SCRIPT, CHECKED])
def test_a_read_only_cache_with_the_file_is_used(plain_user, script):
    """The second script would record the file's hash, if it could."""
    folder, run = plain_user
    assert run(NAME, script) == (f"{folder / NAME}\n", "")
    assert list(folder.iterdir()) == [folder / NAME]


def test_a_read_only_cache_without_the_file_is_an_error(serve, plain_user):
    server = serve(whole())
    folder, run = plain_user
    _, error = run(None, SCRIPT)
    message = error[error.rindex("DownloadError") :]
    for part in (NAME, f"{folder}, which cannot be written to", "Permission denied", "KERAS_HOME"):
        assert part in message
    assert server.asked == []
    assert list(folder.iterdir()) == []


def test_without_a_network_what_is_here_is_used(cache, monkeypatch):
    monkeypatch.setattr(requests.Session, "get", None)
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT)
    comes(cache, known_sha256=SHA256)


def test_the_faulty_server_serves_well_when_it_should():
    with serving(whole()) as server:
        assert requests.get(server.url, timeout=5).content == CONTENT
