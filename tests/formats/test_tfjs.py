"""TensorFlow.js layers models: dequantised exactly, and kept inside their folder."""

import json
import os
import shutil

import numpy as np
import pytest
from checkpoint_files import random_arrays, same, weights, write_tfjs, zeroed

from keras_mobilenet import MobileNet, load_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.registry import open_checkpoint
from keras_mobilenet.formats.runtimes import tfjs_manifest

ARRAYS = random_arrays(seed=4, alpha=0.25)
KERNEL = "conv1/kernel"
SHARD = "group1-shard1of1"  # that of conv1
STRANGE = "a\ud800"  # half of a surrogate pair, which no file system takes


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    return write_tfjs(tmp_path_factory.mktemp("tfjs") / "model", ARRAYS)


@pytest.fixture
def folder(written, tmp_path):
    """A model that fits, for a test to damage."""
    return shutil.copytree(written, tmp_path / "model")


@pytest.mark.parametrize("given", ["", "model.json", "renamed"])
def test_a_folder_or_its_json_loads_bit_for_bit(model, folder, given):
    shutil.copy(folder / "model.json", folder / "renamed")
    report = load_weights(model, folder / given)
    assert same(weights(model), ARRAYS)
    assert report.format == "TensorFlow.js layers model"
    assert (report.missing, report.unexpected, report.cast, report.notes) == ((), (), (), ())


def test_a_json_beside_the_working_folder_loads(model, folder, monkeypatch):
    monkeypatch.chdir(folder)
    load_weights(model, "model.json")
    assert same(weights(model), ARRAYS)
    load_weights(zeroed(model), ".")
    assert same(weights(model), ARRAYS)


def test_arrays_that_lie_across_shards_are_joined(model, tmp_path):
    path = write_tfjs(tmp_path / "model", ARRAYS, shard_bytes=997)  # in the middle of a float
    assert len(list(path.iterdir())) > 1000
    load_weights(model, path)
    assert same(weights(model), ARRAYS)


@pytest.mark.parametrize(
    "name",
    ["{layer}/{variable}:0", "mobilenet_0.25_224/{layer}/{variable}", "a/b/{layer}/{variable}:0"],
)
def test_a_prefix_and_a_number_do_not_matter(model, tmp_path, name):
    load_weights(model, write_tfjs(tmp_path / "model", ARRAYS, name=name))
    assert same(weights(model), ARRAYS)


def test_half_precision_is_cast(model, tmp_path):
    halves = {n: a.astype("<f2") for n, a in ARRAYS.items()}
    report = load_weights(model, write_tfjs(tmp_path / "model", halves))
    assert same(weights(model), {n: a.astype("float32") for n, a in halves.items()})
    assert report.cast == tuple(ARRAYS)


def stored_values(folder, dtype):
    """The manifest's entries by name, with the integers that the shards hold for them."""
    found = {}
    for group in json.loads((folder / "model.json").read_text())["weightsManifest"]:
        content = b"".join((folder / path).read_bytes() for path in group["paths"])
        for entry in group["weights"]:
            count = int(np.prod(entry["shape"]))
            values = np.frombuffer(content, dtype, count).reshape(entry["shape"])
            content = content[values.nbytes :]
            found[entry["name"].replace("depthwise_", "")] = values, entry["quantization"]
    return found


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_quantised_arrays_are_dequantised_as_tfjs_does(model, tmp_path, kind):
    path = write_tfjs(tmp_path / "model", ARRAYS, quantised=kind)
    report = load_weights(model, path)
    expected = {
        name: np.array([v * q["scale"] + q["min"] for v in values.ravel().tolist()], "float32")
        for name, (values, q) in stored_values(path, np.dtype(kind)).items()
    }
    assert same(weights(model), expected)
    assert report.notes == (f"dequantised 137 arrays from {kind}",)
    step = max(q["scale"] for _, q in stored_values(path, np.dtype(kind)).values())
    # Half a step, and the rounding of values below 6 to float32.
    assert all(abs(weights(model)[n] - a).max() < step / 2 + 1e-6 for n, a in ARRAYS.items())


def test_arrays_quantised_to_half_precision_are_dequantised(model, tmp_path):
    report = load_weights(model, write_tfjs(tmp_path / "model", ARRAYS, quantised="float16"))
    assert same(weights(model), {n: a.astype("f2").astype("f4") for n, a in ARRAYS.items()})
    assert report.notes == ("dequantised 137 arrays from float16",)
    assert report.cast == ()


def test_a_model_tells_no_conventions(folder):
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.conventions is None
        assert not checkpoint.background


def test_the_topology_is_never_looked_into(model, folder):
    edit(folder, lambda content: content.update(modelTopology={"model_config": ["anything", 1]}))
    load_weights(model, folder)
    assert same(weights(model), ARRAYS)


def test_the_published_model_is_keras_own_bit_for_bit(shared_data, model):
    data = shared_data / "weights"
    theirs = MobileNet(weights=None, alpha=0.25)
    load_weights(theirs, data / "keras" / "mobilenet_2_5_224_tf.h5")
    report = load_weights(model, data / "tfjs" / "mobilenet_0.25_224")
    assert len(report.loaded) == 137
    assert same(weights(model), weights(theirs))


# Bad manifests


def edit(folder, change):
    path = folder / "model.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def in_first(part, **values):
    """Set properties of the first group, or of its first weight; `...` deletes them."""

    def change(content):
        target = content["weightsManifest"][0]
        for name, value in values.items():
            place = target if part == "group" else target["weights"][0]
            place.pop(name, None)
            if value is not ...:
                place[name] = value

    return change


def quantised(**values):
    return in_first("weight", quantization=values)


U8 = {"dtype": "uint8"}
BAD_MANIFESTS = [
    pytest.param(in_first("weight", dtype="int32"), "conv1/kernel holds int32", id="int32"),
    pytest.param(in_first("weight", dtype="string"), "holds string, not floats", id="string"),
    pytest.param(in_first("weight", dtype=["float32"]), "not floats", id="dtype_list"),
    pytest.param(in_first("weight", dtype=...), "conv1/kernel has no 'dtype'", id="no_dtype"),
    pytest.param(in_first("weight", name=...), "an array has no 'name'", id="no_name"),
    pytest.param(in_first("weight", name=5), "an array's name is not a text", id="number_name"),
    pytest.param(in_first("weight", name=""), "an array's name is not a text", id="empty_name"),
    pytest.param(in_first("weight", name=STRANGE), "an array's name is not UTF-8", id="surrogate"),
    pytest.param(in_first("weight", name="kernel"), "not in the model .1.:\n    kernel", id="bare"),
    pytest.param(
        in_first("weight", name="conv1_bn/gamma"), "conv1_bn/gamma is in the file twice", id="twice"
    ),
    pytest.param(in_first("weight", shape=...), "conv1/kernel has no 'shape'", id="no_shape"),
    pytest.param(in_first("weight", shape=216), "shape of conv1/kernel is not a list", id="int"),
    pytest.param(in_first("weight", shape=[-216]), "the shape of conv1/kernel", id="negative"),
    pytest.param(in_first("weight", shape=[216.0]), "the shape of conv1/kernel", id="float"),
    pytest.param(in_first("weight", shape=[216, True]), "the shape of conv1/kernel", id="bool"),
    pytest.param(in_first("weight", shape=[1] * 99), "the shape of conv1/kernel", id="99_axes"),
    pytest.param(in_first("weight", shape=[10**12]), "unpacks to 4,000,0", id="terabytes"),
    pytest.param(in_first("weight", shape=[10**300]), "shape of conv1/kernel", id="300_digits"),
    pytest.param(in_first("weight", shape=[1 << 47] * 8), "unpacks to", id="8_large_axes"),
    pytest.param(in_first("weight", shape=[0]), "too long: 864 bytes", id="zero"),
    pytest.param(in_first("weight", shape=[3, 3, 3, 9]), "truncated: 864 .* 972", id="larger"),
    pytest.param(in_first("weight", shape=[8, 3, 3, 3]), r"file \(8, 3, 3, 3\)", id="transposed"),
    pytest.param(quantised(), "quantization of conv1/kernel has no 'dtype'", id="empty"),
    pytest.param(quantised(dtype="int4"), "quantised in an unknown way, int4", id="int4"),
    pytest.param(quantised(dtype=[]), "quantised in an unknown way", id="list"),
    pytest.param(quantised(**U8, min=0), "conv1/kernel has no 'scale'", id="no_scale"),
    pytest.param(quantised(**U8, scale=1), "conv1/kernel has no 'min'", id="no_min"),
    pytest.param(quantised(**U8, scale="1", min=0), "'scale' that is not a number", id="text"),
    pytest.param(quantised(**U8, scale=1, min=True), "'min' that is not a number", id="true"),
    pytest.param(quantised(**U8, scale=10**400, min=0), "'scale' that is not a num", id="huge"),
    pytest.param(quantised(**U8, scale=float("nan"), min=0), "JSON holds NaN", id="nan"),
    pytest.param(quantised(**U8, scale=1, min=float("-inf")), "holds -Infinity", id="inf"),
    pytest.param(in_first("weight", quantization=5), "has no 'dtype'", id="quantization_5"),
    pytest.param(in_first("group", paths=...), "a group has no 'paths'", id="no_paths"),
    pytest.param(in_first("group", paths="x"), "paths is not a list", id="path"),
    pytest.param(in_first("group", paths=[]), "truncated: 0 bytes", id="empty_paths"),
    pytest.param(in_first("group", paths=[5]), "a shard's path is not a text", id="path_5"),
    pytest.param(in_first("group", paths=[""]), "a shard's path is not a text", id="path_empty"),
    pytest.param(in_first("group", paths=[SHARD] * 2), "shard1of1' is listed twice", id="shards"),
    pytest.param(in_first("group", weights=...), "a group has no 'weights'", id="no_weights"),
    pytest.param(in_first("group", weights={}), "weights is not a list", id="weights_dict"),
    pytest.param(in_first("group", weights=[5]), "an array has no 'name'", id="weight_5"),
    pytest.param(
        lambda content: content.update(weightsManifest={}), "weightsManifest is not", id="dict"
    ),
    pytest.param(
        lambda content: content.update(weightsManifest=[5]), "a group has no 'paths'", id="group_5"
    ),
    pytest.param(
        lambda content: content.update(weightsManifest=[]), r"not in the file \(137\)", id="none"
    ),
    pytest.param(
        lambda content: content.update(format="graph-model"), "TensorFlow.js graph", id="graph"
    ),
]


@pytest.mark.parametrize(("change", "match"), BAD_MANIFESTS)
def test_a_manifest_that_is_damaged_or_lies_is_refused(refuse, folder, change, match):
    edit(folder, change)
    refuse(folder, match)
    refuse(folder / "model.json", match)


BAD_JSON = [
    ('{"weightsManifest": [', "the JSON is truncated or damaged"),
    ('{"weightsManifest": ' + "[" * 100_000 + "]" * 100_000 + "}", "the JSON is truncated or dam"),
    ('{"weightsManifest": ' + "9" * 10_000 + "}", "the JSON is truncated or damaged"),
    ('{"weightsManifest": [], "weightsManifest": []}', "the JSON names a property twice"),
    ('{"a": {"weightsManifest": []}}', "the JSON has no `weightsManifest`"),
    ('{"weightsManifest": []} x', "the JSON is truncated or damaged"),
    ('{"weightsManifest": "\udc80"}', "the JSON is truncated or damaged"),
    ('{"weightsManifest": "' + "x" * tfjs_manifest.MAX_BYTES + '"}', "more than 16,777,216 bytes"),
]


@pytest.mark.parametrize(("text", "match"), BAD_JSON, ids=range(len(BAD_JSON)))
def test_damaged_json_is_refused(refuse, folder, text, match):
    (folder / "model.json").write_text(text, errors="surrogateescape")
    refuse(folder, match)
    refuse(folder / "model.json", match)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weights": []}'])
def test_other_json_is_told_for_what_it_is(refuse, folder, text):
    (folder / "model.json").write_text(text)
    refuse(folder, "truncated or damaged|the JSON has no `weightsManifest`")
    refuse(folder / "model.json", "not a file of weights|the file is empty")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_json_is_refused(refuse, folder, share):
    content = (folder / "model.json").read_bytes()
    (folder / "model.json").write_bytes(content[: int(len(content) * share)])
    refuse(folder, "the JSON is truncated or damaged")


def test_a_folder_without_a_model_is_refused_without_blocking(refuse, folder):
    (folder / "model.json").unlink()
    refuse(folder, "this is a folder")
    os.mkfifo(folder / "model.json")
    refuse(folder, "this is a folder")


# Bad shards


OUTSIDE = [
    ("../outside", "lies outside the model's folder"),
    ("sub/../../outside", "lies outside the model's folder"),
    ("sub/../group1-shard1of1", "lies outside the model's folder"),
    ("link", "lies outside the model's folder"),
    ("link_to_folder/outside", "lies outside the model's folder"),
    ("/etc/passwd", "is not a path inside"),
    ("//server/share", "is not a path inside"),
    ("C:\\weights", "is not a path inside"),
    ("..\\outside", "is not a path inside"),
    ("https://example.org/weights", "is not a path inside"),
    ("file:///etc/passwd", "is not a path inside"),
    ("a\0b", "is not a path inside"),
]


@pytest.mark.parametrize(("name", "match"), OUTSIDE)
def test_a_shard_outside_the_folder_is_refused(refuse, folder, name, match):
    (folder / "sub").mkdir()
    shutil.copy(folder / SHARD, folder.parent / "outside")
    (folder / "link").symlink_to("../outside")
    (folder / "link_to_folder").symlink_to("..")
    edit(folder, in_first("group", paths=[name]))
    message = refuse(folder, match)
    assert repr(name) in message


def test_a_shard_in_a_folder_below_or_behind_a_link_inside_loads(model, folder):
    (folder / "sub").mkdir()
    (folder / SHARD).rename(folder / "sub" / "x")
    (folder / SHARD).symlink_to("sub/x")
    load_weights(model, folder)
    assert same(weights(model), ARRAYS)
    edit(folder, in_first("group", paths=["./sub/x"]))
    load_weights(zeroed(model), folder)
    assert same(weights(model), ARRAYS)


def test_a_folder_behind_a_link_loads(model, folder):
    (folder.parent / "link").symlink_to(folder)
    load_weights(model, folder.parent / "link")
    assert same(weights(model), ARRAYS)


def replaced(make):
    def damage(path):
        path.unlink()
        make(path)

    return damage


def resized(step):
    def damage(path):
        content = path.read_bytes()
        path.write_bytes(content[:step] if step < 0 else content + bytes(step))

    return damage


BAD_SHARDS = [
    pytest.param(replaced(lambda path: None), "cannot be read .No such file", id="missing"),
    pytest.param(replaced(os.mkdir), "is not a file", id="folder"),
    pytest.param(replaced(os.mkfifo), "is not a file", id="fifo"),
    pytest.param(replaced(lambda p: p.symlink_to("/dev/zero")), "outside", id="dev_zero"),
    pytest.param(replaced(lambda p: p.symlink_to(p)), "cannot be read|outside", id="loop"),
    pytest.param(replaced(lambda p: p.touch()), "truncated: 0 bytes, .* 864", id="empty"),
    pytest.param(resized(-1), "is truncated: 863 bytes, .* lists 864", id="truncated"),
    pytest.param(resized(1), "is too long: 865 bytes, .* lists 864", id="too_long"),
]


@pytest.mark.parametrize(("damage", "match"), BAD_SHARDS)
@pytest.mark.parametrize("strict", [True, False])
def test_a_damaged_shard_is_named(refuse, folder, damage, match, strict):
    damage(folder / SHARD)
    message = refuse(folder, match, strict=strict)
    assert repr(SHARD) in message


def test_a_name_that_is_too_long_or_strange_is_refused(refuse, folder):
    for name, match in (("x" * 300, "cannot be read"), (STRANGE, "path is not UTF-8")):
        edit(folder, in_first("group", paths=[name]))
        refuse(folder, match)


def test_values_that_overflow_or_are_nan_are_refused(refuse, folder):
    (folder / SHARD).write_bytes(np.full(216, np.nan, "f4").tobytes())
    refuse(folder, "conv1/kernel holds values that are NaN")
    (folder / SHARD).write_bytes(bytes([255] * 216))
    edit(folder, quantised(dtype="uint8", scale=1e308, min=1e308))
    refuse(folder, "conv1/kernel holds values that are NaN or infinite")


def test_a_shard_that_shrinks_while_it_is_read_is_refused(folder):
    with open_checkpoint(folder) as checkpoint:
        resized(-8)(folder / SHARD)
        with pytest.raises(CheckpointError, match="became shorter while it was read"):
            np.asarray(checkpoint.arrays[KERNEL])
