"""What people expect of any command: --version, -v, completion, NO_COLOR, exit codes."""

import os
import re
import subprocess
import sys

import pytest

import keras_mobilenet
from keras_mobilenet.commands import nets
from keras_mobilenet.commands.app import _asked_for, main


def ended(monkeypatch, *arguments):
    """Run the command as the installed script does, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["keras-mobilenet", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code


def output(*arguments, **environment):
    command = [sys.executable, "-m", "keras_mobilenet", *arguments]
    around = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=around | environment
    ).stdout


def test_version_is_printed(monkeypatch, capsys):
    assert ended(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"keras-mobilenet {keras_mobilenet.__version__}\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("cost", 0),
        ("select --ram 1kB", 1),  # no net is so small
        ("cost --net mobilenet_v9", 1),
        ("cost --no-such-option", 2),
        ("no-such-command", 2),
        ("select --ram", 2),
    ],
)
def test_exit_code_tells_an_error_from_a_wrong_line(monkeypatch, words, code):
    assert ended(monkeypatch, *words.split()) == code


def test_exit_code_of_an_interrupted_command_is_130(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(nets, "cost_table", interrupted)
    assert ended(monkeypatch, "cost") == 130


@pytest.mark.parametrize(
    "line", ["-v cost --net no", "cost --net no -v", "cost --verbose --net no"]
)
def test_verbose_shows_where_an_error_arose(monkeypatch, capsys, line):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    assert ended(monkeypatch, *line.split()) == 1
    assert re.search(r"(?s)Traceback .*\nerror: `net` must be", capsys.readouterr().err)
    assert ended(monkeypatch, "cost", "--net", "no") == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("options", [["-v"], []])
def test_verbose_shows_what_native_libraries_write(monkeypatch, capfd, options):
    def noted(*_, **__):
        os.write(2, b"a native note\n")
        return "table"

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setattr(nets, "cost_table", noted)
    assert ended(monkeypatch, "cost", *options) == 0
    assert ("a native note" in capfd.readouterr().err) == bool(options)
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == ("0" if options else "3")


def test_file_may_be_called_like_the_option_behind_two_dashes():
    assert _asked_for(["classify", "--", "-v"]) == (False, ["classify", "--", "-v"])
    assert _asked_for(["-v", "classify", "--", "-v"]) == (True, ["classify", "--", "-v"])


COLOUR = re.compile(r"\x1b\[(?:\d+;)*[34]\d")


def test_no_colour_where_none_is_wanted():
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert COLOUR.search(output("--help", **terminal))
    assert not COLOUR.search(output("--help", **terminal, NO_COLOR="1"))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("doc", ["doctor"]),
        ("cost --net mobilenet_v3", ["mobilenet_v3_small", "mobilenet_v3_large"]),
        ("classify --weights timm/mobilenetv2_05", ["timm/mobilenetv2_050.lamb_in1k"]),
        ("bench --engines litert,on", ["litert,onnxruntime"]),
        ("weights inspect ba", []),  # then the shell has files
    ],
)
def test_shell_completes_what_rows_have(monkeypatch, capsys, line, offered):
    words = line.split()
    monkeypatch.setenv("_KERAS_MOBILENET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"keras-mobilenet {line}")
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    assert ended(monkeypatch) == 0
    assert capsys.readouterr().out.split() == offered
