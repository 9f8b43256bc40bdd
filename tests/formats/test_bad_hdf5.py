"""HDF5 files that lie, loop, point elsewhere or unpack without end."""

import os
import time
import zlib

import h5py
import numpy as np
import pytest
from checkpoint_files import random_arrays, write_keras_2, write_keras_3

from keras_mobilenet.formats.keras import hdf5
from keras_mobilenet.formats.registry import open_checkpoint

SOON = 5  # seconds
SHAPE = (3, 3, 3, 8)  # of conv1/kernel, which lies at:
PLACES = {write_keras_2: "conv1/conv1/kernel:0", write_keras_3: "layers/conv2d/vars/0"}
LAYERS = {write_keras_2: "conv1", write_keras_3: "layers/conv2d"}  # the group above it
ROOTS = {write_keras_2: "model_weights", write_keras_3: "layers"}
BOTH = pytest.mark.parametrize("write", PLACES)


@pytest.fixture(scope="module")
def arrays():
    return random_arrays(alpha=0.25)


@pytest.fixture
def edited(tmp_path, arrays):
    """Write a good file, let `edit` change the parent and the name of its first kernel."""

    def make(write, edit, where=PLACES):
        path = write(tmp_path / "x.h5", arrays)
        with h5py.File(path, "r+") as file:
            parent, _, name = where[write].rpartition("/")
            edit(file[parent or "/"], name)
        return path

    return make


def replaced(make):
    """Return an edit that deletes what is there and makes something else."""

    def edit(parent, name):
        values = parent[name][()] if isinstance(parent[name], h5py.Dataset) else None
        del parent[name]
        make(parent, name, values)

    return edit


# Types


def stored_as(dtype, **options):
    return lambda parent, name, _: parent.create_dataset(name, SHAPE, dtype, **options)


def a_time(parent, name, values):
    h5py.h5d.create(parent.id, name.encode(), h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple(SHAPE))


def an_array_type(parent, name, values):
    parent.create_dataset(name, (), np.dtype((np.float32, SHAPE)))


def a_group(parent, name, values):
    parent.create_group(name)


def no_values(parent, name, values):
    parent[name] = h5py.Empty("float32")


COMPOUND = np.dtype([("real", "f4"), ("imag", "f4")])
TYPES = [
    pytest.param(stored_as("int8"), "holds int8, not floats", id="int8"),
    pytest.param(stored_as("uint16"), "holds uint16, not floats", id="uint16"),
    pytest.param(stored_as("bool"), "holds bool, not floats", id="bool"),
    pytest.param(stored_as("complex64"), "holds complex64, not floats", id="complex"),
    pytest.param(stored_as("longdouble"), "holds float128, not floats", id="float128"),
    pytest.param(stored_as("S4"), r"holds \|S4, not floats", id="string"),
    pytest.param(stored_as(h5py.string_dtype()), "holds object, not", id="vlen_string"),
    pytest.param(stored_as(h5py.vlen_dtype("f4")), "holds object, not", id="vlen"),
    pytest.param(stored_as(COMPOUND), "holds .*real.*imag.*, not floats", id="compound"),
    pytest.param(stored_as(h5py.ref_dtype), "holds object, not floats", id="reference"),
    pytest.param(stored_as(h5py.regionref_dtype), "holds object, not", id="region_reference"),
    pytest.param(stored_as("V4"), r"holds \|V4, not floats", id="opaque"),
    pytest.param(stored_as(h5py.enum_dtype({"a": 0})), "holds .*int.*, not floats", id="enum"),
    pytest.param(an_array_type, "not floats", id="array_type"),
    pytest.param(a_time, "damaged .No NumPy equivalent", id="time"),
    pytest.param(no_values, "kernel:0 holds no values|vars/0 holds no values", id="null_space"),
    pytest.param(a_group, "is not a dataset", id="group"),
    pytest.param(stored_as("f4"), "declares values that the file does not hold", id="unwritten"),
]


@BOTH
@pytest.mark.parametrize(("make", "match"), TYPES)
def test_only_floats_that_are_there_are_read(refuse, edited, write, make, match):
    refuse(edited(write, replaced(make)), match)


@BOTH
def test_a_data_set_in_the_place_of_a_layer_is_refused(refuse, edited, write):
    def make(parent, name, _):
        parent[name] = np.ones(3)

    refuse(edited(write, replaced(make), LAYERS), "is not a group|conv1/kernel")


# Links and values that lie elsewhere


@pytest.fixture
def elsewhere(tmp_path, arrays):
    """Good files that another file could point at, with the values or as raw bytes."""
    values = arrays["conv1/kernel"]
    (tmp_path / "raw").write_bytes(values.tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["values"] = values
        other.create_group("group")["0"] = values
    return tmp_path


def external_link(folder):
    return lambda parent, name, _: parent.__setitem__(
        name, h5py.ExternalLink(folder / "other.h5", "values")
    )


def fifo_link(folder):
    os.mkfifo(folder / "fifo")
    return lambda parent, name, _: parent.__setitem__(name, h5py.ExternalLink(folder / "fifo", "x"))


def soft_link(folder):
    def make(parent, name, values):
        parent.file["elsewhere"] = 0 if values is None else values
        parent[name] = h5py.SoftLink("/elsewhere")

    return make


def link_to_itself(folder):
    return lambda parent, name, _: parent.__setitem__(name, h5py.SoftLink(f"{parent.name}/{name}"))


def external_storage(folder):
    return lambda parent, name, values: parent.create_dataset(
        name, SHAPE, "f4", external=[(folder / "raw", 0, values.nbytes)]
    )


def virtual(folder):
    def make(parent, name, _):
        layout = h5py.VirtualLayout(SHAPE, "f4")
        layout[...] = h5py.VirtualSource(folder / "other.h5", "values", SHAPE)
        parent.create_virtual_dataset(name, layout)

    return make


ELSEWHERE = [
    pytest.param(external_link, "is no hard link .ExternalLink", id="external_link"),
    pytest.param(fifo_link, "is no hard link .ExternalLink", id="link_to_a_fifo"),
    pytest.param(soft_link, "is no hard link .SoftLink", id="soft_link"),
    pytest.param(link_to_itself, "is no hard link .SoftLink", id="link_to_itself"),
    pytest.param(external_storage, "takes its values from another file", id="external_storage"),
    pytest.param(virtual, "takes its values from another file", id="virtual"),
]


@BOTH
@pytest.mark.parametrize(("point", "match"), ELSEWHERE)
def test_values_that_lie_elsewhere_are_not_fetched(refuse, edited, elsewhere, write, point, match):
    refuse(edited(write, replaced(point(elsewhere))), match)


@BOTH
@pytest.mark.parametrize(("point", "match"), ELSEWHERE[:4])
@pytest.mark.parametrize("place", [LAYERS, ROOTS], ids=["layer", "root"])
def test_groups_that_lie_elsewhere_are_not_entered(
    refuse, tmp_path, arrays, elsewhere, write, point, match, place
):
    path = write(tmp_path / "x.h5", arrays)
    with h5py.File(path, "r+") as file:
        parent, _, name = place[write].rpartition("/")
        if name in file[parent or "/"]:
            del file[parent or "/"][name]
        point(elsewhere)(file[parent or "/"], name, None)
    refuse(path, f"{match}|not in the file .1.:\n    conv1/kernel")


# More than a file holds


@pytest.fixture(scope="module")
def bomb():
    """256 MiB of zeros in 1 MB."""
    return zlib.compress(bytes(256 << 20), 1)


def declared(shape, chunks):
    """Declare a shape of which one chunk is there."""

    def make(parent, name, _):
        values = parent.create_dataset(name, shape, "f4", chunks=chunks, compression="gzip")
        values[tuple(slice(n) for n in chunks)] = 1

    return make


MORE = [
    pytest.param(declared((10**6, 10**6), (16, 16)), id="10_to_the_12"),
    pytest.param(declared((3 << 28,), (256,)), id="3_GiB"),
    pytest.param(declared(SHAPE, (3, 3, 3, 4)), id="half_of_the_right_shape"),
]


@BOTH
@pytest.mark.parametrize("make", MORE)
def test_a_shape_that_the_file_does_not_hold_is_refused(refuse, edited, write, make):
    refuse(edited(write, replaced(make)), "declares values that the file does not hold")


@BOTH
def test_3_gib_that_unpack_from_a_small_file_are_not_unpacked(refuse, edited, bomb, write):
    def make(parent, name, _):
        shape, chunk = (12, 1 << 26), (1, 1 << 26)
        values = parent.create_dataset(name, shape, "f4", chunks=chunk, compression="gzip")
        for row in range(12):
            values.id.write_direct_chunk((row, 0), bomb)

    refuse(
        edited(write, replaced(make)), r"conv1/kernel  file \(12, 67108864\)  model \(3, 3, 3, 8\)"
    )


@BOTH
@pytest.mark.parametrize("filters", [{}, {"shuffle": True}, {"fletcher32": True}], ids=str)
def test_a_chunk_that_unpacks_to_more_than_its_shape_is_refused(
    refuse, edited, bomb, write, filters
):
    def make(parent, name, _):
        values = parent.create_dataset(name, SHAPE, "f4", compression="gzip", **filters)
        values.id.write_direct_chunk((0, 0, 0, 0), bomb)

    refuse(edited(write, replaced(make)), "unpacks to more bytes than it declares")


@BOTH
def test_a_large_chunk_around_few_values_is_refused(refuse, edited, bomb, write):
    def make(parent, name, _):
        chunks = (64, 64, 64, 256)
        values = parent.create_dataset(
            name, SHAPE, "f4", chunks=chunks, maxshape=(None,) * 4, compression="gzip"
        )
        values.id.write_direct_chunk((0, 0, 0, 0), bomb)

    refuse(edited(write, replaced(make)), "is stored in chunks of 268,435,456 bytes")


def packed_with(*codes):
    def make(parent, name, _):
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(SHAPE)
        for code in codes:
            properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (4,))
        kind, space = h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(SHAPE)
        values = h5py.h5d.create(parent.id, name.encode(), kind, space, properties)
        values.write_direct_chunk((0, 0, 0, 0), bytes(864))

    return make


@BOTH
@pytest.mark.parametrize(
    ("codes", "match"),
    [
        ([32015], "unknown HDF5 filter, 32015"),
        ([32000], "unknown HDF5 filter, 32000"),
        ([5, 6], "unknown HDF5 filter, 5, 6"),
        ([1, 1], r"unknown order, \[1, 1\]"),
        ([1, 2], r"unknown order, \[1, 2\]"),
        ([1], "damaged"),
    ],
)
def test_unknown_filters_and_damaged_packing_are_refused(refuse, edited, write, codes, match):
    refuse(edited(write, replaced(packed_with(*codes))), match)


# Without end


def test_deep_nesting_is_refused(refuse, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("layers" + 1000 * "/a")
    refuse(tmp_path / "x.h5", "nested more than 16 deep")


def test_a_group_within_itself_is_refused(refuse, edited):
    def loop(parent, name):
        group = parent[name].create_group("group")
        group["itself"] = group

    refuse(edited(write_keras_3, loop, ROOTS), "nested more than 16 deep")


def test_groups_that_multiply_by_links_are_counted(refuse, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("layers")
        for _ in range(12):  # 4 to the 12 paths
            below = group.create_group("0")
            group["1"] = group["2"] = group["3"] = below
            group = below
    refuse(tmp_path / "x.h5", "more than 20000 groups")


def test_very_many_chunks_are_read_in_no_time(edited, arrays):
    def make(parent, name, values):
        chunks = (1, 1, 4, 4)  # 16,000 of them
        parent.create_dataset(name, data=values, chunks=chunks, compression="gzip")

    place = {write_keras_2: "conv_preds/conv_preds/kernel:0"}
    path, started = edited(write_keras_2, replaced(make), place), time.monotonic()
    with open_checkpoint(path) as checkpoint:
        read = np.asarray(checkpoint.arrays["conv_preds/kernel"])
    assert np.array_equal(read, arrays["conv_preds/kernel"])
    assert time.monotonic() - started < SOON


def test_very_many_objects_are_refused(refuse, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        empty = file.create_group("layers/0")
        for number in range(1, 20_001):
            file["layers"][str(number)] = empty
    refuse(tmp_path / "x.h5", "20001 objects in one group")


def test_very_many_names_are_refused(refuse, tmp_path, monkeypatch):
    path = write_keras_2(tmp_path / "x.h5", {}, layers=[f"l{n}" for n in range(20_001)], chunks=9)
    refuse(path, "20001 layers are listed")
    monkeypatch.setattr(hdf5, "MAX_OBJECTS", 100)
    refuse(write_keras_2(path, random_arrays(alpha=0.25)), "more than 100 arrays")
