"""The command, as a user types it."""

import io
import json
import os
import shutil
import subprocess
import sys
import warnings

import keras
import pytest
from PIL import Image
from typer.testing import CliRunner

from keras_mobilenet import MobileNet, export, layer_costs, summary
from keras_mobilenet.commands.app import app, main
from keras_mobilenet.display.cost_tables import cost_table
from keras_mobilenet.images import images
from keras_mobilenet.nets.families.v1 import BLOCKS

SMALL = ["--alpha", "0.25", "--size", "64", "--classes", "2"]


def fresh():
    """Give the next model's layers the names that they have in a fresh process."""
    keras.utils.clear_session(free_memory=False)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def fail(capsys, monkeypatch, *arguments):
    """Run the command as the installed script does, and return what it says of an error."""
    monkeypatch.setattr(sys, "argv", ["keras-mobilenet", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    return capsys.readouterr().err


def test_summary_prints_the_models_summary():
    fresh()
    result = run("summary")
    fresh()
    assert result.exit_code == 0
    assert result.stdout.strip() == summary(MobileNet(weights=None))


def test_summary_writes_other_formats_and_a_plot(tmp_path):
    image = tmp_path / "net.svg"
    result = run("summary", *SMALL, "--format", "json", "--plot", image)
    assert json.loads(result.stdout)["model"] == "mobilenet_0.25_64"
    assert image.read_text().count("<svg") == 1
    assert "wrote" in result.stderr


def test_summary_takes_every_argument_of_the_net():
    fresh()
    result = run(
        "summary", "--alpha", "0.5", "--size", "96", "--depth-multiplier", 2, "--channels", 1,
        "--no-top", "--pooling", "max", "--costs", "--output-stride", 16,
    )  # fmt: skip
    fresh()
    model = MobileNet(
        (96, 96, 1), 0.5, 2, include_top=False, pooling="max", weights=None, output_stride=16
    )
    assert result.stdout.strip() == summary(model, costs=True)


@pytest.mark.parametrize("full", [(), ("--full",)])
def test_plot_draws_blocks_or_layers(tmp_path, full):
    image = tmp_path / "net.svg"
    assert run("plot", image, *SMALL, *full).exit_code == 0
    assert ("conv_pw_13_relu" in image.read_text()) == bool(full)


@pytest.mark.parametrize("by", ["layer", "part", "kind"])
def test_cost_prints_the_cost_table(by):
    result = run("cost", "--alpha", 0.5, "--size", 160, "--by", by, "--format", "markdown")
    expected = cost_table(layer_costs(0.5, size=160), by=by, format="markdown")
    assert result.stdout.strip() == expected


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_cost_draws_a_chart(tmp_path, suffix):
    chart = tmp_path / f"costs.{suffix}"
    assert run("cost", "--chart", chart).exit_code == 0
    first_bytes = {"png": b"\x89PNG", "svg": b"<?xml"}[suffix]
    assert chart.read_bytes().startswith(first_bytes)


def test_chart_without_matplotlib_names_the_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = fail(capsys, monkeypatch, "cost", "--chart", tmp_path / "costs.png")
    assert "pip install 'keras-mobilenet[charts]'" in message
    assert not (tmp_path / "costs.png").exists()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small net of random weights as a file, which opens sooner than a net is compiled."""
    path = tmp_path_factory.mktemp("exported") / "net.tflite"
    export(MobileNet((64, 64, 3), 0.25, classes=2, weights=None, blocks=BLOCKS[:2]), path)
    return path


@pytest.fixture
def net(exported, tmp_path):
    """A small net and an image: what `classify` needs without a network."""
    (tmp_path / "labels.txt").write_text("kitten\npuppy\n")
    Image.new("RGB", (80, 60), "orange").save(tmp_path / "good.png")
    return ["--model", exported, "--labels", tmp_path / "labels.txt"]


@pytest.fixture
def built(net, tmp_path):
    """A net that is built and compiled for its weights, and the same image."""
    path = tmp_path / "net.weights.h5"
    MobileNet((64, 64, 3), alpha=0.25, classes=2, weights=None).save_weights(path)
    return ["--alpha", 0.25, "--size", 64, "--weights", path, *net[2:]]


def test_classify_prints_bars(built, tmp_path):
    result = run("classify", tmp_path / "good.png", *built)
    assert result.exit_code == 0
    assert "kitten" in result.stdout
    assert "puppy" in result.stdout
    assert "%" in result.stdout
    assert result.stderr == ""


def test_classify_prints_json(net, tmp_path):
    result = run("classify", tmp_path / "good.png", *net, "--json", "--top", 1)
    (image,) = json.loads(result.stdout)
    assert image["image"] == str(tmp_path / "good.png")
    assert [set(row) for row in image["classes"]] == [{"id", "name", "score"}]
    assert image["classes"][0]["score"] >= 0.5


def test_names_from_outside_are_neither_markup_nor_obeyed(net, tmp_path, capsys, monkeypatch):
    labels = ["[/x][red]", "a\x1b[31mb\u202ec"]
    (tmp_path / "labels.txt").write_text("\n".join(labels), encoding="utf-8")
    folder = tmp_path / "m[/x]"
    folder.mkdir(parents=True)
    for name in (b"p.png", b"q\xff\r\x1b]0;.png"):
        shutil.copy(tmp_path / "good.png", folder / os.fsdecode(name))
    (folder / "r\x1b[2J.png").write_bytes(b"bad")
    monkeypatch.setattr("sys.argv", ["keras-mobilenet", "classify", str(folder), *map(str, net)])
    with pytest.raises(SystemExit, match="1"):
        main()
    stdout, stderr = capsys.readouterr()
    assert stdout.count("[/x][red]") == 2
    assert stdout.count("a\ufffd[31mb\ufffdc") == 2
    assert "m[/x]" in stdout
    assert "q\\udcff\ufffd\ufffd]0;.png" in "".join(stdout.split())
    assert "r\ufffd[2J.png" in stderr
    assert not {"\x1b", "\r", "\u202e"} & {*stdout, *stderr}


def test_labels_are_shown_in_any_encoding(net, tmp_path, monkeypatch):
    (tmp_path / "labels.txt").write_text("a\nb\n", encoding="utf-8")
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    monkeypatch.setattr("sys.argv", ["keras-mobilenet", "classify", str(tmp_path / "good.png"),
                                     *map(str, net)])  # fmt: skip
    with pytest.raises(SystemExit, match="0"):
        main()
    ascii_only.flush()
    assert "█".encode() in ascii_only.buffer.getvalue()  # the bars


def test_warnings_of_libraries_stay_off_the_screen(built, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("sys.argv", ["keras-mobilenet", "classify", str(tmp_path / "good.png"),
                                     *map(str, built)])  # fmt: skip

    def warn(*_args, **_options):
        warnings.warn("a library's", UserWarning, stacklevel=1)
        warnings.warn_explicit("ours", UserWarning, "x.py", 1, module="keras_mobilenet.x")
        return read(*_args, **_options)

    read = images.read_image
    monkeypatch.setattr("keras_mobilenet.deploy.predictor.read_image", warn)
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capfd.readouterr().err == "warning: ours\n"


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_bad_image_is_reported_and_the_rest_goes_on(net, tmp_path, as_json):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not an image")
    result = run("classify", bad, tmp_path / "good.png", *net, *as_json)
    assert result.exit_code == 1
    assert "kitten" in result.stdout
    assert str(bad) in result.stderr
    assert "1 of 2 images could not be read" in result.stderr
    if as_json:
        assert "error" in json.loads(result.stdout)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cost", "--alpha", "-1"), "`alpha` must be a positive number"),
        (("cost", "--size", "16"), "at least 32"),
        (("cost", "--chart", "costs.mp3"), "'mp3' is not supported"),
        (("summary", "--depth-multiplier", "0"), "`depth_multiplier` must be a positive integer"),
        (("plot", "net.mp3", "--alpha", "0.25"), "mp3"),
        (("plot", "no/such/folder/net.png", "--alpha", "0.25"), "no/such/folder"),
        (("classify", "a.png", "--weights", "nowhere.h5"), "No file of that name exists"),
        (("classify", "a.png", "--labels", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_error_is_one_message_and_exit_code_1(capsys, monkeypatch, arguments, message):
    error = fail(capsys, monkeypatch, *arguments)
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error


def test_training_that_diverges_is_one_message(capsys, monkeypatch):
    def diverge(*_, **__):
        raise FloatingPointError("The loss is not a finite number any more.")

    monkeypatch.setattr("keras_mobilenet.training.scratch.scratch.train", diverge)
    error = fail(capsys, monkeypatch, "train", "folder", "--out", "run")
    assert error == "error: The loss is not a finite number any more.\n"


@pytest.mark.parametrize(
    "arguments",
    [["cost", "--by", "colour"], ["summary", "--format", "html"], ["classify"],
     ["classify", "a.png", "--top", "0"], ["paint"]],
)  # fmt: skip
def test_wrong_option_is_exit_code_2(arguments):
    assert run(*arguments).exit_code == 2


def test_module_is_the_command():
    command = [sys.executable, "-m", "keras_mobilenet", "cost", "--alpha", "0.25"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "41,030,272" in output


def test_start_up_notes_of_tensorflow_are_hidden(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    command = [sys.executable, "-m", "keras_mobilenet", "plot", str(tmp_path / "a.svg"), *SMALL]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    said = "importing Keras and TensorFlow ...\n"
    assert result.stderr == f"{said}wrote {tmp_path / 'a.svg'}\n"


def test_a_pipe_that_its_reader_closes_is_no_error():
    command = [sys.executable, "-m", "keras_mobilenet", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_command_imports_its_own_module_only():
    code = (
        "import sys; from keras_mobilenet.commands.app import app\n"
        "app(['classify', '--help'], standalone_mode=False)\n"
        "print(*[name for name in sys.modules if name.startswith('keras_mobilenet.commands.')])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    loaded = {name.rpartition(".")[2] for name in output.splitlines()[-1].split()}
    own = {"classify", "classify_options"}
    assert loaded == own | {"app", "completion", "options", "progress", "quiet", "terminal"}
