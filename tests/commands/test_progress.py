"""What a command says while it works, on a terminal and on a pipe: of imports before they begin."""

import io
import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from coloured_shapes import write_shapes
from PIL import Image

import keras_mobilenet
from keras_mobilenet.checkpoints.net_weights import RANDOM, Builder, net_weights
from keras_mobilenet.commands.terminal import progress
from keras_mobilenet.commands.terminal.progress import (
    bars,
    doing,
    meanwhile,
    progress_line,
    waits_told,
)

SAID = "importing Keras and TensorFlow ..."
CLEAR = "\r\x1b[K"
FALLBACK = "net.keras is opened by Keras: no preprocessing is recorded in the file"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what commands take, and a package `keras` that ends the process."""
    place = tmp_path_factory.mktemp("place")
    write_shapes(place / "shapes", 8)
    Image.new("RGB", (40, 40), "red").save(place / "red.png")
    arguments = {"alpha": 0.25, "input_shape": (32, 32, 3), "weights": RANDOM}
    np.savez(place / "net.npz", **net_weights(Builder("mobilenet", arguments)).arrays)
    with zipfile.ZipFile(place / "net.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    (place / "packages" / "keras").mkdir(parents=True)
    ending = "raise SystemExit('imports ' + __name__)"
    (place / "packages" / "keras" / "__init__.py").write_text(ending)
    return place


def stderr_of(place, words, **environment):
    """Return the lines that a command says until it imports Keras, on a pipe."""
    paths = f"{place / 'packages'}:{Path(keras_mobilenet.__file__).parents[1]}"
    return subprocess.run(
        [sys.executable, "-m", "keras_mobilenet", *words.split()],
        env={"PATH": "", "PYTHONPATH": paths, "KERAS_MOBILENET_OFFLINE": "1"} | environment,
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    ).stderr.splitlines()


@pytest.mark.parametrize(
    ("words", "before"),
    [
        ("summary", []),
        ("plot net.svg", []),
        ("train shapes --out run", []),
        ("finetune shapes --out tuned --weights none --train-from all --size 32", []),
        ("classify red.png --weights net.npz --alpha 0.25 --size 32 --engine keras", []),
        ("export net.npz folder/ --alpha 0.25 --size 32", []),
        ("classify red.png --model net.keras", [FALLBACK]),
        ("export net.keras net.tflite", [FALLBACK]),
    ],
)
def test_command_says_that_it_imports_keras_before_it_does(place, words, before):
    assert stderr_of(place, words) == [*before, SAID, "imports keras"]


def test_backend_that_is_imported_is_named(place):
    lines = stderr_of(place, "summary", KERAS_BACKEND="torch")
    assert lines[0] == "importing Keras and PyTorch ..."


def test_command_that_needs_no_keras_says_nothing_of_it(place):
    words = "classify red.png --weights net.npz --alpha 0.25 --size 32"
    assert stderr_of(place, words) == []


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A package that takes long to import, which writes a dot while it is imported."""
    (tmp_path / "slow_package.py").write_text("import sys\nsys.stderr.write('.')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(progress, "_SLOW", ("slow_package", "slow_package_that_is_not_here"))
    yield "slow_package"
    sys.modules.pop("slow_package", None)


class Terminal(io.StringIO):
    """A stream that passes for a terminal of 30 columns."""

    def isatty(self):
        return True


def terminal(monkeypatch):
    """Return what stands for stderr from here on: pytest sets its own when a test begins."""
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def test_note_of_an_import_is_gone_from_a_terminal_once_it_is_done(slow, monkeypatch):
    screen = terminal(monkeypatch)
    with waits_told():
        module = __import__(slow)
    assert screen.getvalue() == f"{CLEAR}importing slow_package.{CLEAR}"
    assert "exec_module" not in vars(module.__spec__.loader)


def test_note_of_an_import_takes_the_place_of_a_line_for_a_while(slow, monkeypatch):
    screen = terminal(monkeypatch)
    with waits_told(), doing("opening"):
        __import__(slow)
    assert screen.getvalue().split(CLEAR) == [
        "",
        "opening",
        "importing slow_package.",
        "opening",
        "",
    ]


def test_imports_are_as_ever_after_a_command(slow, capsys):
    finders = list(sys.meta_path)
    with waits_told(), pytest.raises(ModuleNotFoundError, match="No module named 'slow_package_"):
        __import__("slow_package_that_is_not_here")
    assert sys.meta_path == finders
    __import__(slow)
    assert capsys.readouterr().err == "."


def test_import_that_fails_is_tried_again_and_said_again(slow, tmp_path, capsys):
    file = tmp_path / "slow_package.py"
    file.write_text("raise ImportError('broken')")
    with waits_told():
        for _ in range(2):
            with pytest.raises(ImportError, match="broken"):
                __import__(slow)
    assert capsys.readouterr().err == "importing slow_package ...\n" * 2


def test_line_is_cut_at_the_terminals_width(monkeypatch):
    screen = terminal(monkeypatch)
    with progress_line() as show:
        show("x" * 100)
    assert screen.getvalue() == f"{CLEAR}{'x' * 29}{CLEAR}"


def test_why_keras_opens_a_model_is_said_above_the_line(monkeypatch):
    screen = terminal(monkeypatch)
    logger = logging.getLogger("keras_mobilenet.deploy.opened")
    with waits_told(), doing("opening"):
        logger.info("%s is opened by Keras: %s", "m.keras", "it was edited")
    said = "m.keras is opened by Keras: it was edited\n"
    assert screen.getvalue() == f"{CLEAR}opening{CLEAR}{said}{CLEAR}opening{CLEAR}"
    logger.info("nobody listens")
    assert screen.getvalue().endswith(CLEAR)


def test_bars_say_what_comes_first_and_what_is_done_meanwhile(monkeypatch):
    drawn = described(monkeypatch)
    with bars(first="opening [red]") as show:
        assert drawn() == ["opening [red]"]
        with meanwhile("importing"):
            assert drawn() == ["opening [red]", "importing"]
        assert drawn() == ["opening [red]"]
        show("classifying", 1, 2)
        with meanwhile(""):
            assert drawn() == ["classifying"]
        show("classifying", 2, 2)
        assert drawn() == ["classifying"]


def described(monkeypatch):
    """Return a function that returns the descriptions of the bars that are seen."""
    import rich.progress

    monkeypatch.setattr(sys, "stderr", Terminal())
    made = []

    class Kept(rich.progress.Progress):
        def __init__(self, *columns, **options):
            super().__init__(*columns, **options)
            made.append(self)

    monkeypatch.setattr(rich.progress, "Progress", Kept)
    return lambda: [task.description for task in made[-1].tasks if task.visible]


@pytest.fixture
def hurried(monkeypatch):
    """On a pipe, which pytest's stderr is: a line is due whenever it is asked for."""
    monkeypatch.setattr(progress, "EVERY", 0.0)


def test_bars_are_plain_lines_on_a_pipe(hurried, capsys):
    with bars(first="opening") as show:
        show("reading", 2, 6_000, "images")
        show("epoch", 0, 10, "steps", "loss 0.500")
    with bars(in_bytes=True) as show:
        show("net.h5", 0, 17_000_000)
    with bars(hidden=True) as show:
        show("reading", 1, 2)
    assert capsys.readouterr().err.splitlines() == [
        "reading: 2 of 6,000 images",
        "epoch: 0 of 10 steps, loss 0.500",
        "net.h5: 0 of 17 MB",
    ]


def test_line_on_a_pipe_has_the_rate_since_the_stage_began(hurried, capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with bars() as show:
        show("reading", 100, None, "images")  # a resumed job's
        now[0] = 2.0
        show("reading", 700, None, "images")
    assert capsys.readouterr().err.splitlines()[-1] == "reading: 700 images, 300 images/s"


def test_lines_on_a_pipe_are_few(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with bars() as show:
        for done in range(26):  # one a second
            now[0] = done
            show("reading", done, 26)
    lines = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["reading: 10 of 26", "reading: 20 of 26"]


def test_line_of_what_is_being_done_is_plain_on_a_pipe(hurried, capsys):
    with progress_line() as show:
        show("timing LiteRT\x1b[2J")
        show("")
    assert capsys.readouterr().err == "timing LiteRT\N{REPLACEMENT CHARACTER}[2J\n"
