"""What a file is, and the same values in another format."""

import hashlib
import json

import numpy as np
import pytest
from checkpoint_files import random_arrays, same, weights, write_keras_2, write_safetensors
from safetensors import safe_open
from typer.testing import CliRunner

from keras_mobilenet import MobileNet, convert_weights, inspect_weights
from keras_mobilenet.commands.app import app
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import v1

SUFFIXES = (".safetensors", ".weights.h5", ".h5")


@pytest.mark.parametrize(
    "arguments",
    [{"alpha": 0.25}, {"alpha": 0.1, "depth_multiplier": 2, "channels": 1, "include_top": False}],
)
def test_inspection_tells_the_arguments(tmp_path, arguments):
    arrays = random_arrays(**arguments)
    path = write_keras_2(tmp_path / "x.h5", arrays)
    found = inspect_weights(path)
    assert found.format == "Keras legacy H5 (weights)"
    origin = vars(found.origin)
    assert ({**origin, **origin.pop("options")}).items() >= arguments.items()
    assert found.params == v1.network(**arguments).count_params()
    assert found.dtypes == ("float32",)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert dict(found.arrays) == {name: array.shape for name, array in arrays.items()}
    assert found.conventions is None


def test_inspection_tells_the_published_file(shared_data):
    found = inspect_weights(shared_data / "weights/keras/mobilenet_2_5_224_tf_no_top.h5")
    assert found.sha256 == "dbdb03ee2a22fd895301636cd328b234bb3a9952358f436d82f46b81e0d5b0bf"
    assert found.params == 218_544
    assert not found.origin.include_top


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("source", SUFFIXES)
def test_converting_keeps_every_bit_and_says_where_from(tmp_path, source, target):
    arrays = random_arrays(alpha=0.25)
    first = write_safetensors(tmp_path / "first.safetensors", arrays)
    convert_weights(first, tmp_path / f"a{source}")
    found = convert_weights(tmp_path / f"a{source}", tmp_path / f"b{target}")
    assert found.conventions == Conventions()
    model = MobileNet(alpha=0.25, weights=tmp_path / f"b{target}")
    assert same(weights(model), arrays)


def test_provenance_is_in_the_metadata(tmp_path):
    source = write_keras_2(tmp_path / "x.h5", random_arrays(alpha=0.25))
    convert_weights(source, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["source"] == "x.h5"
    assert metadata["source_format"] == "Keras legacy H5 (weights)"
    assert metadata["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert metadata["padding"] == "keras"


def test_damaged_values_are_not_converted(tmp_path):
    arrays = random_arrays(alpha=0.25)
    arrays["conv1_bn/moving_variance"] = -arrays["conv1_bn/moving_variance"]
    path = write_safetensors(tmp_path / "x.safetensors", arrays)
    with pytest.raises(CheckpointError, match="conv1_bn/moving_variance holds a negative variance"):
        convert_weights(path, tmp_path / "y.h5")
    assert not (tmp_path / "y.h5").exists()


def test_another_net_is_not_converted(tmp_path):
    path = write_safetensors(tmp_path / "x.safetensors", {"dense/kernel": np.ones((2, 2), "f4")})
    with pytest.raises(CheckpointError, match="unexpected arrays: dense/kernel"):
        convert_weights(path, tmp_path / "y.h5")


def test_target_with_another_suffix_is_refused(tmp_path):
    path = write_safetensors(tmp_path / "x.safetensors", random_arrays(alpha=0.25))
    with pytest.raises(ValueError, match="must end in .safetensors, .weights.h5, .h5"):
        convert_weights(path, tmp_path / "y.npz")


def run(*arguments):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def test_inspect_prints_what_a_file_is(tmp_path):
    path = write_safetensors(tmp_path / "x.safetensors", random_arrays(alpha=0.25))
    result = run("inspect", path)
    assert result.exit_code == 0
    assert "made with     alpha=0.25, depth_multiplier=1, 1000 classes" in result.stdout
    assert "params        475,544" in result.stdout
    (record,) = json.loads(run("inspect", path, "--json").stdout)
    assert record["padding"] == "keras"
    assert record["params"] == 475_544


def test_inspect_goes_on_after_an_unreadable_file(tmp_path):
    (tmp_path / "bad.h5").write_bytes(b"")
    path = write_safetensors(tmp_path / "x.safetensors", random_arrays(alpha=0.25))
    result = run("inspect", tmp_path / "bad.h5", path)
    assert result.exit_code == 1
    assert "the file is empty" in result.stderr
    assert "safetensors" in result.stdout


def test_convert_writes_and_says_what(tmp_path):
    source = write_keras_2(tmp_path / "x.h5", random_arrays(alpha=0.25))
    result = run("convert", source, tmp_path / "y.safetensors")
    assert result.exit_code == 0
    assert "alpha=0.25" in result.stdout
    assert inspect_weights(tmp_path / "y.safetensors").params == 475_544
