"""Two processes train the net that one would, and lose nothing when one of them is killed.

They compute in float64: what is left of a difference is rounding. In float32 a small net at a high
rate makes differences of any size out of rounding within an epoch, on one process, too, with
another number of threads.
"""

import pytest
from coloured_shapes import write_shapes
from worker_processes import assert_all_have, assert_the_other_stops, curve_of_one, start

pytestmark = [pytest.mark.builds, pytest.mark.slow]
TOLERANCE = 1e-5  # of the loss of each epoch; about 1e-9 in the first, 1e-6 in the last
EPOCHS = 3
SCRIPT = """
import json, os, signal, sys
import keras
keras.config.set_floatx("float64")
from keras_mobilenet import train

images, out, kill = sys.argv[1:]

class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if kill == "kill" and epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

run = train(images, out=out, alpha=0.25, size=32, epochs={epochs}, batch_size=16, resume=True,
            validation=0.25, callbacks=[Kill()])
print("history", json.dumps(run.history))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("images"), 16)


def started(images, out, count, killed=None):
    return start(SCRIPT.replace("{epochs}", str(EPOCHS)), [images, out], count, killed)


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    return curve_of_one(started(images, tmp_path_factory.mktemp("alone"), 1))


def test_two_processes_give_the_curve_of_one(images, alone, tmp_path):
    assert_all_have(alone, started(images, tmp_path, 2), TOLERANCE, tmp_path)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_other_and_the_run_goes_on(images, alone, tmp_path, killed):
    assert_the_other_stops(started(images, tmp_path, 2, killed), killed)
    curve = curve_of_one(started(images, tmp_path, 1))  # one can go on for two
    assert curve == pytest.approx(alone, rel=TOLERANCE)
