"""Two processes train the net that one would, and lose nothing when one of them is killed.

They compute in float64: what is left of a difference is rounding. In float32 a small net at a high
rate makes differences of any size out of rounding within an epoch, on one process, too, with
another number of threads.
"""

import signal

import pytest
from coloured_shapes import write_shapes
from worker_processes import ended, losses, start

pytestmark = [pytest.mark.builds, pytest.mark.slow]
TOLERANCE = 1e-5  # of the loss of each epoch; about 1e-9 in the first, 1e-6 in the last
EPOCHS = 3
SCRIPT = """
import json, os, signal, sys
import keras
keras.config.set_floatx("float64")
from keras_mobilenet import train

pictures, out, kill = sys.argv[1:]

class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if kill == "kill" and epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

run = train(pictures, out=out, alpha=0.25, size=32, epochs={epochs}, batch_size=16, resume=True,
            validation=0.25, callbacks=[Kill()])
print("history", json.dumps(run.history))
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("pictures"), 16)


def started(pictures, out, count, killed=None):
    return start(SCRIPT.replace("{epochs}", str(EPOCHS)), [pictures, out], count, killed)


@pytest.fixture(scope="module")
def alone(pictures, tmp_path_factory):
    ((code, history, errors),) = ended(started(pictures, tmp_path_factory.mktemp("alone"), 1))
    assert code == 0, errors
    return losses(history)


def test_two_processes_give_the_curve_of_one(pictures, alone, tmp_path):
    both = ended(started(pictures, tmp_path, 2))
    for code, history, errors in both:
        assert code == 0, errors
        assert losses(history) == pytest.approx(alone, rel=TOLERANCE)
    assert {"model.keras", "history.csv", "metrics.json"} <= {x.name for x in tmp_path.iterdir()}


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_other_and_the_run_goes_on(pictures, alone, tmp_path, killed):
    both = ended(started(pictures, tmp_path, 2, killed))
    assert both[killed][0] == -signal.SIGKILL
    code, history, errors = both[1 - killed]
    assert code not in (0, -signal.SIGKILL)
    assert history is None
    if killed == 1:
        assert "Another worker of TF_CONFIG has stopped" in errors
    ((code, history, errors),) = ended(started(pictures, tmp_path, 1))  # one can go on for two
    assert code == 0, errors
    assert losses(history) == pytest.approx(alone, rel=TOLERANCE)
