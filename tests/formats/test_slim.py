"""TF-slim's checkpoints and frozen graphs, written by TensorFlow itself."""

import shutil
from contextlib import suppress

import keras
import numpy as np
import pytest
from conftest import SMALL, SOON, at_most
from slim_files import AVERAGE, Net, slim_arrays

from keras_mobilenet import MobileNet, load_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.registry import open_checkpoint
from keras_mobilenet.formats.tensorflow import crc32c
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import v1

ALPHA = 0.25
V2_FILES = ["v2", "v2.index", "v2.data-00000-of-00001"]
DATA = V2_FILES[2]
FILES = ["v1", *V2_FILES, "frozen.pb"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def images(size):
    return np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype("float32")


@pytest.fixture(scope="module")
def slim(tmp_path_factory):
    """A folder of files of one net, and the net's logits at two sizes."""
    folder = tmp_path_factory.mktemp("slim")
    extra = {"global_step": np.int64(7), "MobilenetV1/Conv2d_0/weights/RMSProp": np.ones((2, 2))}
    net = Net(slim_arrays(ALPHA), extra=extra)
    net.save(folder / "v1", 1)
    net.save(folder / "v2", 2)
    net.freeze(folder / "frozen.pb")
    logits = {size: net.logits(images(size)) for size in (224, 225)}
    net.close()
    return folder, logits


@pytest.fixture
def copy(slim, tmp_path):
    """Return a copy of one of the files, with all its like, for a test to damage."""

    def make(name):
        for path in slim[0].iterdir():
            shutil.copy(path, tmp_path)
        return tmp_path / name

    return make


@pytest.fixture(scope="module")
def small():
    return MobileNet((32, 32, 3), alpha=ALPHA, weights=None, padding="same")


def refuse(path, match, max_bytes=1 << 30):
    with at_most(SOON, SMALL), pytest.raises(CheckpointError, match=match) as caught:
        read_all(path, max_bytes)
    return str(caught.value)


def read_all(path, max_bytes):
    with open_checkpoint(path, max_bytes) as checkpoint:
        for array in checkpoint.arrays.values():
            np.asarray(array)


@pytest.mark.parametrize("size", [224, 225])  # at 225 slim's padding differs from Keras'
@pytest.mark.parametrize("name", ["v1", "v2", "frozen.pb"])  # its other files give the same bits
def test_logits_are_those_of_tensorflow(slim, name, size):
    folder, logits = slim
    model = MobileNet((size, size, 3), alpha=ALPHA, weights=folder / name,
                      classifier_activation=None)  # fmt: skip
    found, wanted = np.asarray(model(images(size))), logits[size][:, 1:]
    # Two programs of float32 convolutions: 1e-5 is found.
    assert abs(found - wanted).max() < 1e-4 * abs(wanted).max()


@pytest.mark.parametrize("name", FILES)
def test_every_array_has_the_bits_that_tensorflow_reads(slim, name):
    with open_checkpoint(slim[0] / name) as checkpoint:
        found = {n: np.array(a) for n, a in checkpoint.arrays.items()}
    assert list(found) == list(v1.network().arrays())
    assert checkpoint.background
    assert checkpoint.conventions == Conventions(1e-3, "same")
    assert checkpoint.notes == ()
    given = slim_arrays(ALPHA)
    for ours, theirs in {
        "conv1/kernel": "Conv2d_0/weights",
        "conv_dw_13/kernel": "Conv2d_13_depthwise/depthwise_weights",
        "conv_pw_5/kernel": "Conv2d_5_pointwise/weights",
        "conv_dw_2_bn/moving_variance": "Conv2d_2_depthwise/BatchNorm/moving_variance",
        "conv_preds/bias": "Logits/Conv2d_1c_1x1/biases",
    }.items():
        assert found[ours].tobytes() == given[f"MobilenetV1/{theirs}"].tobytes()
    assert len({a.tobytes() for a in found.values()}) == len(found)


def test_the_background_class_is_dropped_and_the_report_says_so(slim, small):
    report = load_weights(small, slim[0] / "v2")
    assert report.format == "TF-slim checkpoint (V2)"
    assert report.unexpected == ()
    assert "dropped class 0, the background" in str(report)


@pytest.mark.parametrize("version", [1, 2])
def test_moving_averages_go_before_the_variables(tmp_path, version):
    averages = {f"{n}{AVERAGE}": a for n, a in slim_arrays(ALPHA, seed=5).items()}
    net = Net(slim_arrays(ALPHA), extra=averages)
    net.save(tmp_path / "x", version)
    net.close()
    with open_checkpoint(tmp_path / "x") as checkpoint:
        kernel = np.asarray(checkpoint.arrays["conv_pw_3/kernel"])
    given = slim_arrays(ALPHA, seed=5)["MobilenetV1/Conv2d_3_pointwise/weights"]
    assert np.array_equal(kernel, given)
    assert checkpoint.notes == ("took the moving averages of 137 variables",)
    assert len(checkpoint.arrays) == 137


def test_a_net_without_gamma_gets_ones_and_a_note(tmp_path):
    net = Net({n: a for n, a in slim_arrays(ALPHA).items() if not n.endswith("gamma")})
    net.save(tmp_path / "x", 2)
    wanted = net.logits(images(64))[:, 1:]
    net.close()
    model = MobileNet((64, 64, 3), alpha=ALPHA, weights=tmp_path / "x", classifier_activation=None)
    assert abs(np.asarray(model(images(64))) - wanted).max() < 1e-4 * abs(wanted).max()
    assert "gamma of 1" in str(load_weights(model, tmp_path / "x"))


def test_a_graph_of_unfused_batch_norms_is_read(tmp_path):
    net = Net(slim_arrays(ALPHA), fused=False)
    path = net.freeze(tmp_path / "x.pb")
    wanted = net.logits(images(64))[:, 1:]
    net.close()
    model = MobileNet((64, 64, 3), alpha=ALPHA, weights=path, classifier_activation=None)
    assert abs(np.asarray(model(images(64))) - wanted).max() < 1e-4 * abs(wanted).max()


def test_a_graph_with_another_activation_is_refused(tmp_path):
    net = Net(slim_arrays(ALPHA), activation="relu")
    path = net.freeze(tmp_path / "x.pb")
    net.close()
    refuse(path, r"computes something else than a float MobileNet V1: Mob.*Relu \(Relu\)")


def test_slims_narrowest_nets_meet_a_model_of_other_widths(tmp_path):
    """Below alpha=0.25 slim keeps 8 channels where Keras has fewer."""
    net = Net(slim_arrays(0.1))
    net.save(tmp_path / "x", 2)
    net.close()
    with pytest.raises(CheckpointError, match=r"conv1/kernel +file \(3, 3, 3, 8\)"):
        MobileNet((32, 32, 3), alpha=0.1, weights=tmp_path / "x")


def test_an_unknown_variable_of_the_net_is_not_passed_over(tmp_path, small):
    net = Net(slim_arrays(ALPHA), extra={"MobilenetV1/Conv2d_0/biases": np.ones(8, "float32")})
    net.save(tmp_path / "x", 2)
    net.close()
    with pytest.raises(CheckpointError, match="MobilenetV1/Conv2d_0/biases"):
        load_weights(small, tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"123456789", bytes(32), bytes(range(256)) * 5])
def test_the_checksum_is_that_of_its_definition(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c.checksum(content) == crc ^ 0xFFFFFFFF


CUTS = [0.01, 0.3, 0.5, 0.99, 1.0]  # of the file; the last one takes one byte away


@pytest.mark.parametrize("share", CUTS)
@pytest.mark.parametrize("name", ["v1", "v2.index", DATA, "frozen.pb"])
def test_truncated_files_are_refused(copy, name, share):
    path = copy(name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share) - 1])
    refuse(path, "truncated|damaged|not a file of weights")
    if name.startswith("v2"):
        refuse(path.parent / "v2", "truncated|damaged")


def test_a_missing_data_file_is_named(copy):
    path = copy("v2")
    (path.parent / DATA).unlink()
    refuse(path, f"{DATA}, a file that is missing")


def test_a_missing_index_is_named(copy):
    path = copy(DATA)
    (path.parent / "v2.index").unlink()
    refuse(path, "v2.index is missing")


@pytest.mark.parametrize("name", ["v1", "v2.index", DATA])
def test_a_flipped_bit_is_found(copy, name):
    path = copy(name)
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    # Not in the values of training, nor in the list of blocks' own padding of the last 48 bytes.
    for place in random.integers(100, len(content) - 100, 8):
        content[place] ^= 4
        path.write_bytes(content)
        refuse(path, "damaged")
        content[place] ^= 4


def test_flipped_bytes_of_a_graph_end_in_a_refusal_or_in_floats(copy, small):
    path = copy("frozen.pb")
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(30):
        changed = bytearray(content)
        for place in random.integers(0, len(content), 200):
            changed[place] = random.integers(256)
        path.write_bytes(changed)
        with suppress(CheckpointError):
            load_weights(small, path)


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def block(entries):
    rows = [varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in entries]
    content = b"".join(rows) + bytes(4) + b"\1\0\0\0" + b"\0"
    return content + crc32c.masked(content).to_bytes(4, "little")


def write_table(path, entries):
    """Write a sorted table of one block, its checksums right."""
    data, meta = block(entries), block([])
    index = block([(b"\xff", varint(0) + varint(len(data) - 5))])
    footer = varint(len(data)) + varint(len(meta) - 5)
    footer += varint(len(data) + len(meta)) + varint(len(index) - 5)
    footer = footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    path.write_bytes(data + meta + index + footer)
    return path


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ([-5], "impossible shape"),  # TensorFlow 2.21's reader ends the process
        ([1 << 40, 1 << 40], "declares the shape"),  # as above
        ([1 << 40], "declares the shape"),
        ([1] * 9, "impossible shape"),
    ],
)
def test_a_huge_or_impossible_shape_is_refused(tmp_path, shape, match):
    from tensorflow.core.protobuf import tensor_bundle_pb2

    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=1)
    entry = tensor_bundle_pb2.BundleEntryProto(dtype=1, size=4)
    for n in shape:
        entry.shape.dim.add(size=n)
    name = b"MobilenetV1/Conv2d_0/weights"
    rows = [(b"", header.SerializeToString()), (name, entry.SerializeToString())]
    write_table(tmp_path / "x.index", rows)
    (tmp_path / "x.data-00000-of-00001").write_bytes(b"1234")
    refuse(tmp_path / "x", match)


def graph_of(*nodes):
    from tensorflow.core.framework import graph_pb2

    graph = graph_pb2.GraphDef()
    for name, operation in nodes:
        graph.node.add(name=name, op=operation)
    return graph


def test_a_graph_of_another_net_is_refused(tmp_path):
    path = tmp_path / "x.pb"
    path.write_bytes(graph_of(("input", "Placeholder"), ("a", "Const")).SerializeToString())
    refuse(path, "no node MobilenetV1/..., so it is another net")


def test_a_quantised_training_graph_is_refused_by_name(tmp_path):
    path = tmp_path / "x.pb"
    graph = graph_of(("MobilenetV1/weights_quant/Fake", "FakeQuantWithMinMaxVars"))
    path.write_bytes(graph.SerializeToString())
    refuse(path, r"MobilenetV1/weights_quant/Fake \(FakeQuantWithMinMaxVars\)")


def test_a_checkpoint_of_another_net_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    import tensorflow as tf

    tf.train.Checkpoint(model=model).write(str(tmp_path / "x"))
    refuse(tmp_path / "x", "not TF-slim's MobileNet")


def test_a_table_far_larger_than_the_model_is_refused(slim):
    refuse(slim[0] / "v1", "far more than the model needs", max_bytes=1000)
    refuse(slim[0] / "frozen.pb", "far more than the model needs", max_bytes=1000)
