"""The weights that Google published for MobileNet V1: a row for each alpha and size.

Only what cannot be derived is written here; file names, addresses and parameters follow.

Top-1 and top-5 are the ImageNet validation accuracies (50,000 images, in %, central crop of
87.5 %) that TF-slim's page `research/slim/nets/mobilenet_v1.md` gives for the checkpoints that
Keras' files were converted from. Those of int8 are the page's for its 16 quantised checkpoints,
which were trained with quantisation in mind. Keras publishes 70.4 and 89.5 for alpha 1.0 at 224.
"""

from __future__ import annotations

from dataclasses import dataclass

from keras_mobilenet.nets import v1
from keras_mobilenet.nets.net import Net

BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"
CLASSES = 1000


@dataclass(frozen=True)
class Pretrained:
    """One published set of weights; a file with and one without the top."""

    alpha: float
    size: int  # height and width of the training images, in pixels
    top_1: float
    top_5: float
    top_1_int8: float  # of slim's quantised checkpoint, trained with quantisation in mind
    sha256: str | None = None  # of the file with the top, where known
    sha256_no_top: str | None = None

    def file_name(self, include_top: bool) -> str:
        """Return the name that Keras gives the file: `mobilenet_2_5_224_tf_no_top.h5`."""
        digits = "10" if self.alpha == 1 else f"{self.alpha:.2f}"[2:]
        top = "" if include_top else "_no_top"
        return f"mobilenet_{'_'.join(digits)}_{self.size}_tf{top}.h5"

    def known_sha256(self, include_top: bool) -> str | None:
        """Return the SHA-256 of the published file, or None where nobody recorded it."""
        return self.sha256 if include_top else self.sha256_no_top

    def network(self, include_top: bool) -> Net:
        """Return the net whose arrays the file holds."""
        return v1.network(self.alpha, classes=CLASSES, include_top=include_top)

    @property
    def max_bytes(self) -> int:
        """The most bytes that either file may have: twice its values, and some for the names.

        Keras made the file without the top out of the other one and left the top's room empty, so
        the two are of one size.
        """
        return 2 * 4 * self.network(include_top=True).count_params() + (1 << 20)


PRETRAINED = (
    Pretrained(1.0, 224, 70.9, 89.9, 69.7),
    Pretrained(1.0, 192, 70.0, 89.2, 69.0),
    Pretrained(1.0, 160, 68.0, 87.7, 67.3),
    Pretrained(1.0, 128, 65.2, 85.8, 64.0),
    Pretrained(0.75, 224, 68.4, 88.2, 67.9),
    Pretrained(0.75, 192, 67.2, 87.3, 66.2),
    Pretrained(0.75, 160, 65.3, 86.0, 63.9),
    Pretrained(0.75, 128, 62.1, 83.9, 59.8),
    Pretrained(0.5, 224, 63.3, 84.9, 62.2),
    Pretrained(0.5, 192, 61.7, 83.6, 60.4),
    Pretrained(0.5, 160, 59.1, 81.9, 57.7),
    Pretrained(0.5, 128, 56.3, 79.4, 54.9),
    Pretrained(
        0.25,
        224,
        49.8,
        74.2,
        48.2,
        sha256_no_top="dbdb03ee2a22fd895301636cd328b234bb3a9952358f436d82f46b81e0d5b0bf",
    ),
    Pretrained(0.25, 192, 47.7, 72.3, 45.8),
    Pretrained(0.25, 160, 45.5, 70.3, 43.5),
    Pretrained(0.25, 128, 41.5, 66.3, 39.9),
)

ALPHAS = tuple(sorted({row.alpha for row in PRETRAINED}))
SIZES = tuple(sorted({row.size for row in PRETRAINED}))


def nearest_size(size: tuple[int | None, int | None]) -> int:
    """Return the size whose weights serve an input of `size`: itself, or 224, as in Keras."""
    height, width = size
    return height if height == width and height in SIZES else v1.DEFAULT_SIZE


def find(alpha: float, size: int) -> Pretrained:
    """Return the row for `alpha` and `size`.

    Raises:
        LookupError: nothing was published for the pair.
    """
    for row in PRETRAINED:
        if (row.alpha, row.size) == (alpha, size):
            return row
    raise LookupError(f"no weights were published for alpha={alpha}, size={size}")


def find_file(file_name: str) -> tuple[Pretrained, bool] | None:
    """Return the row of a file, and whether it holds the top; None if it is no published name."""
    rows = ((row, top) for row in PRETRAINED for top in (True, False))
    return next((found for found in rows if found[0].file_name(found[1]) == file_name), None)


def manifest() -> list[dict[str, object]]:
    """Return a row a file, with what is known and what is derived, for `weights/manifest.json`."""
    return [
        {
            "file": row.file_name(top),
            "alpha": row.alpha,
            "size": row.size,
            "include_top": top,
            "params": v1.network(row.alpha, include_top=top).count_params(),
            "top_1": row.top_1,
            "top_5": row.top_5,
            "sha256": row.known_sha256(top),
            "url": BASE_URL + row.file_name(top),
        }
        for row in PRETRAINED
        for top in (True, False)
    ]
