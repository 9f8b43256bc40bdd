"""Weights on the hub that no row describes, and what may go wrong on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_server import COMMIT, hub
from PIL import Image
from safetensors.numpy import save
from timm_cases import CASES
from typer.testing import CliRunner

import keras_mobilenet
from keras_mobilenet import MobileNetV2, Predictor, preprocessing_of
from keras_mobilenet.checkpoints.net_weights import builder_of, published_builder
from keras_mobilenet.checkpoints.published import names
from keras_mobilenet.checkpoints.published.hub import repository_file, source_of
from keras_mobilenet.checkpoints.published.names import is_name, repository
from keras_mobilenet.checkpoints.published.settings import info_beside
from keras_mobilenet.checkpoints.writing.model_card import Background
from keras_mobilenet.commands.app import app
from keras_mobilenet.commands.deploy import _Timed
from keras_mobilenet.commands.terminal.options import DEFAULT_SIZE, NetOptions
from keras_mobilenet.deploy.opened import open_model
from keras_mobilenet.errors import CheckpointError, DownloadError
from keras_mobilenet.formats.plain.third_party import to_third_party
from keras_mobilenet.formats.plain.timm_models import model_for
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import MINUS_ONE_TO_ONE, Preprocessing
from keras_mobilenet.models.model_files import info_of
from keras_mobilenet.nets.costs.layers import net_costs
from keras_mobilenet.nets.families.registry import recognise
from keras_mobilenet.nets.published import table

NAME, SIZE = "someone/flowers", 64
LATER = "89abcdef0123456789abcdef0123456789abcdef"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGENET = Preprocessing.from_mean_std([255 * x for x in MEAN], [255 * x for x in STD])
LABELS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
TIMM = {
    "architecture": "mobilenetv2_035",
    "label_names": LABELS,
    "pretrained_cfg": {
        "input_size": [3, 32, 32], "test_input_size": [3, SIZE, SIZE], "crop_pct": 0.8,
        "test_crop_pct": 0.95, "interpolation": "bicubic", "crop_mode": "center",
        "mean": MEAN, "std": STD,
    },
}  # fmt: skip
INFO = ModelInfo((SIZE, SIZE), 0.95, IMAGENET, LABELS, "bicubic", True, f"{NAME}@{COMMIT}")


@pytest.fixture(scope="session")
def weights():
    """Return the bytes of a small net of timm's with five classes."""
    case = CASES["v2_timm"].weights(SIZE)
    origin = recognise({name: x.shape for name, x in case.arrays.items()})
    source = model_for(origin, case.conventions).source
    return save(to_third_party(source, case.arrays), {"format": "pt"})


@pytest.fixture
def served(weights, hub_client):
    files = {"model.safetensors": weights, "config.json": json.dumps(TIMM).encode(),
             "pytorch_model.bin": b"a pickle"}  # fmt: skip
    with hub({NAME: files}) as server:
        hub_client(HF_ENDPOINT=server.url)
        yield server


def asked(server, verb=""):
    return [x.rpartition("/")[2] for x in server.asked if x.startswith(verb)]


def kept():
    """Return the files that the client's cache holds, of weights or settings, whole or not."""
    found = Path(os.environ["HF_HUB_CACHE"]).glob("models--*/[bs]*/**/*")
    return [path.name for path in found if not path.is_dir()]


# names


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("hf://a/b", "a/b", None),
        ("hf://a/b.c-d@v1.0", "a/b.c-d", "v1.0"),
        ("hf://timm/resnet50", "timm/resnet50", None),
        ("a/b", "a/b", None),
    ],
)
def test_a_repository_is_named_with_the_scheme_or_where_nothing_else_is_meant(
    text, name, revision, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    found = repository(text)
    assert (found.name, found.revision) == (name, revision)
    assert is_name(text)


@pytest.mark.parametrize(
    "text", ["imagenet", "a/b/c", "runs/best.keras", "timm/resnet50", "a", "/a/b", "here/b", 3]
)
def test_other_texts_are_no_repositories(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert repository(text) is None
    assert not is_name(text)


def test_without_the_client_a_plain_name_is_a_path_that_is_wrong(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(names, "find_spec", lambda name: None)
    assert repository("runs/best") is None
    with pytest.raises(ValueError, match="No file of that name exists.*; hf://runs/best asks the"):
        MobileNetV2((SIZE, SIZE, 3), weights="runs/best")


@pytest.mark.parametrize("text", ["hf://", "hf://a", "hf://a/b/c", "hf://a/b@", "hf://../b"])
def test_a_name_that_is_none_is_told(text):
    with pytest.raises(ValueError, match=r"named hf://owner/name.*Received: 'hf://"):
        repository(text)


def test_a_net_that_is_known_to_be_another_is_told_before_the_hub_is_asked():
    with pytest.raises(ValueError, match="smooths the images that it strides over"):
        repository("hf://timm/mobilenetv4_conv_blur_medium.e500_r224_in1k")
    row = "timm/mobilenetv2_050.lamb_in1k"
    assert repository(f"hf://{row}") is None
    assert published_builder(f"hf://{row}", {}) == published_builder(row, {})


# the whole way


@pytest.mark.parametrize("name", [NAME, f"hf://{NAME}"])
def test_net_size_scaling_and_names_are_those_of_the_repository(name, served):
    model = keras_mobilenet.from_pretrained(name)
    assert info_of(model) == INFO
    with Predictor.from_pretrained(name, threads=1) as predictor:
        assert predictor.info == INFO
        pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
        theirs = model.predict(IMAGENET.scaled(pixels), verbose=0)
        # Two runtimes' rounding in float32, of probabilities that sum to 1.
        assert np.allclose(predictor.predict(pixels), theirs, atol=1e-5)
    assert ".bin" not in "".join(served.asked)


def test_a_builder_takes_the_name_with_the_nets_arguments(served):
    shape = (SIZE, SIZE, 3)
    model = MobileNetV2(shape, 0.35, weights=NAME, classes=5)
    assert info_of(model) == INFO
    with pytest.raises(CheckpointError, match=r"flowers.*does not fit[\s\S]*alpha=0.35, 5 classes"):
        MobileNetV2(shape, 0.5, weights=f"hf://{NAME}", classes=5)


def test_a_builder_stays_with_the_commit_that_it_found(served):
    builder = published_builder(NAME, {})
    assert builder.arguments["weights"] == f"hf://{NAME}@{COMMIT}"
    served.newest = [LATER]
    assert open_model(builder).info.source == f"{NAME}@{COMMIT}"
    assert len(asked(served, "GET")) == 2


def test_what_was_fetched_opens_offline_under_either_name(served, hub_client):
    path = repository_file(NAME)
    assert source_of(path) == f"{NAME}@{COMMIT}"
    before = len(served.asked)
    hub_client(HF_ENDPOINT=served.url, HF_HUB_OFFLINE="1")
    assert open_model(NAME).info == open_model(f"hf://{NAME}@{COMMIT}").info == INFO
    assert len(served.asked) == before


def test_commands_take_net_size_and_scaling_from_a_repository(served, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
    image, exported = str(tmp_path / "noise.png"), str(tmp_path / "net.tflite")
    Image.fromarray(pixels).save(image)
    options = ["--weights", f"hf://{NAME}", "--json"]
    result = CliRunner().invoke(app, ["classify", image, *options])
    assert result.exit_code == 0, result.output
    [first, *_] = json.loads(result.stdout)[0]["classes"]
    [expected] = Predictor(f"hf://{NAME}", engine="litert").classify(image)
    assert first["name"] == expected.predictions[0][1]
    result = CliRunner().invoke(app, ["export", f"hf://{NAME}", exported])
    assert result.exit_code == 0, result.output
    assert Predictor(exported).info == INFO


@pytest.mark.parametrize("name", [NAME, f"hf://{NAME}@{COMMIT}"])
def test_fetch_says_path_size_and_licence(name, served, weights):
    for _ in range(2):
        result = CliRunner().invoke(app, ["weights", "fetch", name])
        assert result.exit_code == 0, result.output
        assert result.stdout.strip() == repository_file(NAME)
        assert f"{NAME}@{COMMIT}: {len(weights):,} bytes, licence: as its page" in result.stderr
    assert asked(served, "GET").count("model.safetensors") == 1
    assert CliRunner().invoke(app, ["weights", "fetch", name, "--force"]).exit_code == 0
    assert asked(served, "GET").count("model.safetensors") == 2


def test_inspect_takes_a_name(served):
    result = CliRunner().invoke(app, ["weights", "inspect", NAME, "--json"])
    assert json.loads(result.stdout)[0]["made with"].startswith("alpha=0.35, 5 classes")


def test_fetch_of_a_row_tells_its_licence_and_goes_with_no_other_choice(served, weights):
    row = table.get("timm/mobilenetv2_050.lamb_in1k")
    served.repositories[row.repository] = {"model.safetensors": weights}
    result = CliRunner().invoke(app, ["weights", "fetch", f"hf://{row.repository}"])
    assert (
        f"{row.repository}@{COMMIT}: {len(weights):,} bytes, licence: apache-2.0" in result.stderr
    )
    result = CliRunner().invoke(app, ["weights", "fetch", row.repository, "--no-top"])
    assert result.exit_code == 2
    assert "Leave --all and --no-top out" in result.stderr


def test_bench_takes_a_name_with_its_own_size(served):
    timed = _Timed.of(f"hf://{NAME}", NetOptions("mobilenet", 1.0), DEFAULT_SIZE)
    assert timed.name == f"hf://{NAME}, {SIZE} x {SIZE}"
    assert timed.model().arguments["input_shape"] == (SIZE, SIZE, 3)
    case = CASES["v2_timm"].weights(SIZE)
    # The classes' own count: five here, where an estimate takes 1000.
    macs = sum(cost.macs for cost in net_costs(case.net, (SIZE, SIZE)))
    assert timed.macs == pytest.approx(macs, rel=0.3)


# preprocessing that is told, or asked for


@pytest.mark.parametrize("config", [None, {"architecture": "mobilenetv2_035"}])
def test_without_settings_pixels_are_refused_until_their_scaling_is_passed(
    config, served, tmp_path
):
    served.repositories[NAME].pop("config.json")
    if config:
        served.repositories[NAME]["config.json"] = json.dumps(config).encode()
    pixels = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    arguments = {"input_shape": (SIZE, SIZE, 3)}
    with pytest.raises(ValueError, match=r"not known.*Pass `preprocessing`.*weights convert"):
        Predictor.from_pretrained(NAME, **arguments).predict(pixels)
    told = Predictor(published_builder(NAME, arguments), preprocessing="0..1")
    assert told.predict(pixels).shape == (1, 5)
    converted = tmp_path / "told.safetensors"
    command = ["weights", "convert", NAME, str(converted), "--preprocessing", "0..1"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert str(open_model(converted).info.preprocessing) == "0..1"


def test_a_file_of_another_library_by_its_path_has_no_scaling_but_that_beside_it(weights, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(weights)
    assert open_model(path).info.preprocessing is None
    model = MobileNetV2((SIZE, SIZE, 3), 0.35, weights=path, classes=5)
    assert preprocessing_of(model) is None
    (tmp_path / "config.json").write_text(json.dumps(TIMM))
    assert open_model(path).info.preprocessing.is_close(IMAGENET)
    model = MobileNetV2((SIZE, SIZE, 3), 0.35, weights=path, classes=5)
    assert preprocessing_of(model).is_close(IMAGENET)


def test_what_was_set_stays_where_a_file_tells_nothing(weights, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(weights)
    conventions = {"epsilon": 1e-5, "padding": "symmetric"}
    model = MobileNetV2((SIZE, SIZE, 3), 0.35, weights=None, classes=5, **conventions)
    keras_mobilenet.set_preprocessing(model, "0..1")
    keras_mobilenet.load_weights(model, path)
    assert str(preprocessing_of(model)) == "0..1"


HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2, "do_center_crop": True,
        "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}  # fmt: skip


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (HALF, ModelInfo((224, 224), 0.875, MINUS_ONE_TO_ONE, None, "bilinear", True)),
        (
            {"size": {"height": 96, "width": 128}, "do_normalize": False, "resample": 3},
            ModelInfo((96, 128), 1.0, Preprocessing(1 / 255), None, "bicubic", False),
        ),
        ({"size": 64}, ModelInfo((64, 64), 1.0, None, None, "bilinear", False)),
        (
            {"size": {"shortest_edge": 64}, "do_rescale": False, "do_normalize": False},
            ModelInfo((64, 64), 1.0, Preprocessing(), None, "bilinear", True),
        ),
    ],
)
def test_a_processor_of_transformers_is_read(processor, expected, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"1": "b", "0": "a"}}))
    info = info_beside(tmp_path / "model.safetensors")
    assert info.labels == ("a", "b")
    assert (info.size, info.fit) == (expected.size, expected.fit)
    known = expected.preprocessing
    assert info.preprocessing == known or info.preprocessing.is_close(known)


@pytest.mark.parametrize(
    "wrong",
    [
        {"interpolation": "lanczos"}, {"crop_pct": 2, "test_crop_pct": None}, {"mean": 3},
        {"std": [0, 1, 1]}, {"test_input_size": [3, 0, 9]}, {"mean": [0.1]},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_followed_are_told(wrong, tmp_path):
    config = TIMM | {"pretrained_cfg": TIMM["pretrained_cfg"] | wrong}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="config.json beside the file does not tell what"):
        info_beside(tmp_path / "model.safetensors")


# what may go wrong


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, r"has no such repository, or a private one\.\nIf it is private, log in"),
        ((403, "GatedRepo"), r"the repository is gated\.\nAccept its terms at http"),
        ({"pytorch_model.bin": b"code"}, r"it holds no model\.safetensors, and pickles are not"),
        ({"model.safetensors": bytes((256 << 20) + 1)}, r"has 268,435,457 bytes, and that of"),
        (
            {"model.safetensors": b"x", "config.json": b'{"architecture": "resnet50"}'},
            r"config\.json says architecture='resnet50', which is no MobileNet",
        ),
        (
            {"model.safetensors": b"x", "config.json": b'{"model_type": "vit"}'},
            r"config\.json says model_type='vit', which is no MobileNet",
        ),
        ({"model.safetensors": b"x", "config.json": b"{"}, r"config\.json.* is no JSON"),
        (
            {"model.safetensors": b"x", "config.json": b" " * ((1 << 20) + 1)},
            r"its config\.json has 1,048,577 bytes",
        ),
        ({"model.safetensors": b"half a file"}, r"is no whole safetensors file; it was not kept"),
    ],
)
def test_a_bad_repository_is_told_with_the_remedy_and_nothing_is_kept(files, message, hub_client):
    with hub({NAME: files} if files else {}) as server:
        hub_client(HF_ENDPOINT=server.url)
        with pytest.raises(DownloadError, match=f"^{NAME}: .*{message}"):
            keras_mobilenet.from_pretrained(f"hf://{NAME}")
        assert "model.safetensors" not in kept()
        assert not [name for name in kept() if "incomplete" in name]
        assert not [x for x in server.asked if ".bin" in x]


def test_a_private_repository_opens_with_the_token(served, hub_client):
    served.private[NAME] = "Bearer hf_secret"
    with pytest.raises(DownloadError, match="or a private one.*\n.*set HF_TOKEN"):
        repository_file(NAME)
    hub_client(HF_ENDPOINT=served.url, HF_TOKEN="hf_secret")
    assert source_of(repository_file(NAME)) == f"{NAME}@{COMMIT}"


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "KERAS_MOBILENET_OFFLINE"])
def test_offline_a_repository_that_is_not_here_names_the_variable(variable, served, hub_client):
    hub_client(HF_ENDPOINT=served.url, **{variable: "1"})
    with pytest.raises(DownloadError, match=f"not asked, because {variable} is set"):
        open_model(f"hf://{NAME}")
    assert served.asked == []


def test_arrays_of_another_net_are_told(served):
    arrays = {"layer.weight": np.zeros((3, 3), np.float32)}
    served.repositories[NAME] = {"model.safetensors": save(arrays)}
    with pytest.raises(CheckpointError, match=r"someone--flowers.*no source that is known"):
        keras_mobilenet.from_pretrained(f"hf://{NAME}")


def test_all_files_are_of_the_commit_that_was_found_first(served):
    served.commits = (COMMIT, LATER)
    served.newest = [COMMIT, LATER]  # something is pushed after the first request
    assert source_of(repository_file(NAME)) == f"{NAME}@{COMMIT}"
    assert [x for x in served.asked if "main" in x] == served.asked[:1]
    assert source_of(repository_file(NAME)) == f"{NAME}@{LATER}"  # and is found the next time


def test_a_commit_that_goes_away_meanwhile_is_told_and_nothing_is_kept(served):
    served.commits = ()
    with pytest.raises(DownloadError, match="has no commit any more"):
        repository_file(NAME)
    assert kept() == []


def test_a_broken_transfer_goes_on_where_it_stopped(served, weights):
    served.breaks = 1
    with open(repository_file(NAME), "rb") as file:
        assert file.read() == weights
    assert asked(served, "GET").count("model.safetensors") == 2


def test_a_file_cut_off_in_the_cache_is_fetched_again_or_told_offline(served, hub_client, weights):
    path = repository_file(NAME)
    with open(path, "r+b") as file:
        file.truncate(len(weights) // 2)
    hub_client(HF_ENDPOINT=served.url, HF_HUB_OFFLINE="1")
    with pytest.raises(DownloadError, match=r"is cut off.*HF_HUB_OFFLINE is set\.\nUnset it once"):
        repository_file(NAME)
    hub_client(HF_ENDPOINT=served.url)
    with open(repository_file(NAME), "rb") as file:
        assert file.read() == weights


def test_eight_processes_at_once_get_one_file(served, weights):
    code = (
        "from keras_mobilenet.checkpoints.published.hub import repository_file as f; "
        f"print(f('{NAME}'))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    paths = {process.communicate(timeout=60)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0] * 8
    [path] = paths
    assert Path(path).read_bytes() == weights
    assert sorted(kept())[-2:] == ["config.json", "model.safetensors"]
    assert not [name for name in kept() if "incomplete" in name]
    assert builder_of(path).arguments["alpha"] == 0.35


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"config.json": '{"pretrained_cfg": {"license": "cc-by-4.0"}}'}, "cc-by-4.0"),
        ({"config.json": "{}", "README.md": "---\ntags: [a]\nlicense: mit\n---\n"}, "mit"),
        ({"README.md": "---\ntags: [a]\n---\nlicense: mit\n"}, None),
        ({"config.json": '{"license": "`<b>`"}'}, None),
        ({"config.json": "[]"}, None),
        ({}, None),
    ],
)
def test_a_licence_is_what_settings_or_card_at_hand_state(files, licence, hub_client, tmp_path):
    hub_client(HF_HUB_OFFLINE="1")
    folder = tmp_path / "hub" / "models--someone--flowers" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    found = Background.of_source(f"{NAME}@{COMMIT}")
    assert (found.base_model, found.licence) == (NAME, licence)
