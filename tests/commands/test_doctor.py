"""`doctor` says what is here, what is missing, and for what."""

import json
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from keras_mobilenet.commands import doctor
from keras_mobilenet.commands.app import app
from keras_mobilenet.nets.published.table import ROWS


@pytest.fixture
def no_imports(monkeypatch):
    """No engine is tried, which takes half a second."""
    monkeypatch.setattr(doctor, "_IMPORTS", {})


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", *arguments])


def without(monkeypatch, *missing, **others):
    """Let packages be missing, or have other versions."""
    known, others = doctor.choice.version_of, others | dict.fromkeys(missing)

    def version_of(name):
        return others[name] if name in others else known(name)

    monkeypatch.setattr(doctor.choice, "version_of", version_of)


def test_engines_that_are_installed_load():
    result = run("--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["faults"] == []
    assert found["packages"]["keras"] == version("keras")
    states = {engine["engine"]: engine["state"] for engine in found["engines"]}
    assert states.pop("keras") == "not tried: it takes seconds"
    assert states == dict.fromkeys(("litert", "openvino", "onnxruntime"), "loads")


def test_missing_extra_has_the_line_that_installs_it(no_imports, monkeypatch):
    without(monkeypatch, "matplotlib")
    result = run()
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("charts")]
    assert line.split()[:2] == ["charts", "missing"]
    assert "pip install 'keras-mobilenet[charts]', which brings matplotlib>=" in line
    assert result.exit_code == 0


def test_auto_takes_no_engine_that_is_missing(no_imports, monkeypatch):
    monkeypatch.setattr(doctor.choice, "is_installed", lambda name, *_: name == "litert")
    assert (
        "`auto` takes litert for float32, no engine for bfloat16, litert for int8" in run().stdout
    )


def test_engine_that_crashes_is_a_fault_and_nothing_else_is_lost(monkeypatch):
    broken = {"litert": "import os; os.abort()", "openvino": "raise ImportError('libtbb.so')"}
    monkeypatch.setattr(doctor, "_IMPORTS", broken)
    result = run()
    assert result.exit_code == 1
    assert "fault: the engine litert does not load: signal 6" in result.stderr
    assert "fault: the engine openvino does not load: ImportError: libtbb.so" in result.stderr
    assert "weights at hand" in result.stdout


@pytest.mark.parametrize(
    ("versions", "said"),
    [({"numpy": "1.20"}, "numpy>=1.26.4 (here is 1.20)"), ({"keras": None}, "keras>=3.15.")],
)
def test_package_that_is_missing_or_too_old_is_a_fault(no_imports, monkeypatch, versions, said):
    without(monkeypatch, **versions)
    result = run()
    assert result.exit_code == 1
    assert f"keras-mobilenet needs {said}" in result.stderr


def test_folders_are_measured_and_weights_in_them_counted(no_imports, monkeypatch, tmp_path):
    name = "mobilenet_1_0_224_tf.h5"
    (tmp_path / name).write_bytes(bytes(3_000_000))
    (tmp_path / "link.h5").symlink_to(name)
    hub = tmp_path / "hub" / "models--timm--mobilenetv2_100.ra_in1k" / "snapshots" / "abc"
    hub.mkdir(parents=True)
    (hub / "model.safetensors").touch()
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    found = json.loads(run("--json").stdout)
    named, cache, _ = found["folders"]
    assert (named["files"], named["bytes"]) == (2, 3_000_000)
    assert not cache["there"]
    assert found["weights"] == {"keras": 1, "keras_all": 88, "hub": 1, "hub_all": len(ROWS)}


@pytest.mark.parametrize("written", ['{"backend": "torch"}', "{", "[]"])
def test_backend_is_what_keras_would_read(no_imports, monkeypatch, tmp_path, written):
    (tmp_path / "keras.json").write_text(written)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    expected = "torch" if "torch" in written else "tensorflow"
    assert json.loads(run("--json").stdout)["backend"]["name"] == expected
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert json.loads(run("--json").stdout)["backend"] == {"name": "jax", "from": "KERAS_BACKEND"}
