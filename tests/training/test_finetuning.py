"""finetune(): the model it returns is the one it measured, and the same one each time."""

import errno
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from coloured_shapes import COLOURS, NET, shapes, write_shapes, write_weights

from keras_mobilenet import MobileNet, finetune
from keras_mobilenet.errors import DownloadError
from keras_mobilenet.images.images import read_image
from keras_mobilenet.models.model_files import info_of, load_model
from keras_mobilenet.nets import pretrained
from keras_mobilenet.training import run_state
from keras_mobilenet.training.data import sources
from keras_mobilenet.training.data.sources import Image
from keras_mobilenet.training.data.views import View
from keras_mobilenet.training.finetune import features
from keras_mobilenet.training.finetune.probing import probe
from keras_mobilenet.training.finetune.settings import checked_settings, class_weights
from keras_mobilenet.training.finetune.top import Problem, _loss, solve

pytestmark = [
    pytest.mark.long,
    pytest.mark.builds,
    pytest.mark.filterwarnings("ignore:is no image, by its name:UserWarning"),
]
# One graph in two runtimes and two halves; probabilities, whose logits add up some hundred terms.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("images"), 8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "net.weights.h5")


@pytest.fixture(scope="module")
def trained(images, weights, tmp_path_factory):
    """Return a finished run of each kind, made once, with its folder.

    One that is not validated keeps the last epoch's weights, whatever they are worth.
    """
    runs = {}

    def train(train_from, **more):
        key = train_from, *more
        if key not in runs:
            out = tmp_path_factory.mktemp("run")
            options = {} if train_from == "top" else TAIL
            options = {"train_from": train_from, "views": 3, **NET, **options, **more}
            watch = [Copies(out)]
            runs[key] = finetune(
                images, weights=weights, out=out, callbacks=watch, **options
            ), out  # fmt: skip
        return runs[key]

    return train


class Copies(keras.callbacks.Callback):
    """Copies a run's folder where a kill would have left it: within the second epoch.

    The system keeps what a killed process has written.
    """

    def __init__(self, out):
        super().__init__()
        self.out, self.epoch = out, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1 and not killed_copy(self.out).exists():
            shutil.copytree(self.out, killed_copy(self.out))


def killed_copy(out):
    return out.with_name(f"{out.name}-killed")


# The rate is high: what is trained must show on a net that knows nothing yet.
TAIL = {"epochs": 2, "learning_rate": 1e-4}
PARTS = ["top", "block_4", "all"]


@pytest.mark.parametrize("train_from", PARTS)
def test_the_model_computes_what_was_measured(trained, train_from):
    run, out = trained(train_from)
    info = info_of(run.model)
    x = np.stack([read_image(path, size=32) for path, _ in run.validation])
    for model in (run.model, load_model(out / "model.keras")):
        y = model.predict(info.scaled(x), verbose=0)
        assert np.abs(y - run.probabilities).max() < TOLERANCE
    assert run.accuracy == np.mean(y.argmax(axis=1) == [index for _, index in run.validation])


@pytest.mark.parametrize("train_from", PARTS)
def test_the_file_knows_the_classes_and_the_images(trained, train_from):
    info = info_of(load_model(trained(train_from)[1] / "model.keras"))
    assert (info.labels, info.size, info.crop) == (tuple(COLOURS), (32, 32), 1.0)


def test_coloured_shapes_are_learnt(trained):
    assert trained("top")[0].accuracy > 0.6  # by a net that knows nothing; chance is a third


@pytest.mark.parametrize("train_from", PARTS)
def test_history_has_a_row_an_epoch_in_two_stages(trained, train_from):
    run, out = trained(train_from)
    stages = [row["stage"] for row in run.history]
    assert stages.count("tail") == (0 if train_from == "top" else 2)
    assert sorted(stages, reverse=True) == stages
    lines = (out / "history.csv").read_text().splitlines()
    assert lines[0] == "stage,epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds"
    assert len(lines) == 1 + len(run.history)
    assert json.loads((out / "metrics.json").read_text())["accuracy"] == run.accuracy
    json.dumps([run.history, run.settings, run.timings, run.versions])  # all of it is JSON
    assert run.settings["engine"] == "keras"
    assert run.settings["validation"] == 0.2


@pytest.mark.parametrize(
    ("train_from", "first"), [("top", None), ("block_4", "conv_dw_4"), ("all", "conv1")]
)
def test_only_what_is_asked_for_trains(trained, weights, train_from, first):
    before = MobileNet((32, 32, 3), 0.25, include_top=False, weights=weights, blocks=NET["blocks"])
    old = {v.path: v.numpy() for v in before.weights}
    model = trained(train_from, validation=None)[0].model
    new = {v.path: v.numpy() for v in model.weights if v.path in old}
    changed = [path for path, x in new.items() if not np.array_equal(x, old[path])]
    assert not [path for path in changed if "_bn/" in path]  # a few images would spoil them
    assert (changed[0].split("/")[0] if changed else None) == first


def test_the_same_seed_gives_the_same_numbers(trained, images, weights):
    run, _ = trained("block_4")
    options = {"train_from": "block_4", "views": 3, **TAIL, **NET}
    again = finetune(images, weights=weights, **options)
    assert np.array_equal(again.probabilities, run.probabilities)
    assert list(map(without_time, again.history)) == list(map(without_time, run.history))
    assert again.weights_hash == run.weights_hash
    assert trained("top", seed=1)[0].validation != run.validation


def test_arrays_files_and_tf_data_are_one_thing(images, weights):
    import tensorflow as tf

    x, y = shapes(8)
    held = shapes(3, seed=1)
    options = {"weights": weights, "views": 1, **NET}
    from_arrays = finetune((x, y), validation=held, labels=tuple(COLOURS), **options)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(5)
    from_tf = finetune(dataset, validation=held, labels=tuple(COLOURS), **options)
    from_files = finetune(images, validation=held_folder(images, held), **options)
    assert np.array_equal(from_arrays.probabilities, from_tf.probabilities)
    assert from_arrays.labels == from_files.labels
    assert np.abs(from_arrays.probabilities - from_files.probabilities).max() < TOLERANCE
    assert from_arrays.validation[0] == (None, 0)


def held_folder(images, held):
    folder = images.parent / "held"
    write_shapes(folder, len(held[1]) // 3, seed=1)
    return folder


def test_floats_from_0_to_1_train_the_net_that_their_pixels_train(weights):
    x, y = shapes(4)
    options = {"weights": weights, "views": 1, "validation": None, **NET}
    pixels = finetune((x, y), **options)
    floats = finetune((x / 255, y), **options)
    kernels = [run.model.get_layer("conv_preds").get_weights()[0] for run in (pixels, floats)]
    assert np.array_equal(*kernels)
    assert pixels.accuracy is None
    assert floats.settings["value_range"] == "0 to 1"


def test_grey_images_train_a_net_of_one_channel(images, weights):
    run = finetune(images, weights=weights, channels=1, **NET)
    assert run.model.input_shape == (None, 32, 32, 1)


def test_unreadable_images_are_told_and_passed_over(tmp_path, weights):
    folder = write_shapes(tmp_path, 5)
    (folder / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    (folder / "red" / "notes.txt").write_text("no image")
    run = finetune(folder, weights=weights, validation=shapes_elsewhere(tmp_path), **NET)
    assert len([p for p in run.problems if "broken.png" in p]) == 1
    assert len([p for p in run.problems if "notes.txt" in p]) == 1


def shapes_elsewhere(tmp_path):
    return write_shapes(tmp_path.parent / f"{tmp_path.name}_held", 2, seed=3)


def test_nothing_is_computed_twice(trained, images, weights, monkeypatch):
    run, out = trained("block_4")
    computed = []
    original = features.Extractor._computed
    monkeypatch.setattr(
        features.Extractor, "_computed", lambda s, x: computed.extend(x) or original(s, x)
    )
    options = {"train_from": "block_4", "epochs": 1, "cache": out / "cache", **NET}
    more = finetune(images, weights=weights, views=4, **options)
    assert len(computed) == 24 - len(run.validation)  # of the fourth view alone
    assert len(more.validation) == len(run.validation)


def test_class_weights():
    assert class_weights(None, ["a", "b"], [0, 0, 1]) == (1, 1)
    a, b = class_weights("balanced", ["a", "b"], [0, 0, 1])
    assert 2 * a == pytest.approx(b)
    assert 2 * a + b == pytest.approx(3)
    a, b = class_weights({"b": 3}, ["a", "b"], [0, 1])
    assert b == pytest.approx(3 * a)
    with pytest.raises(ValueError, match="'c', which is no class"):
        class_weights({"c": 1}, ["a", "b"], [0, 1])


def test_keras_callbacks_are_called_and_can_stop(images, weights):
    seen = []

    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, sorted(logs)))
            if "learning_rate" in logs:
                self.model.stop_training = True

    run = finetune(
        images, weights=weights, train_from="block_5", epochs=5, callbacks=[Stops()], **NET
    )
    assert [row["stage"] for row in run.history].count("tail") == 1
    assert len(seen) == len(run.history)
    assert seen[-1][1] == ["accuracy", "learning_rate", "loss", "val_accuracy", "val_loss"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"train_from": "block_6"}, "`train_from` must be 'top', 'all', or"),
        ({"views": 0}, "`views` must be a whole number of at least 1"),
        ({"size": 16}, "`size` must be a whole number of at least 32"),
        ({"channels": 4}, "`channels` must be 3, or 1"),
        ({"learning_rate": -1.0}, "`learning_rate` must be above 0"),
        ({"label_smoothing": 1.0}, "`label_smoothing` must be at least 0 and below 1"),
        ({"labels": ["a"]}, "`labels` names class numbers"),
        ({"class_weight": "even"}, "`class_weight` must be None, 'balanced'"),
    ],
)
def test_wrong_arguments_are_named(images, weights, options, match):
    with pytest.raises(ValueError, match=match):
        finetune(images, **{"weights": weights, **NET, **options})


def test_a_killed_run_goes_on_to_the_same_result(trained, images, weights, tmp_path):
    options = {"weights": weights, "train_from": "block_4", "views": 3, "validation": None}
    options |= TAIL | NET
    whole, out = trained("block_4", validation=None)
    killed = shutil.copytree(killed_copy(out), tmp_path / "run")
    assert not (killed / "model.keras").exists()
    with pytest.raises(ValueError, match="holds a run already.*resume=True"):
        finetune(images, out=killed, **options)
    with pytest.raises(ValueError, match="with other settings"):
        finetune(images, out=killed, resume=True, **{**options, "epochs": 5})
    resumed = finetune(images, out=killed, resume=True, **options)
    for a, b in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert [without_time(row) for row in resumed.history] == list(map(without_time, whole.history))
    assert "top" not in resumed.timings  # it was trained before


def without_time(row):
    return {key: x for key, x in row.items() if key != "seconds"}


def test_a_damaged_state_says_what_to_do(tmp_path):
    state = run_state.State(weights=[np.zeros(100)])
    run_state.save_state(tmp_path, "this", state)
    assert run_state.load_state(tmp_path, "this").epochs == 0
    with pytest.raises(ValueError, match="other settings, images or weights"):
        run_state.load_state(tmp_path, "that")
    path = tmp_path / run_state.NAME
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged.*Delete it"):
        run_state.load_state(tmp_path, "this")


def test_views_are_of_the_size_and_their_own():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    made = [View(i).of(pixels, "content", (32, 48)) for i in range(4)]
    assert {x.shape for x in made} == {(32, 48, 3)}
    assert np.array_equal(made[1], View(0).of(pixels[:, ::-1], "", (32, 48)))
    assert not np.array_equal(made[2], made[3])
    assert np.array_equal(made[3], View(3).of(pixels, "content", (32, 48)))
    assert not np.array_equal(made[3], View(3, seed=1).of(pixels, "content", (32, 48)))
    assert View(2).of(pixels[:1, :1], "content", (32, 32)).shape == (32, 32, 3)


def regression(scale=1.0):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    x = rng.normal(size=(60, 5)) + y[:, None]
    return Problem(x * scale, np.eye(3)[y], np.ones(60), 0.01)


def test_the_solver_ends_at_the_optimum():
    problem = regression()
    losses = [step.loss for step in solve(problem, 200)]
    assert losses == sorted(losses, reverse=True)
    *_, step = solve(problem, 200)
    x = (problem.features - problem.mean) / problem.scale
    standard = np.vstack(
        [step.kernel * problem.scale[:, None], step.bias + problem.mean @ step.kernel]
    )
    _, slope = _loss(problem, x.astype(np.float32), standard)
    assert np.abs(slope).max() < 1e-3  # of a convex function: nothing lies lower


def test_the_solver_does_not_mind_the_features_scale():
    *_, one = solve(regression(), 200)
    scale = np.array([1e-3, 1.0, 1e3, 1.0, 1.0])
    *_, other = solve(regression(scale), 200)
    assert np.allclose(other.kernel * scale[:, None], one.kernel, atol=1e-4)


def test_dead_features_do_no_harm():
    problem = replace(regression(), features=np.zeros((60, 5)))
    for step in solve(problem, 5):
        assert np.isfinite(step.kernel).all()


def test_probe_without_weights_says_where_it_looked(images, cache):
    with pytest.raises(DownloadError, match=r"at hand to probe with, in .*models"):
        probe(images)
    assert not cache.exists()


def test_an_image_is_hashed_once(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"x")
    image, hashed = Image((0,), str(tmp_path / "x")), []
    real = sources.sha256_of
    monkeypatch.setattr(sources, "sha256_of", lambda path: hashed.append(path) or real(path))
    assert image.content() == image.content() == real(tmp_path / "x")
    assert hashed == [image.path]


def test_probe_ranks_the_nets_at_hand(images, shared_data, monkeypatch):
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(shared_data / "weights" / "keras"))
    monkeypatch.setattr("keras_mobilenet.training.finetune.probing._at_hand", _smallest)
    (score,) = probe(images, folds=3, engine="keras")
    assert (score.alpha, score.size, score.images) == (0.25, 224, 24)
    assert score.accuracy > 0.9  # chance is a third
    with pytest.raises(ValueError, match="as many images as there are folds, 9"):
        probe(images, folds=9, engine="keras")


def test_probe_asks_for_the_weights_of_its_row(images, cache, monkeypatch):
    row = pretrained.find(1.0, 224, "MobileNetV3Small", minimalistic=True)
    monkeypatch.setenv("KERAS_MOBILENET_OFFLINE", "1")
    monkeypatch.setattr("keras_mobilenet.training.finetune.probing._at_hand", lambda: [row])
    with pytest.raises(DownloadError, match="weights_mobilenet_v3_small_minimalistic_224_1.0"):
        probe(images, folds=3, engine="keras")


def _smallest():
    return [pretrained.find(0.25, 224)]


def test_a_full_disk_loses_nothing(trained, images, weights, tmp_path, monkeypatch):
    options = {"weights": weights, "views": 3, "out": tmp_path / "run", **NET}
    saved = []

    def full(path, *_, **__):
        saved.append(path)
        if len(saved) > 1:  # of two files of features, the second
            raise OSError(errno.ENOSPC, "No space left on device", path)
        save(path, *_, **__)

    save = np.save
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        finetune(images, **options)
    monkeypatch.undo()
    kept = list((tmp_path / "run" / "cache").iterdir())
    assert len(kept) == 1  # and no part of another
    run = finetune(images, resume=True, **options)
    with pytest.raises(ValueError, match="with other settings"):
        finetune(images, resume=True, **{**options, "views": 2})
    assert np.array_equal(run.probabilities, trained("top")[0].probabilities)
    assert kept[0].exists()  # used, not made again


def test_a_spoilt_feature_is_found_and_made_again(trained, images, weights, tmp_path):
    run, out = trained("top")
    cache = shutil.copytree(out / "cache", tmp_path / "cache")
    for path in cache.iterdir():
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    again = finetune(images, weights=weights, views=3, cache=cache, **NET)
    assert np.array_equal(again.probabilities, run.probabilities)


@pytest.mark.filterwarnings("ignore:is one image in several classes:UserWarning")
def test_a_small_net_tells_flowers_apart(shared_data, monkeypatch):
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(shared_data / "weights" / "keras"))
    flowers = shared_data / "images" / "flowers"
    run = finetune(flowers / "train", validation=flowers / "val", alpha=0.25, views=1)
    assert run.accuracy >= 0.82  # 84.5 % when it was written; chance is 20 %
    assert any("15922772266_1167a06620.jpg" in problem for problem in run.problems)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:is one image in several classes:UserWarning")
@pytest.mark.parametrize(("train_from", "least"), [("top", 0.87), ("block_12", 0.885)])
def test_flowers_are_told_apart(shared_data, monkeypatch, tmp_path, train_from, least):
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(shared_data / "weights" / "keras"))
    flowers = shared_data / "images" / "flowers"
    runs = [
        finetune(
            flowers / "train", validation=flowers / "val", train_from=train_from, seed=seed,
            cache=tmp_path,
        )
        for seed in range(3)
    ]  # fmt: skip
    # 88.5 and 89.3 % when it was written; another engine or processor may turn an image or two.
    assert np.mean([run.accuracy for run in runs]) >= least


@pytest.mark.parametrize(("train_from", "views"), [("top", 1), ("block_12", 2), ("all", 2)])
def test_the_top_alone_is_trained_on_one_view(train_from, views):
    asked = {"epochs": None, "learning_rate": None, "views": None}
    others = {"alpha": 1.0, "weights": None, "channels": 3, "batch_size": 32, "patience": 5}
    rates = {"label_smoothing": 0.1, "weight_decay": 1e-4, "class_weight": None, "seed": 0}
    settings = checked_settings(
        size=224, train_from=train_from, validation=None, **asked, **others, **rates
    )
    assert settings.views == views


def test_the_history_tells_the_loss_of_all_images(images, weights):
    # At a rate of almost 0 the net stays as it is, whatever the batches; the last one is 1 image.
    options = {"epochs": 1, "learning_rate": 1e-12, "train_from": "block_4", "views": 1}
    one, several = (
        finetune(images, weights=weights, batch_size=size, **options, **NET).history[-1]
        for size in (32, 3)
    )
    assert several["loss"] == pytest.approx(one["loss"], rel=TOLERANCE)
    assert several["accuracy"] == pytest.approx(one["accuracy"])


def test_workers_want_a_scope_of_their_own(images, monkeypatch):
    import tensorflow as tf

    cluster = {"chief": ["a:1"], "worker": ["b:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster}))
    with (
        tf.distribute.MirroredStrategy(["CPU:0"]).scope(),
        pytest.raises(ValueError, match="names 2 workers.*outside of any strategy"),
    ):
        finetune(images)
    monkeypatch.setenv("TF_CONFIG", "[]")
    with pytest.raises(ValueError, match="TF_CONFIG is not"):
        finetune(images)
