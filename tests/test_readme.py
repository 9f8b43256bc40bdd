"""The examples of the README and of docs/ run as they stand, and print what the page says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keras_mobilenet.commands.app import app

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[1]
EXAMPLE = re.compile(
    r"```(?:python\n(.*?)```(?:\n\n```\n(.*?)```)?|\n(\$ keras-mobilenet .*?)```)", re.S
)
SINGLE = "# a program of its own"
LONG = {"finetune", "train", "export"}  # minutes, on images of your own


def examples(page):
    """Return the Python and the commands of a page, each with what it says that they print."""
    for code, printed, commands in EXAMPLE.findall(page.read_text()):
        if code:
            yield code, printed
        elif not LONG & {line.split()[2] for line in commands.splitlines() if line[:2] == "$ "}:
            assert commands.count("\n$ ") == 0
            yield tuple(commands.split("\n", 1))


PAGES = [
    page for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))) if [*examples(page)]
]
MADE = {  # what the examples of some pages write
    "README.md": {"mobilenet.tflite"},
    "look.md": {"mobilenet.png"},
    "ship.md": {"mobilenet.tflite", "mobilenet.onnx", "mobilenet.xml", "mobilenet"},
    "weights.md": {"base.safetensors", "parrots.tflite"},
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_print_what_the_page_says(page, shared_data, tmp_path, monkeypatch, capfd):
    weights = shared_data / "weights" / "keras"
    folders = (weights, shared_data / "weights" / "v2")
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", os.pathsep.join(map(str, folders)))
    for name in ("parrot.jpg", "cat.bmp", "hot_dog.jpg"):
        shutil.copy(shared_data / "images" / "pictures" / name, tmp_path)
    shutil.copy(weights / "mobilenet_2_5_224_tf.h5", tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code, expected in examples(page):
        if code.startswith("$ "):
            printed = CliRunner().invoke(app, shlex.split(code)[2:]).output
        elif code.startswith(SINGLE):
            printed = by_itself(code)
        else:
            capfd.readouterr()
            exec(code, names)
            printed = capfd.readouterr().out
        assert rounded(printed) == rounded(expected)
    assert {path.name for path in tmp_path.iterdir()} >= MADE.get(page.name, set())


def test_every_job_has_an_example():
    assert {page.name for page in PAGES} == {
        "README.md", "adapt.md", "command-line.md", "devices.md", "look.md", "ship.md", "weights.md"
    }  # fmt: skip
    ship = ROOT / "docs" / "ship.md"
    assert len([code for code, _ in examples(ship) if code.startswith(SINGLE)]) == 4


def by_itself(code):
    """Run a program that imports neither Keras nor this package; TensorFlow itself has Keras."""
    assert not re.search(r"import keras|from keras", code)
    assert len([line for line in code.splitlines() if line]) <= 12
    end = "import sys; assert 'keras_mobilenet' not in sys.modules\n"
    if "tensorflow" not in code:
        end += "assert 'keras' not in sys.modules\n"
    command = [sys.executable, "-c", code + end]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def rounded(text):
    """Scores differ in their last digits between processors; tables end in spaces."""
    text = re.sub(r"0\.\d+", lambda match: f"{float(match[0]):.3f}", text)
    return [line.rstrip() for line in text.rstrip().splitlines()]
