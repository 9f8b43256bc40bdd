"""Transfer learning: the loop of Keras' guide beside `finetune` and `freeze`.

    python benchmarks/finetuning.py FOLDER VALIDATION WEIGHTS_DIR [--rounds N] [--epochs 10]
        [--steps 20] [--only top|tail|all]

FOLDER and VALIDATION hold a folder of images for each class. Each side is a process of its own,
start-up and memory included, and all take turns:

- top: keras.io/guides/transfer_learning, a new top on a frozen base, beside `finetune`, with
  nothing computed before, then into another folder with the same `cache`;
- tail: the guide's second stage, the last blocks unfrozen and a small rate, beside
  `train_from="block_12"`, both with the first stage before it and the same number of epochs;
- all: training steps of the whole net, the guide's with batch norms in training mode, beside
  `freeze(model, until=None)`, both with Adam and one batch of images.

What the guide leaves open is as `finetune` has it: 224 x 224 pixels, 32 images a batch. Linux
only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from process_memory import peak_bytes

from keras_mobilenet.deploy.bench.machine import this_machine
from keras_mobilenet.deploy.bench.timing import turns

PACKAGES = ("keras-mobilenet", "keras", "tensorflow", "ai-edge-litert", "openvino")
GUIDE_TOP, GUIDE_TAIL = "guide: frozen base, new top", "guide: then the blocks from 12 on"
COLD, WARM = "finetune: top", "finetune: top, the cache full"
TAIL = "finetune: block_12"
GUIDE_ALL = "guide: whole net, batch norm trains"
ALL = "freeze: whole net, batch norm frozen"
TURNS = {
    "top": ((GUIDE_TOP,), (COLD, WARM)),  # what is in one pair of brackets goes in that order
    "tail": ((GUIDE_TAIL,), (TAIL,)),
    "all": ((GUIDE_ALL,), (ALL,)),
}
SIDES = [side for groups in TURNS.values() for group in groups for side in group]
# Ours, what it is set beside, and how many times as fast it must be.
TARGETS = {
    "top": [(COLD, GUIDE_TOP, 10.0), (WARM, COLD, 3.0), (WARM, GUIDE_TOP, None)],
    "tail": [(TAIL, GUIDE_TAIL, 4.0)],
    "all": [(ALL, GUIDE_ALL, 2.3)],
}
SIZE, BATCH, FROM = (224, 224), 32, 12
SMALL_RATE = 1e-5  # the guide's
WARM_UP = 3  # steps
Told = dict[str, Any]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="images to train with, a folder a class")
    parser.add_argument("validation", type=Path, help="images to validate with")
    parser.add_argument("weights", type=Path, help="a folder with the published weights")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20, help="timed, of the whole net")
    parser.add_argument("--only", choices=TURNS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)  # for runs and caches
    return parser.parse_args()


@contextmanager
def timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Write the seconds of the block into `timings`."""
    start = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - start


def guide_base(folder: Path) -> Any:
    """Return Keras' own net without a top, with the published weights."""
    import keras

    base = keras.applications.MobileNet(
        input_shape=(*SIZE, 3), include_top=False, weights=None, name="base"
    )
    without_top = folder / "mobilenet_1_0_224_tf_no_top.h5"
    if without_top.exists():
        base.load_weights(without_top)
    else:
        base.load_weights(folder / "mobilenet_1_0_224_tf.h5", by_name=True)
    return base


def guide_model(base: Any, classes: int, **call: bool) -> Any:
    """Return the guide's model on a base, which is called with `call`."""
    import keras

    inputs = keras.Input(shape=(*SIZE, 3))
    x = keras.layers.Rescaling(scale=1 / 127.5, offset=-1)(inputs)
    x = base(x, **call)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


def compiled(model: Any, rate: float) -> Any:
    import keras

    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    return model


def images(folder: Path) -> Any:
    import keras

    return keras.utils.image_dataset_from_directory(
        folder, image_size=SIZE, batch_size=BATCH, seed=0, verbose=False
    )


def guide_side(options: argparse.Namespace) -> Told:
    """Train as the guide does, with its second stage where that is asked for."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    train, held = images(options.folder), images(options.validation)
    layers = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)]

    def augmented(x: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return x

    classes = len(train.class_names)
    train = train.map(lambda x, y: (augmented(x), y)).prefetch(tf.data.AUTOTUNE)
    held = held.prefetch(tf.data.AUTOTUNE)
    base = guide_base(options.weights)
    base.trainable = False
    model = compiled(guide_model(base, classes, training=False), 1e-3)
    timings = {}
    with timed(timings, "top"):
        history = model.fit(train, epochs=options.epochs, validation_data=held, verbose=0)
    if options.side == GUIDE_TAIL:
        base.trainable = True
        first = next(i for i, x in enumerate(base.layers) if x.name.endswith(f"_{FROM}"))
        for layer in base.layers[:first]:
            layer.trainable = False
        compiled(model, SMALL_RATE)
        with timed(timings, "tail"):
            history = model.fit(train, epochs=options.epochs, validation_data=held, verbose=0)
    return {"accuracy": history.history["val_accuracy"][-1], "timings": timings}


def our_side(options: argparse.Namespace) -> Told:
    """Train with `finetune`, into a new folder."""
    from keras_mobilenet import finetune

    second = {"epochs": options.epochs, "patience": options.epochs}  # all of them, as the guide
    run = finetune(
        options.folder,
        validation=options.validation,
        batch_size=BATCH,
        out=tempfile.mkdtemp(dir=options.place),
        cache=options.place / "cache",
        **({"train_from": f"block_{FROM}"} | second if options.side == TAIL else {}),
    )
    return {"accuracy": run.accuracy, "timings": run.timings}


def steps_side(options: argparse.Namespace) -> Told:
    """Time training steps of the whole net on one batch."""
    import keras
    import numpy as np

    from keras_mobilenet import MobileNet, freeze, preprocess_input, replace_top

    keras.utils.set_random_seed(0)
    data = images(options.folder)
    x, y = (np.asarray(part) for part in next(iter(data)))
    classes = len(data.class_names)
    if options.side == ALL:
        net = MobileNet(weights=options.weights / "mobilenet_1_0_224_tf.h5")
        model = freeze(replace_top(net, classes), until=None)
        compiled(model, SMALL_RATE)
    else:
        model = compiled(guide_model(guide_base(options.weights), classes), SMALL_RATE)
    seconds = []
    for _ in range(WARM_UP + options.steps):
        start = time.perf_counter()
        model.train_on_batch(preprocess_input(x) if options.side == ALL else x, y)
        seconds.append(time.perf_counter() - start)
    return {"steps": seconds[WARM_UP:]}


KINDS = {
    **dict.fromkeys((GUIDE_TOP, GUIDE_TAIL), guide_side),
    **dict.fromkeys((COLD, WARM, TAIL), our_side),
    **dict.fromkeys((GUIDE_ALL, ALL), steps_side),
}


def serve(options: argparse.Namespace) -> None:
    """Do what the side does, and print what it tells as a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    told = KINDS[options.side](options)
    print(json.dumps(told | {"peak": peak_bytes()}), file=answers, flush=True)


def in_process(side: str, place: Path, options: argparse.Namespace) -> Told:
    """Return what a side told, and the seconds of its process from the start to the end."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--side", side, "--place", place],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_MOBILENET_WEIGHTS": str(options.weights)},
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{side} ended with code {done.returncode}")
    print(f"{seconds:8.1f} s   {side}", file=sys.stderr)
    return json.loads(done.stdout) | {"seconds": seconds}


def measured(part: str, options: argparse.Namespace) -> dict[str, list[Told]]:
    """Return what each side of a part told of each of its turns."""
    told: dict[str, list[Told]] = {side: [] for group in TURNS[part] for side in group}
    for order in turns(TURNS[part], options.rounds):
        for group in order:
            with tempfile.TemporaryDirectory(prefix="keras-mobilenet-") as place:
                for side in group:
                    told[side].append(in_process(side, Path(place), options))
    return told


def cost(found: Sequence[Told]) -> float:
    """Return the median seconds of a step where steps were timed, else of the whole process."""
    steps = [seconds for told in found for seconds in told.get("steps", ())]
    return statistics.median(steps or [told["seconds"] for told in found])


def show(part: str, told: Mapping[str, Sequence[Told]], options: argparse.Namespace) -> None:
    """Print a part's medians, and its ratios beside their targets."""
    unit = f"{options.steps} steps" if part == "all" else f"{options.epochs} epochs"
    print(f"\n{part}: {unit}, medians of {options.rounds} round(s), taking turns")
    for side, found in told.items():
        seconds, peak = cost(found), max(t["peak"] for t in found)
        line = f"  {side:38} {seconds:8.2f} s"
        if part == "all":
            line += f" a step, {BATCH / seconds:6.1f} images/s"
        else:
            line += f"   accuracy {statistics.median(t['accuracy'] for t in found):.3f}"
        print(f"{line}   {peak / 1e6:6.0f} MB{within(found)}")
    for ours, theirs, target in TARGETS[part]:
        ratio = cost(told[theirs]) / cost(told[ours])
        print(f"  [{ours}] is {ratio:.2f} x as fast as [{theirs}]{verdict(ratio, target)}")


def within(found: Sequence[Told]) -> str:
    """Return where the seconds of a process went, as far as it was timed within."""
    names = found[0].get("timings", ())
    medians = {name: statistics.median(t["timings"][name] for t in found) for name in names}
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in medians.items())
    return f"   ({told})" if told else ""


def verdict(ratio: float, target: float | None) -> str:
    if target is None:
        return ""
    return f", target {target:g} x: {'met' if ratio >= target else 'missed'}"


def main() -> None:
    options = parsed()
    if options.side:
        serve(options)
        return
    print(this_machine(*PACKAGES))
    for part in [options.only] if options.only else TURNS:
        show(part, measured(part, options), options)


if __name__ == "__main__":
    main()
