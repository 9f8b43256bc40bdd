"""How long importing and building take, beside `keras.applications`.

    python benchmarks/import_and_build.py [--rounds N]

Each figure is the median of rounds in which the two sides take turns, so that a busy machine slows
both. Every import is timed in a fresh interpreter; models are built in one process, after one
warm-up build of each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable

from timing import show

from keras_mobilenet.deploy.bench.machine import this_machine
from keras_mobilenet.deploy.bench.timing import Timings, interleaved

IMPORTS = {
    "import keras_mobilenet": "import keras_mobilenet",
    "from keras_mobilenet import MobileNet": "from keras_mobilenet import MobileNet",
    "from keras.applications import MobileNet": "from keras.applications import MobileNet",
}
COMMANDS = {
    f"keras-mobilenet {word}": f"import sys; sys.argv.append({word!r}); "
    "from keras_mobilenet.commands.app import main; main()"
    for word in ("--help", "cost")
}


def in_fresh_interpreter(code: str) -> Callable[[], object]:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code]
    return lambda: subprocess.run(command, check=True, capture_output=True, env=environment)


def build_times(rounds: int) -> dict[str, Timings]:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    from keras_mobilenet import MobileNet

    builders = {
        "keras_mobilenet.MobileNet(weights=None)": lambda: MobileNet(weights=None),
        "keras.applications.MobileNet(weights=None)": lambda: keras.applications.MobileNet(
            weights=None
        ),
    }
    for build in builders.values():
        build()
    return interleaved(builders, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    print(this_machine("keras-mobilenet", "keras", "tensorflow", "numpy"))
    print(f"median of {rounds} builds and {max(3, rounds // 4)} starts, taking turns")
    starts = {name: in_fresh_interpreter(code) for name, code in (IMPORTS | COMMANDS).items()}
    show(
        "fresh interpreter, its own start included",
        interleaved(
            {"python -c pass": in_fresh_interpreter("pass"), **starts}, max(3, rounds // 4)
        ),
        "from keras.applications import MobileNet",
    )
    show("building the net", build_times(rounds), "keras.applications.MobileNet(weights=None)")


if __name__ == "__main__":
    main()
