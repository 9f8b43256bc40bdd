"""The page's scripts compute what Pillow and `cam` do; in Chromium, where there is one, all of it.

Node runs the scripts alone. Chromium needs more: playwright-core and LiteRT.js where Node finds
them, as in NODE_PATH=FOLDER/node_modules after
`npm install --prefix FOLDER playwright-core @litertjs/core@2.5.3 @litertjs/wasm-utils@2.5.3`.
"""

import json
import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
import pytest
from deploy_nets import net
from PIL import Image, ImageCms

from keras_mobilenet import Predictor, cam, export, preprocess_input
from keras_mobilenet.checkpoints.net_weights import RANDOM, Builder
from keras_mobilenet.deploy.comparison import generated_images
from keras_mobilenet.deploy.graphs.writers.page import runtime
from keras_mobilenet.images.images import _margin, as_channels, central_crop, fit_pixels
from keras_mobilenet.images.pixel_scaling import Preprocessing

TEMPLATES = resources.files("keras_mobilenet.deploy.graphs.writers.page") / "templates"
DRIVER = Path(__file__).parents[1] / "browse_page.cjs"
NODE = shutil.which("node")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
# The issue's, for images whose JPEG decoder may differ by a level; with the same one it is 1e-5.
AGREEMENT = 1e-3
# Before version 13 Pillow squeezed rows first whatever the shape: a level, now and then.
LEVELS = 0 if int(PIL.__version__.split(".")[0]) >= 13 else 1


def in_node(tmp_path, template, code, **given):
    """Return what a module prints, as JSON, that is one of the page's and some code."""
    if NODE is None:
        pytest.skip("needs Node, which is not on PATH")
    module = tmp_path / "module.mjs"
    own = TEMPLATES.joinpath(template).read_text(encoding="utf-8")
    module.write_text(
        f"import {{ readFileSync }} from 'fs';\n{own}\n"
        f"const given = {json.dumps(given)};\nconsole.log(JSON.stringify({code}));\n"
    )
    done = subprocess.run([NODE, module], check=True, capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout)


SIZES = [(328, 438), (438, 328), (300, 280), (90, 61), (50, 200), (40, 40), (1, 3), (64, 40)]


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_images_are_resized_as_pillow_does(kind, tmp_path):
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
    paths = []
    for i, image in enumerate(images):
        opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
        paths.append(str(tmp_path / f"{i}.rgba"))
        Path(paths[-1]).write_bytes(np.concatenate([image, opaque], axis=2).tobytes())
    code = """given.paths.map((path, i) => {
        const data = readFileSync(path), [height, width] = given.sizes[i];
        const read = (y, rows) => data.subarray(y * width * 4, (y + rows) * width * 4);
        return [...resizedBands(read, { width, height }, [40, 64], 2 ** 21, given.kind)];
    })"""
    for image, made in zip(
        images,
        in_node(tmp_path, "pixels.js", code, paths=paths, sizes=SIZES, kind=kind),
        strict=True,
    ):
        wanted = np.asarray(Image.fromarray(image).resize((64, 40), Image.Resampling[kind.upper()]))
        error = np.abs(np.array(made).reshape(wanted.shape) - wanted).max()
        assert error <= (LEVELS if image.shape[0] > image.shape[1] else 0), image.shape


def test_bands_join_without_a_seam(tmp_path):
    """A phone's photo is read in several; here all have two rows at most."""
    image = np.random.default_rng(1).integers(0, 256, (31, 20, 4), np.uint8)
    (tmp_path / "image").write_bytes(image.tobytes())
    code = """given.steps.map((step) => {
        const data = readFileSync(given.path);
        const part = { width: 20, height: 31 }, rows = new Set();
        const read = (y, count) => data.subarray(y * 80, (y + count) * 80);
        return [...resizedBands(read, part, [9, 8], step)];
    })"""
    one, two = in_node(
        tmp_path, "pixels.js", code, path=str(tmp_path / "image"), steps=[10_000, 40]
    )
    assert one == two


def test_images_are_cropped_as_by_the_predictor(tmp_path):
    lengths, keeps = [*range(1, 700)], [0.875, 1.0, 0.9, 0.01]
    code = "given.keeps.map((keep) => given.lengths.map((length) => margin(length, keep)))"
    made = in_node(tmp_path, "pixels.js", code, lengths=lengths, keeps=keeps)
    assert made == [[_margin(length, keep) for length in lengths] for keep in keeps]


def test_the_aspect_is_kept_as_by_the_predictor(tmp_path):
    code = """given.sizes.map(([height, width]) => {
        const seen = seenPart({ left: 0, top: 0, width, height }, 0.95, [40, 64]);
        return [seen.height, seen.width];
    })"""
    made = in_node(tmp_path, "pixels.js", code, sizes=SIZES)
    images = (np.zeros((*size, 3), np.uint8) for size in SIZES)
    assert made == [list(central_crop(image, 0.95, (40, 64)).shape[:2]) for image in images]


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp"])
def test_colour_profiles_are_left_out(kind, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    pixels = np.random.default_rng(3).integers(0, 256, (9, 7, 3), np.uint8)
    options = {} if kind == "bmp" else {"icc_profile": profile}
    Image.fromarray(pixels).save(tmp_path / "image", kind, **options)
    code = "withoutProfile(readFileSync(given.path)).flatMap((part) => [...part])"
    content = bytes(in_node(tmp_path, "pixels.js", code, path=str(tmp_path / "image")))
    with Image.open(tmp_path / "image") as image, Image.open(BytesIO(content)) as plain:
        assert "icc_profile" not in plain.info
        np.testing.assert_array_equal(np.asarray(plain), np.asarray(image))


@pytest.mark.parametrize("text", ["-1..1", "0..1", "mean=124,116,104;std=58,57,56"])
def test_pixels_are_scaled_as_by_the_predictor(text, tmp_path):
    """To the bit: halves are rounded up or down by it where an int8 model takes them."""
    scaling = Preprocessing.from_text(text)
    rgb = np.arange(3 * 256, dtype=np.uint16).repeat(3).astype(np.uint8).reshape(-1, 3)
    std, offset = (np.broadcast_to(x, 3).tolist() for x in (scaling.std, scaling.offset))
    code = "[...scaledPixels(Uint8Array.from(given.rgb), given)]"
    made = in_node(
        tmp_path, "pixels.js", code, rgb=rgb.reshape(-1).tolist(), channels=3, std=std,
        offset=offset, dtype="float32",
    )  # fmt: skip
    np.testing.assert_array_equal(np.float32(made), scaling.scaled(rgb).reshape(-1))


def test_colours_become_the_greys_of_the_predictor(tmp_path):
    rgb = np.random.default_rng(2).integers(0, 256, (50, 40, 3), np.uint8)
    code = "[...scaledPixels(Uint8Array.from(given.rgb), given)]"
    made = in_node(
        tmp_path, "pixels.js", code, rgb=rgb.reshape(-1).tolist(), channels=1, dtype="uint8"
    )
    np.testing.assert_array_equal(made, as_channels(rgb, 1).reshape(-1))


def map_of(tmp_path, folder, index, x):
    """Return what the page's script makes of a model's features, `x` being its input."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(folder / "model.tflite")).get_signature_runner("serving_default")
    features = runner(input=x)["features"]
    (tmp_path / "features").write_bytes(features.astype("<f4").tobytes())
    code = """(() => {
        const buffer = (path) => { const b = readFileSync(path);
            return b.buffer.slice(b.byteOffset, b.byteOffset + b.length); };
        const features = new Float32Array(buffer(given.features));
        return [...classMap(buffer(given.model), given.stages, features, given.index)];
    })()"""
    told = json.loads((folder / "model.json").read_text())["heat_map"]
    made = in_node(
        tmp_path, "heat_map.js", code, stages=told["stages"], index=index,
        model=str(folder / "model.tflite"), features=str(tmp_path / "features"),
    )  # fmt: skip
    return np.array(made).reshape(told["size"])


def hidden_net(activation):
    """A net whose top has a layer between the pool and the classes, as a user's own may."""
    import keras

    base = net(include_top=False, pooling="avg")
    hidden = keras.layers.Dense(8, activation, bias_initializer="random_normal")(base.output)
    return keras.Model(base.input, keras.layers.Dense(3, "softmax")(hidden))


# Half precision rounds each weight by up to 5e-4 of itself, int8 each value by up to 1/256 of the
# range in every layer; in float32 it is the order of sums.
@pytest.mark.parametrize(
    ("make", "quantize", "rounding"),
    [
        (net, None, 1e-5),
        (net, "float16", 5e-3),
        (partial(hidden_net, "relu"), None, 1e-5),
        (partial(hidden_net, "hard_silu"), None, 1e-5),
        (partial(hidden_net, "hard_silu"), "float16", 5e-3),
        (net, "int8", 0.1),
        (partial(hidden_net, "hard_silu"), "int8", 0.1),
    ],
)
def test_map_is_that_of_cam(make, quantize, rounding, tmp_path):
    """But for a constant, which the colours do not show."""
    model, pixels = make(), generated_images((1, 40, 40, 3))[0].astype(np.uint8)
    images = generated_images((8, 32, 32, 3)).astype(np.uint8)
    options = {"calibration": images, "tolerance": 1.0} if quantize == "int8" else {}
    export(model, tmp_path / "page", quantize=quantize, **options)
    seen = fit_pixels(pixels, size=32, crop=0.875)
    made = map_of(tmp_path, tmp_path / "page", 2, preprocess_input(seen[None]))
    wanted = cam(model, pixels, class_=2).array
    difference = (made - made.mean()) - (wanted - wanted.mean())
    np.testing.assert_allclose(difference, 0, atol=rounding * np.ptp(wanted))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def browse(folder, **job):
    """Return what came of showing images to a page in Chromium, which reaches this server alone."""
    if None in (NODE, BROWSER) or not _has("playwright-core"):
        pytest.skip("needs Chromium, Node and playwright-core in NODE_PATH")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    job = {
        "url": f"http://127.0.0.1:{server.server_port}/",
        "browser": BROWSER,
        "flags": ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
    } | job
    try:
        done = subprocess.run(
            [NODE, DRIVER],
            input=json.dumps(job),
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _has(package):
    command = [NODE, "-e", f"require.resolve({package!r})"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def own_runtime():
    for place in os.environ.get("NODE_PATH", "").split(os.pathsep):
        if (Path(place) / "@litertjs").is_dir():
            return Path(place)
    pytest.skip(f"needs {runtime.NAME} in NODE_PATH")


NETS = {
    "V1": ("mobilenet", "keras/mobilenet_2_5_224_tf.h5", {"alpha": 0.25}),
    "V2": ("mobilenet_v2", "v2/mobilenet_v2_1.0_224_dequantised.h5", {"alpha": 1.0}),
}


@pytest.mark.parametrize("name", NETS)
def test_page_agrees_with_the_predictor_in_chromium(name, own_runtime, shared_data, tmp_path):
    key, file, arguments = NETS[name]
    weights = Builder(key, arguments | {"weights": str(shared_data / "weights" / file)})
    export(weights, tmp_path / "page", runtime=own_runtime)
    images = sorted(map(str, (shared_data / "images" / "imagenet_sample").iterdir()))[::10]
    told = browse(tmp_path / "page", images=images)
    assert told["console"] == []
    address = told["requests"][0]
    assert all(url.removeprefix("blob:").startswith(address) for url in told["requests"])
    with Predictor(weights) as predictor:
        wanted = predictor.predict(np.stack([predictor.read_image(path) for path in images]))
    made = np.array([answer["scores"] for answer in told["answers"]])
    np.testing.assert_allclose(made, wanted, atol=AGREEMENT)


def test_page_shows_names_as_they_are_and_fits_a_phone(own_runtime, tmp_path):
    labels = ("<script>alert(1)</script>", "<b>bee</b>", "çat &amp; dog")
    random = Builder(
        arguments={"input_shape": (96, 96, 3), "alpha": 0.25, "classes": 3, "weights": RANDOM}
    )
    export(random, tmp_path / "page", labels=labels, runtime=own_runtime)
    Image.new("RGB", (300, 500), "red").save(tmp_path / "red.png")
    told = browse(
        tmp_path / "page", images=[str(tmp_path / "red.png")], camera=True,
        viewport={"width": 390, "height": 844}, scheme="dark",
    )  # fmt: skip
    assert told["console"] == []
    assert sorted(told["classes"]) == sorted(labels)
    assert told["overflow"] == 0
    assert told["map_shown"]
    assert len(told["answers"]) == 2  # the file's and the camera's


def test_page_runs_what_the_cdn_has(own_runtime, tmp_path):
    """The CDN is played by the packages' files; their hashes are those in the page."""
    random = Builder(arguments={"input_shape": (32, 32, 3), "alpha": 0.25, "weights": RANDOM})
    export(random, tmp_path / "page")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    images = [str(tmp_path / "red.png")]
    told = browse(tmp_path / "page", images=images, cdn=str(own_runtime))
    assert told["console"] == []
    assert len(told["answers"][0]["scores"]) == 1000
    elsewhere = {url for url in told["requests"] if "//127.0.0.1" not in url}
    used = ("library", "helpers", "glue", "wasm")
    assert elsewhere == {runtime.runtime_record(local=False)[role]["url"] for role in used}


def test_page_opened_as_a_file_says_what_to_do(tmp_path):
    random = Builder(arguments={"input_shape": (32, 32, 3), "alpha": 0.25, "weights": RANDOM})
    export(random, tmp_path / "page")
    told = browse(tmp_path / "page", url=(tmp_path / "page" / "index.html").as_uri())
    assert "was opened as a file" in told["status"]
    assert "python -m http.server" in told["status"]
    assert told["console"] == []


def test_page_does_not_run_a_runtime_that_was_changed(own_runtime, tmp_path):
    random = Builder(arguments={"input_shape": (32, 32, 3), "alpha": 0.25, "weights": RANDOM})
    export(random, tmp_path / "page", runtime=own_runtime)
    with (tmp_path / "page" / "runtime" / "litert.js").open("a") as file:
        file.write("\n;document.title = 'changed'")
    told = browse(tmp_path / "page")
    assert "litert.js could not be fetched, or is not the file that it should be" in told["status"]
