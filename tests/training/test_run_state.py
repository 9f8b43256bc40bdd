"""A training's state that is damaged or odd: one error, which says what to do."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from conftest import SMALL, SOON, at_most

from keras_mobilenet.training import run_state


def npz(**arrays):
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def state_text(**changes):
    told = {"identity": "this", "history": [], "epochs": 0} | changes
    return np.array(json.dumps(told))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 100,
        npz(),
        npz(told=np.array("[]")),
        npz(told=np.array("[" * 100_000)),
        npz(told=np.zeros(3)),
        npz(told=np.array([{}], dtype=object)),
        npz(told=state_text(epochs="1")),
        npz(told=state_text(history=None)),
        npz(told=state_text(more=1)),
        npz(told=state_text(), weights_1=np.zeros(3)),
    ],
    ids=range(11),
)
def test_an_odd_state_says_what_to_do(tmp_path, content):
    (tmp_path / run_state.NAME).write_bytes(content)
    with pytest.raises(ValueError, match="is damaged(.|\\n)*Delete it"):
        run_state.load_state(tmp_path, "this")


def test_a_state_that_unpacks_to_gigabytes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / run_state.NAME, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("told.npy", b"")
        archive.infolist()[0].file_size = 3 << 29
    with at_most(SOON, SMALL), pytest.raises(ValueError, match="unpacks to 1,610,612,736 bytes"):
        run_state.load_state(tmp_path, "this")


def test_a_pipe_in_place_of_a_state_is_refused(tmp_path):
    os.mkfifo(tmp_path / run_state.NAME)
    with at_most(SOON, SMALL), pytest.raises(ValueError, match="this is not a file"):
        run_state.load_state(tmp_path, "this")
