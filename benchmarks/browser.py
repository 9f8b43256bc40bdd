"""LiteRT.js beside ONNX Runtime Web, an image at a time in Chromium, on one thread.

    NODE_PATH=FOLDER/node_modules python benchmarks/browser.py --weights FILE... [--rounds 3]

FOLDER has what `npm install --prefix FOLDER playwright-core onnxruntime-web @litertjs/core
@litertjs/wasm-utils` puts there; Chromium is on PATH. The files are of weights, each with the
arguments of its net behind it, as in `mobilenet_2_5_224_tf.h5:alpha=0.25` or
`v2.h5:net=mobilenet_v2`. Each net is exported as `.tflite` and `.onnx`, and both runtimes take
turns, in a new tab each, on random numbers: 60 runs after one that is not timed. The time until
ready is that from the start of the script to a compiled model, from a server on this machine.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from keras_mobilenet import export
from keras_mobilenet.checkpoints.net_weights import Builder
from keras_mobilenet.deploy.bench.machine import this_machine

RUNS = 60
COMMON = """
const data = new Float32Array(224 * 224 * 3).map(() => Math.random() * 2 - 1);
const begin = performance.now();
const run = await ready();
const ready_ms = performance.now() - begin;
await run();
const times = [];
for (let i = 0; i < RUNS; i++) {
  const start = performance.now();
  await run();
  times.push(performance.now() - start);
}
times.sort((a, b) => a - b);
document.title = JSON.stringify({ ready_ms, median_ms: times[RUNS / 2], least_ms: times[0] });
"""
RUNTIMES = {
    "LiteRT.js": """
import * as litert from "/modules/@litertjs/core/dist/index.js";
async function ready() {
  await litert.loadLiteRt("/modules/@litertjs/core/wasm/");
  const model = await litert.loadAndCompile("/net.tflite", { accelerator: "wasm" });
  return async () => {
    const input = new litert.Tensor(data, [1, 224, 224, 3]);
    const outputs = await model.run([input]);
    outputs[0].toTypedArray().slice();
    for (const tensor of [input, ...outputs]) tensor.delete();
  };
}
""",
    "ONNX Runtime Web": """
import * as ort from "/modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";
async function ready() {
  ort.env.wasm.wasmPaths = "/modules/onnxruntime-web/dist/";
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create("/net.onnx");
  const input = new ort.Tensor("float32", data, [1, 224, 224, 3]);
  return async () => session.run({ input });
}
""",
}
FETCHED = {
    "LiteRT.js": ("@litertjs/core/wasm/litert_wasm_internal.wasm",),
    "ONNX Runtime Web": ("onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",),
}
PAGE = """<!doctype html><link rel="icon" href="data:,"><script type="importmap">
{{"imports": {{"@litertjs/wasm-utils": "/modules/@litertjs/wasm-utils/dist/index.js"}}}}</script>
<body><script type="module">const RUNS = {runs};{script}</script>"""
DRIVER = """
const { chromium } = require("playwright-core");
(async () => {
  const [browser, url] = process.argv.slice(1);
  const opened = await chromium.launch(
    { executablePath: browser, args: ["--no-sandbox", "--disable-gpu"] });
  const page = await opened.newPage();
  page.on("pageerror", (error) => { console.error(error.message); process.exit(1); });
  await page.goto(url);
  while (!(await page.title()).startsWith("{")) await page.waitForTimeout(100);
  console.log(JSON.stringify({ ...JSON.parse(await page.title()), version: opened.version() }));
  await opened.close();
})();
"""


class Quiet(SimpleHTTPRequestHandler):
    """A server that says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def builder(text: str) -> Builder:
    path, *rest = text.split(":")
    arguments = dict(pair.split("=") for pair in rest[0].split(",")) if rest else {}
    key = arguments.pop("net", "mobilenet")
    numbers = {name: float(value) for name, value in arguments.items()}
    return Builder(key, {"weights": path, **numbers})


def timed(browser: str, url: str) -> dict[str, float]:
    command = ["node", "-e", DRIVER, browser, url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return json.loads(done.stdout)


def compare(text: str, folder: Path, browser: str, rounds: int) -> None:
    for suffix in ("tflite", "onnx"):
        export(builder(text), folder / f"net.{suffix}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in RUNTIMES}
    for _ in range(rounds):
        for number, name in enumerate(RUNTIMES):
            url = f"http://127.0.0.1:{server.server_port}/{number}.html"
            rows[name].append(timed(browser, url))
    server.shutdown()
    print(f"\n{text}, Chromium {rows['LiteRT.js'][0]['version']}")
    for name, row in rows.items():
        medians = {key: statistics.median(x[key] for x in row) for key in ("median_ms", "ready_ms")}
        print(
            f"{name:18} {medians['median_ms']:7.1f} ms, ready after {medians['ready_ms']:5.0f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    modules = Path(os.environ["NODE_PATH"]).resolve()
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
    print(this_machine())
    for name, paths in FETCHED.items():
        size = sum(len(gzip.compress((modules / path).read_bytes())) for path in paths)
        print(f"{name}: {size / 1e6:.1f} MB, compressed with gzip")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "modules").symlink_to(modules)
        for number, script in enumerate(RUNTIMES.values()):
            text = PAGE.format(runs=RUNS, script=script + COMMON)
            (folder / f"{number}.html").write_text(text)
        for text in given.weights:
            compare(text, folder, browser, given.rounds)


if __name__ == "__main__":
    main()
