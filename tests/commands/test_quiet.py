"""What native libraries write is hidden, whichever threads hide it, and shown where one fails."""

import os
import sys
import threading

import pytest

from keras_mobilenet.commands.quiet import (
    native_hidden,
    native_notes_hidden,
    quiet,
    start_up_notes_hidden,
)


def write(text):
    os.write(1, f"{text} on stdout\n".encode())
    os.write(2, f"{text} on stderr\n".encode())
    print(f"{text} printed")  # noqa: T201


def fail(text):
    with quiet():
        write(text)
        raise KeyError


def test_nothing_is_seen_and_everything_after_it(capfd):
    with quiet():
        write("hidden")
    write("seen")
    assert capfd.readouterr() == ("seen on stdout\nseen printed\n", "seen on stderr\n")


def test_a_body_that_fails_shows_what_it_wrote(capfd):
    with pytest.raises(KeyError):
        fail("why")
    out, err = capfd.readouterr()
    assert out == ""
    assert {"why on stdout", "why on stderr", "why printed"} <= set(err.splitlines())


def test_a_failure_that_the_outer_body_handles_is_hidden(capfd):
    with quiet():
        with pytest.raises(KeyError):
            fail("inner")
        write("outer")
    write("seen")
    assert capfd.readouterr() == ("seen on stdout\nseen printed\n", "seen on stderr\n")


@pytest.mark.parametrize("fails", [False, True])
def test_threads_that_hide_at_once_leave_the_streams_as_they_were(capfd, fails):
    before = os.fstat(1).st_ino, os.fstat(2).st_ino
    both_in, first_out = threading.Barrier(2), threading.Event()

    def first():
        try:
            with quiet():
                both_in.wait(timeout=20)
                write("first")
                if fails:
                    raise KeyError
        except KeyError:
            pass
        first_out.set()

    def second():
        with quiet():
            both_in.wait(timeout=20)
            assert first_out.wait(timeout=20)
            write("second")  # while the first one's end must not have shown anything

    threads = [threading.Thread(target=each) for each in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=40)
    assert (os.fstat(1).st_ino, os.fstat(2).st_ino) == before
    write("seen")
    out, err = capfd.readouterr()
    assert out == "seen on stdout\nseen printed\n"
    assert ("first on stdout" in err) == fails
    assert err.endswith("seen on stderr\n")


@pytest.mark.parametrize(("level", "shown"), [(None, False), ("3", False), ("0", True)])
def test_start_up_notes_are_seen_only_where_they_are_asked_for(capfd, monkeypatch, level, shown):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level or "")
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    with start_up_notes_hidden():
        write("note")
    assert bool(capfd.readouterr().err) == shown


def test_native_notes_alone_are_hidden_around_a_commands_work(capfd):
    with native_hidden():
        write("native")
        print("bar", file=sys.stderr)  # noqa: T201
    write("seen")
    assert capfd.readouterr() == (
        "native printed\nseen on stdout\nseen printed\n", "bar\nseen on stderr\n"
    )  # fmt: skip


@pytest.mark.parametrize("closed", [False, True])
def test_streams_of_a_process_go_on_while_native_notes_are_hidden(capfd, monkeypatch, closed):
    with open(1, "w", closefd=False, encoding="ascii", errors="backslashreplace") as own:
        monkeypatch.setattr(sys, "stdout", own)
        monkeypatch.setattr(sys, "stderr", None if closed else sys.stderr)
        with native_hidden():
            write("native \xe4")
            assert sys.stdout is not own
            assert (sys.stdout.encoding, sys.stdout.errors) == ("ascii", "backslashreplace")
        assert sys.stdout is own
        write("seen")
    printed = "native \\xe4 printed\nseen on stdout\nseen printed\n"
    hidden_is_seen = "native \xe4 on stderr\n" if closed else ""
    assert capfd.readouterr() == (printed, f"{hidden_is_seen}seen on stderr\n")


@pytest.mark.parametrize(("level", "shown"), [("3", False), ("2", False), ("0", True)])
def test_native_notes_of_a_command_are_seen_where_they_are_asked_for(
    capfd, monkeypatch, level, shown
):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with native_notes_hidden():
        write("note")
    assert bool(capfd.readouterr().err) == shown
