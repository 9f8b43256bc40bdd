"""Each row of a published file, recomputed: its net, its count, its preprocessing."""

import re

import pytest

from keras_mobilenet.formats.plain.pytorch_layers import timm_scales
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import Preprocessing
from keras_mobilenet.nets.families.registry import BY_KEY
from keras_mobilenet.nets.pretrained import PRETRAINED
from keras_mobilenet.nets.published import timm_rows
from keras_mobilenet.nets.published.rows import trained_params
from keras_mobilenet.nets.published.table import (
    BY_NAME,
    ROWS,
    find,
    get,
    looks_like_repository,
    rows_of,
)

rows = pytest.mark.parametrize("row", ROWS, ids=str)


@rows
def test_stated_count_is_that_of_the_net(row):
    factors = timm_scales(row.network()) if "hybrid" in row.net else {}  # parts of arrays here
    arrays = row.network().arrays()
    channels = {scale: arrays[name][-1] for name, scale in factors.items()}
    count = (trained_params(row.network()) + sum(channels.values())) / 1e6
    if row.million_params is not None:
        # Stated to two decimals.
        assert row.million_params == pytest.approx(count, abs=0.005)
    assert row.network().classifier.channels == row.classes


# What `keras.applications` counts with the top and without: the values in Google's files.
KERAS_PARAMS = {
    ("MobileNet", 0.25, False): (475_544, 218_544),
    ("MobileNet", 0.5, False): (1_342_536, 829_536),
    ("MobileNet", 0.75, False): (2_601_976, 1_832_976),
    ("MobileNet", 1.0, False): (4_253_864, 3_228_864),
    ("MobileNetV2", 0.35, False): (1_691_208, 410_208),
    ("MobileNetV2", 0.5, False): (1_987_224, 706_224),
    ("MobileNetV2", 0.75, False): (2_663_064, 1_382_064),
    ("MobileNetV2", 1.0, False): (3_538_984, 2_257_984),
    ("MobileNetV2", 1.3, False): (5_431_048, 3_766_048),
    ("MobileNetV2", 1.4, False): (6_156_712, 4_363_712),
    ("MobileNetV3Large", 0.75, False): (4_012_616, 1_808_736),
    ("MobileNetV3Large", 1.0, False): (5_507_432, 2_996_352),
    ("MobileNetV3Large", 1.0, True): (3_948_688, 1_437_608),
    ("MobileNetV3Small", 0.75, False): (2_051_552, 583_160),
    ("MobileNetV3Small", 1.0, False): (2_554_968, 939_120),
    ("MobileNetV3Small", 1.0, True): (2_056_848, 441_000),
}


@pytest.mark.parametrize("row", PRETRAINED, ids=lambda row: f"{row}, size {row.size}")
def test_googles_files_for_keras_hold_as_many_values_as_keras_counts(row):
    counts = tuple(row.network(top).count_params() for top in (True, False))
    assert counts == KERAS_PARAMS[row.net, row.alpha, row.minimalistic]


@rows
def test_file_may_hold_all_values_and_not_twice_as_many(row):
    stored = 4 * row.network().count_params()
    assert stored < row.max_bytes < 1.2 * stored + (1 << 20)


@rows
def test_preprocessing_is_complete(row):
    scaling = Preprocessing.from_mean_std([255 * x for x in row.mean], [255 * x for x in row.std])
    assert -3 < scaling.range[0] <= 0
    assert 1 <= scaling.range[1] < 3
    for evaluation in row.evaluations:
        assert 0.7 <= evaluation.crop <= 1
        assert evaluation.size % 32 == 0
        assert ModelInfo((evaluation.size,) * 2, evaluation.crop, scaling).to_text()
        assert row.crop_at(evaluation.size) == evaluation.crop
    assert row.crop_at(None) == row.crop_at(97) == row.training.crop
    assert row.interpolation in ("bilinear", "bicubic")
    assert row.licence
    assert row.source


@rows
def test_row_says_what_its_name_says(row):
    """timm writes the width in % and the size of training in a name, Google alpha and size."""
    name = row.repository
    if width := re.search(r"_(\d{3})\b", name):
        assert row.alpha == int(width[1]) / 100 or name.startswith("google/")
    if size := re.search(r"_r(\d{3})_", name):
        assert row.training.size == int(size[1])
    assert ("minimal" in name) == bool(row.options.get("minimalistic"))
    assert row.revision is None or re.fullmatch("[0-9a-f]{40}", row.revision)
    assert name.startswith(("timm/", "google/"))
    assert looks_like_repository(name)


@rows
def test_accuracies_rise_with_the_size_of_the_image(row):
    stated = [x for x in row.evaluations if x.top_1 is not None]
    assert all(50 < x.top_1 < x.top_5 < 98 for x in stated)
    assert [x.top_1 for x in stated] == sorted(x.top_1 for x in stated)
    assert [x.size for x in row.evaluations] == sorted({x.size for x in row.evaluations})


def test_commits_are_of_rows_and_one_for_each():
    pinned = [row for row in ROWS if row.revision]
    assert len({row.revision for row in pinned}) == len(pinned) == len(timm_rows._REVISIONS)


def test_names_are_unique_and_each_family_has_some():
    assert len(BY_NAME) == len(ROWS)
    assert all(rows_of(key) for key in BY_KEY)
    assert not BY_NAME.keys() & timm_rows.OTHERS.keys()


def test_unknown_names_are_told_why():
    assert find("timm/mobilenetv2_100.ra_in1k") is get("timm/mobilenetv2_100.ra_in1k")
    with pytest.raises(ValueError, match="Near it are timm/mobilenetv2_100.ra_in1k"):
        get("timm/mobilenetv2_100")
    with pytest.raises(ValueError, match="more blocks than the paper's net"):
        get("timm/mobilenetv2_110d.ra_in1k")
