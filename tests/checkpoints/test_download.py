"""Published files: where they are found, and what they are checked against."""

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
from keras_mobilenet.checkpoints.published import hashes
from keras_mobilenet.checkpoints.published.download import addresses, find_or_fetch
from keras_mobilenet.checkpoints.published.local_files import weights_folders
from keras_mobilenet.checkpoints.published.weights import weights_file
from keras_mobilenet.errors import CheckpointError, DownloadError
from keras_mobilenet.nets import pretrained

pytestmark = [
    # requests leaves the connection of a bad answer to the garbage collector.
    pytest.mark.filterwarnings(r"ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.usefixtures("silent"),
]

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


def test_without_a_home_the_named_folders_are_used_all_the_same(cache, folders, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setattr("pathlib.Path.home", home)
    with pytest.raises(DownloadError, match="Name a folder for it in KERAS_HOME"):
        find_or_fetch(NAME)
    (folders[1] / NAME).write_bytes(CONTENT)
    assert find_or_fetch(NAME, SHA256) == str(folders[1] / NAME)


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


# Addresses


def test_addresses_are_the_published_one_or_those_that_are_named(monkeypatch):
    monkeypatch.delenv("KERAS_MOBILENET_BASE_URL", raising=False)
    assert addresses(NAME) == [ROW.url(False)]
    monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", " https://a/b  https://c/ ")
    assert addresses(NAME) == [f"https://a/b/{NAME}", f"https://c/{NAME}"]


@pytest.mark.parametrize("bad", [faulty_server.status(404), faulty_server.status(200, HTML),
                                 faulty_server.status(200, CONTENT[:-1] + b"!")])  # fmt: skip
def test_the_second_mirror_serves_where_the_first_does_not(cache, monkeypatch, bad):
    with serving(bad) as first, serving(faulty_server.whole()) as second:
        monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", f"{first.url} {second.url}")
        assert find_or_fetch(NAME, SHA256) == str(cache / NAME)
        assert (len(first.asked), len(second.asked)) == (1, 1)
    assert (cache / NAME).read_bytes() == CONTENT


def test_the_error_says_why_each_mirror_failed(cache, nobody, monkeypatch):
    with serving(faulty_server.status(404)) as server:
        monkeypatch.setenv("KERAS_MOBILENET_BASE_URL", f"{server.url} {nobody} ftp://user:key@a/")
        with pytest.raises(DownloadError) as caught:
            find_or_fetch(NAME)
        for line in (f"{server.url}{NAME} (404 Not Found)", f"{nobody}{NAME} (", "ftp://a/"):
            assert line in str(caught.value)
        assert "key" not in str(caught.value)


@pytest.mark.parametrize("force", [False, True])
def test_offline_the_network_is_never_asked(cache, served, monkeypatch, force):
    monkeypatch.setenv("KERAS_MOBILENET_OFFLINE", "1")
    with served() as asked:
        with pytest.raises(DownloadError, match=f"{NAME}(?s:.*)KERAS_MOBILENET_OFFLINE is set"):
            find_or_fetch(NAME, force=force)
        assert asked == []
    assert not cache.exists()


def test_offline_what_is_here_is_used_and_0_means_online(cache, served, monkeypatch):
    monkeypatch.setenv("KERAS_MOBILENET_OFFLINE", "0")
    with served():
        find_or_fetch(NAME)
    monkeypatch.setenv("KERAS_MOBILENET_OFFLINE", "1")
    assert find_or_fetch(NAME) == str(cache / NAME)


# What a file is checked against


@pytest.fixture
def cached(cache):
    """A file of arrays in the cache, as Keras may have left it there."""
    cache.mkdir(parents=True)
    return write_keras_2(cache / NAME, random_arrays(alpha=0.25, include_top=False))


def checked(file_name=NAME, **arguments):
    """Find a file without a published hash; returns how often its structure was checked."""
    calls = []
    find_or_fetch(file_name, check=calls.append, **arguments)
    return len(calls)


def change(path):
    """Flip the last bit of a file, which changes a value and no shape."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return hashes.sha256_of(path)


def test_a_cached_file_with_another_hash_than_the_published_one_is_refused(cached, nobody):
    found = hashes.sha256_of(cached)
    with pytest.raises(DownloadError) as caught:
        weights_file(ROW, include_top=False)
    command = "keras-mobilenet weights fetch --alpha 0.25 --size 224 --no-top --force"
    for part in (cached, found, f"{ROW.sha256_no_top} (published)", command):
        assert str(part) in str(caught.value)
    assert hashes.sha256_of(cached) == found


def test_a_file_of_the_users_own_may_have_another_hash_and_must_fit(cache, folders):
    path = write_keras_2(folders[1] / NAME, random_arrays(alpha=0.25, include_top=False))
    assert weights_file(ROW, include_top=False) == str(path)
    assert list(folders[1].iterdir()) == [path]
    write_keras_2(path, random_arrays(alpha=0.5, include_top=False))
    with pytest.raises(CheckpointError, match="does not fit"):
        weights_file(ROW, include_top=False)


def test_the_hash_is_recorded_on_first_use_and_compared_ever_after(cached):
    assert checked() == 1
    record = cached.parent / "keras_mobilenet_hashes.json"
    first = hashes.sha256_of(cached)
    assert json.loads(record.read_text()) == {NAME: first}
    assert checked() == 0
    second = change(cached)
    with pytest.raises(DownloadError, match=f"(?s){first} .recorded in {record}.*{second}"):
        checked()
    record.unlink()
    assert checked() == 1


def test_a_file_fetched_anew_must_have_the_recorded_hash(cached, served):
    assert checked() == 1
    before = cached.read_bytes()
    with served(), pytest.raises(DownloadError, match=f"{SHA256}, that recorded in"):
        checked(force=True)
    assert cached.read_bytes() == before


def test_a_fetched_file_is_checked_before_it_is_kept(cache, served):
    def check(path):
        assert os.path.dirname(path) == str(cache)
        assert not (cache / NAME).exists()
        raise CheckpointError(f"{path} is not it")

    with served(), pytest.raises(DownloadError, match="is not it"):
        find_or_fetch(NAME, check=check)
    assert files_below(cache) == []


def test_no_hash_is_recorded_that_nothing_was_checked_against(cached):
    find_or_fetch(NAME)
    assert files_below(cached.parent) == [cached]


def test_a_damaged_record_is_an_error(cached):
    (cached.parent / "keras_mobilenet_hashes.json").write_text('{"cut')
    with pytest.raises(DownloadError, match=r"(?s)keras_mobilenet_hashes.json.*Delete it"):
        checked()


@pytest.fixture
def pin(tmp_path, monkeypatch):
    def write(text):
        path = tmp_path / "pins.json"
        path.write_text(text)
        monkeypatch.setenv("KERAS_MOBILENET_HASHES", str(path))
        return path

    return write


def test_a_pinned_hash_wins_over_all(cached, folders, pin, served):
    sha256 = hashes.sha256_of(cached)
    path = pin(json.dumps({NAME: sha256.upper()}))
    assert weights_file(ROW, include_top=False) == str(cached)  # though another was published
    own = shutil.copy(cached, folders[1])
    assert weights_file(ROW, include_top=False) == str(own)
    found = change(folders[1] / NAME)
    with pytest.raises(DownloadError, match=f"(?s){sha256} .pinned in {path}.*{found}"):
        weights_file(ROW, include_top=False)
    with served(), pytest.raises(DownloadError, match=f"{SHA256}, that pinned in"):
        find_or_fetch(NAME, force=True)


@pytest.mark.parametrize(
    "text", ["[]", "{", f'{{"{NAME}": "abc"}}', f'{{"{NAME}": 5}}', "[" * 9999]
)
def test_a_bad_file_of_pins_is_an_error(cached, pin, text):
    path = pin(text)
    with pytest.raises(DownloadError, match=f"(?s)^{path}: .*KERAS_MOBILENET_HASHES must name"):
        find_or_fetch(NAME)


def test_a_file_of_pins_that_is_not_there_is_an_error(cached, monkeypatch):
    monkeypatch.setenv("KERAS_MOBILENET_HASHES", "nowhere.json")
    with pytest.raises(DownloadError, match="nowhere.json"):
        find_or_fetch(NAME)


def test_a_file_cut_short_by_an_earlier_crash_is_refused(cache):
    row = pretrained.find(0.25, 160)
    path = cache / row.file_name(include_top=True)
    cache.mkdir(parents=True)
    whole = write_keras_2(path, random_arrays(alpha=0.25)).stat().st_size
    os.truncate(path, 1000)
    with pytest.raises(DownloadError) as caught:
        weights_file(row, include_top=True)
    for part in (str(path), str(whole), "1000",
                 "keras-mobilenet weights fetch --alpha 0.25 --size 160 --force"):  # fmt: skip
        assert part in str(caught.value)
    assert files_below(cache) == [path]


def test_force_replaces_a_bad_file(cached, served):
    with served():
        assert find_or_fetch(NAME, SHA256, force=True) == str(cached)
    assert cached.read_bytes() == CONTENT


# The MD5 that Keras pins

V3_NAME = "weights_mobilenet_v3_small_224_1.0_float.h5"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


def test_a_file_of_another_md5_is_neither_fetched_nor_used(cache, served):
    row, include_top = pretrained.find_file(V3_NAME)
    assert (row.known_sha256(include_top), row.known_md5(include_top)) == (
        None, "8768d4c2e7dee89b9d02b2d03d65d862",
    )  # fmt: skip
    with served(), pytest.raises(DownloadError, match=f"MD5 is {MD5}, that pinned by Keras is 87"):
        weights_file(row, include_top)
    assert files_below(cache) == []
    (cache / V3_NAME).write_bytes(CONTENT)
    again = "weights fetch --net mobilenet_v3_small --alpha 1 --size 224 --force"
    with pytest.raises(DownloadError, match=f"its MD5 differs(?s:.)*pinned by Keras(?s:.)*{again}"):
        weights_file(row, include_top)


def test_a_file_of_the_pinned_md5_is_looked_into_all_the_same(cache, served):
    looked = []
    with served():
        assert find_or_fetch(NAME, known_md5=MD5, check=looked.append) == str(cache / NAME)
        assert len(looked) == 2  # as fetched, and where it lies
    assert find_or_fetch(NAME, known_md5=MD5, check=looked.append) == str(cache / NAME)
    assert len(looked) == 3
    assert not (cache / hashes.RECORD).exists()


def test_progress_is_told(cache, served):
    told = []
    with served():
        find_or_fetch(NAME, progress=lambda *bytes_: told.append(bytes_))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert sorted(told) == told


def test_no_published_file_is_larger_than_what_is_taken(shared_data):
    for path in (shared_data / "weights" / "keras").iterdir():
        row, _ = pretrained.find_file(path.name)
        assert path.stat().st_size < row.max_bytes < 3 * path.stat().st_size


def test_every_name_leads_back_to_its_row():
    names = [entry["file"] for entry in pretrained.manifest()]
    found = [pretrained.find_file(name) for name in names]
    assert [row.file_name(top) for row, top in found] == names
    assert pretrained.find_file("mine.h5") is None


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
