"""Processes on this machine that train together, as `TF_CONFIG` names them."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    numbers = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return numbers


def start(script, arguments, count, killed=None):
    """Return the started processes of one training; the last argument is "kill" for one of them.

    Each gives the arguments to a script that prints "history " and the run's history as JSON.
    """
    addresses = [f"127.0.0.1:{port}" for port in ports(count)]
    processes = []
    for number in range(count):
        task = {"type": "worker", "index": number}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        command = [sys.executable, "-c", script, *map(str, arguments)]
        command += ["kill" if number == killed else "no"]
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


def assert_all_have(curve, processes, tolerance, out):
    """Each process has one's curve, and the chief has written the run."""
    for code, history, errors in ended(processes):
        assert code == 0, errors
        assert losses(history) == pytest.approx(curve, rel=tolerance)
    assert {"model.keras", "history.csv", "metrics.json"} <= {x.name for x in out.iterdir()}


def assert_the_other_stops(processes, killed):
    """One of two workers was killed, and the other ended by itself with an error."""
    both = ended(processes)
    assert both[killed][0] == -signal.SIGKILL
    code, history, errors = both[1 - killed]
    assert code not in (0, -signal.SIGKILL)
    assert history is None
    if killed == 1:
        assert "Another worker of TF_CONFIG has stopped" in errors


def curve_of_one(processes):
    """Return the losses of the one process there is."""
    ((code, history, errors),) = ended(processes)
    assert code == 0, errors
    return losses(history)
