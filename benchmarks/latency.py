"""How far estimates of latency are from what is measured.

    python benchmarks/latency.py [--engine E] [--precision P] [--rounds 10]

The 16 published nets are timed in turns. Each is then estimated from the other fifteen,
and so are two between them. Prints every error.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

from keras_mobilenet import layer_costs
from keras_mobilenet.deploy.bench.latencies import PUBLISHED, measure_latencies
from keras_mobilenet.nets.costs.latency import estimate_latency

OTHERS = ((0.35, 176), (0.9, 208))  # alpha and size of nets between the published ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    table = measure_latencies(**vars(options), nets=(*PUBLISHED, *OTHERS))
    print(f"{table.machine}\n{table.engine} {table.precision}, {table.threads} threads")
    errors = []
    for i, row in enumerate(table.rows):
        rest = tuple(r for j, r in enumerate(table.rows[: len(PUBLISHED)]) if j != i)
        found = estimate_latency(
            layer_costs(row.alpha, net=row.net, size=row.size), replace(table, rows=rest)
        )
        errors.append(found / row.seconds - 1)
        print(f"alpha {row.alpha:<4g} at {row.size}: measured {1e3 * row.seconds:7.2f} ms, "
              f"estimated {1e3 * found:7.2f} ms, {errors[-1]:+.1%}")  # fmt: skip
    sizes = sorted(map(abs, errors))
    print(f"median error {sizes[len(sizes) // 2]:.1%}, largest {sizes[-1]:.1%}")


if __name__ == "__main__":
    main()
