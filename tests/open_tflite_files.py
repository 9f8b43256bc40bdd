"""Opens TFLite files that a test has damaged: a process of its own, which may die of one.

`python open_tflite_files.py GOOD SEED COUNT` damages GOOD so often, and says what became of it.
"""

import collections
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from keras_mobilenet.deploy.engines.checks import opening
from keras_mobilenet.errors import CheckpointError


def damaged(good, draw):
    """Return a file's content with one to three bytes changed, most where its structure is."""
    content = bytearray(good)
    for _ in range(draw.randint(1, 3)):
        start, end = draw.choice([(0, 3000), (len(good) - 60_000, len(good)), (0, len(good))])
        place = draw.randrange(max(start, 0), end)
        content[place] = draw.choice([0, 127, 255, draw.randrange(256), content[place] ^ 1])
    return bytes(content)


def outcome(path):
    """Open a file as the engine does, without a trial, and predict."""
    try:
        content = opening.check_tflite(str(path), "litert")
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        (given,) = interpreter.get_input_details()
        interpreter.set_tensor(given["index"], np.ones(given["shape"], given["dtype"]))
        interpreter.invoke()
    except CheckpointError:
        return "refused"
    except (RuntimeError, ValueError):
        return "refused by LiteRT"
    return "predicted"


def main(good, seed, count):
    def try_out(path, runtime):
        raise CheckpointError("to be tried out")

    opening.try_out = try_out
    draw, content = random.Random(seed), Path(good).read_bytes()
    outcomes = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tflite"
        for _ in range(count):
            path.write_bytes(damaged(content, draw))
            outcomes[outcome(path)] += 1
    sys.stdout.write(f"{outcomes}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
