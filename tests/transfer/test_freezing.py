"""What `freeze` sets holds: through trainable = True, compile, fit, save, load and fit again."""

import sys

import keras
import numpy as np
import pytest
from coloured_shapes import FEW
from random_models import randomise

from keras_mobilenet import MobileNet, MobileNetV2, MobileNetV3Small, freeze, replace_top, summary
from keras_mobilenet.models.frozen import batch_norms_of, layers_within
from keras_mobilenet.models.model_files import load_model, save_model
from keras_mobilenet.nets.families.v1 import BLOCKS
from keras_mobilenet.nets.net import REGISTERED_ATTENTION
from keras_mobilenet.transfer.freezing import trainable_summary

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
Y = np.array([0, 1, 2, 0])


def flat(**options):
    fixed = {"weights": None, "classes": 3, "blocks": FEW}
    return randomise(MobileNet((32, 32, 3), 0.25, **fixed | options))


def base():
    return MobileNet((32, 32, 3), 0.25, weights=None, include_top=False, pooling="avg", blocks=FEW)


def thirteen():
    # Zeros: JAX compiles random values for each shape.
    return MobileNet((32, 32, 3), 0.25, weights=None, classes=3, initializer="zeros")


def nested_in_functional():
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(3, activation="softmax", name="head")(base()(inputs))
    return randomise(keras.Model(inputs, outputs))


def nested_in_sequential():
    layers = [keras.Input((32, 32, 3)), base(), keras.layers.BatchNormalization(name="own_bn"),
              keras.layers.Dense(3, activation="softmax", name="head")]  # fmt: skip
    return randomise(keras.Sequential(layers))


def in_a_wrapper():
    inputs = keras.Input((1, 32, 32, 3))
    x = keras.layers.TimeDistributed(base())(inputs)
    return randomise(keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x))))


MODELS = (flat, nested_in_functional, nested_in_sequential)


def fit(model, compiled=False, traced=False):
    """Train for a step; to trace it first takes seconds, and is for tests of just that."""
    if not compiled:
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=not traced)
    model.fit(X, Y, epochs=1, batch_size=4, verbose=0)


def statistics(model):
    return [w.numpy() for bn in batch_norms_of(model) for w in bn.weights]


def everything(model):
    return {f"{x.name}/{w.name}": w.numpy() for x in layers_within(model) for w in x.weights}


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def trains(model):
    """The layers that train, by name."""
    ids = {id(w) for w in model.trainable_weights}
    return [x.name for x in layers_within(model) if ids & {id(w) for w in x.weights}]


@pytest.mark.builds
@pytest.mark.parametrize("make", MODELS)
def test_no_batch_norm_moves_whatever_happens_to_the_model(make, tmp_path):
    model = freeze(make(), until=None)
    before = statistics(model)
    for layer in layers_within(model, models=True):
        layer.trainable = False  # so that the next line is news to each
    for layer in layers_within(model, models=True):
        layer.trainable = True
    fit(model)
    model(X, training=True)
    assert same(statistics(model), before)
    save_model(model, tmp_path / "model.keras")
    opened = load_model(tmp_path / "model.keras")
    fit(opened, compiled=True)
    opened.trainable = False
    opened.trainable = True
    fit(opened)
    assert same(statistics(opened), before)


@pytest.mark.builds
@pytest.mark.parametrize("make", MODELS)
def test_other_weights_move_while_batch_norms_are_frozen(make):
    model = freeze(make(), until=None)
    before, norms = everything(model), {bn.name for bn in batch_norms_of(model)}
    fit(model)
    moved = {n.split("/")[0] for n, v in everything(model).items() if not (v == before[n]).all()}
    assert "conv_dw_4" in moved  # the random net's gradients fade out further down
    assert moved & norms == set()


@pytest.mark.builds
@pytest.mark.parametrize("make", MODELS)
def test_batch_norms_that_train_move_above_the_boundary_only(make):
    model = freeze(freeze(make(), until=None), until="block_3", batch_norm="train")
    before = {bn.name: bn.get_weights() for bn in batch_norms_of(model)}
    fit(model)
    moved = {bn.name for bn in batch_norms_of(model) if not same(bn.get_weights(), before[bn.name])}
    own = {"own_bn"} if make is nested_in_sequential else set()
    assert moved == {f"conv_{kind}_{i}_bn" for kind in ("dw", "pw") for i in (4, 5)} | own


@pytest.mark.builds
def test_nested_batch_norm_ignores_the_training_that_keras_passes_on():
    inputs, inner = keras.Input((32, 32, 3)), base()
    model = keras.Model(inputs, randomise(inner)(inputs))
    before = statistics(model)
    expected = model(X, training=False)
    freeze(model, until="all")
    assert np.array_equal(model(X, training=True), expected)
    assert same(statistics(model), before)


@pytest.mark.builds
def test_batch_norms_in_a_wrapper_are_frozen():
    model = freeze(in_a_wrapper(), until="all")
    before = statistics(model)
    assert len(before) == (1 + 2 * len(FEW)) * 4
    model(X[:, None], training=True)
    assert same(statistics(model), before)


@pytest.mark.builds
def test_files_open_in_plain_keras(tmp_path, monkeypatch):
    models = [freeze(make(), until="block_3") for make in MODELS]
    for i, model in enumerate(models):
        save_model(model, tmp_path / f"{i}.keras")
    for name in [name for name in sys.modules if name.split(".")[0] == "keras_mobilenet"]:
        monkeypatch.setitem(sys.modules, name, None)  # to import it raises an error
    known = keras.saving.get_custom_objects()
    monkeypatch.delitem(known, REGISTERED_ATTENTION)  # of V4's hybrid nets alone
    assert not [name for name in known if "mobilenet" in name.lower()]
    opened = [keras.saving.load_model(tmp_path / f"{i}.keras") for i in range(len(models))]
    kinds = {type(x).__module__ for model in opened for x in layers_within(model, models=True)}
    assert {kind.split(".")[0] for kind in kinds} == {"keras"}
    for model, again in zip(models, opened, strict=True):
        assert np.array_equal(again(X), model(X))


@pytest.mark.builds
def test_frozen_after_compiling_holds_without_compiling_again():
    model = flat(blocks=BLOCKS[:2])
    fit(model, traced=True)
    freeze(model, until="all")
    before = everything(model)
    fit(model, compiled=True)
    after = everything(model)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"conv_preds/kernel", "conv_preds/bias"}


@pytest.mark.builds
def test_thawed_after_compiling_is_refused_until_compiled_again():
    model = freeze(flat(blocks=BLOCKS[:2]), until="all")
    fit(model, traced=True)
    freeze(model, until=None)
    with pytest.raises(ValueError, match="Unknown variable"):
        fit(model, compiled=True)
    fit(model, traced=True)


@pytest.mark.builds
def test_net_that_is_cut_short_can_be_frozen():
    whole = flat()
    model = keras.Model(whole.input, whole.get_layer("conv_pw_3_relu").output)
    assert trains(freeze(model, until="block_2")) == ["conv_dw_3", "conv_pw_3"]
    with pytest.raises(
        ValueError, match="block_3, all, all_but_two, None .* conv1 to conv_pw_3_relu"
    ):
        freeze(model, until="block_4")


@pytest.mark.builds
def test_ordinary_batch_norms_saved_as_trainable_stay_ordinary(tmp_path):
    save_model(freeze(flat(), until="block_3", batch_norm="train"), tmp_path / "m.keras")
    opened = load_model(tmp_path / "m.keras")
    assert trainable_summary(opened).endswith("; 4 of 11 batch norms train")
    assert trainable_summary(freeze(opened, until=None, batch_norm="train")).endswith("norm trains")


@pytest.mark.builds
def test_file_names_no_class_but_keras_own(tmp_path):
    batch_norm = batch_norms_of(freeze(flat(), until=None))[0]
    plain = keras.layers.BatchNormalization.from_config(batch_norm.get_config())
    plain.build((None, 16, 16, 8))
    kind = ("module", "class_name", "config")
    ours, theirs = map(keras.saving.serialize_keras_object, (batch_norm, plain))
    assert [ours[key] for key in kind] == [theirs[key] for key in kind]


@pytest.mark.builds
def test_summary_and_copies_stay_those_of_the_model():
    plain, frozen = flat(), freeze(flat(), until="block_3")
    rows = [line.split()[:2] for line in summary(plain).splitlines() if "_bn " in line]
    assert rows == [line.split()[:2] for line in summary(frozen).splitlines() if "_bn " in line]
    clone = keras.models.clone_model(frozen)
    before = statistics(clone)
    clone(X, training=True)
    assert same(statistics(clone), before)


BOUNDARIES = {
    None: "conv1",
    "stem": "conv_dw_1",
    "block_11": "conv_dw_12",
    "conv_pw_11_relu": "conv_dw_12",
    "conv_dw_12": "conv_pw_12",
    "block_13": "conv_preds",
    "all": "conv_preds",
}


@pytest.mark.builds
@pytest.mark.parametrize("padding", ["keras", "symmetric", "same"])
def test_trains_from_the_layer_behind_the_boundary(padding):
    model = MobileNet((32, 32, 3), 0.25, weights=None, classes=3, padding=padding)
    kernels = [layer.name for layer in model.layers if "kernel" in str(layer.weights)]
    for until, first in [*BOUNDARIES.items(), *reversed(BOUNDARIES.items())]:  # down and up again
        assert trains(freeze(model, until=until)) == kernels[kernels.index(first) :], until


@pytest.mark.builds
def test_layers_of_the_user_train_wherever_they_stand():
    inputs = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(3, 1, name="adapter")(inputs)
    x = keras.layers.Dense(3, name="head")(base()(x))
    model = keras.Model(inputs, x)
    model.layers[2].trainable = False  # a nested model's own switch hides its layers'
    freeze(model, until="block_4")
    assert trains(model) == ["adapter", "conv_dw_5", "conv_pw_5", "head"]
    assert trainable_summary(model).startswith("trains adapter, block_5 to head: ")


@pytest.mark.builds
def test_net_that_is_called_twice_counts_once():
    inner, inputs = base(), [keras.Input((32, 32, 3)) for _ in range(2)]
    both = keras.layers.Concatenate()([inner(x) for x in inputs])
    model = freeze(keras.Model(inputs, keras.layers.Dense(1, name="head")(both)), until="all")
    line = f"trains head: 129 of {inner.count_params() + 129:,} parameters; batch norm frozen"
    assert trainable_summary(model) == line


@pytest.mark.builds
def test_net_that_two_models_share_counts_once():
    inputs, first = keras.Input((32, 32, 3)), thirteen()
    second = replace_top(first, 2)
    second.name = "second"
    model = freeze(keras.Model(inputs, [first(inputs), second(inputs)]))
    assert len(batch_norms_of(model)) == 27
    assert trainable_summary(model).startswith("trains block_12 to conv_preds: 103,045 of ")


@pytest.mark.backends
@pytest.mark.builds
def test_summary_line_says_what_trains():
    model = thirteen()
    assert trainable_summary(model) == (
        "trains stem to conv_preds: 213,843 of 219,315 parameters; batch norm trains"
    )
    assert trainable_summary(freeze(model)) == (
        "trains block_12 to conv_preds: 102,531 of 219,315 parameters; batch norm frozen"
    )
    assert trainable_summary(freeze(model, batch_norm="train")).endswith(
        "; 4 of 27 batch norms train"
    )
    assert trainable_summary(freeze(model, until="conv_dw_13")).startswith("trains conv_pw_13 to ")
    assert trainable_summary(freeze(model, until="all")).startswith("trains conv_preds: 771 of ")
    model.trainable = False
    assert trainable_summary(model).startswith("trains nothing: 0 of ")


@pytest.mark.builds
@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"until": "block_6"},
            "stem, block_1, .*, block_5, all, all_but_two, None .* conv1 to conv_pw_5_relu",
        ),
        ({"until": "conv_preds"}, "Received: until='conv_preds'"),
        ({"batch_norm": "off"}, "'frozen' or 'train'. Received: batch_norm='off'"),
    ],
)
def test_unknown_names_change_nothing(options, match):
    model = flat()
    before = trainable_summary(model)
    with pytest.raises(ValueError, match=match):
        freeze(model, **options)
    assert trainable_summary(model) == before


def test_model_without_a_mobilenet_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="other")
    with pytest.raises(ValueError, match="'other' has no MobileNet in it"):
        freeze(model)


@pytest.mark.builds
def test_batch_norm_of_a_users_class_is_refused_before_any_changes():
    class OwnNorm(keras.layers.BatchNormalization):
        pass

    model = keras.Sequential([keras.Input((32, 32, 3)), base(), OwnNorm(name="own")])
    with pytest.raises(ValueError, match="Layer 'own' is a OwnNorm, .*batch_norm='train'"):
        freeze(model, until="all")
    assert trainable_summary(model).endswith("batch norm trains")


@pytest.mark.parametrize(
    ("builder", "last"),
    [(MobileNetV2, "block_14_project"), (MobileNetV3Small, "expanded_conv_8_project")],
)
def test_by_default_two_blocks_train_and_what_is_behind_them(builder, last):
    model = freeze(builder((32, 32, 3), weights=None, classes=3))
    kernels = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    frozen = [x.name for x in kernels if not x.trainable]
    assert frozen[-1] == last
    assert all(x.trainable for x in kernels[len(frozen) :])
