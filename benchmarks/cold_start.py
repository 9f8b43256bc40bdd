"""From a command to its answer, the process' start included: ours beside Keras, timm and LiteRT.

    python benchmarks/cold_start.py --weights FILE --image FILE [--rounds 5]
        [--before PYTHON] [--finetune FOLDER]

Whole processes take turns, each after one run that is not timed and fills the disk's cache:

- `classify` of one image from a file of weights of MobileNet V1, a `.tflite` file and a `.keras`
  file of the same net;
- `keras.applications.MobileNet` with the same weights, and `decode_predictions`;
- timm with PyTorch where this interpreter has them: random weights, so that the answer is chance;
- LiteRT's interpreter and Pillow on that `.tflite` file, in ten lines.

`--before` is an interpreter of an environment with another version of this package; its commands
take part. `--finetune` times `finetune` of a folder of images too: with nothing computed before,
then into another folder with the same cache.

Wall time, processor time (user and system) and peak memory are what Linux counts of the process
and those that it waited for. This process stays small: its own memory counts as a child's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras_mobilenet
from keras_mobilenet.deploy.bench.machine import this_machine
from keras_mobilenet.deploy.bench.timing import turns

PACKAGES = ("keras-mobilenet", "keras", "tensorflow", "ai-edge-litert", "timm", "torch")
BARE, KERAS, TIMM = "LiteRT and Pillow, ten lines", "keras.applications", "timm and PyTorch"
WEIGHTS, TFLITE, FILE = (f"classify, {kind}" for kind in ("weights", ".tflite", ".keras"))
COLD, WARM = "finetune", "finetune, the cache full"
BEFORE = "before: {}"
TIMM_NAMES = {1.0: "mobilenetv1_100", 1.25: "mobilenetv1_125"}
# Of ours: how many times the ten lines' wall time and memory at most, and which share of the
# processor time and of the wall time before.
MOST_WALL, MOST_MEMORY, MOST_PROCESSOR = 3.0, 2.0, 0.1
MOST_FINETUNE = {COLD: 0.6, WARM: 0.35}

BARE_CODE = """
import sys, zipfile
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
pixels = np.asarray(Image.open(sys.argv[2]).convert("RGB").resize((224, 224)))
net = Interpreter(sys.argv[1]).get_signature_runner()
scores = net(input=pixels[None])["output"][0]
labels = zipfile.ZipFile(sys.argv[1]).read("labels.txt").decode().splitlines()
print(labels[scores.argmax()])
"""
KERAS_CODE = """
import sys
import keras
from keras.applications.mobilenet import MobileNet, decode_predictions, preprocess_input
model = MobileNet(alpha=float(sys.argv[1]), weights=sys.argv[2])
pixels = keras.utils.img_to_array(keras.utils.load_img(sys.argv[3], target_size=(224, 224)))
scores = model.predict(preprocess_input(pixels[None]), verbose=0)
print(decode_predictions(scores, top=1)[0][0][1])
"""
TIMM_CODE = """
import sys
import timm, torch
from PIL import Image
from timm.data import ImageNetInfo, create_transform, resolve_data_config
net = timm.create_model(sys.argv[1], pretrained=False).eval()
transform = create_transform(**resolve_data_config({}, model=net))
with torch.inference_mode():
    scores = net(transform(Image.open(sys.argv[2]).convert("RGB"))[None])[0]
print(ImageNetInfo().index_to_description(int(scores.argmax())))
"""


@dataclass(frozen=True)
class Spent:
    """What one process took."""

    wall: float  # seconds
    processor: float  # seconds
    peak: int  # bytes
    answer: str  # the class that it named, or the accuracy after a training


@dataclass(frozen=True)
class Command:
    """A process to time; `{place}` in its arguments is a folder made anew for each turn."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, place: str) -> Spent:
        """Run it in `place`, where no package lies, and return what it took."""
        line = [argument.format(place=place) for argument in self.arguments]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **self.environment}
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as notes:
            start = time.perf_counter()
            process = subprocess.Popen(
                line, stdout=output, stderr=notes, cwd=place, env=environment
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0), notes.seek(0)
            if process.returncode:
                raise SystemExit(f"{line} ended with {process.returncode}:\n{notes.read()}")
            answer = answer_in(output.read())
        return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10, answer)


def answer_in(printed: str) -> str:
    """Return what a process said: an accuracy, or the first word of its last line."""
    accuracy = re.search(r"accuracy \S+ %", printed)
    words = printed.strip().rpartition("\n")[2].split()
    return accuracy[0] if accuracy else next(iter(words), "")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="of MobileNet V1, with a top")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", help="an interpreter with another version of the package")
    parser.add_argument("--finetune", type=Path, help="images to train with, a folder a class")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)  # files into this folder
    options = parser.parse_args()
    for name in ("weights", "image", "finetune"):  # commands run in another folder
        given = getattr(options, name)
        setattr(options, name, given and given.resolve(strict=True))
    return options


def prepare(options: argparse.Namespace) -> None:
    """Write the net as the files that are classified with, and print its alpha.

    `decode_predictions` would fetch the classes' names: they are put where it looks for them.
    """
    from keras_mobilenet import MobileNet, export
    from keras_mobilenet.checkpoints.net_weights import builder_of
    from keras_mobilenet.images.labels import imagenet_classes
    from keras_mobilenet.models.model_files import save_model

    builder = builder_of(options.weights)
    if builder.net != "mobilenet":
        raise SystemExit(f"--weights must be of MobileNet V1. Found: {builder.net}")
    export(options.weights, options.prepare / "m.tflite", include_preprocessing=True)
    arguments = {key: value for key, value in builder.arguments.items() if key != "weights"}
    save_model(MobileNet(**arguments, weights=options.weights), options.prepare / "m.keras")
    names = {str(i): list(label) for i, label in enumerate(imagenet_classes())}
    (options.prepare / "models").mkdir()
    (options.prepare / "models" / "imagenet_class_index.json").write_text(json.dumps(names))
    sys.stdout.write(json.dumps({"alpha": builder.arguments["alpha"]}))


def prepared(folder: str) -> float:
    """Write the files in a process of its own; return the net's alpha."""
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--prepare", folder],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return float(json.loads(done.stdout.rpartition("\n")[2])["alpha"])


def versions(before: str | None) -> dict[str, tuple[str, dict[str, str]]]:
    """Return each interpreter and what leads it to its package, by what stands before names.

    Raises:
        SystemExit: that of `before` has no version of its own.
    """
    here = str(Path(keras_mobilenet.__file__).parents[1])
    found = {"{}": (sys.executable, {"PYTHONPATH": here})}
    if before is None:
        return found
    code = "import pathlib, keras_mobilenet as k; print(pathlib.Path(k.__file__).parents[1])"
    there = subprocess.run(
        [before, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
        env=os.environ | {"PYTHONPATH": ""},
    ).stdout.strip()
    if there == here:
        raise SystemExit(f"--before {before} has the version that is timed here, in {here}")
    print(f"before: the package in {there}")
    return found | {BEFORE: (before, {"PYTHONPATH": ""})}


def classifying(options: argparse.Namespace, folder: str, alpha: float) -> dict[str, Command]:
    """Return the processes that answer what one image shows."""
    image, weights = str(options.image), str(options.weights)
    kinds = {
        WEIGHTS: ["--weights", weights, "--alpha", str(alpha)],
        TFLITE: ["--model", f"{folder}/m.tflite"],
        FILE: ["--model", f"{folder}/m.keras"],
    }
    found = {"python -c pass": Command([sys.executable, "-c", "pass"])}
    for words, (python, environment) in versions(options.before).items():
        line = [python, "-m", "keras_mobilenet", "classify", image, "--top", "1"]
        for kind, arguments in kinds.items():
            found[words.format(kind)] = Command([*line, *arguments], environment)
    keras = [sys.executable, "-c", KERAS_CODE, str(alpha), weights, image]
    found[KERAS] = Command(keras, {"KERAS_HOME": folder})
    name = TIMM_NAMES.get(alpha)
    if name and has_timm():
        found[TIMM] = Command([sys.executable, "-c", TIMM_CODE, name, image])
    else:
        print("timm and PyTorch take no part: they cannot be imported, or have no net of the width")
    found[BARE] = Command([sys.executable, "-c", BARE_CODE, f"{folder}/m.tflite", image])
    return found


def has_timm() -> bool:
    """Return whether this interpreter can import timm and PyTorch."""
    line = [sys.executable, "-c", "import timm, torch"]
    return subprocess.run(line, check=False, capture_output=True).returncode == 0


def finetuning(options: argparse.Namespace, alpha: float) -> list[dict[str, Command]]:
    """Return groups of processes that train; those of a group go in their order."""
    groups = []
    for words, (python, environment) in versions(options.before).items():
        line = [python, "-m", "keras_mobilenet", "finetune", str(options.finetune)]
        line += ["--weights", str(options.weights), "--alpha", str(alpha), "--cache", "{place}/c"]
        groups.append(
            {
                words.format(kind): Command([*line, "--out", f"{{place}}/{run}"], environment)
                for run, kind in enumerate((COLD, WARM))
            }
        )
    return groups


def measured(groups: Sequence[dict[str, Command]], rounds: int) -> dict[str, list[Spent]]:
    """Return what each process took in each of its turns, a first turn of all left out."""
    told: dict[str, list[Spent]] = {name: [] for group in groups for name in group}
    names = [str(i) for i in range(len(groups))]
    for done, order in enumerate([names, *turns(names, rounds)]):
        for i in order:
            with tempfile.TemporaryDirectory(prefix="keras-mobilenet-") as place:
                for name, command in groups[int(i)].items():
                    spent = command.run(place)
                    print(f"{spent.wall:8.2f} s   {name}", file=sys.stderr)
                    if done:
                        told[name].append(spent)
    return told


def medians(spent: Sequence[Spent]) -> tuple[float, float, float]:
    """Return the wall time, the processor time and the memory."""
    return (
        statistics.median(s.wall for s in spent),
        statistics.median(s.processor for s in spent),
        statistics.median(s.peak for s in spent),
    )


def show(title: str, told: Mapping[str, Sequence[Spent]], reference: str) -> None:
    """Print the medians of each, their ratios to those of `reference`, and its answers."""
    print(f"\n{title}; x is of [{reference}]")
    print(f"  {'':34}{'wall':>17}{'processor':>18}{'peak memory':>20}")
    base = medians(told[reference])
    for name, spent in told.items():
        wall, processor, peak = medians(spent)
        cells = (
            f"{wall:8.2f} s {wall / base[0]:5.2f} x{processor:9.2f} s {processor / base[1]:5.2f} x"
        )
        cells += f"{peak / 2**20:8.0f} MiB {peak / base[2]:5.2f} x"
        print(f"  {name:34}{cells}   {', '.join({s.answer for s in spent})}")


def show_targets(told: Mapping[str, Sequence[Spent]], kinds: Sequence[str]) -> None:
    """Print what ours take beside the ten lines, and beside the version before."""
    for kind in kinds:
        wall, processor, peak = medians(told[kind])
        if BARE in told:
            bare = medians(told[BARE])
            verdict(f"[{kind}]: wall time, of the ten lines'", wall / bare[0], MOST_WALL)
            verdict(f"[{kind}]: memory, of the ten lines'", peak / bare[2], MOST_MEMORY)
        if BEFORE.format(kind) in told:
            before = medians(told[BEFORE.format(kind)])
            most = MOST_FINETUNE.get(kind)
            verdict(f"[{kind}]: wall time, of that before", wall / before[0], most)
            most = MOST_PROCESSOR if most is None else None
            verdict(f"[{kind}]: processor time, of that before", processor / before[1], most)


def verdict(what: str, share: float, most: float | None) -> None:
    """Print a share, beside the most that it may be."""
    target = "" if most is None else f", at most {most:g}: {'met' if share <= most else 'missed'}"
    print(f"  {what} {share:.3f}{target}")


def main() -> None:
    options = parsed()
    if options.prepare:
        prepare(options)
        return
    print(this_machine(*PACKAGES))
    with tempfile.TemporaryDirectory(prefix="keras-mobilenet-") as folder:
        alpha = prepared(folder)
        commands = classifying(options, folder, alpha)
        told = measured([{name: command} for name, command in commands.items()], options.rounds)
    title = f"one image, medians of {options.rounds} processes each, taking turns"
    show(title, told, BARE)
    show_targets(told, (WEIGHTS, TFLITE, FILE))
    if options.finetune:
        told = measured(finetuning(options, alpha), options.rounds)
        show(f"{options.finetune.name}: {title.partition(', ')[2]}", told, COLD)
        show_targets(told, (COLD, WARM))


if __name__ == "__main__":
    main()
