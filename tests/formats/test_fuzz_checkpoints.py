"""Good files with a few bytes changed: loaded whole or refused, whatever the bytes say.

`FUZZ=5000 pytest tests/test_fuzz_checkpoints.py` tries that many new examples a format.
"""

import os
import shutil

import numpy as np
import pytest
from checkpoint_files import (
    assign,
    random_arrays,
    same,
    weights,
    write_keras_1,
    write_keras_2,
    write_keras_3,
    write_keras_archive,
    write_nested,
    write_npz,
    write_safetensors,
    write_tfjs,
)
from conftest import SMALL, at_most
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_mobilenet
from keras_mobilenet import load_weights
from keras_mobilenet.errors import CheckpointError
from keras_mobilenet.nets.families.v1 import Block

SOON = 5  # seconds an example; it takes about 0.02
EXAMPLES = int(os.environ.get("FUZZ", "80"))
# A few filters in a few layers: what is damaged is as often the file's own tables.
TINY = {"alpha": 0.04, "classes": 2, "blocks": (Block(64), Block(128, stride=2))}
ARRAYS = random_arrays(seed=6, **TINY)


def quantised(path, arrays):
    return write_tfjs(path, arrays, quantised="uint8")


def packed(path, arrays):
    return write_npz(path, arrays, np.savez_compressed)


WRITERS = [
    write_keras_1,
    write_keras_2,
    write_keras_3,
    write_keras_archive,
    write_nested,
    write_npz,
    packed,
    write_safetensors,
    write_tfjs,
    quantised,
]


@pytest.fixture(scope="module")
def model():
    built = keras_mobilenet.MobileNet(weights=None, **TINY)
    assign(built, random_arrays(seed=7, **TINY))
    return built


@pytest.fixture(scope="module")
def state(model):
    """The model's weights as the last example left them."""
    return weights(model)


@pytest.fixture(scope="module", params=WRITERS, ids=lambda write: write.__name__)
def good(request, tmp_path_factory):
    """A file or folder that fits the model."""
    return request.param(tmp_path_factory.mktemp("fuzz") / "good", ARRAYS)


KINDS = st.sampled_from(["flip", "set", "insert", "delete", "truncate", "repeat"])
EDITS = st.tuples(KINDS, st.floats(0, 1), st.integers(0, 255), st.integers(1, 64))


def edited(content, edit):
    """Return `content` with a byte flipped or set, or some inserted, deleted, cut or repeated."""
    kind, place, byte, count = edit
    # Headers and tables stand at the ends, and are where a byte does harm.
    start = int(abs(place**3) * len(content)) if byte % 2 else int(place * len(content))
    before, after = content[:start], content[start:]
    return {
        "flip": before + bytes(after[:1] and [after[0] ^ 1 << byte % 8]) + after[1:],
        "set": before + bytes(after[:1] and [byte]) + after[1:],
        "insert": before + bytes([byte] * count) + after,
        "delete": before + after[count:],
        "truncate": before,
        "repeat": before + after[:count] + after,
    }[kind]


def all_files(path):
    return (
        sorted(path.iterdir(), key=lambda file: file.suffix != ".json") if path.is_dir() else [path]
    )


def damaged(good, path, number, edits):
    """Copy a good file to `path` and edit it; of a folder, the file of that number."""
    if good.is_dir():
        shutil.copytree(good, path)
    else:
        shutil.copy(good, path)
    files = all_files(path)
    file = files[number % len(files)]
    content = file.read_bytes()
    for edit in edits:
        content = edited(content, edit)
    file.write_bytes(content)
    return path


@given(
    # The first file of a folder is its JSON, and every second example is of it.
    number=st.one_of(st.just(0), st.integers(0, 99)),
    edits=st.lists(EDITS, min_size=1, max_size=3),
    strict=st.booleans(),
)
@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize="FUZZ" not in os.environ)
def test_a_damaged_file_is_loaded_whole_or_refused(
    model, state, good, tmp_path_factory, number, edits, strict
):
    path = damaged(good, tmp_path_factory.mktemp("example") / "x", number, edits)
    refusal = None
    with at_most(SOON, SMALL):
        try:
            load_weights(model, path, strict=strict)
        except CheckpointError as error:
            refusal = str(error)
    shutil.rmtree(path.parent)
    after = weights(model)
    if refusal:
        assert refusal.startswith(str(path))
        assert same(after, state)
    else:
        assert {n: a.shape for n, a in after.items()} == {n: a.shape for n, a in ARRAYS.items()}
        assert all(np.isfinite(a).all() for a in after.values())
        state.update(after)
