"""What was computed is kept, and never trusted: each row is checked when its file is opened."""

import errno
import hashlib

import numpy as np
import pytest

from keras_mobilenet.training.finetune.feature_cache import FeatureCache


def key(name):
    return hashlib.sha256(name.encode()).digest()


def rows(*names, shape=(2, 3)):
    rng = np.random.default_rng(len(names))
    return {key(name): rng.normal(size=shape).astype(np.float32) for name in names}


def files(folder):
    return sorted(folder.glob("*.npy"))


@pytest.mark.parametrize("on_disk", [True, False])
def test_rows_come_back_as_they_were(tmp_path, on_disk):
    cache = FeatureCache(tmp_path if on_disk else None)
    kept = rows("a", "b") | rows("c", shape=(2, 3))
    cache.put(kept)
    assert all(np.array_equal(cache[k], x) for k, x in kept.items())
    assert key("d") not in cache
    assert bool(files(tmp_path)) == on_disk


def test_pixels_and_features_live_in_one_folder(tmp_path):
    cache = FeatureCache(tmp_path / "made" / "by it")
    pixels = {key("p"): np.arange(12, dtype=np.uint8).reshape(2, 2, 3)}
    cache.put(pixels)
    cache.put(rows("a"))
    again = FeatureCache(tmp_path / "made" / "by it")
    assert again[key("p")].dtype == np.uint8
    assert np.array_equal(again[key("p")], pixels[key("p")])
    assert np.array_equal(again[key("a")], rows("a")[key("a")])


def test_every_spoilt_byte_is_found(tmp_path):
    FeatureCache(tmp_path).put(rows("a", "b"))
    (path,) = files(tmp_path)
    good = path.read_bytes()
    for place in range(len(good) - 2 * (32 + 4 + 24), len(good)):  # behind NumPy's header
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        cache = FeatureCache(tmp_path)
        spoilt = [name for name in "ab" if key(name) not in cache]
        assert len(spoilt) == 1
        assert cache.damaged == 1
        (other,) = files(tmp_path)  # the sound row has a file of its own now
        assert FeatureCache(tmp_path).damaged == 0
        other.unlink()


@pytest.mark.parametrize("content", [b"", b"no array", None, b"\x93NUMPY\x01\x00\xff\xff{'des"])
def test_a_file_that_is_not_whole_is_removed(tmp_path, content):
    FeatureCache(tmp_path).put(rows("a", "b"))
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    cache = FeatureCache(tmp_path)
    assert key("a") not in cache
    assert cache.damaged
    assert files(tmp_path) == []


def test_an_array_of_objects_is_not_executed(tmp_path):
    np.save(tmp_path / "x.features.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert FeatureCache(tmp_path).damaged == 1


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path)
    cache.put(rows("a"))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        cache.put(rows("b"))
    monkeypatch.undo()
    assert key("a") in cache
    assert key("b") not in cache
    assert key("a") in FeatureCache(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1  # no part of the other one
