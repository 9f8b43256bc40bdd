"""What native libraries write is hidden, and what the command writes is not."""

import os
import sys

import pytest

from keras_mobilenet.commands.terminal.quiet import native_hidden, native_notes_hidden


def write(text):
    os.write(1, f"{text} on stdout\n".encode())
    os.write(2, f"{text} on stderr\n".encode())
    print(f"{text} printed")  # noqa: T201


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


@pytest.mark.parametrize(
    ("level", "shown"), [(None, False), ("3", False), ("2", False), ("0", True)]
)
def test_native_notes_of_a_command_are_seen_where_they_are_asked_for(
    capfd, monkeypatch, level, shown
):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level or "")  # to be as it was after the test
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    with native_notes_hidden():
        write("note")
    assert bool(capfd.readouterr().err) == shown
