"""Two processes train the net that one would, and lose nothing when one of them is killed.

They compute in float64: what is left of a difference is rounding. In float32 a small net at a high
rate makes differences of any size out of rounding within an epoch, on one process, too, with
another number of threads.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from coloured_shapes import write_shapes

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


def ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    numbers = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return numbers


def start(pictures, out, count, killed=None):
    """Return the started processes of one training, of which one may kill itself."""
    addresses = [f"127.0.0.1:{port}" for port in ports(count)]
    processes = []
    for number in range(count):
        task = {"type": "worker", "index": number}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        command = [sys.executable, "-c", SCRIPT.replace("{epochs}", str(EPOCHS)), str(pictures)]
        command += [str(out), "kill" if number == killed else "no"]
        environment = {**os.environ, "TF_CONFIG": config} if count > 1 else dict(os.environ)
        environment["CUDA_VISIBLE_DEVICES"] = ""
        processes.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env=environment, cwd=Path(__file__).parents[1],
            )
        )  # fmt: skip
    return processes


def ended(processes):
    """Return each process' exit code, history and errors."""
    told = []
    try:
        for process in processes:
            output, errors = process.communicate(timeout=400)
            lines = [x for x in output.splitlines() if x.startswith("history ")]
            history = json.loads(lines[-1].removeprefix("history ")) if lines else None
            told.append((process.returncode, history, errors))
    finally:
        for process in processes:
            process.kill()
    return told


def losses(history):
    return [row[name] for row in history for name in ("loss", "val_loss")]


@pytest.fixture(scope="module")
def alone(pictures, tmp_path_factory):
    ((code, history, errors),) = ended(start(pictures, tmp_path_factory.mktemp("alone"), 1))
    assert code == 0, errors
    return losses(history)


def test_two_processes_give_the_curve_of_one(pictures, alone, tmp_path):
    both = ended(start(pictures, tmp_path, 2))
    for code, history, errors in both:
        assert code == 0, errors
        assert losses(history) == pytest.approx(alone, rel=TOLERANCE)
    assert {"model.keras", "history.csv", "metrics.json"} <= {x.name for x in tmp_path.iterdir()}


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_other_and_the_run_goes_on(pictures, alone, tmp_path, killed):
    both = ended(start(pictures, tmp_path, 2, killed))
    assert both[killed][0] == -signal.SIGKILL
    code, history, errors = both[1 - killed]
    assert code not in (0, -signal.SIGKILL)
    assert history is None
    if killed == 1:
        assert "Another worker of TF_CONFIG has stopped" in errors
    ((code, history, errors),) = ended(start(pictures, tmp_path, 1))  # one can go on for two
    assert code == 0, errors
    assert losses(history) == pytest.approx(alone, rel=TOLERANCE)
