"""NumPy's .npz: read bit for bit, and never believed."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from checkpoint_files import (
    Trap,
    random_arrays,
    same,
    weights,
    write_keras_archive,
    write_npz,
)

from keras_mobilenet import load_weights
from keras_mobilenet.formats.registry import open_checkpoint

ARRAYS = random_arrays(seed=3, alpha=0.25)
KERNEL = "conv1/kernel"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saves_loads_bit_for_bit(model, path, save):
    report = load_weights(model, write_npz(path, ARRAYS, save))
    assert same(weights(model), ARRAYS)
    assert report.format == "NumPy .npz"
    assert (report.missing, report.unexpected, report.cast, report.notes) == ((), (), (), ())


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_other_floats_and_orders_hold_the_same_numbers(model, path, dtype, order):
    stored = {n: np.asarray(a.astype(dtype), order=order) for n, a in ARRAYS.items()}
    load_weights(model, write_npz(path, stored))
    assert same(weights(model), {n: a.astype("float32", order="C") for n, a in stored.items()})


def test_a_file_tells_no_conventions(path):
    with open_checkpoint(write_npz(path, ARRAYS)) as checkpoint:
        assert checkpoint.conventions is None
        assert not checkpoint.background


def test_a_keras_archive_with_an_array_in_it_is_still_one(path):
    write_keras_archive(path, ARRAYS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.npy", npy(np.ones(3)))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "Keras 3 archive"


# Bad files


def npy(array, **options):
    content = io.BytesIO()
    np.lib.format.write_array(content, array, **options)
    return content.getvalue()


def header(text, version=1):
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode()


def declared(shape, descr="'<f4'", fortran="False", version=1):
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    return header(text + " " * 20 + "\n", version)


def with_members(path, members, packing=zipfile.ZIP_STORED):
    """Write an archive of raw members, by their names."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_kernel(path, content, **options):
    members = {f"{n}.npy": npy(a) for n, a in ARRAYS.items()} | {f"{KERNEL}.npy": content}
    return with_members(path, members, **options)


VALUES = bytes(3 * 3 * 3 * 8 * 4)
BAD_KERNELS = [
    pytest.param(npy(np.ones(3, "int8")), "conv1/kernel holds int8, not floats", id="int8"),
    pytest.param(npy(np.ones(3, "c8")), "holds complex64, not floats", id="complex"),
    pytest.param(npy(np.ones(3, "longdouble")), "holds float128, not floats", id="float128"),
    pytest.param(npy(np.ones(3, "f4,f4")), "holds .*, not floats", id="structured"),
    pytest.param(npy(np.array(["a"])), "holds <U1, not floats", id="text"),
    pytest.param(
        declared("(3, 3, 3, 8)"), "another number of values than the 0 bytes", id="no_values"
    ),
    pytest.param(
        declared("(1000000, 1000000)") + VALUES, "another number .* the 864 bytes", id="bomb"
    ),
    pytest.param(declared("(3, 3, 3, 8)") + VALUES[1:], "the 863 bytes", id="one_byte_short"),
    pytest.param(declared("(3, 3, 3, 8)") + VALUES + b"x", "the 865 bytes", id="one_byte_long"),
    pytest.param(declared(f"({'9' * 4000}, {'9' * 4000})"), "another number", id="8000_digits"),
    pytest.param(declared(f"(0x{'f' * 9000},)"), "another number", id="9000_hex_digits"),
    pytest.param(declared("(-3, -3, 3, 8)") + VALUES, "truncated or damaged", id="negative"),
    pytest.param(declared("(-216,)") + VALUES, "truncated or damaged", id="negative_size"),
    pytest.param(declared("(3, 3, 3, 8.0)") + VALUES, "header of conv1/kernel", id="float_axis"),
    pytest.param(declared("(3, 3, 3, True)") + VALUES, "truncated or damaged", id="bool_axis"),
    pytest.param(declared("[3, 3]") + VALUES, "header of conv1/kernel", id="list"),
    pytest.param(declared("(1, " * 200) + VALUES, "header of conv1/kernel", id="unbalanced"),
    pytest.param(header("(" * 9000 + ")" * 900), "header of conv1/kernel", id="deep"),
    pytest.param(header("-" * 9000 + "1"), "header of conv1/kernel", id="deep_minus"),
    pytest.param(header("{" + " " * 12000 + "}"), "header of conv1/kernel", id="long"),
    pytest.param(header("{}"), "header of conv1/kernel", id="empty_header"),
    pytest.param(header("open('x')"), "header of conv1/kernel", id="code"),
    pytest.param(declared("(3,)", descr="'x'"), "header of conv1/kernel", id="type"),
    pytest.param(declared("(3,)", descr="'f4', 'x'"), "header of conv1/kernel", id="types"),
    pytest.param(declared("(3, 3, 3, 8)", version=3), "version .3, 0.", id="version_3"),
    pytest.param(declared("(3, 3, 3, 8)", version=9), "version .9, 0.", id="version_9"),
    pytest.param(b"", "header of conv1/kernel", id="empty_member"),
    pytest.param(b"\x93NUMPY", "header of conv1/kernel", id="magic_only"),
    pytest.param(b"\x93NUMPY\x01\x00\xff\xff{", "header of conv1/kernel", id="short_header"),
    pytest.param(b"hello", "header of conv1/kernel", id="text_file"),
    pytest.param(declared(f"({'1, ' * 100})") + VALUES[:4], "does not fit", id="100_axes"),
    pytest.param(
        npy(np.full((3, 3, 3, 8), np.nan, "f4")), "conv1/kernel holds values that are NaN", id="nan"
    ),
]


@pytest.mark.parametrize(("content", "match"), BAD_KERNELS)
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_that_is_damaged_or_lies_is_refused(refuse, path, content, match, packing):
    refuse(with_kernel(path, content, packing=packing), match)


def test_a_header_of_version_2_is_read(model, path):
    content = declared("(3, 3, 3, 8)", version=2) + ARRAYS[KERNEL].tobytes()
    load_weights(model, with_kernel(path, content))
    assert same(weights(model), ARRAYS)


def test_objects_are_refused_and_never_unpickled(refuse, path, tmp_path):
    proof = tmp_path / "opened"
    trap = np.array([Trap(proof)], dtype=object)
    refuse(with_kernel(path, npy(trap, allow_pickle=True)), "conv1/kernel holds object, not floats")
    refuse(with_kernel(path, pickle.dumps(Trap(proof))), "header of conv1/kernel")
    assert not proof.exists()


def test_an_archive_that_unpacks_to_more_than_the_model_needs_is_refused(refuse, path):
    content = declared("(25000000,)") + bytes(100_000_000)
    path = with_kernel(path, content, packing=zipfile.ZIP_DEFLATED)
    refuse(path, r"unpacks to 10\d,\d+,\d+ bytes, far more than the model needs")


def test_an_archive_that_unpacks_to_more_than_it_declares_is_refused(refuse, path):
    size = 100_000_000
    path = with_kernel(path, declared("(3,)") + bytes(size), packing=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        packed = struct.pack("<L", archive.getinfo(f"{KERNEL}.npy").file_size)
    small = struct.pack("<L", len(declared("(3,)")) + 12)
    path.write_bytes(path.read_bytes().replace(packed, small))
    refuse(path, "truncated or damaged", strict=False)


def test_a_flipped_bit_is_found_by_the_checksum(refuse, path):
    content = bytearray(write_npz(path, ARRAYS).read_bytes())
    content[content.index(ARRAYS[KERNEL].tobytes())] ^= 1
    path.write_bytes(content)
    refuse(path, "Bad CRC")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1], ids=lambda s: f"{s:.0%}")
def test_a_truncated_archive_is_refused(refuse, path, share):
    content = write_npz(path, ARRAYS).read_bytes()
    path.write_bytes(content[: int(len(content) * share) - 1])
    refuse(path, "truncated or damaged")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_twice_is_refused(refuse, path):
    with zipfile.ZipFile(write_npz(path, ARRAYS), "a") as archive:
        archive.writestr(f"{KERNEL}.npy", npy(ARRAYS[KERNEL]))
    refuse(path, "conv1/kernel is in the file twice")


def test_a_member_that_is_no_array_is_refused(refuse, path):
    with zipfile.ZipFile(write_npz(path, ARRAYS), "a") as archive:
        archive.writestr("readme", "hello")
    refuse(path, "'readme' in the archive is no NumPy array")


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_numpy_does_not_use_is_refused(refuse, path, packing):
    refuse(with_kernel(path, npy(ARRAYS[KERNEL]), packing=packing), "packed in a way that")


def test_other_names_are_refused(refuse, path):
    positional = {f"arr_{i}": a for i, a in enumerate(ARRAYS.values())}
    refuse(write_npz(path, positional), "No array of the file has a name of the model's")
