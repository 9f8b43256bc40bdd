"""How long loading the 17 MB H5 of alpha 1.0 takes, beside Keras' own `load_weights`.

    python benchmarks/load_weights.py FILE [--rounds N]

Both load the same legacy H5 into a model that is built already; they take turns. Ours matches by
name and checks every value first; Keras matches by order and checks shapes only.
"""

from __future__ import annotations

import argparse
import os

from timing import show

from keras_mobilenet.deploy.bench.machine import this_machine
from keras_mobilenet.deploy.bench.timing import interleaved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="mobilenet_1_0_224_tf.h5")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from keras_mobilenet import MobileNet, load_weights

    model = MobileNet(weights=None)
    actions = {
        "keras_mobilenet.load_weights": lambda: load_weights(model, arguments.file),
        "keras model.load_weights": lambda: model.load_weights(arguments.file),
    }
    for action in actions.values():
        action()
    print(this_machine("keras-mobilenet", "keras", "tensorflow", "numpy", "h5py"))
    print(f"median of {arguments.rounds} rounds, taking turns")
    show("loading", interleaved(actions, arguments.rounds), "keras model.load_weights")


if __name__ == "__main__":
    main()
