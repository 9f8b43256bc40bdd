"""What the process writes is its own while the library works: nothing is redirected."""

import os
import sys
import threading

import numpy as np
import pytest
from deploy_nets import BLOCKS

from keras_mobilenet import MobileNet, Predictor, export
from keras_mobilenet.deploy.engines.openvino_engine import _silent

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    return MobileNet((32, 32, 3), alpha=0.25, weights=None, classes=5, blocks=BLOCKS)


def streams():
    return [(os.fstat(number).st_dev, os.fstat(number).st_ino) for number in (1, 2)] + [
        id(sys.stdout), id(sys.stderr)
    ]  # fmt: skip


class Printing(threading.Thread):
    """A thread that prints, natively and not, and looks at the streams, until it is stopped."""

    def __init__(self):
        super().__init__()
        self.seen, self.count, self._over = set(), 0, threading.Event()

    def run(self):
        while not self._over.wait(0.002):
            self.seen.add(tuple(streams()))
            self.count += 1
            print(f"mine {self.count}", flush=True)  # noqa: T201
            os.write(1, f"fd {self.count}\n".encode())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()


WORK = {
    "tflite": lambda model, folder: export(model, folder / "m.tflite"),
    "openvino": lambda model, folder: export(model, folder / "m.xml"),
    "litert": lambda model, folder: Predictor(model, engine="litert").close(),
    "int8": lambda model, folder: Predictor(
        model, engine="openvino", precision="int8", calibration=PIXELS
    ).close(),
}


# The first class of a net of random weights hangs on rounding, which differs by the processor.
@pytest.mark.filterwarnings("ignore::keras_mobilenet.errors.AgreementWarning")
@pytest.mark.parametrize("work", WORK)
def test_what_another_thread_prints_meanwhile_is_not_lost(work, model, tmp_path, capfd):
    before = streams()
    with Printing() as thread:
        WORK[work](model, tmp_path)
    assert thread.seen == {tuple(before)}
    assert streams() == before
    lines = capfd.readouterr().out.splitlines()
    assert not [line for line in lines if "Statistics" in line]  # NNCF's bars
    for kind in ("mine", "fd"):
        found = [line for line in lines if line.startswith(kind)]
        assert found == [f"{kind} {n + 1}" for n in range(thread.count)]


def test_nncf_draws_its_bars_for_others_only():
    import nncf
    from nncf.common.logging.track_progress import track

    with _silent(nncf):
        assert track([1, 2]).progress.disable
    assert not track([1, 2]).progress.disable
