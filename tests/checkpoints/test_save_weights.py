import errno
import stat

import keras
import numpy as np
import pytest
from checkpoint_files import random_arrays, same, weights
from safetensors import safe_open
from safetensors.numpy import load_file

import keras_mobilenet
from keras_mobilenet import files, load_weights, save_weights
from keras_mobilenet.checkpoints.writing import weights_file as writing
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.models.model_files import info_of

pytestmark = pytest.mark.backends


def small_head(dtype="float32"):
    """A model that is quick to build, with a batch norm."""
    dense = keras.layers.Dense(2, name="dense", dtype=dtype)
    norm = keras.layers.BatchNormalization(name="bn", dtype=dtype)
    return keras.Sequential([keras.Input((3,)), dense, norm])


def test_the_file_holds_the_arrays_under_their_names_and_the_conventions(donor, tmp_path):
    save_weights(donor, tmp_path / "x.safetensors")
    assert same(load_file(tmp_path / "x.safetensors"), random_arrays(alpha=0.25))
    with safe_open(tmp_path / "x.safetensors", framework="numpy") as file:
        assert file.metadata() == {
            "format": "keras_mobilenet",
            "epsilon": "0.001",
            "padding": "keras",
            "info": info_of(donor).to_text(),
        }


def test_saving_takes_the_place_of_an_older_file_with_the_usual_permissions(donor, tmp_path):
    path, plain = tmp_path / "x.safetensors", tmp_path / "plain"
    path.write_bytes(b"old")
    plain.touch()
    save_weights(donor, path)
    assert same(load_file(path), weights(donor))
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    save_weights(donor, tmp_path / "new.safetensors")
    assert stat.S_IMODE((tmp_path / "new.safetensors").stat().st_mode) == stat.S_IMODE(
        plain.stat().st_mode
    )
    assert {p.name for p in tmp_path.iterdir()} == {"x.safetensors", "new.safetensors", "plain"}


@pytest.mark.parametrize("path", ["x.hdf5", "x.keras", "x", "x.safetensors.txt"])
def test_another_suffix_is_refused_with_keras_own_calls_named(donor, path):
    with pytest.raises(ValueError, match=r"(?s)\.safetensors.*model\.save.*Received: path='x"):
        save_weights(donor, path)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_keras_loads_what_is_written_in_its_formats(donor, tmp_path, suffix):
    save_weights(donor, tmp_path / f"x{suffix}")
    theirs = keras.applications.MobileNet(weights=None, alpha=0.25)
    theirs.load_weights(tmp_path / f"x{suffix}")
    for a, b in zip(donor.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5", ".h5"])
def test_conventions_travel_in_every_format(tmp_path, suffix):
    source = keras_mobilenet.MobileNet(
        (97, 97, 3), weights=None, alpha=0.1, padding="symmetric", epsilon=1e-5
    )
    save_weights(source, tmp_path / f"x{suffix}")
    again = keras_mobilenet.MobileNet((97, 97, 3), weights=tmp_path / f"x{suffix}", alpha=0.1)
    assert same(weights(again), weights(source))
    assert again.get_layer("conv1_pad").padding == ((1, 1), (1, 1))
    assert again.get_layer("conv1_bn").epsilon == 1e-5
    default = keras_mobilenet.MobileNet((97, 97, 3), weights=None, alpha=0.1)
    with pytest.raises(CheckpointError, match="Shapes cannot show it"):
        load_weights(default, tmp_path / f"x{suffix}")


def test_weights_h5_needs_mobilenets_own_layers(tmp_path):
    with pytest.raises(ValueError, match="is no layer of MobileNet.*Write .safetensors or .h5"):
        save_weights(small_head(), tmp_path / "x.weights.h5")
    assert list(tmp_path.iterdir()) == []
    save_weights(small_head(), tmp_path / "x.h5")


def half_written(arrays, path, metadata):
    with open(path, "wb") as file:
        file.write(b"half a file")
    raise OSError(errno.ENOSPC, "No space left on device")


def one_bit_off(arrays, path, metadata):
    arrays = {name: array.copy() for name, array in arrays.items()}
    arrays["dense/bias"].view("uint32")[0] ^= 1
    safetensors_file_save(arrays, path, metadata)


safetensors_file_save = writing.save_file


def no_rename(source, target):
    raise PermissionError(errno.EACCES, "Permission denied")


def interrupted(path):
    raise KeyboardInterrupt


FAILURES = [
    pytest.param(writing, "save_file", half_written, OSError, id="disk_full"),
    pytest.param(writing, "save_file", one_bit_off, OSError, id="bit_flip"),
    pytest.param(files.os, "replace", no_rename, PermissionError, id="no_rename"),
    pytest.param(files, "_flush_to_disk", interrupted, KeyboardInterrupt, id="interrupt"),
]


@pytest.mark.parametrize(("module", "function", "failing", "error"), FAILURES)
@pytest.mark.parametrize("before", [b"old content", None], ids=["over_old", "new"])
def test_a_failing_save_leaves_the_folder_as_it_was(
    monkeypatch, tmp_path, module, function, failing, error, before
):
    path = tmp_path / "x.safetensors"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(module, function, failing)
    with pytest.raises(error):
        save_weights(small_head(), path)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == ({path: before} if before else {})


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_weights(small_head(), tmp_path / "nowhere" / "x.safetensors")


def test_a_model_that_has_diverged_is_saved_as_it_is_and_refused_on_loading(tmp_path):
    model = small_head()
    model.layers[0].bias.assign([np.nan, -0.0])
    save_weights(model, tmp_path / "x.safetensors")
    assert same(load_file(tmp_path / "x.safetensors"), weights(model))
    with pytest.raises(CheckpointError, match="dense/bias holds values that are NaN"):
        load_weights(model, tmp_path / "x.safetensors")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_models_of_other_float_types_come_back_bit_by_bit(tmp_path, dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX computes in float64 only where the whole process is told to")
    source, target = small_head(dtype), small_head(dtype)
    source.layers[0].kernel.assign(np.arange(6).reshape(3, 2) / 7)
    save_weights(source, tmp_path / "x.safetensors")
    report = load_weights(target, tmp_path / "x.safetensors")
    assert same(weights(target), weights(source))
    assert weights(target)["dense/kernel"].dtype == dtype
    assert report.cast == ()


def test_the_epsilon_of_the_batch_norms_is_in_the_file_and_two_of_them_are_refused(tmp_path):
    model = small_head()
    model.layers[1].epsilon = 1e-5
    save_weights(model, tmp_path / "x.safetensors")
    load_weights(model, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"epsilon=1e-05.*epsilon=0.001"):
        load_weights(small_head(), tmp_path / "x.safetensors")
    two = keras.Sequential([model, keras.layers.BatchNormalization(name="other")])
    with pytest.raises(ValueError, match=r"different epsilons, \[1e-05, 0.001\]"):
        save_weights(two, tmp_path / "two.safetensors")


def test_two_layers_of_one_name_are_refused():
    base = keras_mobilenet.MobileNet(weights=None, alpha=0.25, include_top=False)
    other = keras_mobilenet.MobileNet(weights=None, alpha=0.25, include_top=False, name="other")
    twins = keras.Model(base.inputs, [base.output, other(base.inputs[0])])
    with pytest.raises(ValueError, match="Two layers of model .* 'conv1/kernel'"):
        save_weights(twins, "x.safetensors")
