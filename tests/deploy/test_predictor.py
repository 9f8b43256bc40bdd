"""Predictor returns what `model.predict` returns, whatever the engine and the input."""

import io
import itertools
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from deploy_nets import FLOAT32, OVERFLOW, ROUNDED, SIZE, named_net, net, outputs_of, random_images
from PIL import Image

from keras_mobilenet import MobileNet, Predictor, preprocess_input
from keras_mobilenet.deploy.comparison import difference
from keras_mobilenet.deploy.engines import choice, processor
from keras_mobilenet.deploy.exporting import export
from keras_mobilenet.deploy.graphs import calibration
from keras_mobilenet.deploy.graphs.calibration import calibration_samples
from keras_mobilenet.errors import CheckpointError, ImageError, MissingExtraError
from keras_mobilenet.images.images import read_image
from keras_mobilenet.images.model_info import info_for
from keras_mobilenet.models.model_files import save_model

ENGINES = ("keras", "litert", "openvino", "onnxruntime")
LABELS = ("ant", "bee", "cat", "dog", "eel")


@pytest.fixture(scope="module")
def model():
    return named_net(LABELS)


@pytest.fixture(scope="module")
def reference(model):
    return outputs_of(model)


@pytest.fixture(scope="module", params=ENGINES)
def predictor(request, model):
    with Predictor(model, engine=request.param, threads=2) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def litert(model):
    with Predictor(model, engine="litert") as predictor:
        yield predictor


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Return the path of the model's file of a name, made once."""
    folder = tmp_path_factory.mktemp("exported")

    def path(name):
        file = folder / name
        if not file.exists():
            if name.endswith(".keras"):
                save_model(model, file)
            else:
                export(model, f"{file}/" if name == "folder" else file)
        return file

    return path


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, pixels in enumerate(random_images(3, size=(40, 50))):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_any_batch_gives_what_keras_gives(predictor, reference, count):
    found = predictor.predict(preprocess_input(random_images(7)[:count]))
    assert found.dtype == np.float32
    assert difference(reference[:count], found).relative_error < FLOAT32


def test_pixels_are_scaled(predictor, reference):
    assert difference(reference, predictor.predict(random_images(7))).relative_error < FLOAT32


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_cast(predictor, reference, dtype):
    x = preprocess_input(random_images(7).astype(np.float64)).astype(dtype)
    assert difference(reference, predictor.predict(x)).relative_error < 2e-3  # of float16 inputs


def test_results_are_the_callers_own(predictor):
    first = predictor.predict(random_images(1))
    kept = first.copy()
    predictor.predict(random_images(1, seed=5))
    assert np.array_equal(first, kept)


def test_threads_share_a_predictor(predictor, reference):
    batches = [slice(i % 4, i % 4 + 1 + i % 3) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda rows: predictor.predict(random_images(7)[rows]), batches))
    for rows, y in zip(batches, found, strict=True):
        assert difference(reference[rows], y).relative_error < FLOAT32


def test_input_of_a_bad_kind_is_refused(litert):
    x = preprocess_input(random_images(2))
    for bad, message in (
        (x[0], r"shape \(count, 32, 32, 3\)"),
        (x[..., :1], "shape"),
        (x[:, :16], "shape"),
        (x[:0], "at least one image"),
        ([], "no image"),
        (random_images(1).astype(np.int32), "uint8, or floats"),
        (x * np.nan, "not finite"),
        (x * np.inf, "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            litert.predict(bad)


def test_pixels_as_floats_are_warned_about_once(model):
    with Predictor(model) as predictor:
        with pytest.warns(UserWarning, match=r"values of \d+ on average.*Pass pixels as uint8"):
            predictor.predict(random_images(1).astype(np.float32))
        predictor.predict(random_images(1).astype(np.float32))


def test_closed_predictor_says_so(model):
    with Predictor(model) as predictor:
        pass
    predictor.close()
    with pytest.raises(ValueError, match="is closed"):
        predictor.predict(random_images(1))


@pytest.mark.filterwarnings("ignore::keras_mobilenet.errors.AgreementWarning")  # of random classes
@pytest.mark.parametrize("engine", ["litert", "openvino"])
def test_int8_is_near(model, reference, engine):
    with Predictor(
        model, engine=engine, precision="int8", calibration=random_images(30, seed=3)
    ) as predictor:
        found = difference(reference, predictor.predict(random_images(7)))
    assert 1e-3 < found.rms_error < (OVERFLOW if engine == "openvino" else ROUNDED["int8"])


def test_int8_without_calibration_is_refused(model):
    with pytest.raises(ValueError, match="int8 needs `calibration`: the ranges"):
        Predictor(model, precision="int8")


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([], "holds no image"),
        (random_images(1)[:0], "at least one image"),
        (random_images(2, size=(8, 8)), r"Received: uint8 of shape \(2, 8, 8, 3\)"),
        (random_images(2).astype(int), "uint8 or floats"),
        (3, "Pass some hundred images"),
        ("no/such/folder", "is no folder"),
    ],
)
def test_bad_calibration_is_refused(model, calibration, message):
    with pytest.raises(ValueError, match=message):
        Predictor(model, precision="int8", calibration=calibration)


def test_calibration_takes_images_from_all_over_a_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "MOST", 4)
    for i in range(6):  # sorted by class, as folders of images are
        Image.fromarray(np.full((SIZE, SIZE, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    info = info_for((SIZE, SIZE), 5)
    samples = calibration_samples(tmp_path, info, (SIZE, SIZE, 3))
    found = np.rint((samples[:, 0, 0, 0] + 1) * 127.5)
    assert len(found) == 4
    assert set(found) & {0, 40}
    assert set(found) & {160, 200}


@pytest.mark.parametrize("kind", ["uint8", "floats", "paths", "classes in turns"])
def test_calibration_takes_images_from_all_over_arrays_and_lists(monkeypatch, tmp_path, kind):
    monkeypatch.setattr(calibration, "MOST", 20)
    levels = np.repeat([0, 200], 30) if kind != "classes in turns" else np.tile([0, 200], 30)
    some = np.broadcast_to(levels.astype(np.uint8)[:, None, None, None], (60, SIZE, SIZE, 3))
    info = info_for((SIZE, SIZE), 5)
    if kind == "floats":
        some = info.scaled(some)
    if kind == "paths":
        for name, level in (("a", 0), ("b", 200)):
            Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(tmp_path / f"{name}.png")
        some = [tmp_path / "a.png"] * 30 + [tmp_path / "b.png"] * 30
    samples = calibration_samples(some, info, (SIZE, SIZE, 3))
    assert len(samples) == 20
    dark = np.count_nonzero(samples[:, 0, 0, 0] < -0.9)
    assert dark == 10 if kind != "classes in turns" else 5 <= dark <= 15


def test_calibration_passes_over_what_is_no_image_and_tells_what_is_damaged(tmp_path):
    for name in ("a.jpg", "sub/b.png", "._a.jpg", ".ipynb_checkpoints/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), "teal").save(tmp_path / name)
    (tmp_path / "._a.jpg").write_bytes(b"a Mac's notes about a.jpg")
    (tmp_path / "manual.pdf").write_bytes(b"%PDF-1.4")
    info, shape = info_for((SIZE, SIZE), 5), (SIZE, SIZE, 3)
    assert len(calibration_samples(tmp_path, info, shape)) == 2
    (tmp_path / "c.jpg").write_bytes(b"cut short")
    with pytest.warns(UserWarning, match=r"1 of 3 calibration .*c\.jpg: is text"):
        assert len(calibration_samples(tmp_path, info, shape)) == 2
    with pytest.raises(ImageError, match="c.jpg"):
        calibration_samples([tmp_path / "c.jpg"], info, shape)


def test_calibration_reads_a_folder_and_paths(model, files):
    info, shape = info_for((SIZE, SIZE), 5), (SIZE, SIZE, 3)
    a, b, c = (
        calibration_samples(some, info, shape)
        for some in (files[0].parent, str(files[0].parent), files)
    )
    assert np.array_equal(a, b)
    assert np.array_equal(a, c)
    Predictor(model, engine="litert", precision="int8", calibration=files[0].parent).close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "`engine` must be one of 'auto', 'keras'"),
        ({"precision": "float16"}, "`precision` must be one of 'float32'"),
        ({"engine": "litert", "precision": "bfloat16"}, "Pass engine='openvino'"),
        ({"engine": "onnxruntime", "precision": "int8"}, "engine='litert' or 'openvino'"),
        ({"threads": 0}, "`threads` must be a positive integer"),
        ({"batch_size": 1.5}, "`batch_size` must be a positive integer"),
    ],
)
def test_bad_arguments_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        Predictor(model, **options)


@pytest.mark.parametrize(
    ("engine", "package", "extra"),
    [("openvino", "openvino", "openvino"), ("onnxruntime", "onnxruntime", "onnx")],
)
def test_missing_extra_is_named(model, monkeypatch, engine, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'keras-mobilenet\[{extra}\]'"):
        Predictor(model, engine=engine)


@pytest.mark.parametrize(
    ("has", "float32", "int8"),
    [
        ({"avx512f", "avx512_vnni"}, "openvino", "openvino"),
        ({"avx2", "avx_vnni"}, "litert", "openvino"),
        ({"avx512f"}, "openvino", "litert"),
        ({"avx2"}, "litert", "litert"),
        ((), "litert", "litert"),  # unknown
    ],
)
def test_auto_follows_its_rule(monkeypatch, has, float32, int8):
    monkeypatch.setattr(processor, "instructions", lambda: frozenset(has))
    monkeypatch.setattr(choice, "instructions", lambda: frozenset(has))
    there = {"litert", "openvino"}
    monkeypatch.setattr(choice, "is_installed", lambda name, _precision: name in there)
    assert choice.engine_for("auto", "float32") == float32
    assert choice.engine_for("auto", "bfloat16") == "openvino"
    assert choice.engine_for("auto", "int8") == int8
    for only in ("litert", "openvino"):
        there = {only}
        assert choice.engine_for("auto", "float32") == only
        assert choice.engine_for("auto", "int8") == only


@pytest.mark.parametrize("batch_size", [1, 3, 50])
@pytest.mark.parametrize("name", ["m.keras", "m.tflite", "m.xml", "m.onnx"])
def test_batch_size_changes_no_result(exported, reference, name, batch_size):
    engine = "keras" if name == "m.keras" else "auto"  # for a file its own runtime
    path = exported(name)
    with Predictor(path, engine=engine, batch_size=batch_size, threads=1) as predictor:
        assert difference(reference, predictor.predict(random_images(7))).relative_error < FLOAT32


@pytest.mark.parametrize("engine", ENGINES)
def test_model_of_any_size_takes_any_size(engine):
    model = net((None, None, 3))
    with Predictor(model, engine=engine) as predictor:
        for size in ((32, 32), (64, 40), (32, 32)):
            x = preprocess_input(random_images(3, size=size))
            found = difference(model(x, training=False), predictor.predict(x))
            assert found.relative_error < FLOAT32


@pytest.mark.parametrize(
    "options", [{"include_top": False}, {"include_top": False, "pooling": "avg"}]
)
@pytest.mark.parametrize("engine", ENGINES)
def test_features_come_out_too(engine, options):
    model = net(**options)
    x = preprocess_input(random_images(3))
    with Predictor(model, engine=engine) as predictor:
        found = predictor.predict(x)
    assert difference(model(x, training=False), found).relative_error < FLOAT32


def test_paths_are_read_as_the_model_info_says(litert, files):
    pixels = np.stack([read_image(path, size=SIZE, crop=0.875) for path in files])
    expected = litert.predict(pixels)
    assert np.array_equal(litert.predict(files), expected)
    assert np.array_equal(litert.predict(iter(map(str, files))), expected)
    assert np.array_equal(litert.predict(files[0]), expected[:1])


def test_images_are_taken_as_a_server_has_them(litert, files):
    expected = litert.predict(files)
    contents = [Path(file).read_bytes() for file in files]
    arrays = [read_image(file, size=SIZE, crop=0.875) for file in files]
    floats = [preprocess_input(array) for array in arrays]
    images = [Image.open(file) for file in files]
    for given in (contents, map(io.BytesIO, contents), images, arrays, tuple(floats),
                  [files[0], contents[1], images[2]]):  # fmt: skip
        np.testing.assert_allclose(litert.predict(given), expected, atol=1e-6)
    for one in (contents[0], memoryview(contents[0]), io.BytesIO(contents[0]), images[0]):
        assert np.array_equal(litert.predict(one), expected[:1])


def test_what_is_no_image_is_refused(litert, files):
    with pytest.raises(ImageError, match=r"An image of 8 bytes.*\n"):
        litert.predict(b"no image")
    with pytest.raises(ValueError, match="must be a path, bytes.*Received: int"):
        litert.predict([1, 2])
    with pytest.raises(ValueError, match=r"arrays of one shape and type.*float32.*uint8"):
        litert.predict([random_images(1)[0], np.zeros((SIZE, SIZE, 3), np.float32)])


def test_grey_model_reads_colour_files(files):
    with Predictor(net((SIZE, SIZE, 1))) as predictor:
        (pixels,) = (predictor.read_image(path) for path in files[:1])
        grey = read_image(files[0], size=SIZE, crop=0.875).astype(float) @ [0.299, 0.587, 0.114]
        assert np.array_equal(pixels[..., 0], np.rint(grey))
        assert predictor.predict(files).shape == (3, 5)


def test_model_of_many_channels_reads_no_files(files):
    with (
        Predictor(net((SIZE, SIZE, 4))) as predictor,
        pytest.raises(ImageError, match="Pass arr"),
    ):
        predictor.predict(files)


def test_classes_have_the_models_names(litert, files):
    results = list(litert.classify(files, top=2))
    scores = litert.predict(files)
    for result, path, row in zip(results, files, scores, strict=True):
        best = int(row.argmax())
        assert result.path == str(path)
        assert result.predictions[0][1:] == (LABELS[best], pytest.approx(row[best]))
        assert len(result.predictions) == 2


def test_bad_file_does_not_stop_an_endless_stream(litert, files, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    stream = itertools.cycle([*files, tmp_path / "bad.png"])
    results = list(itertools.islice(litert.classify(stream), 100))
    assert [bool(result.fault) for result in results[:8]] == [False, False, False, True] * 2


def test_model_without_names_does_not_classify(files):
    with (
        Predictor(net()) as predictor,
        pytest.raises(ValueError, match="does not name its classes"),
    ):
        predictor.classify(files)


def test_saved_model_is_opened_by_its_path(model, reference, tmp_path):
    save_model(model, tmp_path / "model.keras")
    with Predictor(tmp_path / "model.keras") as predictor:
        assert predictor.info.labels == LABELS
        assert difference(reference, predictor.predict(random_images(7))).relative_error < FLOAT32


@pytest.mark.parametrize("name", ["m.keras", "m.tflite", "m.onnx", "m.xml", "folder"])
def test_damaged_file_is_refused(exported, tmp_path, name):
    shutil.copytree(exported(name).parent, tmp_path, dirs_exist_ok=True)
    path = tmp_path / name
    file = {"folder": path / "saved_model.pb", "m.xml": tmp_path / "m.bin"}.get(name, path)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=name):
        Predictor(path)


@pytest.mark.parametrize("name", ["weights.h5", "model", "model.pt"])
def test_unknown_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="this is not a file of weights"):
        Predictor(tmp_path / name)


def test_missing_file_is_refused(tmp_path):
    for name in ("m.keras", "m.tflite"):
        with pytest.raises(ValueError, match="No file or folder of the name"):
            Predictor(tmp_path / name)


def test_model_without_images_is_refused():
    import keras

    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match=r"one input of shape \(batch, height"):
        Predictor(keras.Model(inputs, keras.layers.Dense(2)(inputs)))


def test_nothing_is_printed(silent, model):
    with Predictor(model, engine="litert") as predictor:
        predictor.predict(random_images(5))


@pytest.mark.parametrize(
    ("alpha", "each"),
    [(0.25, 5), (1.0, 20), *(pytest.param(a, 1, marks=pytest.mark.slow) for a in (0.25, 1.0))],
)
def test_every_float32_engine_agrees_on_real_images(shared_data, monkeypatch, alpha, each):
    monkeypatch.setenv("KERAS_MOBILENET_WEIGHTS", str(shared_data / "weights" / "keras"))
    model = MobileNet(alpha=alpha)
    paths = sorted((shared_data / "images" / "imagenet_sample").iterdir())[::each]
    pixels = np.stack([read_image(path, size=224, crop=0.875) for path in paths])
    reference = model.predict(preprocess_input(pixels), verbose=0)
    for engine in ENGINES:
        with Predictor(model, engine=engine) as predictor:
            assert difference(reference, predictor.predict(pixels)).top1_agreement == 1.0, engine


REPORTS = """
import sys
import openvino_telemetry as telemetry
told = []
telemetry.Telemetry.send_event = lambda *args, **more: told.append(args)
from keras_mobilenet.deploy.engines import openvino_engine
from keras_mobilenet.deploy.engines import runtimes
runtimes.import_openvino()
openvino_engine._import_nncf()
assert sys.modules["openvino_telemetry"] is telemetry
assert told == [], told
"""


def test_nothing_is_reported_to_a_server():
    pytest.importorskip("openvino_telemetry")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CI", "NNCF"))}
    done = subprocess.run(
        [sys.executable, "-c", REPORTS],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_no_temporary_files_are_left(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for engine in ENGINES:
        Predictor(model, engine=engine).close()
    shutil.rmtree(tmp_path / "tmp", ignore_errors=True)
    assert list(tmp_path.iterdir()) == []
