"""`.keras` archives and safetensors files that lie."""

import json
import struct
import zipfile
from contextlib import suppress

import h5py
import numpy as np
import pytest
from checkpoint_files import (
    METADATA,
    random_arrays,
    same,
    weights,
    write_keras_2,
    write_keras_archive,
    write_safetensors,
)
from conftest import SMALL, SOON, at_most
from safetensors.numpy import save

import keras_mobilenet
from keras_mobilenet import load_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.formats.registry import open_checkpoint

MEMBER = "model.weights.h5"


# .keras


def rewritten(path, packing=zipfile.ZIP_STORED, **members):
    """Write an archive with these members, `name__ext` for `name.ext`."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return path


def patched(path, old, new, count=-1):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, count))
    return path


def a_bomb(path):
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open(MEMBER, "w") as member:
        for _ in range(600):
            member.write(bytes(1 << 20))


def a_bomb_that_claims_to_be_small(path):
    a_bomb(path)
    patched(path, struct.pack("<L", 600 << 20), struct.pack("<L", 1000))


def a_large_claim(path):
    content = path.read_bytes()
    size = struct.pack("<L", zipfile.ZipFile(path).getinfo(MEMBER).file_size)
    path.write_bytes(content.replace(size, struct.pack("<L", (1 << 32) - 2)))


def bad_crc(path):
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo(MEMBER).header_offset + 1_000_000
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def encrypted(path):
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.rindex(signature)
        content[start + flags] |= 1
    path.write_bytes(content)


def of_a_later_version(path):
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 6] = 250
    path.write_bytes(content)


def names_not_utf8(path):
    rewritten(path, weights__é="", model__weights__h5="")
    patched(path, "é".encode(), b"\xff\xff")


def packed_by(method):
    return lambda path: write_keras_archive(path, random_arrays(alpha=0.25), method)


def without_the_member(path):
    rewritten(path, config__json="{}", metadata__json="{}")


def in_a_folder(path):
    rewritten(path, **{"folder/model__weights__h5": "x"})


def an_empty_member(path):
    rewritten(path, model__weights__h5="")


def a_member_that_is_html(path):
    rewritten(path, model__weights__h5="<html></html>")


def a_member_of_another_layout(path):
    rewritten(path, model__weights__h5=write_keras_2(path.parent / "2.h5", {}).read_bytes())


ARCHIVES = [
    (a_bomb, "unpacks to more than .* bytes, far more than the model needs"),
    (a_bomb_that_claims_to_be_small, "truncated or damaged .Bad CRC-32"),
    (a_large_claim, "truncated or damaged"),
    (bad_crc, "truncated or damaged .Bad CRC-32"),
    (encrypted, "truncated or damaged .*encrypted"),
    (of_a_later_version, "truncated or damaged .zip file version"),
    (names_not_utf8, "truncated or damaged"),
    (packed_by(zipfile.ZIP_LZMA), "packed in a way that Keras does not use"),
    (packed_by(zipfile.ZIP_BZIP2), "packed in a way that Keras does not use"),
    (without_the_member, "a zip archive that holds no weights"),
    (in_a_folder, "a zip archive that holds no weights"),
    (an_empty_member, "truncated or damaged"),
    (a_member_that_is_html, "truncated or damaged"),
    (a_member_of_another_layout, "no entry 'layers'"),
]


@pytest.mark.parametrize(("make", "match"), ARCHIVES)
def test_archives_that_lie_are_refused(refuse, good, make, match):
    path = good(".keras")
    make(path)
    refuse(path, match)


HOSTILE = json.dumps(
    {"class_name": "Lambda", "module": "os", "config": {"function": "system", "args": ["exit"]}}
)


@pytest.mark.parametrize("config", ["{not json", HOSTILE, b"\xff\x00", "[" * 100_000])
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_configuration_of_an_archive_is_never_opened(
    own_model, tmp_path, monkeypatch, config, packing
):
    given, opened = random_arrays(3, alpha=0.25), []
    path = write_keras_archive(tmp_path / "x.keras", given, packing, config)
    real = zipfile.ZipFile.open

    def recording(archive, name, *args, **kwargs):
        opened.append(getattr(name, "filename", name))
        return real(archive, name, *args, **kwargs)

    monkeypatch.setattr(zipfile.ZipFile, "open", recording)
    load_weights(own_model, path)
    assert opened == [MEMBER]
    assert same(weights(own_model), given)


def test_the_configuration_of_a_whole_model_h5_is_read_as_data(own_model, tmp_path, monkeypatch):
    given, read = random_arrays(4, alpha=0.25), []
    write_keras_2(tmp_path / "weights.h5", given)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        with h5py.File(tmp_path / "weights.h5") as source:
            source.copy(source["/"], file, "model_weights")
        file.attrs["model_config"] = file.attrs["training_config"] = HOSTILE
    real = h5py.AttributeManager.__getitem__

    def recording(attributes, name):
        read.append(name)
        return real(attributes, name)

    monkeypatch.setattr(h5py.AttributeManager, "__getitem__", recording)
    load_weights(own_model, tmp_path / "x.h5")
    assert set(read) == {"layer_names", "weight_names", "model_config"}
    assert same(weights(own_model), given)


@pytest.fixture(scope="module")
def own_model():
    return keras_mobilenet.MobileNet(weights=None, alpha=0.25)


# safetensors


def tensor(start, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def crafted(tensors, data=8, length=None, metadata=METADATA):
    """A file with the header `tensors`, a dict or JSON text without braces, and `data` zeros."""
    text = tensors if isinstance(tensors, str) else json.dumps(tensors)[1:-1]
    header = f'{{"__metadata__": {json.dumps(metadata)}, {text}}}'.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(data)


TWICE = f'"a": {json.dumps(tensor(0, 8))}, "a": {json.dumps(tensor(0, 8, (1, 2)))}'
ONE = {"a": tensor(0, 8)}
OTHERS = "not written by keras_mobilenet .* padding and epsilon"
SAFETENSORS = [
    pytest.param(crafted(ONE, length=10**5), "truncated or damaged", id="header_beyond_file"),
    pytest.param(crafted(ONE, length=2 * 10**8), "declares 200,000,000", id="header_200_mb"),
    pytest.param(crafted(ONE, length=2**40 - 1), "declares 1,099,511,627,775", id="header_1_tb"),
    pytest.param(crafted(ONE, length=2**64 - 1), "not a file of weights", id="header_2_64"),
    pytest.param(crafted(ONE, length=0), "truncated or damaged", id="header_0"),
    pytest.param(crafted(ONE | {"b": tensor(4, 12)}, 12), "invalid offset", id="overlap"),
    pytest.param(crafted(ONE | {"b": tensor(0, 8)}), "invalid offset", id="same_bytes"),
    pytest.param(crafted(ONE | {"b": tensor(12, 20)}, 20), "invalid offset", id="hole"),
    pytest.param(crafted({"a": tensor(8, 0)}), "damaged", id="backwards"),
    pytest.param(crafted(TWICE), "names an array or a property twice", id="duplicate"),
    pytest.param(crafted({"a": tensor(0, 8, dtype="F64")}), "invalid shape", id="dtype_size"),
    pytest.param(crafted({"a": tensor(0, 8, (10**6, 10**6))}), "invalid shape", id="10_to_the_12"),
    pytest.param(crafted({"a": tensor(0, 8, (2**40, 2**40))}), "overflow", id="overflow"),
    pytest.param(crafted({"a": tensor(0, 8, (-2,))}), "damaged", id="negative"),
    pytest.param(crafted({"a": tensor(0, 8, dtype="I32")}), "a holds I32, not floats", id="int32"),
    pytest.param(crafted({"a": tensor(0, 8, (1,), "C64")}), "a holds C64, not", id="complex"),
    pytest.param(crafted({"a": tensor(0, 2, dtype="F8_E4M3")}, 2), "a holds F8_E4M3", id="float8"),
    pytest.param(crafted(ONE, 9), "not fully covered", id="trailing"),
    pytest.param(crafted(ONE, 7), "damaged", id="one_byte_short"),
    pytest.param(crafted('"a": ' + '{"b":' * 50_000), "damaged", id="deep_json"),
    pytest.param(b"\x10\0\0\0\0\0\0\0" + b'{"\xff":1}'.ljust(16), "damaged", id="not_utf8"),
    pytest.param(save({"a": np.ones(2)}), OTHERS, id="no_metadata"),
    pytest.param(crafted(ONE, metadata={"format": "pt"}), OTHERS, id="torch"),
    pytest.param(crafted(ONE, metadata={"format": 3}), "damaged", id="metadata_of_numbers"),
]


@pytest.mark.parametrize(("content", "match"), SAFETENSORS)
def test_safetensors_files_that_lie_are_refused(refuse, tmp_path, content, match):
    (tmp_path / "x.safetensors").write_bytes(content)
    refuse(tmp_path / "x.safetensors", match)


METADATA_FAULTS = [
    ({"epsilon": None}, "conventions are damaged .'epsilon'"),
    ({"padding": None}, "conventions are damaged .'padding'"),
    ({"epsilon": "small"}, "conventions are damaged .*'small'"),
    ({"padding": "reflect"}, "conventions are damaged .padding=reflect"),
    ({"epsilon": "nan"}, "epsilon=nan"),
    ({"epsilon": "-1"}, "conventions are damaged .epsilon=-1"),
    ({"epsilon": "1e-05"}, "epsilon=1e-05.*the model has .*epsilon=0.001.* Shapes cannot show"),
    ({"padding": "symmetric"}, "padding='symmetric'.*the model has .*padding='keras'"),
]


@pytest.mark.parametrize(("change", "match"), METADATA_FAULTS)
@pytest.mark.parametrize("strict", [True, False])
def test_other_or_damaged_conventions_are_refused(refuse, tmp_path, change, match, strict):
    metadata = {k: v for k, v in (METADATA | change).items() if v is not None}
    path = write_safetensors(tmp_path / "x.safetensors", random_arrays(alpha=0.25), metadata)
    refuse(path, match, strict=strict)


@pytest.mark.parametrize("write", [write_keras_archive, write_safetensors])
def test_a_flipped_bit_is_refused_or_changes_values_only(tmp_path, write):
    content = bytearray(write(tmp_path / "x", {"conv1/kernel": np.ones(100, "f4")}).read_bytes())
    places = [*range(300), *range(-300, 0)]  # where the names and the sizes are
    for place in places:
        content[place] ^= 1 << place % 8
        (tmp_path / "x").write_bytes(content)
        content[place] ^= 1 << place % 8
        with suppress(CheckpointError), open_checkpoint(tmp_path / "x") as checkpoint:
            assert all(np.asarray(array).size == 100 for array in checkpoint.arrays.values())


def test_a_bomb_given_as_weights_takes_no_more_than_the_net_needs(good):
    path = good(".keras")
    a_bomb(path)
    # Its conventions are asked for before there is a model.
    with at_most(SOON, SMALL), pytest.raises(CheckpointError, match="unpacks to more than"):
        keras_mobilenet.MobileNet(alpha=0.25, weights=path)


@pytest.fixture
def teachable(good, tmp_path):
    """Write what Teachable Machine hands out: a whole model in an H5 file, and the labels."""

    def make(*names, source=".h5"):
        path = tmp_path / "converted_keras.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, good(source).read_bytes())
            archive.writestr("labels.txt", "0 cat")
        return path

    return make


@pytest.mark.parametrize("source", [".h5", ".weights.h5"])
def test_an_archive_with_one_h5_file_is_read_and_the_report_says_so(teachable, good, source):
    model = keras_mobilenet.MobileNet(weights=None, alpha=0.25)
    report = load_weights(model, teachable("keras_model.h5", source=source))
    assert len(report.loaded) == 137
    assert "read keras_model.h5, which is in the archive" in report.notes
    again = keras_mobilenet.MobileNet(weights=good(source), alpha=0.25)
    assert all(map(np.array_equal, model.get_weights(), again.get_weights()))


def test_an_archive_of_several_files_is_refused_with_what_is_in_it(refuse, teachable):
    message = refuse(teachable("a.h5", "b.h5"), "in it are a.h5, b.h5, labels.txt")
    assert "Unpack it and pass what is in it: a.h5" in message
    refuse(teachable("x/model.json\x1b[31m"), "in it are x/model.json\N{REPLACEMENT CHARACTER}")
