"""Folders of images, in Python: classes and features, in order, ahead, in bounded memory."""

import csv
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from image_files import LABELS, SIZE, small_model, write_images
from PIL import Image

from keras_mobilenet import MobileNet
from keras_mobilenet.deploy.folders.embedding import features_model
from keras_mobilenet.deploy.folders.folder_job import check_output, write_results
from keras_mobilenet.deploy.folders.folders import classify_folder, embed_folder
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.errors import ImageError, MissingExtraError
from keras_mobilenet.images.images import read_image
from keras_mobilenet.images.listing import list_images
from keras_mobilenet.images.model_info import info_for
from keras_mobilenet.images.prefetch import BATCH, PREFETCH, Prefetcher
from keras_mobilenet.models.model_files import set_info
from keras_mobilenet.models.preprocessing import preprocess_input

COUNT = 3 * BATCH + 5
BAD = (3, 40, 41)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def predictor(model):
    with Predictor(model) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def embedder(model):
    with Predictor(features_model(model)) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, COUNT, bad=BAD)
    return folder


@pytest.fixture(scope="module")
def paths(folder):
    return sorted(str(path) for path in folder.glob("*/*"))


def test_folder_is_told_as_its_files_are(predictor, folder, paths):
    results = list(classify_folder(predictor, folder, top=2))
    assert results == list(predictor.classify(paths, top=2))
    assert [result.path for result in results] == paths
    assert sum(result.fault is not None for result in results) == len(BAD)


def test_a_place_that_cannot_be_written_to_is_named_as_the_user_did(tmp_path, monkeypatch):
    def closed(dir):  # noqa: A002 - tempfile's own name of it
        raise OSError(30, "Read-only file system", f"{dir}/tmpx")

    with pytest.raises(OSError, match="none is not a folder. Make it"):
        check_output(
            str(tmp_path / "none" / "a.csv"), features=False, resume=False, overwrite=False
        )
    monkeypatch.setattr(tempfile, "TemporaryFile", closed)
    out = str(tmp_path / "a.csv")
    with pytest.raises(OSError, match="Read-only") as caught:
        check_output(out, features=False, resume=False, overwrite=False)
    assert caught.value.filename == out


def test_list_of_paths_is_taken_in_its_own_order(predictor, paths, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(paths[0]).parents[1])
    relative = [os.path.relpath(path) for path in reversed(paths)]
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(relative) + "\n\n")
    assert [result.path for result in classify_folder(predictor, listed)] == relative
    assert [result.path for result in classify_folder(predictor, relative)] == relative


def test_walk_is_sorted_level_by_level_and_follows_links_but_not_back(tmp_path):
    for name in ("b.png", "a/2.jpeg", "a/10.jpg", "c/1.txt", "a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "c")
    (tmp_path / "c" / "x.webp").touch()
    found = [os.path.relpath(path, tmp_path) for path in list_images(tmp_path)]
    assert found == ["a/10.jpg", "a/2.jpeg", "a.png", "b.png", "c/x.webp", "linked/x.webp"]


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    for name in ("a.png", ".a.png", "._a.png", ".ipynb_checkpoints/a.png", "b/.c/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert list(list_images(tmp_path)) == [str(tmp_path / "a.png")]
    hidden = tmp_path / "b" / ".c"
    assert list(list_images(hidden)) == [str(hidden / "a.png")]  # who names it means it


def test_folders_may_lie_deeper_than_pythons_stack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(200):
        os.mkdir("a")
        os.chdir("a")
    Path("x.png").touch()
    monkeypatch.chdir(tmp_path)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(150)
    try:
        found = list(list_images("a"))
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["a/" * 200 + "x.png"]


def test_one_bad_entry_does_not_end_a_job(predictor, tmp_path, closed):
    folder, out = tmp_path / "images", tmp_path / "out.csv"
    for name in ("a.png", "closed/b.png", "z.png"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (40, 40), "teal").save(folder / name)
    (folder / "self.png").symlink_to("self.png")
    (folder / "self").symlink_to("self")  # not named like an image
    (folder / "gone.png").symlink_to("nowhere")
    report = write_results(predictor, folder, out)
    assert (report.done, report.bad) == (5, 3)
    assert {os.path.basename(path): fault for path, fault in report.faults} == {
        "closed": "is a folder that cannot be read: Permission denied. Check its permissions.",
        "gone.png": "cannot be read: No such file or directory. Check the path.",
        "self.png": "cannot be read: Too many levels of symbolic links. Check the path.",
    }
    assert [row["error"] == "" for row in read_csv(out)] == [True, False, False, False, True]
    assert write_results(predictor, folder, out, resume=True).resumed == 5


def test_walk_does_not_read_a_folder_before_it_is_there(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    walk = list_images(tmp_path)
    next(walk)
    (tmp_path / "b" / "2.png").touch()
    assert len(list(walk)) == 2


def test_decoding_never_runs_further_ahead_than_it_says(paths):
    begun, taken, furthest = [], 0, 0

    def read(path):
        begun.append(path)
        return path

    with Prefetcher(map(str, range(1000)), read, workers=2) as ahead:
        for path in ahead:
            taken += 1
            time.sleep(0.0005)  # a slow net
            furthest = max(furthest, len(begun) - taken)
            assert ahead.read(path) == path
    assert PREFETCH - 2 <= furthest <= PREFETCH
    assert taken == 1000


def test_slow_net_holds_the_decoding_back(predictor, paths, monkeypatch):
    begun, ahead_of_net = [], []
    read, run = predictor.read_image, predictor.predict

    def counted(path, **options):
        begun.append(path)
        return read(path, **options)

    def slow(x):
        time.sleep(0.1)
        ahead_of_net.append(len(begun) - BATCH * (1 + len(ahead_of_net)))
        return run(x)

    monkeypatch.setattr(predictor, "read_image", counted)
    monkeypatch.setattr(predictor, "predict", slow)
    list(classify_folder(predictor, paths * 3))
    assert max(ahead_of_net) <= PREFETCH
    assert max(ahead_of_net) >= BATCH  # and the net does not wait for it


def test_stopping_early_ends_the_threads(predictor, paths):
    results = classify_folder(predictor, paths)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_scaled_jpeg_is_nearly_the_image_and_small_files_are_the_same(tmp_path):
    waves = np.sin(np.arange(1200)[:, None] / 40) * np.cos(np.arange(1600)[None] / 60)
    pixels = np.stack([127 + 120 * waves, 127 - 90 * waves, 60 + 40 * waves], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, height in (("large.jpg", 1200), ("small.jpg", 2 * SIZE)):
        image = Image.fromarray(pixels[:height])
        image.save(tmp_path / name, exif=exif)
    whole, scaled = (
        read_image(tmp_path / "large.jpg", size=(40, 64), crop=0.875, scaled=scaled).astype(int)
        for scaled in (False, True)
    )
    error = np.abs(whole - scaled)
    assert 0 < error[1:-1, 1:-1].max() <= 3  # of the steps of 20 levels that this image has
    assert error.max() <= 8  # at the edge of the crop, over which the resizing now sees
    small = [read_image(tmp_path / "small.jpg", size=64, scaled=s) for s in (False, True)]
    assert np.array_equal(*small)


def test_features_are_the_models_own_pooled_output(model, embedder, folder, paths):
    pooled = keras.Model(model.input, model.get_layer("dropout").input)
    results = list(embed_folder(embedder, folder))
    assert [result.path for result in results] == paths
    for result in results[::10]:
        if result.fault is None:
            pixels = read_image(result.path, size=SIZE, crop=embedder.info.crop)
            expected = np.ravel(pooled(preprocess_input(pixels[None])))
            # Folding the batch norms changes the last digits.
            assert np.allclose(result.features, expected, atol=1e-5)
    assert sum(result.features is None for result in results) == len(BAD)


def test_features_of_a_net_without_a_top_are_pooled():
    base = MobileNet((SIZE, SIZE, 3), alpha=0.25, include_top=False, weights=None)
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, SIZE, SIZE, 3))
    expected = np.mean(base(pixels), axis=(1, 2))
    assert np.allclose(features_model(base)(pixels), expected, atol=1e-6)


def test_features_of_a_net_with_a_layer_of_that_name():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, name="features")(inputs)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="features_1")(pooled))
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, SIZE, SIZE, 3))
    expected = keras.Model(inputs, pooled)(pixels)
    assert np.allclose(features_model(model)(pixels), expected, atol=1e-6)


def test_features_are_not_the_pool_of_a_squeeze_and_excitation():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    pool = keras.layers.GlobalAveragePooling2D(keepdims=True, name="global_average_pooling2d")
    squeezed = keras.layers.Conv2D(4, 1, activation="sigmoid")(pool(x))
    base = keras.Model(inputs, keras.layers.Conv2D(5, 3)(keras.layers.Multiply()([x, squeezed])))
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, SIZE, SIZE, 3))
    assert np.allclose(features_model(base)(pixels), np.mean(base(pixels), (1, 2)), atol=1e-6)


def test_features_of_a_net_that_pools_nowhere_are_refused():
    inputs = keras.Input((SIZE, SIZE, 3))
    flat = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match="no layer of global pooling"):
        features_model(flat)


def test_classes_without_names_are_refused_before_a_file_is_made(embedder, folder, tmp_path):
    with pytest.raises(ValueError, match="does not name its classes"):
        classify_folder(embedder, folder)
    with pytest.raises(ValueError, match="does not name its classes"):
        write_results(embedder, folder, tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


# Files of results


def read_csv(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def read_parquet(path):
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


def test_csv_jsonl_and_parquet_say_the_same(predictor, folder, paths, tmp_path):
    outs = [tmp_path / f"out{suffix}" for suffix in (".csv", ".jsonl", ".parquet")]
    reports = [write_results(predictor, folder, out, top=2) for out in outs]
    assert [(r.done, r.resumed, r.bad) for r in reports] == 3 * [(COUNT, 0, len(BAD))]
    rows, objects, table = (
        read_csv(outs[0]),
        [json.loads(line) for line in outs[1].read_text().splitlines()],
        read_parquet(outs[2]),
    )
    results = list(classify_folder(predictor, folder, top=2))
    for result, row, told, record in zip(results, rows, objects, table, strict=True):
        assert {key: "" if v is None else str(np.float32(v)) if "score" in key else v
                for key, v in record.items()} == row  # fmt: skip
        classes = [(c["id"], c["name"], np.float32(c["score"])) for c in told.get("classes", ())]
        assert classes == [(k, n, np.float32(score)) for k, n, score in result.predictions]
        assert (told["path"], told.get("error", "")) == (result.path, row["error"])
        assert bool(row["error"]) == bool(result.fault)
        assert result.path not in row["error"]
    assert list(rows[0])[:5] == ["path", "error", "class_1", "name_1", "score_1"]
    assert {row["name_1"] for row in rows} <= {*LABELS, ""}


def test_npz_and_parquet_hold_the_same_features(embedder, folder, paths, tmp_path):
    for suffix in (".npz", ".parquet"):
        report = write_results(embedder, folder, tmp_path / f"out{suffix}", features=True)
        assert (report.done, report.bad) == (COUNT, len(BAD))
    arrays = np.load(tmp_path / "out.npz")
    rows = read_parquet(tmp_path / "out.parquet")
    good = [row for row in rows if row["features"] is not None]
    assert [row["path"] for row in rows] == paths
    assert arrays["paths"].tolist() == [row["path"] for row in good]
    assert np.array_equal(arrays["features"], np.array([row["features"] for row in good], "f4"))
    bad = [(row["path"], row["error"]) for row in rows if row["features"] is None]
    assert list(zip(arrays["bad_paths"], arrays["errors"], strict=True)) == bad
    assert len(bad) == len(BAD)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "out.npz", "out.npz.job.json", "out.parquet", "out.parquet.job.json",
    ]  # fmt: skip


class Stopped(BaseException):
    """Stands for whatever ends a process; what that leaves is cut further by the test."""


def stop_after(images):
    def progress(done):
        if done >= images:
            raise Stopped

    return progress


@pytest.mark.parametrize("cut", [0, 1, 30, 3000])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".npz"])
def test_cut_output_is_gone_on_with_to_the_same_bytes(
    predictor, embedder, folder, tmp_path, suffix, cut
):
    features = suffix == ".npz"
    model = embedder if features else predictor
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    write_results(model, folder, whole, features=features)
    with pytest.raises(Stopped):
        write_results(model, folder, out, features=features, progress=stop_after(2 * BATCH))
    log = out if out.exists() else tmp_path / f".out{suffix}.unfinished" / "rows.jsonl"
    os.truncate(log, log.stat().st_size - cut)
    report = write_results(model, folder, out, features=features, resume=True)
    # What is left is gone on with behind the last whole batch.
    assert report.resumed == {0: 2, 1: 1, 30: 1, 3000: 1}[cut] * BATCH or cut == 3000
    assert (report.done, report.bad) == (COUNT, len(BAD))
    if features:
        one, other = np.load(whole), np.load(out)
        assert all(np.array_equal(one[key], other[key]) for key in one.files)
    else:
        assert out.read_bytes() == whole.read_bytes()
    again = write_results(model, folder, out, features=features, resume=True)
    assert (again.done, again.resumed, again.bad) == (COUNT, COUNT, len(BAD))
    assert again.faults == report.faults


def test_cut_anywhere_even_in_a_quoted_name(predictor, paths, tmp_path):
    odd = ['a "b".png', "c\nd.png", "c\rd.png", "e,f.png", "ü.png", os.fsdecode(b"\xff.png")]
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in odd:
        Image.new("RGB", (40, 40), "teal").save(folder / "plain.png")
        os.rename(folder / "plain.png", folder / name)
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    for suffix in (".csv", ".jsonl"):
        whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
        write_results(predictor, folder, whole, top=1)
        write_results(predictor, folder, out, top=1)
        content = whole.read_bytes()
        for length in range(0, len(content), 7):
            out.write_bytes(content[:length])
            write_results(predictor, folder, out, top=1, resume=True)
            assert out.read_bytes() == content
    write_results(predictor, folder, tmp_path / "out.parquet", top=1)
    told = [json.loads(line) for line in out.read_text("utf-8").split("\n")[:-1]]
    for rows in (read_csv(tmp_path / "out.csv"), told, read_parquet(tmp_path / "out.parquet")):
        names = {os.path.basename(row["path"]) for row in rows}
        assert names == {*odd[:-1], "\\udcff.png"}  # which every reader of UTF-8 takes
    assert write_results(predictor, folder, tmp_path / "out.parquet", top=1, resume=True).resumed


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["=1+1.png", "-a.png", "b=.png"]
    for name in names:
        Image.new("RGB", (40, 40), "teal").save(name)
    labels = ("=HYPERLINK(1)", "@SUM(1)", "-1", "plain")
    model = small_model()
    set_info(model, info_for((SIZE, SIZE), len(labels), labels))
    with Predictor(model) as predictor:
        write_results(predictor, names, "out.csv", top=4)
        rows = read_csv(tmp_path / "out.csv")
        assert [row["path"] for row in rows] == ["./=1+1.png", "./-a.png", "b=.png"]
        assert all(os.path.exists(row["path"]) for row in rows)
        found = {rows[0][f"name_{i}"] for i in range(1, 5)}
        assert found == {"'=HYPERLINK(1)", "'@SUM(1)", "-1", "plain"}  # -1 computes to itself
        assert write_results(predictor, names, "out.csv", top=4, resume=True).resumed == 3


def test_resuming_another_way_is_refused(predictor, folder, tmp_path):
    out = tmp_path / "out.csv"
    write_results(predictor, folder, out, top=2)
    before = out.read_bytes()
    with pytest.raises(ValueError, match="'2 classes', now '3 classes'"):
        write_results(predictor, folder, out, top=3, resume=True)
    with (
        Predictor(small_model(seed=1)) as other,
        pytest.raises(ValueError, match="whose outputs are not those of"),
    ):
        write_results(other, folder, out, top=2, resume=True)
    (tmp_path / "out.csv.job.json").unlink()
    with pytest.raises(ValueError, match="what made it is not known"):
        write_results(predictor, folder, out, top=2, resume=True)
    assert out.read_bytes() == before


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_resuming_with_other_images_is_refused(predictor, tmp_path, suffix):
    folder, out = tmp_path / "images", tmp_path / f"out{suffix}"
    paths = write_images(folder, 5)
    write_results(predictor, folder, out)
    before = out.read_bytes()
    os.rename(paths[1], paths[1] + ".png")
    with pytest.raises(ValueError, match="other images|in one of the two only"):
        write_results(predictor, folder, out, resume=True)
    assert out.read_bytes() == before


def test_images_that_came_after_are_appended(predictor, tmp_path):
    folder, out = tmp_path / "images", tmp_path / "out.csv"
    write_images(folder, 5)
    write_results(predictor, folder, out)
    Image.new("RGB", (40, 40)).save(folder / "z.png")
    report = write_results(predictor, folder, out, resume=True)
    assert report.done == 6
    assert len(read_csv(out)) == 6


def test_existing_output_is_neither_lost_nor_mixed(predictor, folder, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("mine\n")
    with pytest.raises(ValueError, match="exists. Pass resume"):
        write_results(predictor, folder, out)
    with pytest.raises(ValueError, match="what made it is not known"):
        write_results(predictor, folder, out, resume=True)
    with pytest.raises(ValueError, match="one of the two"):
        write_results(predictor, folder, out, resume=True, overwrite=True)
    assert out.read_text() == "mine\n"
    write_results(predictor, folder, out, overwrite=True)
    assert len(read_csv(out)) == COUNT


def test_output_may_lie_in_the_folder(predictor, tmp_path):
    write_images(tmp_path, 5)
    for suffix in (".csv", ".parquet"):
        assert write_results(predictor, tmp_path, tmp_path / f"0{suffix}").done == 5
    assert write_results(predictor, tmp_path, tmp_path / "0.csv", resume=True).resumed == 5


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        ("nowhere/out.csv", OSError, "nowhere"),
        ("out.xlsx", ValueError, "Classes are written to .csv, .jsonl, .parquet files"),
        ("out.npz", ValueError, "Classes are written to .csv"),
        ("", ValueError, "Received: ''"),
    ],
)
def test_outputs_that_cannot_be_are_refused_at_once(
    predictor, folder, tmp_path, monkeypatch, out, error, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        write_results(predictor, folder, out)
    assert list(tmp_path.iterdir()) == []


def test_source_without_images_is_refused_and_loses_nothing(predictor, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").touch()
    write_results(predictor, folder, tmp_path / "out.csv")
    before = (tmp_path / "out.csv").read_bytes()
    with pytest.raises(ValueError, match="There is no image in"):
        write_results(predictor, tmp_path / "empty", tmp_path / "out.csv", overwrite=True)
    assert (tmp_path / "out.csv").read_bytes() == before


def test_full_disk_keeps_what_was_written(predictor, folder, tmp_path):
    resource = pytest.importorskip("resource")
    out = tmp_path / "out.csv"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written after \d+ images") as caught:
            write_results(predictor, folder, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "--resume" in str(caught.value)
    report = write_results(predictor, folder, out, resume=True)
    assert report.resumed >= BATCH
    write_results(predictor, folder, tmp_path / "whole.csv")
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_second_process_is_kept_from_the_output(predictor, folder, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    seen = []

    def progress(done):
        if not seen:
            seen.append(done)
            for how in ("resume", "overwrite"):
                with pytest.raises(ValueError, match="written by another process"):
                    write_results(predictor, folder, out, **{how: True})

    report = write_results(predictor, folder, out, progress=progress)
    assert report.done == COUNT
    read = read_csv if suffix == ".csv" else read_parquet
    assert len(read(out)) == COUNT


def test_parquet_without_pyarrow_names_the_extra(predictor, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"keras-mobilenet\[parquet\]"):
        write_results(predictor, folder, tmp_path / "out.parquet")


def test_folder_of_bad_files_only_is_told(predictor, tmp_path):
    write_images(tmp_path, 3, bad=range(3))
    results = list(classify_folder(predictor, tmp_path))
    assert all(result.fault for result in results)
    with pytest.raises(ImageError):
        predictor.read_image(results[0].path)
    assert write_results(predictor, tmp_path, tmp_path / "out.jsonl").bad == 3
