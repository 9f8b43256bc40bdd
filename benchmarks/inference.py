"""How fast a net is in every engine, beside the engines' own interfaces called by hand.

    python benchmarks/inference.py [--alpha A] [--size N] [--weights W] [--batch 1,8,64]
        [--rounds N] [--calibration FOLDER] [--images FOLDER] [--timm] [--json FILE]
        [--chart FILE] [--markdown]

All take turns in one process, each goes first as often as last, and each call takes a NumPy array
and returns one. The last table sets each `Predictor` against the best of the peers at the same
precision and batch; the target, for the engine that `"auto"` takes, is 0.95 of it or more.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

from peers import by_hand, timm_net

from keras_mobilenet import MobileNet
from keras_mobilenet.commands.deploy import batch_sizes
from keras_mobilenet.commands.terminal.quiet import native_hidden
from keras_mobilenet.deploy.bench.bench_output import bench_chart, bench_table
from keras_mobilenet.deploy.bench.benchmarking import bench
from keras_mobilenet.deploy.bench.candidates import Candidate
from keras_mobilenet.deploy.bench.plan import Plan
from keras_mobilenet.deploy.bench.report import BenchReport, Result
from keras_mobilenet.deploy.comparison import generated_images
from keras_mobilenet.deploy.engines.choice import AUTO, engine_for
from keras_mobilenet.deploy.graphs.calibration import calibration_samples
from keras_mobilenet.display.text_tables import markdown_table, text_table
from keras_mobilenet.models.model_files import info_of

TARGET = 0.95
BATCHES, ROUNDS = (1, 8, 64), 20


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--weights", default="imagenet", help="imagenet, none, or a file")
    parser.add_argument("--batch", type=batch_sizes, default=BATCHES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--calibration", help="a folder of images for int8's ranges")
    parser.add_argument("--images", help="a folder of images to compare outputs on")
    parser.add_argument("--timm", action="store_true", help="timm's net in PyTorch too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args()


def peers(model: object, options: argparse.Namespace) -> list[Candidate]:
    info, shape = info_of(model), model.inputs[0].shape[1:]
    if options.calibration:
        samples = calibration_samples(options.calibration, info, shape)
    else:
        samples = info.scaled(generated_images((16, *shape)))
    with native_hidden():  # delegates and sessions note what they are
        found = list(by_hand(model, samples))
    if options.timm:
        try:
            found.append(timm_net(options.alpha))
        except (ImportError, ValueError) as error:
            print(f"timm is left out: {error}", file=sys.stderr)
    return found


def best_by_hand(report: BenchReport, precision: str, batch: int) -> Result | None:
    rows = [
        result
        for result in report.results
        if (result.precision, result.batch) == (precision, batch) and "by hand" in result.name
    ]
    return max(rows, key=lambda result: result.rate, default=None)


def against_peers(report: BenchReport) -> list[list[str]]:
    """Return a row for each of our results: its rate over the best by hand, the target for auto."""
    rows = []
    for ours in report.results:
        theirs = best_by_hand(report, ours.precision, ours.batch)
        if theirs is None or not ours.name.startswith("Predictor"):
            continue
        ratio = ours.rate / theirs.rate
        auto = ours.name.endswith(f" {engine_for(AUTO, ours.precision)}")
        verdict = ("met" if ratio >= TARGET else "missed") if auto else "not auto"
        rates = f"{ours.rate:.1f}", f"{theirs.rate:.1f}", f"{ratio:.3f}"
        rows.append([ours.name, ours.precision, theirs.name, str(ours.batch), *rates, verdict])
    return rows


def main() -> None:
    options = parsed()
    weights = None if options.weights == "none" else options.weights
    model = MobileNet((options.size, options.size, 3), alpha=options.alpha, weights=weights)
    report = bench(
        model,
        Plan(everything=True, batches=options.batch, rounds=options.rounds),
        name=f"MobileNet, alpha {options.alpha:g}, {options.size} x {options.size}, "
        f"weights {options.weights}",
        calibration=options.calibration,
        images=options.images,
        peers=peers(model, options),
        progress=lambda text: print(text, file=sys.stderr),
    )
    print(bench_table(report, format="markdown" if options.markdown else "text"))
    headers = ["Ours", "Precision", "Best by hand", "Batch", "Images/s", "By hand", "Ratio",
               f"Target {TARGET}"]  # fmt: skip
    write = markdown_table if options.markdown else text_table
    print(f"\n{write(headers, against_peers(report), left=3)}")
    if options.json:
        options.json.write_text(bench_table(report, format="json") + "\n")
    if options.chart:
        bench_chart(report, options.chart)


if __name__ == "__main__":
    main()
