"""An evaluation that is killed in the middle is resumed to what an unbroken one writes."""

import json
import subprocess
import sys

import pytest

from keras_mobilenet import evaluate
from keras_mobilenet.images.prefetch import BATCH

ROWS = ("predictions.jsonl", "predictions_against.jsonl")
_PROGRAM = """
import json, sys, time
from keras_mobilenet import evaluate

arguments, batches = json.loads(sys.argv[1]), int(sys.argv[2])
calls = 0

def progress(name, done, total):
    global calls
    calls += 1
    if calls == batches:
        print(done, {"keras", "tensorflow"} & set(sys.modules), flush=True)
        time.sleep(600)  # for the kill

evaluate(**arguments, progress=progress)
"""


def killed(arguments, batches):
    """Begin an evaluation in a process, kill it behind some batches; return what it has said."""
    command = [sys.executable, "-c", _PROGRAM, json.dumps(arguments), str(batches)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        process.kill()
    assert process.returncode == -9
    return said


def figures(folder):
    """What metrics.json says but for the rate, which no two runs share."""
    content = json.loads((folder / "metrics.json").read_text())
    for record in (content, content["against"]):
        record.pop("timings")
    return json.dumps(content)


@pytest.fixture(scope="module")
def models(deployed, sample):
    return {"model": deployed[0], "against": deployed[1], "data": sample[:72]}


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    evaluate(**models, out=folder)
    return folder


# Each model has three batches: the second is the first one's, the fourth is the other one's first.
@pytest.mark.parametrize(("batches", "done"), [(2, 2 * BATCH), (4, BATCH)])
def test_killed_and_resumed_gives_the_same_bytes(models, whole, tmp_path, batches, done):
    assert killed({**models, "out": str(tmp_path)}, batches) == f"{done} set()\n"
    assert not (tmp_path / "metrics.json").exists()
    written = tmp_path / ROWS[batches > 3]
    assert written.read_bytes().count(b"\n") == done
    with open(written, "ab") as file:  # as a kill in the middle of a write leaves it
        file.write(b'{"path": "half a')
    with pytest.raises(ValueError, match="Pass resume"):
        evaluate(**models, out=tmp_path)
    evaluate(**models, out=tmp_path, resume=True)
    for name in ROWS:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name
    assert figures(tmp_path) == figures(whole)
