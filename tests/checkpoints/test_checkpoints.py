import hashlib
import itertools

import h5py
import keras
import numpy as np
import pytest
from checkpoint_files import (
    METADATA,
    assign,
    by_layer,
    random_arrays,
    same,
    weights,
    write_keras_2,
    write_keras_3,
    write_safetensors,
)

import keras_mobilenet
from keras_mobilenet import load_weights, save_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.registry import open_checkpoint
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.families import v1
from keras_mobilenet.nets.families.registry import recognise
from keras_mobilenet.nets.net import Origin

SMALL = {"weights": None, "alpha": 0.25}
BASE = SMALL | {"include_top": False, "pooling": "avg"}

pytestmark = pytest.mark.backends


@pytest.fixture(scope="module")
def base():
    return keras_mobilenet.MobileNet(**BASE)


def tuned():
    """A base with a new top, as a user adds one; every weight random."""
    return keras.Sequential([keras_mobilenet.MobileNet(**BASE), keras.layers.Dense(3)])


@pytest.fixture(scope="module")
def trained(donor):
    """The donor after a step of training: its files hold the optimizer's values as well."""
    model = keras_mobilenet.MobileNet(**SMALL, input_shape=(32, 32, 3))
    assign(model, weights(donor))
    eager = keras.backend.backend() != "jax"  # which compiles each operation by itself then
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"], run_eagerly=eager)
    model.fit(np.ones((1, 32, 32, 3)), np.eye(1, 1000), verbose=0)
    return model


def save_keras_2(model, path):
    write_keras_2(path, weights(model))


def save_keras_2_in_chunks(model, path):
    write_keras_2(path, weights(model), chunks=3)


def case(name, *values):
    return pytest.param(values, id=name)


WAYS_TO_SAVE = [
    case("keras_2", "donor", save_keras_2, "x.h5", "Keras legacy H5 (weights)"),
    case("chunks", "donor", save_keras_2_in_chunks, "x.h5", "Keras legacy H5 (weights)"),
    case("whole_h5", "donor", keras.Model.save, "x.h5", "Keras legacy H5 (whole model)"),
    case("trained_h5", "trained", keras.Model.save, "x.h5", "Keras legacy H5 (whole model)"),
    case("weights_h5", "donor", keras.Model.save_weights, "x.weights.h5", "Keras 3 weights H5"),
    case("trained_3", "trained", keras.Model.save_weights, "x.weights.h5", "Keras 3 weights H5"),
    case("keras", "donor", keras.Model.save, "x.keras", "Keras 3 archive"),
    case("trained_keras", "trained", keras.Model.save, "x.keras", "Keras 3 archive"),
    case("safetensors", "donor", save_weights, "x.safetensors", "safetensors"),
]


@pytest.fixture(params=WAYS_TO_SAVE)
def saved(request, tmp_path):
    """A file in one of the formats, with the model that it was made from and the format's name."""
    source, save, file_name, format_name = request.param
    save(request.getfixturevalue(source), tmp_path / file_name)
    return tmp_path / file_name, request.getfixturevalue(source), format_name


def test_every_format_brings_back_the_same_bits(model, saved):
    path, source, format_name = saved
    report = load_weights(model, path)
    assert same(weights(model), weights(source))
    assert report.format == format_name
    assert report.path == str(path)
    assert report.loaded == tuple(v1.network(alpha=0.25).arrays())
    rest = (report.missing, report.unexpected, report.shape_differs, report.cast)
    assert rest == ((), (), (), ())


def test_the_format_is_told_by_content_where_the_suffix_lies(model, saved):
    path, source, format_name = saved
    liar = path.rename(path.with_suffix(".h5" if path.suffix == ".keras" else ".keras"))
    assert load_weights(model, liar).format == format_name
    assert same(weights(model), weights(source))


def test_no_length_of_a_safetensors_header_makes_it_a_pickle(tmp_path):
    first_bytes = set()  # of the header's length, a multiple of 8
    for count in range(0, 256, 8):
        metadata = METADATA | {"note": "x" * count}
        path = write_safetensors(tmp_path / "x.safetensors", {"a": np.ones(2)}, metadata)
        first_bytes.add(path.read_bytes()[0])
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.format == "safetensors"
    assert first_bytes == set(range(0, 256, 8))


@pytest.mark.parametrize("arguments", [{"alpha": 0.5}, {"classes": 7}, {"include_top": False}])
def test_a_model_is_built_with_the_weights_of_a_file(tmp_path, arguments):
    given = random_arrays(**{"alpha": 0.25} | arguments)
    path = write_keras_2(tmp_path / "x.h5", given)
    assert same(weights(keras_mobilenet.MobileNet(**SMALL | arguments | {"weights": path})), given)


def test_a_file_with_a_top_loads_into_a_model_without_and_the_report_says_so(donor, base, tmp_path):
    report = load_weights(base, write_keras_2(tmp_path / "x.h5", weights(donor)))
    assert same(weights(base), random_arrays(alpha=0.25, include_top=False))
    assert report.unexpected == ("conv_preds/kernel", "conv_preds/bias")
    assert "passed over: conv_preds/kernel, conv_preds/bias" in str(report)


def test_the_report_reads_as_a_sentence(donor, model, tmp_path):
    path = write_safetensors(tmp_path / "x.safetensors", weights(donor))
    assert str(load_weights(model, path)) == (
        f"loaded 137 arrays from {path} (safetensors, alpha=0.25, depth_multiplier=1, 1000 classes)"
    )


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.33, 0.5, 0.75, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("depth_multiplier", [1, 2])
@pytest.mark.parametrize("classes", [None, 1, 1001])
def test_the_shapes_tell_the_arguments_that_a_file_was_made_with(alpha, depth_multiplier, classes):
    top = {"include_top": classes is not None, "classes": classes or 1}
    found = v1.network(alpha, depth_multiplier, channels=4, **top).arrays()
    assert recognise(found) == Origin(
        "MobileNet", alpha, 4, classes, classes is not None, {"depth_multiplier": depth_multiplier}
    )


@pytest.mark.parametrize("layer", ["conv1", "conv_dw_1", "conv_pw_6", "conv_pw_13_bn"])
def test_shapes_of_another_net_tell_no_arguments(layer):
    shapes = v1.network().arrays()
    assert recognise({n: s for n, s in shapes.items() if not n.startswith(f"{layer}/")}) is None


@pytest.mark.parametrize("write", [write_keras_2, write_keras_3])
def test_layers_in_another_order_land_right_where_keras_goes_by_order(
    donor, model, tmp_path, write
):
    given, layers = weights(donor), list(by_layer(weights(donor)))
    eight, nine = layers.index("conv_pw_8"), layers.index("conv_pw_9")  # of one shape
    layers[eight], layers[nine] = layers[nine], layers[eight]
    path = write(tmp_path / "x.weights.h5", given, layers=layers)
    if write is write_keras_2:
        path = path.rename(tmp_path / "x.h5")

    model.load_weights(path)
    assert np.array_equal(weights(model)["conv_pw_8/kernel"], given["conv_pw_9/kernel"])
    load_weights(model, path)
    assert same(weights(model), given)


def test_without_strict_what_fits_is_loaded_and_the_report_tells_the_rest(model, tmp_path):
    given = random_arrays(alpha=0.25, classes=10)
    stored = {n: a for n, a in given.items() if not n.startswith("conv_pw_3/")}
    stored["extra/kernel"] = np.ones((2, 2), "float32")
    report = load_weights(model, write_keras_2(tmp_path / "x.h5", stored), strict=False)
    assert report.missing == ("conv_pw_3/kernel",)
    assert report.unexpected == ("extra/kernel",)
    assert report.shape_differs == (
        ("conv_preds/kernel", (1, 1, 256, 10), (1, 1, 256, 1000)),
        ("conv_preds/bias", (10,), (1000,)),
    )
    now = weights(model)
    assert same({n: now[n] for n in report.loaded}, {n: given[n] for n in report.loaded})
    assert len(report.loaded) == 134
    assert not any(now[n].any() for n in now.keys() - set(report.loaded))


def test_foreign_layer_names_are_loaded_by_order_when_the_caller_says_so(donor, model, tmp_path):
    path = write_keras_2(tmp_path / "x.h5", weights(donor), renamed=lambda layer: f"{layer}_mine")
    with pytest.raises(CheckpointError, match="by_order=True"):
        load_weights(model, path)
    assert len(load_weights(model, path, by_order=True).loaded) == 137
    assert same(weights(model), weights(donor))


@pytest.mark.parametrize("name", ["x.h5", "x.keras", "x.weights.h5"])
def test_a_nested_model_loads_by_name_and_its_base_alone_without_the_users_top(
    base, tmp_path, name
):
    source, target = tuned(), tuned()
    assign(source.layers[0], random_arrays(alpha=0.25))
    source.layers[1].set_weights([np.full((256, 3), 5.0), np.arange(3.0)])
    target.layers[1].name = source.layers[1].name
    (source.save_weights if "weights" in name else source.save)(tmp_path / name)

    load_weights(target, tmp_path / name)
    assert same(weights(target), weights(source))
    report = load_weights(base, tmp_path / name)
    assert same(weights(base), weights(source.layers[0]))
    assert len(report.unexpected) == 2
    assert f"passed over: {source.layers[1].name}/kernel" in str(report)


@pytest.mark.parametrize("end", [".h5", ".keras"])
def test_layers_of_the_users_before_the_net_are_passed_over_with_their_whole_numbers(tmp_path, end):
    arguments = {"weights": None, "alpha": 0.25, "include_top": False, "blocks": v1.BLOCKS[:1]}
    net, other = (keras_mobilenet.MobileNet((32, 32, 3), **arguments) for _ in range(2))
    scaling = keras.layers.Normalization(name="scaling")
    scaling.adapt(np.random.default_rng(0).uniform(size=(4, 32, 32, 3)))
    before = [keras.Input((32, 32, 3)), keras.layers.RandomFlip(), scaling]
    keras.Sequential([*before, net]).save(tmp_path / f"x{end}")
    report = load_weights(other, tmp_path / f"x{end}")
    assert {name.partition("/")[0] for name in report.unexpected} == {"scaling"}
    assert all(map(np.array_equal, other.get_weights(), net.get_weights()))


@pytest.mark.parametrize(
    ("write", "dtype"),
    [
        *itertools.product([write_keras_2, write_keras_3], ["float16", "float64", ">f4", ">f8"]),
        *itertools.product([write_safetensors], ["float16", "float64", "bfloat16"]),
    ],
)
def test_other_float_types_are_cast_and_the_report_says_so(model, tmp_path, write, dtype):
    stored = {n: a.astype(dtype) for n, a in random_arrays(alpha=0.25).items()}
    report = load_weights(model, write(tmp_path / "x", stored))
    assert same(weights(model), {n: a.astype("float32") for n, a in stored.items()})
    assert report.cast == tuple(stored)
    assert "cast to the model's float type: conv1/kernel" in str(report)


@pytest.mark.parametrize(
    "options", [{"compression": "gzip", "shuffle": True}, {"fletcher32": True}]
)
def test_a_file_repacked_with_hdf5s_own_filters_loads(donor, model, tmp_path, options):
    path = write_keras_2(tmp_path / "x.h5", weights(donor))
    with h5py.File(path, "r+") as file:
        for layer, variables in by_layer(weights(donor)).items():
            name = file[layer].attrs["weight_names"][0].decode()
            del file[layer][name]
            array = next(iter(variables.values()))
            file[layer].create_dataset(name, data=array, chunks=array.shape, **options)
    load_weights(model, path)
    assert same(weights(model), weights(donor))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mobilenet_1_0_224_tf.h5", {"alpha": 1.0}),
        ("mobilenet_2_5_224_tf.h5", {"alpha": 0.25}),
        ("mobilenet_2_5_224_tf_no_top.h5", {"alpha": 0.25, "include_top": False}),
    ],
)
def test_published_files_load_as_keras_loads_them(shared_data, name, arguments):
    path = shared_data / "weights" / "keras" / name
    theirs = keras.applications.MobileNet(**arguments, weights=None)
    theirs.load_weights(path)
    ours = keras_mobilenet.MobileNet(**arguments, weights=path)
    assert same(weights(ours), weights(theirs))


def test_the_published_no_top_file_has_the_recorded_sha256(shared_data):
    row = pretrained.find(0.25, 224)
    content = (shared_data / "weights" / "keras" / row.file_name(include_top=False)).read_bytes()
    assert hashlib.sha256(content).hexdigest() == row.sha256_no_top


def test_paths_with_spaces_umlauts_and_links_are_read(tmp_path):
    folder = tmp_path / "meine Gewichte (größer)"
    folder.mkdir()
    given = random_arrays(alpha=0.25)
    path = write_safetensors(folder / "netz #1.safetensors", given)
    (tmp_path / "link").symlink_to(path)
    for name in (path, str(path), folder / ".." / folder.name / path.name, tmp_path / "link"):
        model = keras_mobilenet.MobileNet(alpha=0.25, weights=name)
        assert same(weights(model), given)
