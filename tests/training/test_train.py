"""train(): it learns, goes on where it was killed, and leaves a model that knows its classes."""

import errno
import json
import shutil
import sys
import warnings
from dataclasses import astuple
from functools import partial

import filelock
import keras
import numpy as np
import pytest
from coloured_shapes import COLOURS, write_shapes
from typer.testing import CliRunner

from keras_mobilenet import finetune, train
from keras_mobilenet.checkpoints.building import build_net
from keras_mobilenet.commands.app import app
from keras_mobilenet.errors import BackendError, ImageError
from keras_mobilenet.evaluation.metrics import evaluate
from keras_mobilenet.models.model_files import info_of, load_model
from keras_mobilenet.nets.families import v2, v3
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.families.v1 import Block
from keras_mobilenet.training import run_state
from keras_mobilenet.training.workers import Workers

pytestmark = pytest.mark.builds
# At the published rate what so short a training ends with depends on how a machine rounds; at this
# one every machine, seed and number of threads that was tried tells all held images apart.
SMALL = {
    "alpha": 1.0, "blocks": [Block(16), Block(32, stride=2), Block(64, stride=2)], "size": 32,
    "epochs": 8, "batch_size": 12, "schedule": "cosine", "learning_rate": 0.01,
}  # fmt: skip
V3 = "mobilenet_v3_large"
KILLED = 3  # the epoch at whose beginning it is


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("images"), 20)


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    """Return a run, its folder, its progress, and the folder as a kill would have left it."""
    out, killed, told = tmp_path_factory.mktemp("finished"), tmp_path_factory.mktemp("killed"), []

    def keep(epoch, logs=None):
        if epoch == KILLED:  # the system keeps what a killed process has written
            shutil.copytree(out, killed, dirs_exist_ok=True)

    watch = keras.callbacks.LambdaCallback(on_epoch_begin=keep)
    run = train(images, out=out, progress=told.append, callbacks=[watch], **SMALL)
    return run, out, told, killed


@pytest.mark.parametrize(
    ("net", "blocks"), [("mobilenet_v2", v2.BLOCKS[:2]), ("MobileNetV3Small", v3.SMALL[:2])]
)
def test_any_net_of_the_family_is_trained(images, tmp_path, eager, net, blocks):
    small = {**SMALL, "epochs": 1, "alpha": 0.35, "blocks": blocks}
    run = train(images, out=tmp_path, net=net, **small)
    saved = load_model(tmp_path / "model.keras")
    whole = build_net(net, (32, 32, 3), 0.35, weights=None, classes=3, blocks=blocks)
    assert [w.shape for w in saved.weights] == [w.shape for w in whole.weights]
    assert info_of(saved).labels == tuple(COLOURS)
    settings = json.loads((tmp_path / "metrics.json").read_text())["settings"]
    assert settings["net"] == family(net).key
    assert settings["blocks"] == [list(astuple(block)) for block in blocks]
    assert 0 <= run.accuracy <= 1
    with pytest.raises(ValueError, match=f"`blocks` must be .*{family(net).blocks_name}"):
        train(images, out=tmp_path / "wrong", net=net, **SMALL)


def test_a_minimalistic_net_is_trained(images, tmp_path, eager):
    small = {**SMALL, "epochs": 1, "alpha": 0.35, "blocks": v3.LARGE[:4], "net": V3}
    train(images, out=tmp_path / "run", minimalistic=True, **small)
    saved = load_model(tmp_path / "run" / "model.keras")
    whole = build_net(
        V3, (32, 32, 3), 0.35, weights=None, classes=3, blocks=v3.LARGE[:4], minimalistic=True
    )
    assert [w.shape for w in saved.weights] == [w.shape for w in whole.weights]  # no gates
    settings = json.loads((tmp_path / "run" / "metrics.json").read_text())["settings"]
    assert settings["minimalistic"] is True
    with pytest.raises(ValueError, match="a training with other settings"):
        train(images, out=tmp_path / "run", resume=True, **small)


@pytest.fixture
def eager():
    """Without a graph, which takes longer to make than to train a few steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Even though the `tf.config", UserWarning)  # so it is
        yield
    tf.config.run_functions_eagerly(False)


def curve(history):
    return [{key: x for key, x in row.items() if key != "seconds"} for row in history]


@pytest.mark.backends
def test_it_learns_what_the_images_show(finished):
    run, *_ = finished
    assert run.accuracy > 0.8  # chance is a third
    assert run.history[-1]["loss"] < 0.8 < run.history[0]["loss"]


@pytest.mark.backends
def test_what_was_validated_is_what_is_saved(finished):
    run, out, *_ = finished
    found = evaluate(run.labels, [index for _, index in run.validation], run.probabilities)
    last = run.history[-1]
    assert found.log_loss == pytest.approx(last["val_loss"], rel=1e-4)
    assert found.accuracy == last["val_accuracy"]
    saved = load_model(out / "model.keras")
    for ours, theirs in zip(run.model.get_weights(), saved.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.backends
def test_the_saved_weights_are_averages(finished):
    run, out, *_ = finished
    state = np.load(out / run_state.NAME)
    live = [state[f"weights_{i}"] for i in range(len(run.model.weights))]
    averaged = run.model.get_weights()
    trainable = [w.trainable for w in run.model.weights]
    alike = [np.array_equal(a, b) for a, b in zip(live, averaged, strict=True)]
    assert not any(same for same, trains in zip(alike, trainable, strict=True) if trains)
    assert all(same for same, trains in zip(alike, trainable, strict=True) if not trains)


@pytest.mark.backends
def test_a_run_has_its_files_and_tells_its_progress(finished):
    run, out, told, _ = finished
    assert {"model.keras", "history.csv", "metrics.json", "report.html", "state.npz"} <= {
        path.name for path in out.iterdir()
    }
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["accuracy"] == run.accuracy
    assert metrics["settings"]["schedule"] == "cosine"
    assert len((out / "history.csv").read_text().splitlines()) == 1 + SMALL["epochs"]
    assert told[-1].done == told[-1].total == SMALL["epochs"] * 48
    info = info_of(run.model)
    assert (info.labels, info.size, info.crop) == (tuple(COLOURS), (32, 32), 0.875)


def test_the_file_classifies(finished, images):
    image = sorted((images / "red").iterdir())[0]
    model = str(finished[1] / "model.keras")
    result = CliRunner().invoke(app, ["classify", "--model", model, "--top", "1", str(image)])
    assert result.exit_code == 0, result.output
    assert "red" in result.stdout


@pytest.mark.backends
def test_a_killed_run_goes_on_to_the_same_curve(finished, images):
    whole, _, _, killed = finished
    assert not (killed / "model.keras").exists()
    with pytest.raises(ValueError, match="holds a run already"):
        train(images, out=killed, **SMALL)
    with pytest.raises(ValueError, match="other settings, images or weights"):
        train(images, out=killed, resume=True, **{**SMALL, "learning_rate": 0.2})
    begun = []
    watch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))
    run = train(images, out=killed, resume=True, callbacks=[watch], **SMALL)
    assert begun == list(range(KILLED, SMALL["epochs"]))
    assert curve(run.history) == curve(whole.history)
    assert np.array_equal(run.probabilities, whole.probabilities)


@pytest.mark.parametrize("call", [partial(train, **SMALL), partial(finetune, weights=None)])
def test_a_folder_in_use_is_refused(images, tmp_path, call):
    with (
        filelock.FileLock(tmp_path / ".lock"),
        pytest.raises(ValueError, match="in use by another training"),
    ):
        call(images, out=tmp_path)


def test_less_than_a_batch_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match=r"48 images.*smaller `batch_size`"):
        train(images, out=tmp_path, **{**SMALL, "batch_size": 49})


def test_a_loss_that_is_no_number_keeps_the_last_good_state(images, tmp_path, eager):
    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.get_layer("conv_preds").bias.assign([np.nan] * 3)

    small = {**SMALL, "epochs": 2, "batch_size": 24}
    with pytest.raises(FloatingPointError, match="lower learning rate"):
        train(images, out=tmp_path, callbacks=[Spoil()], **small)
    state = np.load(tmp_path / run_state.NAME)
    assert json.loads(str(state["record"]))["epochs"] == 1
    assert all(np.isfinite(state[name]).all() for name in state.files if name != "record")


def test_mixed_precision_trains_and_saves_float32(images, tmp_path, eager):
    small = {**SMALL, "epochs": 1, "batch_size": 24, "ema": 0.0, "validation": None}
    seen = []
    watch = keras.callbacks.Callback()
    watch.on_train_begin = lambda logs=None: seen.append(watch.model.layers[1].compute_dtype)
    run = train(images, out=tmp_path, mixed_precision=True, callbacks=[watch], **small)
    assert seen == ["bfloat16"]
    assert {layer.compute_dtype for layer in run.model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    assert run.accuracy is None
    assert run.history[0]["val_loss"] is None


def test_images_of_which_none_can_be_read_end_it(tmp_path, eager):
    folder = write_shapes(tmp_path / "images", 3)
    for path in folder.glob("*/*"):
        path.write_text(f"no image: {path}")  # each its own
    with pytest.raises(ImageError, match="in a row cannot be read"):
        train(folder, out=tmp_path / "run", validation=None, **{**SMALL, "batch_size": 3})


def test_tensorboard_is_an_extra(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"keras-mobilenet\[tensorboard\]"):
        train(images, out=tmp_path, tensorboard=True, **SMALL)


def test_tensorboard_gets_the_curves(images, tmp_path, eager):
    pytest.importorskip("tensorboard")
    small = {**SMALL, "epochs": 1, "batch_size": 24}
    train(images, out=tmp_path, tensorboard=True, **small)
    assert list((tmp_path / "tensorboard").rglob("events.out.tfevents.*"))


def test_a_worker_that_is_gone_is_said():
    import tensorflow as tf

    with (
        pytest.raises(ConnectionError, match=r"has stopped.*Begin again\."),
        Workers(None, count=2).failures_as_errors("Begin again."),
    ):
        raise tf.errors.UnavailableError(None, None, "tasks are unhealthy")
    with pytest.raises(tf.errors.UnavailableError), Workers(None).failures_as_errors(""):
        raise tf.errors.UnavailableError(None, None, "another reason")


def test_roles_that_do_not_train_are_refused(monkeypatch):
    from keras_mobilenet.training.workers import workers

    cluster = {"worker": ["a:1"], "ps": ["b:1"], "chief": ["c:1"]}
    config = {"cluster": cluster, "task": {"type": "ps", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(ValueError, match=r"must name workers.*ps"):
        workers()


def test_workers_want_tensorflow(images, tmp_path, monkeypatch):
    for module in ("training.scratch.scratch", "models.backends"):
        monkeypatch.setattr(f"keras_mobilenet.{module}.is_tensorflow", lambda: False)
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]}}))
    with pytest.raises(BackendError, match=r"train\(\) with the workers of TF_CONFIG needs Tensor"):
        train(images, out=tmp_path, **SMALL)


def test_the_other_data_format_is_refused(images, tmp_path):
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="train works with the data format 'channels_last'"):
            train(images, out=tmp_path, **SMALL)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_the_command_trains(images, tmp_path, monkeypatch):
    from keras_mobilenet.training.scratch import scratch

    def full(*_, **given):
        assert given["alpha"] == 0.5
        assert given["schedule"] == "cosine"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scratch, "train", full)
    typed = ["train", str(images), "--out", str(tmp_path), "--alpha", "0.5",
             "--schedule", "cosine"]  # fmt: skip
    result = CliRunner().invoke(app, typed)
    assert result.exit_code == 1
    assert "what was done is kept" in result.stderr
