"""Image files, read into arrays of pixels."""

from __future__ import annotations

import math
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import PIL
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from keras_mobilenet.errors import ImageError, fault
from keras_mobilenet.images.image_parts import MOST_PARTS, has_too_many_parts
from keras_mobilenet.nets.arguments import as_int, check_choice
from keras_mobilenet.nets.net import Size
from keras_mobilenet.nets.published.rows import CropEdges, Interpolation

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_SIXTEEN_BITS = 65535
_RESAMPLING: dict[str, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_MOST_LENGTH = 1_000_000  # pixels of a side
_BAND = 1 << 22  # pixels that are converted at once: copies of a whole image take gigabytes
_SPARE = 2  # times the pixels needed: then the resizing hides how the JPEG was scaled
_TURNS = {  # EXIF orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ANOTHER = "Pass an image, such as a PNG or JPEG file."
_KINDS = dict.fromkeys(  # by the brand in the head of an ISO base media file
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
) | dict.fromkeys((b"avif", b"avis"), "AVIF")
_TO_JPEG = {
    "HEIC": "Save it as JPEG - a phone does on sharing it, or with a setting of its camera - or "
    "have Pillow read it: pip install pillow-heif, then pillow_heif.register_heif_opener().",
}
_SMALLER = "If you trust the file, make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS."
_SAVE_AGAIN = (
    "It is damaged, incomplete or of a rare kind. Fetch it again, or save it as PNG or JPEG."
)


def read_image(
    path: str | PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    crop: float | None = None,
    scaled: bool = False,
    interpolation: Interpolation = "bilinear",
    keep_aspect: bool = False,
    crop_edges: CropEdges = "whole",
) -> npt.NDArray[np.uint8]:
    """Return the image in a file as RGB pixels, 0 to 255.

    The image is turned upright as its EXIF data say, then cropped, then resized. Of an animation
    it is the first frame. Transparent pixels hold arbitrary colours that nobody is meant to see:
    the image is laid over white. Greys of more than 8 bits are taken as 16 and keep the upper
    8, as Pillow does with colours. Colour profiles are not applied.

    Args:
        path: A file in any format that Pillow decodes into pixels.
        size: `(height, width)` in pixels to resize to, or an int for a square. None keeps the size.
        crop: Share of the height and of the width that a crop about the centre keeps; 0.875 is
            the one of TF-slim's evaluation. None keeps all.
        scaled: Decode large JPEG files at 1/2, 1/4 or 1/8 of their size, where twice `size`
            remains. Several times as fast for a camera's photos; pixels differ by a few levels.
            With a `size`, JPEG files of more pixels than Pillow allows always are.
        interpolation: `"bilinear"` or `"bicubic"`, as Pillow resizes.
        keep_aspect: Whether the crop has the aspect of `size`, and `crop` is the share of the side
            that is the shorter one then, as in PyTorch's evaluations. Else the crop has the image's
            own aspect, as in TF-slim's, and resizing stretches it.
        crop_edges: `"whole"` rounds the crop's edges to pixels; with `"fractional"` they stay where
            they fall, and pixels beyond them blend in, as in Pillow's `resize(size, box=)`.

    Returns:
        A `uint8` array of shape `(height, width, 3)`.

    Raises:
        ImageError: the file is missing, is no image, is damaged, has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`, takes more memory than there is, or has pixels that do not
            say what is white (floats, integers past 16 bits).
        ValueError: `size` or `crop` is out of range, or `interpolation` is unknown.
    """
    fit = _fit(size, crop, interpolation, keep_aspect, crop_edges)
    path = os.fsdecode(path)
    _check_file(path)
    rgb, scale = _decoded(path, fit.size, fit.crop, scaled=scaled)
    return _fitted(rgb, fit, scale)


def _decoded(path: str, size: Size | None, keep: float, *, scaled: bool) -> tuple[Image.Image, int]:
    """Return a file's image, upright and in RGB, and how many times smaller it was decoded."""
    with _decoding(path):
        if has_too_many_parts(path):
            problem = f"has more than {MOST_PARTS:,} parts beside its pixels."
            raise ImageError(fault(path, problem, "Save it anew, without texts and comments."))
        with Image.open(path) as image:
            _check_format(path, image)
            smaller = size is not None and (scaled or _is_large(image))
            scale = _scaled_down(image, size, keep) if smaller and size is not None else 1
            _check_size(path, image)
            return _rgb(path, _upright(image)), scale


def _is_large(image: Image.Image) -> bool:
    return image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf)


def _check_size(path: str, image: Image.Image) -> None:
    """Raise for images that take more memory than a thread of many may have.

    Pillow itself refuses at twice its limit, where a transparent image takes 2 GB.
    """
    problem = f"is too large to decode: {image.width} x {image.height}"
    if _is_large(image):
        most = f"{image.width * image.height} pixels, of which {Image.MAX_IMAGE_PIXELS} are allowed"
        raise ImageError(fault(path, f"{problem}, {most}.", _SMALLER))
    if max(image.size) > _MOST_LENGTH:  # resizing takes 16 bytes a pixel of a side
        most = f"a side may have {_MOST_LENGTH} pixels"
        raise ImageError(fault(path, f"{problem}, and {most}.", "Cut it into several."))


def read_bytes(content: bytes, **fit: Any) -> npt.NDArray[np.uint8]:
    """Return the image in the bytes of a file, as `read_image` does, with all its checks.

    Args:
        content: The bytes.
        fit: `size`, `crop` and the others of `read_image`, but for `scaled`.

    Raises:
        ImageError: they are no image, or one that `read_image` refuses.
        ValueError: `size` or `crop` is out of range.
    """
    # A file, not a stream: what is checked before Pillow opens it is read from a path.
    with tempfile.NamedTemporaryFile(prefix="keras-mobilenet-") as file:
        file.write(content)
        file.flush()
        try:
            return read_image(file.name, **fit)
        except ImageError as error:
            text = str(error).replace(file.name, f"An image of {len(content):,} bytes")
            raise ImageError(text) from error


def image_pixels(
    image: Image.Image,
    *,
    size: int | tuple[int, int] | None = None,
    crop: float | None = None,
    interpolation: Interpolation = "bilinear",
    keep_aspect: bool = False,
    crop_edges: CropEdges = "whole",
) -> npt.NDArray[np.uint8]:
    """Return a Pillow image as pixels, turned upright, cropped and resized as `read_image` does.

    Raises:
        ImageError: it cannot be decoded, or its pixels do not say what is white.
        ValueError: `size` or `crop` is out of range.
    """
    fit = _fit(size, crop, interpolation, keep_aspect, crop_edges)
    name = f"A Pillow image of mode {image.mode}"
    try:
        _check_size(name, image)
        rgb = _rgb(name, _upright(image))
    except ImageError:
        raise
    except Exception as error:  # a file that it is still to be read from is damaged
        raise ImageError(fault(name, f"cannot be decoded: {error}.", _SAVE_AGAIN)) from error
    return _fitted(rgb, fit)


def fit_pixels(
    pixels: npt.NDArray[np.uint8],
    *,
    size: int | tuple[int, int] | None = None,
    crop: float | None = None,
    interpolation: Interpolation = "bilinear",
    keep_aspect: bool = False,
    crop_edges: CropEdges = "whole",
) -> npt.NDArray[np.uint8]:
    """Return pixels that are there already, cropped and resized as `read_image` does.

    Args:
        pixels: A `uint8` array of shape `(height, width, 3)`, 0 to 255.
        size: `(height, width)` in pixels, an int for a square, or None to keep the size.
        crop: Share of the height and of the width to keep about the centre, or None.
        interpolation: As for `read_image`.
        keep_aspect: As for `read_image`.
        crop_edges: As for `read_image`; without a size they are whole.

    Returns:
        A `uint8` array of shape `(height, width, 3)`.

    Raises:
        ValueError: `pixels` are of another shape or type, or `size` or `crop` is out of range.
    """
    fit = _fit(size, crop, interpolation, keep_aspect, crop_edges)
    shape, kind = getattr(pixels, "shape", None), getattr(pixels, "dtype", type(pixels).__name__)
    if kind != np.uint8 or shape is None or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(
            "An image must be an array of pixels, uint8 and of shape (height, width, 3). "
            f"Received: {kind}" + (f" of shape {tuple(shape)}" if shape is not None else "")
        )
    return _fitted(Image.fromarray(pixels), fit)


def central_crop(
    pixels: npt.NDArray[np.uint8], crop: float, aspect: Size | None = None
) -> npt.NDArray[np.uint8]:
    """Return what `fit_pixels` keeps of pixels before it resizes them: a view of them.

    Args:
        pixels: Of shape `(height, width, ...)`.
        crop: As for `read_image`.
        aspect: A size whose aspect is kept; None for that of the pixels.
    """
    height, width = pixels.shape[:2]
    fit = _fit(aspect, crop, "bilinear", aspect is not None)
    left, upper, right, lower = _whole(fit.box(width, height))
    return pixels[upper:lower, left:right]


@dataclass(frozen=True)
class _Fit:
    """What an image is made into."""

    size: Size | None
    crop: float
    interpolation: Interpolation
    keep_aspect: bool
    crop_edges: CropEdges

    @property
    def is_whole(self) -> bool:
        """Whether the crop has whole pixels, as one that is not resized must."""
        return self.crop_edges == "whole" or self.size is None

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return what is kept of an image: its left, upper, right and lower edge."""
        wide = tall = self.crop
        if self.keep_aspect and self.size is not None:
            times = min(height / self.size[0], width / self.size[1])
            tall, wide = tall * times * self.size[0] / height, wide * times * self.size[1] / width
        margin = _margin if self.is_whole else _exact_margin
        left, top = margin(width, wide), margin(height, tall)
        return left, top, width - left, height - top


def _fit(size: Any, crop: Any, interpolation: Any, keep_aspect: bool, edges: Any = "whole") -> _Fit:
    check_choice("interpolation", interpolation, _RESAMPLING)
    check_choice("crop_edges", edges, get_args(CropEdges))
    return _Fit(_size(size), _crop(crop) or 1.0, interpolation, keep_aspect, edges)


def _fitted(rgb: Image.Image, fit: _Fit, scale: int = 1) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image, cropped and resized; it was decoded `scale` times smaller."""
    box = fit.box(scale * rgb.width, scale * rgb.height)
    cut = scale == 1 and fit.is_whole
    if cut:
        rgb = rgb.crop(_whole(box))
    if fit.size is not None:
        height, width = fit.size
        # The crop's edges may lie within pixels, also those of an image that was scaled down.
        left, upper, right, lower = (edge / scale for edge in box)
        part = None if cut else (left, upper, right, lower)
        rgb = rgb.resize((width, height), _RESAMPLING[fit.interpolation], part)
    return np.array(rgb)


def _scaled_down(image: Image.Image, size: Size, keep: float) -> int:
    """Have a JPEG decoded smaller, where enough pixels remain, and return how many times."""
    if _is_large(image) and image.info.get("progressive"):
        return 1  # all of it would be in memory all the same
    least = math.ceil(_SPARE * max(size) / keep)
    width = image.width
    image.draft(None, (least, least))  # a square: EXIF may yet turn the image
    return round(width / image.width)  # 1, 2, 4 or 8; the width is rounded up


def _size(value: Any) -> Size | None:
    """Return `size` as (height, width)."""
    if value is None:
        return None
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    height, width = (as_int(n) for n in pair) if len(pair) == 2 else (None, None)
    if height is None or width is None or min(height, width) < 1:
        raise ValueError(
            "`size` must be (height, width) in pixels, a positive integer for a square, or None "
            f"to keep the image's own. Received: size={value!r}"
        )
    return height, width


def _crop(value: Any) -> float | None:
    if value is None:
        return None
    try:
        share = math.nan if isinstance(value, (bool, str, bytes)) else float(value)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(
            "`crop` must be the share of height and width to keep, above 0 and at most 1, or None "
            f"to keep all. Received: crop={value!r}"
        )
    return share


def _check_file(path: str) -> None:
    """Raise unless `path` is a file with something in it."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise ImageError(fault(path, f"cannot be read: {reason}.", "Check the path.")) from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(_folder_fault(path))
    if not stat.S_ISREG(status.st_mode):  # opening a pipe that nobody writes to never returns
        raise ImageError(fault(path, "is a pipe or a device.", "Pass the path of a file."))
    if status.st_size == 0:
        raise ImageError(fault(path, "is empty (0 bytes).", "Fetch or save it again."))


def _folder_fault(path: str) -> str:
    try:
        os.scandir(path).close()
    except OSError as error:  # as the listing of the folder around it met it
        problem = f"is a folder that cannot be read: {error.strerror or error}."
        return fault(path, problem, "Check its permissions.")
    return fault(path, "is a folder.", "Pass the path of one image.")


@contextmanager
def _decoding(path: str) -> Iterator[None]:
    """Turn whatever Pillow raises into `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        problem = "takes more memory than there is."
        raise ImageError(
            fault(path, problem, "Make it smaller, or decode fewer at once.")
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(fault(path, *_what_else(path))) from error
    except _BOMB as error:
        raise ImageError(fault(path, f"is too large to decode: {error}", _SMALLER)) from error
    except PermissionError as error:
        problem = f"cannot be read: {error.strerror}."
        raise ImageError(fault(path, problem, "Check its permissions.")) from error
    except Exception as error:  # damage surfaces as nearly any type: struct.error, IndexError, ...
        problem = f"cannot be decoded: {error or type(error).__name__}."
        raise ImageError(fault(path, problem, _SAVE_AGAIN)) from error


def _what_else(path: str) -> tuple[str, str]:
    """Return what a file is in which Pillow finds no image, and what to do."""
    with open(path, "rb") as file:
        head = file.read(60)
    kind = _KINDS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    if kind:
        problem = (
            f"is an image of the kind {kind}, which Pillow {PIL.__version__} cannot read here."
        )
        return problem, _TO_JPEG.get(kind, _ANOTHER)
    first_line = head.decode("ascii", "replace").strip().split("\n")[0].rstrip()
    if first_line and first_line.isprintable() and first_line.isascii():
        return f"is text, not an image. It begins with {first_line!r}.", _ANOTHER
    return f"is not an image that Pillow {PIL.__version__} can read.", _ANOTHER


def _check_format(path: str, image: Image.Image) -> None:
    """Raise for formats that Pillow knows by name but cannot decode by itself."""
    # Ghostscript would run what an EPS file says; the others, HDF5 among them, have no decoder.
    if image.format == "EPS" or isinstance(image, ImageFile.StubImageFile):
        problem = f"is of format {image.format}, from which no pixels are read."
        raise ImageError(fault(path, problem, _ANOTHER))


def _upright(image: Image.Image) -> Image.Image:
    """Return the image turned by its EXIF orientation.

    `ImageOps.exif_transpose` also writes the EXIF data anew, which fails where a tag is damaged.
    """
    image.load()  # a PNG file may keep its EXIF data behind the pixels
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF data that nobody can read do not spoil the image
        turn = None
    return image if turn is None else image.transpose(turn)


def _rgb(path: str, image: Image.Image) -> Image.Image:
    if _is_deep(image):
        _check_range(path, image)
    elif not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgb = Image.new("RGB", image.size)
    for top, band in _bands(image):
        rgb.paste(_on_white(_grey(band) if _is_deep(band) else band), (0, top))
    return rgb


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield the rows of an image, some at a time, each with the number of its first."""
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Return whether an image's greys have more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _check_range(path: str, image: Image.Image) -> None:
    """Raise unless deep greys are of 16 bits."""
    bands = (np.asarray(band) for _, band in _bands(image))
    ranges = [(pixels.min(), pixels.max()) for pixels in bands]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    if image.mode == "F" or low < 0 or high > _SIXTEEN_BITS:
        problem = (
            f"has pixels from {low} to {high} (mode {image.mode}); none of them is known as white."
        )
        raise ImageError(fault(path, problem, "Scale them to 0 to 255 and save 8-bit greys."))


def _grey(image: Image.Image) -> Image.Image:
    """Return 16-bit greys as 8-bit ones; Pillow itself would clip them at 255."""
    pixels = np.asarray(image)
    transparent = pixels == image.info.get("transparency")  # one grey, in PNG files
    return Image.fromarray(np.where(transparent, 255, pixels >> 8).astype(np.uint8))


def _margin(length: int, keep: float) -> int:
    """Return the pixels to cut off each end, so that at least one is left."""
    # tests/test_images.py has the accuracies that this rounding gives, and no other.
    return min(round((1 - keep) / 2 * length), (length - 1) // 2)


def _exact_margin(length: int, keep: float) -> float:
    return (1 - keep) / 2 * length


def _whole(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    left, upper, right, lower = map(int, box)
    return left, upper, right, lower


def as_channels(pixels: npt.NDArray[np.uint8], channels: int | None) -> npt.NDArray[np.uint8]:
    """Return RGB pixels of shape `(..., height, width, 3)` with 3 or 1 channels.

    Raises:
        ImageError: the model takes another number.
    """
    if channels in (None, 3):
        return pixels
    if channels == 1:  # the luma that Pillow and JPEG know
        weights = np.array([0.299, 0.587, 0.114], np.float32)
        grey: npt.NDArray[np.uint8] = np.rint(pixels @ weights)[..., None].astype(np.uint8)
        return grey
    raise ImageError(
        f"The model takes {channels} channels, and image files have 3 or 1. Pass arrays; "
        "of a model that was built with 'channels_first' its weights as a file."
    )
