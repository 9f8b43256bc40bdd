"""The examples of the README and of docs/ run as they stand, or say that they do not."""

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
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.S | re.M)
NO_CODE = ("", "diff", "text")
SINGLE = "# a program of its own"


def examples(page):
    """Return the Python and the commands of a page, each with what it says that they print."""
    for code, printed, commands in EXAMPLE.findall(page.read_text()):
        if code:
            yield code, printed
        else:
            assert commands.count("\n$ ") == 0
            yield tuple(commands.split("\n", 1))


ALL_PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
PAGES = [page for page in ALL_PAGES if [*examples(page)]]
MADE = {  # what the examples of some pages write
    "README.md": {"mobilenet.tflite"},
    "look.md": {"mobilenet.png"},
    "ship.md": {"mobilenet.tflite", "mobilenet.onnx", "mobilenet.xml", "mobilenet"},
    "weights.md": {"base.safetensors", "parrots.tflite"},
    "own-data.md": {"run", "flowers.tflite"},
    "microcontroller.md": {"person.tflite"},
    "browser.md": {"net.onnx", "page"},
    "publish.md": {"run"},
    "two-nets.md": {"depth.safetensors", "pair.keras"},
}


def three_flowers(shared_data, folder):
    """Make folders of three classes: enough for an example, and half as long as all five."""
    for part in ("train", "val"):
        (folder / part).mkdir(parents=True)
        for name in ("daisy", "dandelion", "sunflowers"):
            (folder / part / name).symlink_to(shared_data / "images" / "flowers" / part / name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_print_what_the_page_says(page, shared_data, tmp_path, monkeypatch, capfd):
    weights = shared_data / "weights" / "keras"
    folders = (weights, shared_data / "weights" / "v2")
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", os.pathsep.join(map(str, folders)))
    for name in ("parrot.jpg", "cat.bmp", "hot_dog.jpg"):
        shutil.copy(shared_data / "images" / "pictures" / name, tmp_path)
    shutil.copy(weights / "mobilenet_2_5_224_tf.h5", tmp_path)
    three_flowers(shared_data, tmp_path / "flowers")
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


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_code_that_is_not_run_says_so(page):
    for info, text in FENCE.findall(EXAMPLE.sub("", page.read_text())):
        if info.partition(" ")[0] not in NO_CODE or text.startswith("$ "):
            assert 'title="Not run here: ' in info, text


def test_every_job_has_an_example():
    jobs = {"README", "adapt", "command-line", "devices", "index", "look", "ship", "weights"}
    how_to = {page.stem for page in ROOT.glob("docs/how-to/*.md")}
    assert {page.stem for page in PAGES} == jobs | how_to
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
