"""How images become a size: what is kept of them, and what lies between their pixels."""

import math

import numpy as np
import pytest
from PIL import Image

from keras_mobilenet import Predictor
from keras_mobilenet.deploy.graphs.calibration import calibration_samples
from keras_mobilenet.images.images import central_crop, fit_pixels, image_pixels, read_image
from keras_mobilenet.images.model_info import ModelInfo
from keras_mobilenet.images.pixel_scaling import PIXELS

BICUBIC = {"interpolation": "bicubic", "keep_aspect": True}


@pytest.fixture
def photo():
    """Return smooth colours, wider than they are high: what a camera gives, not noise."""
    y, x = np.mgrid[:150, :230]
    waves = [np.sin(x / a) + np.cos(y / b) for a, b in ((9, 14), (17, 6), (31, 23))]
    return np.uint8(127.5 + 60 * np.stack(waves, -1))


def as_timm_evaluates(pixels, size, crop):
    """Resize the shorter side, then crop; timm/data/transforms_factory.py, crop mode "center"."""
    image = Image.fromarray(pixels)
    scale = math.floor(size / crop) / min(image.size)
    width, height = (round(n * scale) for n in image.size)
    left, top = (round((n - size) / 2) for n in (width, height))
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize(("size", "crop"), [(64, 0.875), (96, 0.95), (80, 1.0)])
@pytest.mark.parametrize("turned", [False, True])
def test_aspect_is_kept_and_pixels_are_those_of_timms_evaluation(photo, size, crop, turned):
    pixels = photo.swapaxes(0, 1).copy() if turned else photo
    ours = fit_pixels(pixels, size=size, crop=crop, **BICUBIC)
    theirs = as_timm_evaluates(pixels, size, crop)
    # timm rounds the resized image's sides and the crop's place: half a pixel of these waves.
    assert np.abs(ours.astype(int) - theirs).mean() < 4
    stretched = fit_pixels(pixels, size=size, crop=crop)
    assert np.abs(stretched.astype(int) - theirs).mean() > 12


def test_bicubic_is_pillows(photo):
    ours = fit_pixels(photo, size=(40, 50), interpolation="bicubic")
    assert np.array_equal(ours, Image.fromarray(photo).resize((50, 40), Image.Resampling.BICUBIC))
    assert not np.array_equal(ours, fit_pixels(photo, size=(40, 50)))


@pytest.mark.parametrize("size", [64, (40, 50)])
def test_edges_within_pixels_are_those_of_pillows_box(photo, size):
    odd = photo[:149, :227]
    ours = fit_pixels(odd, size=size, crop=0.875, crop_edges="fractional")
    height, width = (size, size) if isinstance(size, int) else size
    box = (0.0625 * 227, 0.0625 * 149, 0.9375 * 227, 0.9375 * 149)
    image = Image.fromarray(odd).resize((width, height), Image.Resampling.BILINEAR, box)
    assert np.array_equal(ours, image)
    whole = fit_pixels(odd, size=size, crop=0.875)
    assert not np.array_equal(ours, whole)
    assert np.array_equal(whole, fit_pixels(odd, size=size, crop=0.875, crop_edges="whole"))


def test_what_is_not_resized_is_cropped_between_pixels(photo):
    assert np.array_equal(
        fit_pixels(photo, crop=0.875, crop_edges="fractional"), fit_pixels(photo, crop=0.875)
    )
    with pytest.raises(ValueError, match="`crop_edges` must be one of whole, fractional"):
        fit_pixels(photo, size=9, crop_edges="round")


def test_a_size_that_is_no_square_keeps_its_own_aspect(photo):
    assert central_crop(photo, 1.0, (100, 50)).shape == (150, 74, 3)
    assert central_crop(photo, 0.5, (50, 100)).shape == (58, 114, 3)
    assert central_crop(photo, 0.5).shape == (74, 114, 3)


def test_unknown_interpolation_is_told(photo):
    with pytest.raises(ValueError, match="`interpolation` must be one of bilinear, bicubic"):
        fit_pixels(photo, size=9, interpolation="lanczos")


def test_files_and_images_are_fitted_alike(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    wanted = fit_pixels(photo, size=64, crop=0.9, **BICUBIC)
    read = read_image(tmp_path / "photo.png", size=64, crop=0.9, **BICUBIC)
    assert np.array_equal(read, wanted)
    image = image_pixels(Image.fromarray(photo), size=64, crop=0.9, **BICUBIC)
    assert np.array_equal(image, wanted)


def test_predictor_and_calibration_fit_images_as_the_model_says(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    fit = {**BICUBIC, "crop_edges": "fractional"}
    info = ModelInfo((64, 64), 0.9, PIXELS, **fit)
    wanted = fit_pixels(photo, size=64, crop=0.9, **fit)
    samples = calibration_samples(str(tmp_path), info, (64, 64, 3))
    assert np.array_equal(samples[0], wanted)
    arguments = {"alpha": 0.25, "input_shape": (64, 64, 3), "weights": "random"}
    with Predictor.from_pretrained(**arguments, threads=1) as predictor:
        predictor.info = info
        assert np.array_equal(predictor.read_image(tmp_path / "photo.png"), wanted)
        from_file = predictor.predict(str(tmp_path / "photo.png"))
        assert np.array_equal(from_file, predictor.predict(wanted[None]))
