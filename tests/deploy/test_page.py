"""A page is small, keeps to itself, trusts no name, and computes what the model does."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256, sha384

import numpy as np
import pytest
from page_reader import Page
from typer.testing import CliRunner

from keras_mobilenet import Predictor, export
from keras_mobilenet.checkpoints.net_weights import RANDOM, Builder, net_weights
from keras_mobilenet.commands.app import app
from keras_mobilenet.deploy.comparison import generated_images
from keras_mobilenet.deploy.exporting import _FOLDER, _FORMATS, _order
from keras_mobilenet.deploy.graphs.net_graph import graph_of_net
from keras_mobilenet.deploy.graphs.operations import simplified
from keras_mobilenet.deploy.graphs.writers.page import runtime
from keras_mobilenet.deploy.graphs.writers.page.page import page_folder
from keras_mobilenet.deploy.opened import open_model
from keras_mobilenet.errors import AccuracyError
from keras_mobilenet.files import temporary_name
from keras_mobilenet.formats.runtimes import tflite_model

SIZE = 32
FILES = {"index.html", "labels.json", "model.json", "model.tflite"}
MOST = 60_000  # bytes, of a page without its model and its runtime
# The order in which sums are taken: the same operators in one more file.
ROUNDING = 1e-6
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
LABELS = ("ant", HOSTILE, "çat")


def small(net="mobilenet", **arguments):
    alpha = {"mobilenet": 0.25, "mobilenet_v2": 0.35}.get(net, 0.75)
    given = {"input_shape": (SIZE, SIZE, 3), "alpha": alpha, "weights": RANDOM, "classes": 3}
    return Builder(net, given | arguments)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the folder of a page, written once for the arguments that are given."""
    made = {}

    def write(net="mobilenet", *, classes=3, **options):
        key = (net, classes, str(options))
        if key not in made:
            folder = tmp_path_factory.mktemp("pages") / "page"
            export(small(net, classes=classes), f"{folder}/", **options)
            made[key] = folder
        return made[key]

    return write


def settings(folder):
    return json.loads((folder / "model.json").read_text())


def policy(folder):
    (text,) = [x["content"] for x in Page(folder / "index.html").all("meta") if "http-equiv" in x]
    return dict(part.strip().split(" ", 1) for part in text.split(";"))


def test_folder_holds_the_page_its_model_and_no_more(written):
    folder = written()
    assert {path.name for path in folder.iterdir()} == FILES
    assert not list(folder.parent.glob(".*"))


def test_page_of_a_thousand_classes_is_small(written):
    folder = written(classes=1000)
    sizes = {name: (folder / name).stat().st_size for name in FILES - {"model.tflite"}}
    assert sum(sizes.values()) < MOST, sizes
    assert json.loads((folder / "labels.json").read_text())[5:7] == ["electric ray", "stingray"]


def test_settings_say_how_an_image_becomes_the_input(written):
    told = settings(written(preprocessing="mean=124,116,104;std=58,57,56"))["preprocessing"]
    assert told["size"] == [SIZE, SIZE]
    assert (told["crop"], told["interpolation"], told["dtype"]) == (0.875, "bilinear", "float32")
    mean, std = np.array([124, 116, 104]), np.array([58, 57, 56])
    np.testing.assert_allclose(mean / told["std"] + told["offset"], 0, atol=1e-12)
    np.testing.assert_allclose((mean + std) / told["std"] + told["offset"], 1)


def test_pixels_go_in_as_they_are_where_the_file_scales_them(written):
    told = settings(written(include_preprocessing=True))["preprocessing"]
    assert (told["dtype"], told["std"], told["offset"]) == ("uint8", [1.0] * 3, [0.0] * 3)


def test_logits_are_told_from_probabilities(tmp_path, written):
    assert settings(written())["output"] == "probabilities"
    export(small(classifier_activation=None), tmp_path / "page" / "index.html")
    assert settings(tmp_path / "page")["output"] == "logits"


@pytest.mark.parametrize("net", ["mobilenet", "mobilenet_v2", "mobilenet_v3_small"])
def test_outputs_are_those_of_the_predictor(net, written):
    pixels = generated_images((4, SIZE, SIZE, 3)).astype(np.uint8)
    with Predictor(small(net)) as model, Predictor(written(net) / "model.tflite") as page:
        np.testing.assert_allclose(page.predict(pixels), model.predict(pixels), atol=ROUNDING)


def interpreted(folder, x):
    """The outputs of a page's model, by their names."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / "model.tflite"))
    return interpreter.get_signature_runner("serving_default")(input=x)


@pytest.mark.parametrize("quantize", [None, "float16", "int8"])
def test_heat_map_weights_lie_where_the_settings_say(quantize, written):
    """They give the logits, of the features that come out beside the probabilities."""
    images = generated_images((8, SIZE, SIZE, 3)).astype(np.uint8)
    calibration = {"calibration": images} if quantize else {}
    folder = written(quantize=quantize, **calibration)
    told = settings(folder)["heat_map"]
    out = interpreted(folder, images[:1].astype(np.float32) / 127.5 - 1)
    assert list(out["features"].shape[1:3]) == told["size"]
    (stage,) = told["stages"]
    kernel, dtype = stage["kernel"], {"int8": "i1", "float16": "<f2", "float32": "<f4"}
    content = (folder / "model.tflite").read_bytes()
    count = int(np.prod(kernel["shape"]))
    values = np.frombuffer(content, dtype[kernel["type"]], count, kernel["offset"])
    assert kernel["type"] == (quantize or "float32")
    assert kernel["offset"] % 4 == 0  # as browsers want it
    stored = {x.name: x.values for x in tflite_model.parse(content).tensors}
    name = "conv_preds/kernel/half" if quantize == "float16" else "conv_preds/kernel"
    np.testing.assert_array_equal(values, stored[name].reshape(-1))
    if quantize is None:
        bias = stored["conv_preds/bias"]
        logits = out["features"].mean((0, 1, 2)) @ values.reshape(kernel["shape"]).T + bias
        shares = np.exp(logits - logits.max())
        np.testing.assert_allclose(out["output"][0], shares / shares.sum(), atol=ROUNDING)


def test_features_are_found_again_in_a_simplified_graph():
    graph = graph_of_net(net_weights(small()))
    (pool,) = (x for x in graph.operations if x.kind == "average")
    simple = simplified(replace(graph, features=pool.inputs[0]))  # a ReLU, which is merged
    assert simple.features == simple.by_name[pool.name].inputs[0]


def test_hidden_layer_stands_in_the_settings_with_its_bias(written):
    stages = settings(written("mobilenet_v3_small"))["heat_map"]["stages"]
    assert [stage["activation"] for stage in stages] == ["hard_swish", ""]
    assert ["bias" in stage for stage in stages] == [True, False]


def test_codes_of_int8_have_their_scales_beside_them(written):
    images = generated_images((8, SIZE, SIZE, 3)).astype(np.uint8)
    folder = written("mobilenet_v3_small", quantize="int8", calibration=images, tolerance=9.0)
    content = (folder / "model.tflite").read_bytes()
    stored = {x.name: x.quantization for x in tflite_model.parse(content).tensors}
    hidden, last = settings(folder)["heat_map"]["stages"]
    assert (hidden["kernel"]["type"], hidden["bias"]["type"]) == ("int8", "int32")
    places = {"conv_2/kernel": hidden["kernel"], "conv_2/bias": hidden["bias"],
              "logits/kernel": last["kernel"]}  # fmt: skip
    for name, place in places.items():
        assert place["scales"] % 4 == 0  # as browsers want it
        scales = np.frombuffer(content, "<f4", place["shape"][0], place["scales"])
        np.testing.assert_array_equal(scales, stored[name].scale)


def test_no_name_becomes_a_part_of_the_page(tmp_path):
    folder = tmp_path / "page"
    export(small(), folder / "index.html", labels=LABELS)
    assert tuple(json.loads((folder / "labels.json").read_text())) == LABELS
    assert "alert(" not in (folder / "index.html").read_text()


def test_name_of_a_model_is_only_text(tmp_path):
    folder = tmp_path / "page"
    export(replace(open_model(small()), name=f"a/b{HOSTILE}"), folder / "index.html")
    page = Page(folder / "index.html")
    assert len(page.all("script")) == 2
    assert page.all("img") == []
    assert "img src=x onerror=alert(2)>" in page.words


def test_policy_lets_in_the_pages_own_script_and_style_alone(written):
    text = (written() / "index.html").read_text()
    for tag, rule in (('script type="module"', "script-src"), ("style", "style-src")):
        (inside,) = re.findall(f"<{tag}>(.*?)</", text, re.S)
        digest = b64encode(sha256(inside.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy(written())[rule]
    rules = policy(written())
    assert rules["default-src"] == "'none'"
    assert "unsafe-inline" not in str(rules)
    assert "'unsafe-eval'" not in str(rules)


def test_runtime_of_the_cdn_is_pinned_and_no_other_address_allowed(written):
    cdn = [f"https://cdn.jsdelivr.net/npm/@litertjs/{p}@{runtime.VERSION}/" for p in
           ("core", "wasm-utils")]  # fmt: skip
    assert policy(written())["connect-src"].split() == ["'self'", *cdn]
    text = (written() / "index.html").read_text()
    (record,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text)
    for file in json.loads(record).values():
        assert file["url"].startswith(tuple(cdn))
        assert re.fullmatch(r"sha384-[A-Za-z0-9+/]{64}", file["integrity"])


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder as a package manager leaves it, with small files in place of the runtime's."""
    files = {}
    for role, file in runtime.FILES.items():
        path = tmp_path / "packages" / file.package / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(role)
        digest = b64encode(sha384(role.encode()).digest()).decode()
        files[role] = replace(file, bytes=len(role), sha384=digest)
    monkeypatch.setattr(runtime, "FILES", files)
    return tmp_path / "packages"


def test_runtime_of_ones_own_lies_in_the_page(packages, tmp_path):
    export(small(), tmp_path / "page/", runtime=packages)
    for role, file in runtime.FILES.items():
        assert (tmp_path / "page" / "runtime" / file.name).read_text() == role
    assert policy(tmp_path / "page")["connect-src"] == "'self'"
    assert "jsdelivr" not in (tmp_path / "page" / "index.html").read_text()
    export(small(), tmp_path / "next-page/", runtime=tmp_path / "page")  # from another page


def test_runtime_of_another_version_is_refused_with_the_way_to_get_it(packages, tmp_path):
    (packages / "@litertjs/core/dist/index.js").write_text("rewritten")
    with pytest.raises(ValueError, match=r"core/dist/index.js is missing.*npm install.*@2\.") as e:
        export(small(), tmp_path / "page/", runtime=packages)
    assert str(packages) in str(e.value)
    assert not (tmp_path / "page").exists()


def test_runtime_is_for_pages():
    with pytest.raises(ValueError, match="`runtime` is for a page"):
        export(small(), "model.tflite", runtime=".")


def test_paths_of_pages_are_told_from_those_of_saved_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("page/", "page", "flowers-page/", "my_page/", "site/index.html"):
        assert page_folder(path) is not None, path
    for path in ("saved/", "homepage/", "page.tflite"):
        assert page_folder(path) is None, path
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "saved_model.pb").touch()
    assert _order("page/", None, None, 1, None).format is _FORMATS[_FOLDER]
    with pytest.raises(ValueError, match="a folder of its own, as in page/index.html"):
        page_folder("index.html")


def test_page_is_replaced_whole_and_by_nothing_that_failed(tmp_path):
    folder = tmp_path / "site"
    export(small(), folder / "index.html", labels=LABELS)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(AccuracyError):
        export(small(), folder, tolerance=-1.0)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    export(small(classes=4), folder)  # a page is there: no SavedModel is meant
    assert json.loads((folder / "labels.json").read_text()) is None
    assert {path.name for path in tmp_path.iterdir()} == {"site"}


def test_what_a_killed_export_left_is_cleared(tmp_path):
    folder = tmp_path / "page"
    export(small(), folder / "index.html")
    dead = re.sub(r"-\d+-", "-4194305-", temporary_name(str(folder)))  # no process has that number
    (tmp_path / dead).mkdir()
    folder.rename(tmp_path / dead / "page.before")  # killed between two moves
    export(small(), folder / "index.html")
    assert {path.name for path in tmp_path.iterdir()} == {"page"}


def test_folder_of_something_else_stays_as_it_is(tmp_path):
    folder = tmp_path / "site"
    export(small(), folder / "index.html")
    (folder / "CNAME").write_text("example.org")
    with pytest.raises(ValueError, match=r"what is not of it: CNAME"):
        export(small(), folder / "index.html")
    (folder / "index.html").write_text("<h1>My own site</h1>")
    with pytest.raises(ValueError, match="is a folder of something else"):
        export(small(), folder / "index.html")
    assert (folder / "CNAME").read_text() == "example.org"


def test_only_a_classifier_of_images_has_a_page(tmp_path):
    with pytest.raises(ValueError, match="puts out a score for each class"):
        export(small(include_top=False), tmp_path / "page/")
    with pytest.raises(ValueError, match="takes any"):
        export(small(input_shape=(None, None, 3)), tmp_path / "page/")
    with pytest.raises(ValueError, match="`quantize` can be"):
        export(small(), tmp_path / "page/", quantize="dynamic")
    assert [*tmp_path.iterdir()] == []


def test_command_says_how_to_see_the_page(tmp_path, shared_data):
    weights = shared_data / "weights" / "keras" / "mobilenet_2_5_224_tf.h5"
    words = ["export", str(weights), f"{tmp_path}/page/", "--alpha", "0.25"]
    done = CliRunner().invoke(app, words)
    assert f"wrote {tmp_path}/page, 1," in done.stdout
    assert f"python -m http.server --bind 127.0.0.1 --directory {tmp_path}/page\n" in done.stderr
