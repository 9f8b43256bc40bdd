"""Files written whole or not at all, whatever fails and whoever else writes."""

import errno
import io
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from keras_mobilenet import files
from keras_mobilenet.deploy.graphs.staging import staged
from keras_mobilenet.files import (
    briefly_locked,
    faults_of_writing,
    fcntl,
    filling,
    replacing,
    temporary_folder,
    temporary_name,
)


def write(path, text="new"):
    with replacing(path) as temporary:
        Path(temporary).write_text(text)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path, monkeypatch):
    umask = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", None)  # nobody changes it, not even for a moment
        write(tmp_path / "a")
    finally:
        monkeypatch.undo()
        os.umask(umask)
    assert mode_of(tmp_path / "a") == 0o640


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o604)
    write(path)
    assert (path.read_text(), mode_of(path)) == ("new", 0o604)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    link, real = tmp_path / "link", tmp_path / "real" / "a"
    link.symlink_to(real)
    for text in ("new", "newer"):
        write(link, text)
        assert link.is_symlink()
        assert real.read_text() == text


def test_a_disk_with_a_little_room_left_is_a_full_one(tmp_path, monkeypatch):
    class Small(io.BytesIO):
        def write(self, content):
            room = 1000 - self.tell()
            if not room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content[:room])

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Small())
    full = pytest.raises(OSError, match="No space left on device.*model.xml")
    with full, faults_of_writing(str(tmp_path / "model.xml")):
        raise RuntimeError("basic_ios::clear: iostream error")  # OpenVINO's words for it


def test_the_first_error_is_the_one_that_is_raised(tmp_path):
    def remove_and_fail():
        with replacing(tmp_path / "a") as temporary:
            os.unlink(temporary)
            raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        remove_and_fail()
    assert list(tmp_path.iterdir()) == []


class SafetensorError(Exception):
    pass


FULL = [
    OSError(28, "No space left on device"),
    RuntimeError("Check 'out.good()' failed: No space left on device"),
    SafetensorError("I/O error: No space left on device (os error 28)"),
    OSError("Can't write data (errno = 28, error message = 'No space left on device', ...)"),
]


@pytest.mark.parametrize("writing", [replacing, lambda path: staged(Path(path))])
@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_a_full_disk_is_one_line_with_path_and_reason(tmp_path, writing, error):
    path = str(tmp_path / "m.xml")
    with pytest.raises(OSError, match="No space left") as caught, writing(path):
        raise error
    assert str(caught.value) == f"[Errno 28] No space left on device: {path!r}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writing", [replacing, lambda path: staged(Path(path))])
def test_a_full_disk_is_told_where_a_library_hides_it(tmp_path, monkeypatch, writing):
    def full(**_):
        if list(tmp_path.iterdir()):  # what was written fills it
            raise OSError(28, "No space left on device")
        return open(os.devnull, "wb")

    path = str(tmp_path / "m.xml")
    with pytest.raises(RuntimeError, match="odd"), writing(path):
        raise RuntimeError("odd")
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space left.*m.xml"), writing(path):
        raise RuntimeError("basic_ios::clear: iostream error")


@pytest.mark.parametrize("writing", [replacing, lambda path: staged(Path(path))])
def test_an_error_names_the_users_path(tmp_path, writing):
    path = tmp_path / "no" / "a.txt"
    with pytest.raises(FileNotFoundError) as caught, writing(str(path)):
        pass
    assert caught.value.filename == str(path)
    if writing is replacing:
        assert f"{path.parent} is not a folder. Make it" in str(caught.value)
    with pytest.raises(OSError, match="directory") as caught, writing(str(tmp_path / "a")) as new:
        raise NotADirectoryError(20, "Not a directory", str(new))
    assert caught.value.filename == str(tmp_path / "a")


def test_a_folder_is_filled_where_the_folders_around_it_are_missing(tmp_path):
    folder = tmp_path / "hub" / "flowers"
    with filling(f"{folder}/") as place:
        Path(place, "config.json").write_text("{}")
    assert [x.name for x in folder.iterdir()] == ["config.json"]


@pytest.fixture
def dead():
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_killed_processes_left_is_removed_by_the_next(tmp_path, monkeypatch, dead):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = tmp_path / "a.txt"
    running = [temporary_name(str(path)), temporary_name(str(tmp_path / "keras-mobilenet"))]
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead)
        killed = [temporary_name(str(tmp_path / name)) for name in ("a.txt", "b")]
        folders = [temporary_name(str(tmp_path / name)) for name in ("m", "keras-mobilenet")]
        patch.setattr(files, "_machine", lambda: "0" * 8)
        elsewhere = temporary_name(str(path))
    for name in (*running, *killed, elsewhere):
        Path(name).touch()
    for name in folders:
        Path(name).mkdir()
        Path(name, "big").touch()
    write(path)
    with staged(tmp_path / "m") as new:
        new.write_text("whole")
    with temporary_folder():
        pass
    left = {str(entry) for entry in tmp_path.iterdir() if not entry.name.endswith(".lock")}
    others = {killed[1]}  # of another file
    assert left == {str(path), str(tmp_path / "m"), *running, elsewhere, *others}


def test_a_folder_that_a_killed_process_had_put_aside_is_put_back(tmp_path, monkeypatch, dead):
    path = tmp_path / "saved"
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead)
        aside = Path(temporary_name(str(path)), "saved.before")
    aside.mkdir(parents=True)
    (aside / "old").touch()
    with pytest.raises(KeyError), staged(path):
        raise KeyError
    assert [entry.name for entry in path.iterdir()] == ["old"]
    assert not aside.parent.exists()


def test_the_lock_of_an_export_outlives_it(tmp_path, monkeypatch):
    # Where it was removed, one process could hold it while another made a new one.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with staged(tmp_path / "m") as new:
        new.write_text("whole")
    assert len(list(tmp_path.glob("keras-mobilenet-*.lock"))) == 1


def test_a_lock_that_its_holder_removes_is_held_by_one_at_a_time(tmp_path, monkeypatch):
    if fcntl is None:
        pytest.skip("Windows removes no file that is open")
    lock = tmp_path / "lock"
    flock, removed = fcntl.flock, []

    def after_another_has_removed_it(*arguments):
        if not removed:
            removed.append(lock.unlink())
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", after_another_has_removed_it)
    with briefly_locked(lock, "busy"):
        assert lock.exists()  # the one that is there is the one that is held
        with pytest.raises(ValueError, match="busy"), briefly_locked(lock, "busy"):
            pass
        assert lock.exists()
    assert not lock.exists()
