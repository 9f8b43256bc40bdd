"""Image files: every mode that Pillow decodes, and every bad file."""

import io
import os
import re
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_mobilenet.errors import ImageError
from keras_mobilenet.images import image_parts, images
from keras_mobilenet.images.images import read_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def save(tmp_path):
    """Return a function that saves a Pillow image, or an array, and returns the path."""

    def saver(image, name="image.png", **options):
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return saver


@pytest.fixture
def write(tmp_path):
    """Return a function that writes bytes and returns the path."""

    def writer(content, name="image.jpg"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return writer


def encoded(pixels, image_format="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format, **options)
    return file.getvalue()


def exif(*entries, header=b"II*\0"):
    """Return EXIF data of (tag, type, count, value) entries, true or not."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    start = struct.pack("<IH", 8, len(entries))
    return b"Exif\0\0" + header + start + packed + bytes(16)


ORIENTATION, MAKE = 0x112, 0x10F
SHORT, RATIONAL = 3, 5


# What comes back


def test_an_image_is_a_writable_array_of_bytes_in_rgb(save, pixels):
    image = read_image(save(pixels))
    np.testing.assert_array_equal(image, pixels)
    assert image.dtype == np.uint8
    assert image.flags.writeable


@pytest.mark.parametrize("kind", [str, os.fspath, os.fsencode])
def test_a_path_may_be_text_or_bytes(save, pixels, kind):
    np.testing.assert_array_equal(read_image(kind(save(pixels))), pixels)


def test_an_image_of_one_pixel_is_read_and_cropped_and_resized(save):
    path = save(Image.new("RGB", (1, 1), RED))
    assert read_image(path).tolist() == [[list(RED)]]
    assert np.all(read_image(path, size=(2, 3), crop=0.01) == np.full((2, 3, 3), RED))


def test_the_first_frame_of_an_animation_is_read(save):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue", "blue")]
    path = save(frames[0], "image.gif", save_all=True, append_images=frames[1:])
    assert np.all(read_image(path) == RED)


# Modes


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "PA", "RGBX", "CMYK"])
def test_a_mode_reads_as_pillow_converts_it(save, pixels, mode):
    image = Image.fromarray(pixels)
    image = image.convert("P").convert(mode) if mode == "PA" else image.convert(mode)
    path = save(image, "image.tif" if mode in ("PA", "RGBX", "CMYK") else "image.png")
    np.testing.assert_array_equal(read_image(path), np.asarray(image.convert("RGB")))


def test_a_cmyk_jpeg_keeps_its_colours_although_adobe_inverts_them(save):
    path = save(Image.new("RGB", (8, 8), (200, 100, 50)).convert("CMYK"), "image.jpg")
    difference = read_image(path).astype(int) - (200, 100, 50)
    assert np.abs(difference).max() <= 3  # JPEG rounds


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_greys_of_16_bits_keep_the_upper_8(save, name):
    path = save(np.array([[0, 255, 256, 0x8000, 0xFFFF]], dtype=np.uint16), name)
    assert read_image(path)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_16_bits_kept_in_32_are_scaled_too(save):
    path = save(np.array([[0, 256, 0xFFFF]], dtype=np.int32), "image.tif")
    assert read_image(path)[0, :, 2].tolist() == [0, 1, 255]


def test_colours_of_16_bits_read_like_greys_of_16_bits(write):
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    color = struct.pack(">HHH", 255, 0x8000, 0xFFFF)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + color)), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    path = write(b"\x89PNG\r\n\x1a\n" + content, "image.png")
    assert read_image(path).tolist() == [[[0, 128, 255]]]


# Transparency


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 0), (51, 204)])
def test_transparent_colours_are_laid_over_white(save, alpha, expected):
    color = save(Image.new("RGBA", (2, 2), (0, 0, 0, alpha)))
    assert np.all(read_image(color) == expected)
    grey = save(Image.new("LA", (2, 2), (0, alpha)))
    assert np.all(read_image(grey) == expected)


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_the_one_transparent_colour_of_a_png_is_white(save, mode):
    image = Image.new("RGB", (2, 1), "yellow")
    image.putpixel((0, 0), (0, 0, 0))
    image = image.quantize(2) if mode == "P" else image.convert(mode)
    expected = [list(WHITE), np.asarray(image.convert("RGB"))[0, 1].tolist()]
    path = save(image, transparency=image.getpixel((0, 0)))
    assert read_image(path).tolist() == [expected]


def test_the_one_transparent_grey_of_16_bits_is_white(save):
    path = save(np.array([[256, 257]], dtype=np.uint16), transparency=256)
    assert read_image(path)[0, :, 0].tolist() == [255, 1]


def test_a_palette_may_be_partly_transparent(save):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((1, 0), 1)
    path = save(image, transparency=bytes([51, 255]))
    assert read_image(path).tolist() == [[[204, 204, 204], list(RED)]]


def test_a_transparent_gif_is_laid_over_white(save):
    path = save(Image.new("P", (2, 2), 3), "image.gif", transparency=3)
    assert np.all(read_image(path) == WHITE)


# EXIF orientation


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
@pytest.mark.parametrize(
    ("orientation", "stored"),  # how an upright image is stored under each orientation
    [
        (0, lambda upright: upright),  # not defined
        (1, lambda upright: upright),
        (2, lambda upright: upright[:, ::-1]),
        (3, lambda upright: upright[::-1, ::-1]),
        (4, lambda upright: upright[::-1]),
        (5, lambda upright: upright.swapaxes(0, 1)),
        (6, np.rot90),
        (7, lambda upright: upright[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_the_exif_orientation_is_applied(save, pixels, name, orientation, stored):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    path = save(np.ascontiguousarray(stored(pixels)), name, exif=tags)
    np.testing.assert_array_equal(read_image(path), pixels)


def test_the_crop_and_the_size_are_those_of_the_upright_image(save, pixels):
    path = save(pixels, "image.jpg", exif=exif((ORIENTATION, SHORT, 1, 6)))
    assert read_image(path, crop=0.5).shape == (30, 20, 3)
    assert read_image(path, size=(6, 4)).shape == (6, 4, 3)


def test_an_orientation_counts_beside_damaged_exif_data(save, pixels):
    damaged = exif((ORIENTATION, SHORT, 1, 6), (MAKE, RATIONAL, 1, 8))
    assert read_image(save(pixels, "image.jpg", exif=damaged)).shape == (60, 40, 3)


def test_exif_data_that_cannot_be_read_do_not_spoil_an_image(save, pixels):
    path = save(pixels, "image.webp", exif=exif(header=b"MM\0\0"))
    assert read_image(path).shape == (40, 60, 3)


# Size and crop


@pytest.mark.parametrize(
    ("size", "shape"), [(5, (5, 5, 3)), ((7, 9), (7, 9, 3)), ([90, 70], (90, 70, 3))]
)
def test_the_size_is_height_and_width(save, pixels, size, shape):
    assert read_image(save(pixels), size=size).shape == shape


def test_resizing_is_pillows_bilinear(save, pixels):
    expected = Image.fromarray(pixels).resize((20, 10), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read_image(save(pixels), size=(10, 20)), np.asarray(expected))


def test_numpy_integers_are_sizes(save, pixels):
    path = save(pixels)
    assert read_image(path, size=np.int64(5)).shape == (5, 5, 3)
    assert read_image(path, size=(np.int32(5), 6)).shape == (5, 6, 3)


@pytest.mark.parametrize("crop", [0.875, 0.5, 0.33, np.float32(0.5)])
def test_the_crop_takes_a_rounded_margin_off_each_side(save, pixels, crop):
    top, left = (round((1 - crop) / 2 * length) for length in (40, 60))
    expected = pixels[top : 40 - top, left : 60 - left]
    np.testing.assert_array_equal(read_image(save(pixels), crop=crop), expected)


def test_a_crop_of_1_keeps_all(save, pixels):
    np.testing.assert_array_equal(read_image(save(pixels), crop=1), pixels)


@pytest.mark.parametrize(("length", "left"), [(1, 1), (2, 2), (3, 1), (40, 2)])
def test_the_smallest_crop_leaves_the_middle(save, length, left):
    image = Image.new("RGB", (length, length))
    assert read_image(save(image), crop=1e-9).shape == (left, left, 3)


def test_pixels_outside_the_crop_do_not_bleed_into_it(save):
    image = Image.new("RGB", (64, 64), RED)
    image.paste("blue", (8, 8, 56, 56))
    assert np.all(read_image(save(image), crop=0.75, size=10) == (0, 0, 255))


@pytest.mark.parametrize("size", [0, -1, 1.5, "224", True, (1,), (1, 2, 3), (1, 0), (1, None), {1}])
def test_a_wrong_size_says_what_was_received(save, pixels, size):
    received = re.escape(f"Received: size={size!r}")
    with pytest.raises(ValueError, match=f"`size` must be .*{received}"):
        read_image(save(pixels), size=size)


@pytest.mark.parametrize("crop", [0, -0.5, 1.01, float("nan"), "0.5", True, (0.5, 0.5)])
def test_a_wrong_crop_says_what_was_received(save, pixels, crop):
    received = re.escape(f"Received: crop={crop!r}")
    with pytest.raises(ValueError, match=f"`crop` must be .*{received}"):
        read_image(save(pixels), crop=crop)


def test_wrong_arguments_are_told_before_the_file_is_opened():
    with pytest.raises(ValueError, match="`size` must be"):
        read_image("missing.jpg", size=0)


# Files that are no images


def refused(path, found, remedy):
    """Check that reading `path` fails with the path, what was found and what to do."""
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{os.fsdecode(path)}: ")
    assert message.count(os.fsdecode(path)) == 1
    assert re.search(found, message), message
    assert re.search(rf"\n.*{remedy}", message), message
    return message


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "missing.jpg", "No such file", "Check the path")
    refused(os.fsencode(tmp_path / "missing.jpg"), "No such file", "Check the path")


def test_a_folder_is_refused(tmp_path):
    refused(tmp_path, "is a folder", "one image")


def test_a_path_with_a_null_character_is_refused():
    refused("a\0b", "null", "Check the path")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
def test_a_pipe_and_a_device_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is a pipe or a device", "path of a file")
    refused("/dev/zero", "is a pipe or a device", "path of a file")


def test_an_unreadable_file_is_refused(save, pixels, monkeypatch):
    def forbid(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    path = save(pixels)
    monkeypatch.setattr(Image, "open", forbid)  # file modes do not bind root
    refused(path, "Permission denied", "Check its permissions")


def test_an_empty_file_is_refused(write):
    refused(write(b""), r"empty \(0 bytes\)", "Fetch or save it again")


@pytest.mark.parametrize(
    "line", ["<!DOCTYPE html>", "version https://git-lfs.github.com/spec/v1", "hello"]
)
def test_text_is_refused_with_its_first_line(write, line):
    path = write(f"\n{line}\nmore".encode())
    refused(path, f"is text.*begins with '{re.escape(line)}'", "PNG or JPEG")


@pytest.mark.parametrize("content", [bytes(range(256)), b"\n\n", b"\xff\xd8\xff"])
def test_bytes_that_are_no_image_are_refused(write, content):
    refused(write(content), "not an image that Pillow .* can read", "PNG or JPEG")


@pytest.mark.parametrize(
    ("brand", "kind", "remedy"),
    [(b"heic", "HEIC", "as JPEG .* pip install pillow-heif"), (b"mif1", "HEIC", "as JPEG")],
)
def test_a_phones_image_is_called_by_its_format(write, brand, kind, remedy):
    path = write(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + bytes(100))
    refused(path, f"of the kind {kind}, which Pillow .* cannot read here", remedy)


def test_formats_that_pillow_knows_by_name_only_are_refused(write):
    refused(write(b"\x89HDF\r\n\x1a\n" + bytes(100)), "HDF5.*no pixels", "PNG or JPEG")


def test_an_eps_file_is_refused_before_ghostscript_runs_it(save, pixels, monkeypatch):
    path = save(pixels, "image.eps")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_: pytest.fail("it ran"))
    refused(path, "EPS.*no pixels", "PNG or JPEG")


@pytest.mark.parametrize(("pixel", "dtype"), [(0.5, np.float32), (70000, np.int32), (-1, np.int32)])
def test_pixels_without_a_known_white_are_refused(save, pixel, dtype):
    path = save(np.array([[0, pixel]], dtype=dtype), "image.tif")
    refused(path, "has pixels from .*white", "Scale them to 0 to 255")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_image_is_refused(write, pixels, image_format, share):
    content = encoded(pixels, image_format)
    path = write(content[: int(share * len(content))])
    refused(path, "cannot be decoded: .", "damaged, incomplete")


def test_damage_that_pillow_reports_in_an_odd_way_is_refused(write, pixels, monkeypatch):
    def fail(_image):
        raise struct.error("unpack requires a buffer of 4 bytes")

    path = write(encoded(pixels))
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", fail)
    refused(path, "cannot be decoded: unpack requires", "damaged, incomplete")


def test_too_little_memory_is_not_called_damage(write, pixels, monkeypatch):
    def fail(_image):
        raise MemoryError

    path = write(encoded(pixels))
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", fail)
    assert "damaged" not in refused(path, "takes more memory than there is", "smaller")


@pytest.mark.parametrize(
    "limit", [1000, 2000]
)  # over twice Pillow's limit an error, else a warning
def test_a_decompression_bomb_is_refused(save, pixels, monkeypatch, limit):
    path = save(pixels)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    refused(path, "too large to decode: .*2400 pixels", "PIL.Image.MAX_IMAGE_PIXELS")


def png(width, height, *parts):
    """Return a PNG file of any size with nothing in it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *parts, (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.mark.parametrize("size", [(13_000, 13_000), (170_000_000, 1), (1, 170_000_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_takes_gigabytes_is_refused_before_it_is_decoded(write, size):
    pixels = size[0] * size[1]
    refused(write(png(*size), "x.png"), f"too large to decode: .*{pixels} pixels", "smaller")


@pytest.mark.parametrize("field", ["screen", "frame"])
def test_a_gif_that_claims_to_be_large_is_refused(write, pixels, field):
    gif = bytearray(encoded(pixels, "GIF"))
    start = 6 if field == "screen" else gif.index(b"\x2c\0\0\0\0") + 5
    gif[start : start + 4] = b"\xff\xff\xff\xff"
    refused(write(bytes(gif), "x.gif"), "too large to decode", "smaller")


def test_a_png_whose_texts_unpack_to_much_is_refused(write):
    text = b"key\0\0" + zlib.compress(bytes(8 << 20), 9)
    refused(write(png(8, 8, (b"zTXt", text)), "x.png"), "cannot be decoded", "damaged")


def test_a_side_too_long_to_resize_is_refused(write):
    refused(write(png(2_000_000, 1), "x.png"), "2000000 x 1, and a side may have", "Cut it")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_jpeg_of_more_pixels_than_allowed_is_decoded_smaller(save, monkeypatch):
    path = save(np.full((300, 400, 3), 90, np.uint8), "large.jpg")
    expected = read_image(path, size=16, scaled=True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    assert np.array_equal(read_image(path, size=16), expected)
    refused(path, "too large to decode: 400 x 300, 120000 pixels", "MAX_IMAGE_PIXELS")
    path = save(np.full((300, 400, 3), 90, np.uint8), "large.jpg", progressive=True)
    with pytest.raises(ImageError, match="too large to decode"):
        read_image(path, size=16)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_file_of_countless_parts_is_refused(write, pixels, kind, monkeypatch):
    monkeypatch.setattr(image_parts, "MOST_PARTS", 50)
    for count in (40, 60):
        if kind == "png":
            content = png(1, 1, *[(b"tEXt", b"key\0value")] * count)
        else:
            jpeg = encoded(pixels)
            content = jpeg[:2] + b"\xff\xfe\x00\x04ab" * count + jpeg[2:]
        path = write(content, f"x{count}.{kind}")
        assert image_parts.has_too_many_parts(path) == (count == 60)
    refused(path, "parts beside its pixels", "anew")


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "I;16"])
def test_an_image_is_converted_band_by_band_to_the_same_pixels(save, pixels, mode, monkeypatch):
    image = Image.fromarray(pixels)
    image.putalpha(image.convert("L"))
    if mode == "I;16":
        image = Image.fromarray(257 * pixels[..., 0].astype(np.uint16))
    path = save(image if mode in ("RGBA", "I;16") else image.convert(mode), "x.png")
    whole = read_image(path)
    monkeypatch.setattr(images, "_BAND", 3 * pixels.shape[1])
    assert np.array_equal(read_image(path), whole)
