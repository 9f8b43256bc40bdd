"""The command `bench`: its rows, its files, and what it says before it starts."""

import json
import re
import subprocess
import sys

import pytest
from deploy_nets import BLOCKS
from hurried_bench import hurry
from PIL import Image
from random_models import randomise
from typer.testing import CliRunner

from keras_mobilenet import MobileNet
from keras_mobilenet.commands.app import app
from keras_mobilenet.commands.deploy import _weights_are_here, batch_sizes
from keras_mobilenet.commands.terminal.options import NetOptions
from keras_mobilenet.deploy.bench import benchmarking

pytestmark = pytest.mark.long


@pytest.fixture
def hurried(monkeypatch):
    hurry(monkeypatch)


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


SMALL = (
    "--model", "none", "--alpha", 0.25, "--size", 32, "--seconds", 0.01, "--batch", "1,3"
)  # fmt: skip


def test_command_prints_a_table_and_writes_json_and_a_chart(tmp_path, hurried):
    image, record = tmp_path / "bench.svg", tmp_path / "bench.json"
    result = run(*SMALL, "--engines", "litert", "--precisions", "int8", "--json", record,
                 "--chart", image)  # fmt: skip
    assert result.exit_code == 0, result.exception
    assert result.stdout.startswith("MobileNet, alpha 0.25, 32 x 32, random weights")
    told = json.loads(record.read_text())
    assert {row["batch"] for row in told["results"]} == {1, 3}
    assert {row["precision"] for row in told["results"]} == {"int8"}
    assert told["compared_with"] == "NumPy"
    assert any("int8 ranges were taken from generated images" in note for note in told["notes"])
    assert "Predictor litert int8" in image.read_text()
    first, *wrote = result.stderr.splitlines()
    assert re.fullmatch(r"about \d+ s: 2 s to start, then 1 candidate at \d+ s", first)
    assert wrote == [f"wrote {record}", f"wrote {image}"]


def test_command_keeps_the_rows_that_were_measured_before_ctrl_c(tmp_path, hurried, monkeypatch):
    monkeypatch.setattr(benchmarking._Measuring, "_look_for_drift", interrupt)
    record = tmp_path / "bench.json"
    words = (*SMALL, "--engines", "keras,litert", "--precisions", "float32", "--json", record)
    result = run(*words)
    assert result.exit_code == 130
    assert result.stdout.splitlines()[-1].startswith("Predictor litert")
    assert result.stderr.splitlines()[-1] == "interrupted"
    told = json.loads(record.read_text())
    assert [row["batch"] for row in told["results"]] == [1, 1, 1, 1]
    assert not told["complete"]
    told = json.loads(run(*words, "--format", "json").stdout)
    assert len(told["results"]) == 4


def interrupt(*_):
    raise KeyboardInterrupt


def test_engines_are_timed_with_neither_keras_nor_tensorflow_in_the_process(tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    words = [*map(str, SMALL), "--engines", "litert,openvino,onnxruntime", "--format", "json"]
    words += ["--calibration", str(tmp_path)]
    code = (
        "import sys\n"
        "for name in ('keras', 'tensorflow'):\n"
        "    sys.modules[name] = None\n"
        "sys.path.insert(0, 'tests')\n"
        "from hurried_bench import hurry\n"
        "import pytest\n"
        "hurry(pytest.MonkeyPatch())\n"
        "from keras_mobilenet.commands.app import app\n"
        f"app({['bench', *words]})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    rows = {(row["candidate"], row["precision"]) for row in told["results"]}
    rows |= {tuple(name.rsplit(" ", 1)) for name in told["skipped"]}  # bfloat16, on some processors
    assert rows >= {
        ("Predictor litert", "float32"), ("Predictor openvino", "float32"),
        ("Predictor onnxruntime", "float32"), ("Predictor openvino", "bfloat16"),
        ("Predictor litert", "int8"), ("Predictor openvino", "int8"),
    }  # fmt: skip


def test_command_says_how_long_it_takes_before_it_imports_keras():
    code = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] in ('keras', 'tensorflow'):\n"
        "            sys.exit('imports ' + name)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from keras_mobilenet.commands.app import app\n"
        "app(['bench', '--model', 'none', '--engines', 'keras,litert'])\n"
    )
    stderr = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    ).stderr
    assert re.fullmatch(r"about \d+ s: .*\nimports keras\n", stderr)


def test_command_takes_images_and_a_keras_file(tmp_path, hurried):
    from keras_mobilenet.models.model_files import save_model

    file = tmp_path / "net.keras"
    save_model(randomise(MobileNet((32, 32, 3), 0.25, weights=None, blocks=BLOCKS)), file)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    result = run(
        "--model", file, "--engines", "litert", "--precisions", "int8", "--batch", 2,
        "--rounds", 2, "--images", tmp_path, "--calibration", tmp_path, "--format", "json",
    )  # fmt: skip
    told = json.loads(result.stdout)
    assert told["model"] == str(file)
    assert told["images_compared"] == 1
    assert not any("generated" in note for note in told["notes"])
    assert any("shares are of the float32 peak" in note for note in told["notes"])


@pytest.mark.parametrize("text", ["", "0", "1,", "1;8", "-1", "1.5", "two", "²"])
def test_command_refuses_batches_that_are_no_numbers(text):
    with pytest.raises(ValueError, match=r"--batch takes positive integers.*Received: "):
        batch_sizes(text)
    assert run("--batch", text).exit_code != 0


def test_command_takes_batches_once_each():
    assert batch_sizes("8, 1,8") == (8, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engines", "torch"), "'torch'"),
        (("--precisions", "float16"), "'float16'"),
        (("--model", "resnet"), "--model takes 'imagenet', 'none', the name of published ones"),
    ],
)
def test_command_names_what_it_does_not_know(arguments, message):
    result = run(*SMALL, *arguments)
    assert message in str(result.exception)


def test_weights_are_random_and_said_to_be_where_there_are_none(hurried, cache):
    result = run("--alpha", 0.25, "--size", 32, *SMALL[6:], "--engines", "litert")
    assert "random weights" in result.stdout
    assert "the ImageNet weights are not here" in result.stderr
    assert not _weights_are_here(
        NetOptions("mobilenet", 0.25), (128, 128)
    )  # published, and not in the empty cache


def test_rows_are_in_the_pipe_before_the_command_ends():
    code = (
        "import os\n"
        "from keras_mobilenet.deploy.bench import benchmarking\n"
        "benchmarking._Measuring._look_for_drift = lambda *_: os._exit(3)  # and flush nothing\n"
        "from keras_mobilenet.commands.app import app\n"
        f"app({['bench', *map(str, SMALL), '--engines', 'litert']})\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 3
    assert ended.stdout.splitlines()[-1].startswith("Predictor litert")
