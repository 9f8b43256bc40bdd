"""The weights that Google published for the MobileNets: a row for each net, alpha and size.

Only what cannot be derived is written here; file names, addresses and parameters follow.

Top-1 and top-5 are ImageNet validation accuracies (50,000 images, in %, central crop of 87.5 %).
V1's and V2's are those that TF-slim's pages `mobilenet_v1.md` and `mobilenet/README.md` give for
the checkpoints that Keras' files were converted from, and so are V3's, of which no top-5 was
published. Those of int8 are the pages' too, of checkpoints that were trained with quantisation in
mind: for V1's 16, V2's 1.0 at 224 and V3's. Keras publishes others for alpha 1.0 at 224: 70.4 and
89.5 for V1, 71.3 and 90.1 for V2, 75.6 and 68.1 for V3 Large and Small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keras_mobilenet.nets.conventions import Length
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.net import DEFAULT_SIZE, Net

CLASSES = 1000
LICENCE = "apache-2.0"  # of the repository of TF-slim, where the checkpoints come from
_BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"


@dataclass(frozen=True)
class Pretrained:
    """One published set of weights; a file with and one without the top."""

    alpha: float
    size: int  # height and width of the training images, in pixels
    top_1: float
    top_5: float | None
    top_1_int8: float | None = None  # of a checkpoint trained with quantisation in mind
    sha256: str | None = None  # of the file with the top, where known
    sha256_no_top: str | None = None
    md5: str | None = None  # that Keras checks
    md5_no_top: str | None = None
    net: str = "MobileNet"  # its builder
    minimalistic: bool = False  # V3 only

    def file_name(self, include_top: bool) -> str:
        """Return the name that Keras gives the file: `mobilenet_2_5_224_tf_no_top.h5`."""
        name = family(self.net).file_name
        if name is None:
            raise LookupError(f"Keras publishes no weights of {self.net}")
        return name(self.alpha, self.size, include_top, **self.options)

    def url(self, include_top: bool) -> str:
        """Return the address that the file was published at."""
        return f"{_BASE_URL}{family(self.net).folder}/{self.file_name(include_top)}"

    def known_sha256(self, include_top: bool) -> str | None:
        """Return the SHA-256 of the published file, or None where nobody recorded it."""
        return self.sha256 if include_top else self.sha256_no_top

    def known_md5(self, include_top: bool) -> str | None:
        """Return the MD5 that Keras pins for the file, or None where it pins none."""
        return self.md5 if include_top else self.md5_no_top

    def __str__(self) -> str:
        return label(self.net, self.alpha, minimalistic=self.minimalistic)

    @property
    def options(self) -> dict[str, Any]:
        """What the builder alone takes, by name."""
        return {"minimalistic": True} if self.minimalistic else {}

    def network(self, include_top: bool) -> Net:
        """Return the net whose arrays the file holds."""
        known = family(self.net)
        return known.network(
            alpha=self.alpha, classes=CLASSES, include_top=include_top, **self.options
        )

    @property
    def max_bytes(self) -> int:
        """The most bytes that either file may have: twice its values, and some for the names.

        Keras made V1's file without the top out of the other one and left the top's room empty, so
        the two are of one size.
        """
        return 2 * 4 * self.network(include_top=True).count_params() + (1 << 20)


def _rows(
    net: str, table: Mapping[float, Mapping[int, tuple[float, float]]]
) -> Iterator[Pretrained]:
    for alpha, sizes in table.items():
        for size, (top_1, top_5) in sizes.items():
            int8 = 70.9 if (net, alpha, size) == ("MobileNetV2", 1.0, 224) else None
            yield Pretrained(alpha, size, top_1, top_5, int8, net=net)


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
    *_rows(
        "MobileNetV2",
        {
            1.4: {224: (75.0, 92.5)},
            1.3: {224: (74.4, 92.1)},
            1.0: {
                224: (71.8, 91.0),
                192: (70.7, 90.1),
                160: (68.8, 89.0),
                128: (65.3, 86.9),
                96: (60.3, 83.2),
            },
            0.75: {
                224: (69.8, 89.6),
                192: (68.7, 88.9),
                160: (66.4, 87.3),
                128: (63.2, 85.3),
                96: (58.8, 81.6),
            },
            0.5: {
                224: (65.4, 86.4),
                192: (63.9, 85.4),
                160: (61.0, 83.2),
                128: (57.7, 80.8),
                96: (51.2, 75.8),
            },
            0.35: {
                224: (60.3, 82.9),
                192: (58.2, 81.2),
                160: (55.7, 79.1),
                128: (50.8, 75.0),
                96: (45.5, 70.4),
            },
        },
    ),
    Pretrained(
        1.0,
        224,
        75.2,
        None,
        73.9,
        md5="59e551e166be033d707958cf9e29a6a7",
        md5_no_top="07fb09a5933dd0c8eaafa16978110389",
        net="MobileNetV3Large",
    ),
    Pretrained(
        0.75,
        224,
        73.3,
        None,
        None,
        md5="765b44a33ad4005b3ac83185abf1d0eb",
        md5_no_top="40af19a13ebea4e2ee0c676887f69a2e",
        net="MobileNetV3Large",
    ),
    Pretrained(
        1.0,
        224,
        72.3,
        None,
        71.3,
        md5="675e7b876c45c57e9e63e6d90a36599c",
        md5_no_top="ec5221f64a2f6d1ef965a614bdae7973",
        net="MobileNetV3Large",
        minimalistic=True,
    ),
    Pretrained(
        1.0,
        224,
        67.5,
        None,
        64.9,
        md5="8768d4c2e7dee89b9d02b2d03d65d862",
        md5_no_top="d3e8ec802a04aa4fc771ee12a9a9b836",
        net="MobileNetV3Small",
    ),
    Pretrained(
        0.75,
        224,
        65.4,
        None,
        None,
        md5="cb65d4e5be93758266aa0a7f2c6708b7",
        md5_no_top="ebdb5cc8e0b497cd13a7c275d475c819",
        net="MobileNetV3Small",
    ),
    Pretrained(
        1.0,
        224,
        61.9,
        None,
        None,
        md5="99cd97fb2fcdad2bf028eb838de69e37",
        md5_no_top="cde8136e733e811080d9fcd8a252f7e4",
        net="MobileNetV3Small",
        minimalistic=True,
    ),
)


def label(net: str, alpha: float, *, minimalistic: bool = False) -> str:
    """Return a published net in words, such as `"MobileNetV3Small minimalistic, alpha 1"`."""
    return f"{net}{' minimalistic' if minimalistic else ''}, alpha {alpha:g}"


def rows_of(net: str) -> tuple[Pretrained, ...]:
    """Return the published rows of a builder's nets."""
    return tuple(row for row in PRETRAINED if row.net == net)


def alphas(net: str = "MobileNet", **options: Any) -> tuple[float, ...]:
    """Return the alphas that weights were published for, in order."""
    known = {row.alpha for row in rows_of(net) if _has(row, options)}
    return tuple(sorted(known))


def sizes(net: str = "MobileNet", alpha: float | None = None) -> tuple[int, ...]:
    """Return the sizes in pixels that weights were published for, in order."""
    return tuple(sorted({row.size for row in rows_of(net) if alpha in (None, row.alpha)}))


def nearest_size(
    size: tuple[Length, Length], net: str = "MobileNet", alpha: float | None = None
) -> int:
    """Return the size whose weights serve an input of `size`: itself, or 224, as in Keras."""
    height, width = size
    return height if height == width and height in sizes(net, alpha) else DEFAULT_SIZE


def find(alpha: float, size: int, net: str = "MobileNet", **options: Any) -> Pretrained:
    """Return the row for a net's `alpha` and `size`.

    Raises:
        LookupError: nothing was published for them.
    """
    for row in rows_of(net):
        if (row.alpha, row.size) == (alpha, size) and _has(row, options):
            return row
    raise LookupError(f"no weights were published for {label(net, alpha, **options)}, size {size}")


def _has(row: Pretrained, options: Mapping[str, Any]) -> bool:
    return row.minimalistic == bool(options.get("minimalistic", False))


def find_file(file_name: str) -> tuple[Pretrained, bool] | None:
    """Return the row of a file, and whether it holds the top; None if it is no published name."""
    rows = ((row, top) for row in PRETRAINED for top in (True, False))
    return next((found for found in rows if found[0].file_name(found[1]) == file_name), None)


def manifest() -> list[dict[str, object]]:
    """Return a row a file, with what is known and what is derived, for `weights/manifest.json`."""
    return [
        {
            "file": row.file_name(top),
            "net": row.net,
            "alpha": row.alpha,
            "minimalistic": row.minimalistic,
            "size": row.size,
            "include_top": top,
            "params": row.network(top).count_params(),
            "top_1": row.top_1,
            "top_5": row.top_5,
            "sha256": row.known_sha256(top),
            "md5": row.known_md5(top),
            "url": row.url(top),
        }
        for row in PRETRAINED
        for top in (True, False)
    ]
