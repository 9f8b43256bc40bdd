"""The published recipe, number by number, and the order in which images are shown."""

import math

import numpy as np
import pytest
from coloured_shapes import COLOURS, write_shapes

from keras_mobilenet.images.model_info import info_for
from keras_mobilenet.training.scratch import batches
from keras_mobilenet.training.scratch.options import checked_options
from keras_mobilenet.training.scratch.reading import UNREADABLE, Reader, order

DEFAULTS = {
    "alpha": 0.25, "size": 32, "epochs": 100, "batch_size": 64, "schedule": "paper",
    "learning_rate": 0.045, "warmup": 0.0, "weight_decay": 4e-5, "label_smoothing": 0.0,
    "ema": None, "bn_momentum": None, "min_area": 0.35, "mixed_precision": False, "seed": 0,
    "validation": 0.2,
}  # fmt: skip


def options(**more):
    return checked_options(**{**DEFAULTS, **more})


def test_the_defaults_of_train_are_the_recipe():
    import inspect

    from keras_mobilenet import train

    defaults = {name: p.default for name, p in inspect.signature(train).parameters.items()}
    published = {**DEFAULTS, "alpha": 1.0, "size": 224}
    assert {name: defaults[name] for name in published} == published


def test_the_command_has_the_same_defaults():
    import inspect

    from keras_mobilenet import train
    from keras_mobilenet.commands.train import train as command

    ours = {name: p.default for name, p in inspect.signature(train).parameters.items()}
    typed = {name: p.default for name, p in inspect.signature(command).parameters.items()}
    for name in set(typed) - {"folder", "out", "val", "size"}:
        assert typed[name] == ours[name], name
    assert typed["val"] == str(ours["validation"])
    assert str(typed["size"]) == str(ours["size"])


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("size", 31),
        ("epochs", 0),
        ("batch_size", 1),
        ("schedule", "linear"),
        ("learning_rate", 0),
        ("warmup", -1),
        ("weight_decay", -1e-9),
        ("label_smoothing", 1),
        ("min_area", 0),
        ("min_area", 1.1),
        ("ema", 1),
        ("bn_momentum", -0.1),
        ("seed", -1),
        ("alpha", "x"),
    ],
)
def test_a_wrong_argument_is_named(argument, value):
    with pytest.raises(ValueError, match=f"(?s)`{argument}`.*Received: {argument}="):
        options(**{argument: value})


def test_averages_are_the_published_ones_in_a_long_training_only():
    assert options().averages(10**7) == (0.9999, 0.9997)
    assert options().averages(1000) == (0.98, 0.98)
    assert options().averages(5) == (0.0, 0.0)
    assert options(ema=0.5, bn_momentum=0.6).averages(5) == (0.5, 0.6)


def rates(steps, **more):
    from keras_mobilenet.training.scratch.training_net import schedule

    rate = schedule(options(**more), 10)
    return [float(rate(step)) for step in steps]


def test_the_paper_s_rate_falls_each_two_and_a_half_epochs():
    assert rates([0, 24, 25, 49, 50]) == pytest.approx(
        [0.045, 0.045, 0.045 * 0.94, 0.045 * 0.94, 0.045 * 0.94**2]
    )


def test_cosine_falls_to_zero_and_constant_does_not():
    assert rates([0, 500, 1000], schedule="cosine") == pytest.approx([0.045, 0.0225, 0], abs=1e-7)
    assert rates([0, 999], schedule="constant") == pytest.approx([0.045, 0.045])


@pytest.mark.parametrize("name", ["paper", "cosine", "constant"])
def test_a_rate_may_rise_at_first(name):
    first, last, full = rates([0, 19, 20], schedule=name, warmup=2.0)
    assert (first, last, full) == pytest.approx((0.045 / 20, 0.045, 0.045))


@pytest.mark.backends
def test_rmsprop_is_that_of_inception():
    import keras

    from keras_mobilenet.training.scratch.training_net import new_optimizer

    variable = keras.Variable([2.0])
    optimizer = new_optimizer(0.045, 0.5)
    value, mean, momentum, average = 2.0, 0.0, 0.0, None
    for gradient in (3.0, -1.0, 0.5):
        optimizer.apply([keras.ops.convert_to_tensor([gradient])], [variable])
        mean = 0.9 * mean + 0.1 * gradient**2
        momentum = 0.9 * momentum + 0.045 * gradient / math.sqrt(mean + 1.0)
        value -= momentum
        average = value if average is None else 0.5 * average + 0.5 * value
        assert float(keras.ops.convert_to_numpy(variable)[0]) == pytest.approx(value)
    optimizer.finalize_variable_values([variable])
    assert float(keras.ops.convert_to_numpy(variable)[0]) == pytest.approx(average)


@pytest.mark.builds
def test_the_net_begins_as_tf_slim_s():
    import keras

    from keras_mobilenet.training.scratch.training_net import training_net

    net = training_net(options(), 3, steps=10**7, synchronized=False)
    kernels = [w for w in net.weights if "kernel" in w.path and w.shape.num_elements() > 5000]
    values = np.concatenate([np.ravel(w) for w in kernels])
    assert np.abs(values).max() <= 0.18  # two deviations
    assert values.std() == pytest.approx(0.088 * 0.9, abs=1e-3)  # a cut normal's is 0.88 as wide
    norms = [x for x in net.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {x.momentum for x in norms} == {0.9997}
    decayed = [x.name for x in net.layers if getattr(x, "kernel_regularizer", None)]
    assert len(decayed) == 15  # the stem, thirteen pointwise ones, the classifier
    assert not [name for name in decayed if "dw" in name]


def test_two_workers_see_what_one_would_have_seen():
    alone = order(3, 7, count=50, batch=8).reshape(6, 8)
    parts = [order(3, 7, count=50, batch=8, worker=k, workers=2).reshape(6, 4) for k in (0, 1)]
    assert np.array_equal(np.concatenate(parts, axis=1), alone)
    assert len(set(alone.ravel())) == 48
    assert not np.array_equal(order(3, 8, count=50, batch=8), alone.ravel())
    assert not np.array_equal(order(4, 7, count=50, batch=8), alone.ravel())


@pytest.fixture
def reader(tmp_path):
    folder = write_shapes(tmp_path / "images", 2)
    paths = sorted(map(str, folder.glob("*/*")))
    examples = [(path, list(COLOURS).index(path.split("/")[-2])) for path in paths]
    return Reader(examples, info_for((32, 48), 3, tuple(COLOURS)), seed=5, min_area=0.35)


@pytest.mark.backends
def test_a_part_follows_from_seed_epoch_and_image(reader):
    x, index = reader.part(2, 3)
    assert (x.shape, x.dtype, index) == ((32, 48, 3), np.float32, 1)
    assert np.array_equal(reader.part(2, 3)[0], x)
    assert not np.array_equal(reader.part(3, 3)[0], x)
    assert -1 <= x.min() < x.max() <= 1


def test_an_image_that_cannot_be_read_is_told_and_stood_in_for(reader):
    broken, after = reader._examples[2][0], reader._examples[3]
    with open(broken, "wb") as file:
        file.write(b"no image")
    assert reader.part(0, 2)[1] == after[1]
    x, index = reader.whole(2)
    assert (index, np.abs(x).max()) == (UNREADABLE, 0)
    assert list(reader.problems) == [broken]


@pytest.mark.parametrize("epochs", [range(2), range(1, 3)])
def test_tf_data_hands_on_what_threads_read(reader, epochs):
    import tensorflow as tf

    order = {"seed": 3, "count": 6, "batch": 4, "epochs": epochs}
    context = tf.distribute.InputContext()
    theirs = batches.training_dataset(reader, size=(32, 48), context=context, **order)
    assert_same_batches(batches.training_batches(reader, **order), theirs, lengths=[4, 4])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_share_each_batch_and_the_validation_images(reader, workers):
    order = {"seed": 3, "count": 6, "batch": 4, "epochs": range(2), "workers": workers}
    shares = [batches.training_batches(reader, worker=i, parts=workers, **order)
              for i in range(workers)]  # fmt: skip
    together = [np.concatenate([y for _, y in step]) for step in zip(*shares, strict=True)]
    alone = batches.training_batches(reader, **order | {"workers": 1})
    assert np.array_equal(together, [y for _, y in alone])
    held = [batches.validation_batches(reader, count=6, batch=4, worker=i, workers=workers)
            for i in range(workers)]  # fmt: skip
    assert sum(len(y) for share in held for _, y in share) == 6


def assert_same_batches(ours, theirs, lengths):
    pairs = list(zip(ours, theirs.as_numpy_iterator(), strict=True))
    assert [len(y) for (_, y), _ in pairs] == lengths
    for (x, y), (x_tf, y_tf) in pairs:
        assert np.array_equal(x, x_tf)
        assert np.array_equal(y, y_tf)
