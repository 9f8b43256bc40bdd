"""The page needs nothing but itself, says what was measured, and trusts no name."""

import re
import shutil
import subprocess
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from deploy_nets import BLOCKS
from page_reader import Page
from PIL import Image
from random_models import randomise

from keras_mobilenet import MobileNet
from keras_mobilenet.evaluation.metrics import evaluate
from keras_mobilenet.evaluation.report.charts import count_ticks, ticks
from keras_mobilenet.evaluation.report.filters import (
    NOTHING,
    listed,
    number,
    percent,
    plural,
    seconds,
    setting,
)
from keras_mobilenet.evaluation.report.report import write_report
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.models.model_files import set_info
from keras_mobilenet.training.runs import KerasModel

pytestmark = pytest.mark.builds
HOSTILE = """</td></title></style><script>alert(1)</script>"'&<img src=x onerror='alert(2)'>"""
BAD_FILE = '"><img src=x onerror=alert({})>.jpg'
FLOWERS = ("daisy", "rose", "tulip")


@dataclass(frozen=True)
class Run:
    labels: tuple[str, ...]
    history: list[dict[str, Any]]
    validation: tuple[tuple[str | None, int], ...]
    probabilities: Any
    settings: dict[str, Any]
    timings: dict[str, float]
    versions: dict[str, str]
    weights_hash: str
    trained: Any
    problems: tuple[str, ...]


def history(epochs=4, stages=("top", "block 13")):
    return [
        {"stage": stages[i * len(stages) // epochs], "epoch": i + 1, "loss": 1 / (i + 1),
         "accuracy": 1 - 0.4 / (i + 1), "val_loss": 1.25 / (i + 1), "val_accuracy": 0.75,
         "learning_rate": 1e-3, "seconds": 1.5}
        for i in range(epochs)
    ]  # fmt: skip


def probabilities(true, taken, classes):
    """Return rows whose highest number is at the predicted class, each of another height."""
    rows = np.full((len(true), classes), 0.1, "float32")
    rows[np.arange(len(true)), taken] += np.linspace(0.5, 5, len(true))
    return rows / rows.sum(axis=1, keepdims=True)


def run_of(labels=FLOWERS, n=30, wrong=6, model=None, paths=None, **changes):
    rng = np.random.default_rng(0)
    true = np.arange(n) % len(labels)
    taken = np.where(np.arange(n) < wrong, (true + 1) % len(labels), true)
    order = rng.permutation(n)
    true, taken = true[order], taken[order]
    validation = tuple(zip(paths or [None] * n, true.tolist(), strict=True))
    run = Run(
        labels=tuple(labels),
        history=history(),
        validation=validation,
        probabilities=probabilities(true, taken, len(labels)),
        settings={"alpha": 0.25, "size": [64, 64], "seed": 7, "views": True, "patience": None},
        timings={"features": 12.34, "total": 125.0},
        versions={"keras": "3.15.1"},
        weights_hash="0f" * 32,
        trained=KerasModel(model),
        problems=(),
    )
    return replace(run, **changes)


def metrics_of(run):
    return evaluate(run.labels, [class_ for _, class_ in run.validation], run.probabilities)


def page_of(folder, run):
    write_report(folder / "report.html", run, metrics_of(run))
    return Page(folder / "report.html")


@pytest.fixture(scope="module")
def model():
    net = MobileNet((64, 64, 3), 0.25, weights=None, classes=3, blocks=BLOCKS)
    set_info(randomise(net), ModelInfo((64, 64), labels=FLOWERS))
    return net


def noise_images(folder, n, size=(300, 200), name="{}.jpg"):
    """Return the paths of images of noise, which compress worst."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    paths = [folder / name.format(i) for i in range(n)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).save(path, "JPEG")
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def full(tmp_path_factory, model):
    """A page with everything that a page can have."""
    folder = tmp_path_factory.mktemp("full")
    paths = noise_images(folder / "noise", 40)
    run = run_of(n=40, wrong=30, model=model, paths=paths, problems=("a.jpg: is empty (0 bytes)",))
    return run, page_of(folder, run)


def test_page_needs_nothing_but_itself(full):
    _, page = full
    assert not re.search(r"https?:|url\(|@import", page.text)
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
    foreign = {"script", "iframe", "object", "embed", "base", "form"}
    assert foreign.isdisjoint(tag for tag, _ in page.elements)
    assert len(page.text) < 2_000_000


def test_policy_permits_this_style_and_no_other(full):
    _, page = full
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    digest = b64encode(sha256(page.style.encode()).digest()).decode()
    assert policy.split("; ")[:3] == ["default-src 'none'", "img-src data:",
                                      f"style-src 'sha256-{digest}'"]  # fmt: skip
    assert not any("style" in attributes for _, attributes in page.elements)  # it would not hold


def test_page_is_accessible_in_its_structure(full):
    _, page = full
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert all(image["alt"] for image in page.all("img"))
    assert all("scope" in head for head in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(s.get("aria-label") or s.get("aria-hidden") for s in page.all("svg"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a")} == {f"#{name}" for name in ids}


def test_numbers_are_those_of_the_metrics(full):
    run, page = full
    found = metrics_of(run)
    low, high = found.interval
    assert "10 of 40 examples" in page.words
    assert f"95 % interval {100 * low:.1f} % to {100 * high:.1f} %" in page.words
    rows = page.table("true class", *FLOWERS)
    assert [[int(x) for x in row[1:]] for row in rows] == [list(row) for row in found.confusion]
    assert [row[0] for row in rows] == list(FLOWERS)
    for row, one in zip(page.table("Class"), found.classes, strict=True):
        assert row == [
            one.label,
            str(one.support),
            f"{100 * one.precision:.1f} % {one.correct} of {one.predicted}",
            f"{100 * one.recall:.1f} % {one.correct} of {one.support}",
            f"{100 * one.f1:.1f} %",
        ]
    assert f"{found.log_loss:.3f}" in page.words
    assert f"Calibration error{100 * found.calibration_error:.1f} %" in page.words


def test_epochs_and_stages_are_told(full):
    run, page = full
    rows = page.table("Epoch", "Stage")
    assert rows[1] == ["2", "top", "0.500", "80.0 %", "0.625", "75.0 %", "0.001", "1.50 s"]
    assert len(rows) == len(run.history)
    assert "Stages: 1 top (epochs 1 to 2); 2 block 13 (epochs 3 to 4)." in page.words


def test_what_it_takes_to_train_again_is_told(full):
    run, page = full
    for words in (run.weights_hash, "seed7", "size64, 64", "viewsyes", "patiencenone",
                  "keras3.15.1", "total2 min 05 s", "features12.3 s", run.problems[0]):  # fmt: skip
        assert words in page.words


def test_surest_mistakes_come_first_with_image_and_map(full):
    run, page = full
    assert len(page.all("img")) == 48
    assert "24 of 30 mistakes" in page.words
    shown = [float(x) for x in re.findall(r"predicted as \w+, ([\d.]+) %", page.words)]
    assert shown == sorted(shown, reverse=True)
    wrong = run.probabilities.argmax(1) != [class_ for _, class_ in run.validation]
    top = np.sort(run.probabilities.max(1)[wrong])[::-1][:24]
    assert shown == pytest.approx(100 * top, abs=0.051)
    photo, overlay = (b64decode(x["src"].partition(",")[2]) for x in page.all("img")[:2])
    assert Image.open(BytesIO(photo)).size == Image.open(BytesIO(overlay)).size == (224, 150)
    assert photo != overlay


def test_folders_above_an_image_are_not_told(full):
    run, page = full
    assert "noise/" in page.words
    assert run.validation[0][0].rpartition("/noise/")[0] not in page.text


def test_same_run_gives_the_same_file(tmp_path):
    run = run_of()
    assert page_of(tmp_path, run).text == page_of(tmp_path, run).text


def test_names_from_outside_stay_words(tmp_path, model):
    labels = (HOSTILE, f"{HOSTILE}2", "x\x00\x1b\ud800\u202ey")
    paths = noise_images(tmp_path / "\"'><b>", 6, name=BAD_FILE)
    steps = history(stages=(HOSTILE,))
    run = run_of(labels, 6, 6, model, paths, history=steps, settings={HOSTILE: HOSTILE},
                 timings={HOSTILE: 1.0}, versions={HOSTILE: HOSTILE}, weights_hash=HOSTILE,
                 problems=(HOSTILE,))  # fmt: skip
    page = page_of(tmp_path, run)
    assert len(page.all("img")) == 12
    assert page.all("script") == []
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.words.count(HOSTILE) > 10
    assert BAD_FILE.format(0) in page.words
    assert "x\ufffd\ufffd\\ud800\ufffdy" in page.words


@pytest.mark.parametrize("classes", [2, 24, 25, 100])
def test_few_and_many_classes_are_all_there(tmp_path, classes):
    labels = [f"class {i}" for i in range(classes)]
    run = run_of(labels, n=3 * classes, wrong=classes)
    page = page_of(tmp_path, run)
    few = classes <= 24
    rows = page.table("Class") if few else page.table("No.", "Class")
    assert [row[0 if few else 1] for row in rows] == labels
    cells = [a for t, a in page.elements if re.match(r"(hit|miss) h\d+$", a.get("class") or "")]
    filled = sum(count > 0 for row in metrics_of(run).confusion for count in row)
    assert len(cells) == (classes**2 if few else filled)
    assert ("Top-2" in page.words) == (classes > 4)
    assert len(page.text) < 500_000


def test_class_that_is_never_predicted_has_a_dash(tmp_path):
    run = run_of(("a", "b"), n=2, wrong=0, validation=((None, 0), (None, 0)),
                 probabilities=np.array([[0.9, 0.1], [0.8, 0.2]]))  # fmt: skip
    assert page_of(tmp_path, run).table("Class")[1] == [
        "b",
        "0",
        f"{NOTHING} 0 of 0",
        f"{NOTHING} 0 of 0",
        NOTHING,
    ]


def test_no_mistake_is_told_as_such(tmp_path):
    page = page_of(tmp_path, run_of(wrong=0))
    assert "None: every validation example is classified correctly." in page.words
    assert page.all("img") == []


def test_arrays_have_rows_in_place_of_images(tmp_path):
    run = run_of(wrong=2)
    page = page_of(tmp_path, run)
    assert page.all("img") == []
    rows = page.table("Example")
    assert len(rows) == 2
    wrong = np.flatnonzero(run.probabilities.argmax(1) != [c for _, c in run.validation])
    assert {row[0] for row in rows} == {f"example {i}" for i in wrong}


def test_image_that_is_gone_has_a_row(tmp_path, model):
    paths = noise_images(tmp_path / "rose", 3)
    (tmp_path / "rose" / "0.jpg").unlink()
    page = page_of(tmp_path, run_of(n=3, wrong=3, model=model, paths=paths))
    assert len(page.all("img")) == 4
    assert [row[0] for row in page.table("Example")] == ["rose/0.jpg"]


def test_model_without_an_exact_map_has_its_images_alone(tmp_path):
    net = MobileNet(
        (64, 64, 3), 0.25, weights=None, include_top=False, pooling="max", blocks=BLOCKS
    )
    paths = noise_images(tmp_path / "rose", 3)
    page = page_of(tmp_path, run_of(n=3, wrong=2, model=net, paths=paths))
    assert len(page.all("img")) == 2


def test_small_and_narrow_images_keep_their_pixels(tmp_path, model):
    paths = noise_images(tmp_path / "rose", 2, size=(16, 16)) + noise_images(
        tmp_path / "x", 1, (2000, 3)
    )
    page = page_of(tmp_path, run_of(n=3, wrong=3, model=model, paths=paths))
    sizes = {(image["width"], image["height"]) for image in page.all("img")}
    assert sizes == {("14", "14"), ("224", "1")}  # 7/8 of each side, as the model saw it


def test_nothing_validated_is_said(tmp_path):
    steps = [{k: v for k, v in step.items() if not k.startswith("val_")} for step in history()]
    run = run_of(n=2, validation=(), probabilities=np.zeros((0, 3)), history=steps)
    write_report(tmp_path / "report.html", run, None)
    page = Page(tmp_path / "report.html")
    assert "Nothing was validated" in page.words
    assert "Mistakes" not in page.words
    assert len(page.all("svg")) == 2  # loss and accuracy


@pytest.mark.parametrize("steps", [[], history(1), history(1000)], ids=len)
def test_any_number_of_epochs_is_drawn(tmp_path, steps):
    page = page_of(tmp_path, run_of(history=steps))
    assert len(page.all("polyline")) == (4 if steps else 0)


def test_loss_that_is_no_number_breaks_the_line(tmp_path):
    steps = history(5)
    steps[2]["loss"], steps[2]["val_loss"] = float("nan"), float("inf")
    page = page_of(tmp_path, run_of(history=steps))
    assert "nan" not in "".join(x["points"] for x in page.all("polyline"))
    assert len(page.all("polyline")) == 2 * 2 + 2
    assert page.table("Epoch")[2][2:5:2] == ["nan", "inf"]


def test_metrics_of_another_run_are_refused_and_the_file_is_as_it_was(tmp_path):
    (tmp_path / "report.html").write_text("before")
    for other in (run_of(n=31), run_of(("a", "b", "c"))):
        with pytest.raises(ValueError, match="what evaluate\\(\\) found on the run's"):
            write_report(tmp_path / "report.html", run_of(), metrics_of(other))
    with pytest.raises(ValueError, match="The run has 30 of 3 classes"):
        write_report(tmp_path / "report.html", run_of(), None)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("report.html", "before")]


def test_browser_opens_it_without_a_complaint(full, tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("needs Chromium, which is not on PATH")
    path = tmp_path / "report.html"
    path.write_text(full[1].text, encoding="utf-8")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
               "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
               f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr  # where a broken policy or a failed fetch would be told
    assert done.stdout.count("<img") == 48


def test_ticks_are_round_and_hold_the_range():
    assert ticks(0, 1.07) == pytest.approx([0, 0.5, 1, 1.5])
    assert ticks(0.63, 1) == pytest.approx([0.6, 0.7, 0.8, 0.9, 1])
    assert ticks(1, 1)[-1] == pytest.approx(1)
    assert ticks(0, 0)[-1] >= 1
    assert count_ticks(1) == [1]
    assert count_ticks(7) == [1, 2, 3, 4, 5, 6, 7]
    assert count_ticks(30) == [1, 5, 10, 15, 20, 25, 30]


def test_numbers_read_as_people_write_them():
    told = {
        percent(0.875): "87.5 %",
        seconds(0.354): "0.35 s",
        seconds(12.34): "12.3 s",
        seconds(59.96): "1 min 00 s",
        seconds(125): "2 min 05 s",
        seconds(3720): "1 h 02 min",
        seconds(float("nan")): "nan",
        number(float("inf")): "inf",
        plural(1, "class"): "1 class",
        plural(2000, "example"): "2,000 examples",
        listed("abcd", 2): "a, b and 2 more",
        setting([1, 0.5, "x"]): "1, 0.5, x",
        setting({"a": [1]}): '{"a": [1]}',
        setting([]): "none",
        setting(False): "no",
    }
    assert {re.sub(r"\s", " ", words): wanted for words, wanted in told.items()} == {
        wanted: wanted for wanted in told.values()
    }
    assert percent(None) == number(None) == NOTHING
