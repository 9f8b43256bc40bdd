"""What is known of a published file: its net, its place, its preprocessing, its accuracy.

Imports neither Keras nor NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from keras_mobilenet.nets.families import registry
from keras_mobilenet.nets.net import Family, Net

Interpolation = Literal["bilinear", "bicubic"]
CropEdges = Literal["whole", "fractional"]  # pixels
PerChannel = tuple[float, float, float]  # red, green, blue
IMAGENET_CLASSES = 1000
CONFIG, WEIGHTS = "config.json", "model.safetensors"  # of a repository, and of a folder like one
CONFIG_BYTES = 1 << 20  # at most; with the names of 1001 classes it has 70,000
_NAMES_BYTES = 1 << 20  # at most, of the header of a file


@dataclass(frozen=True)
class Evaluation:
    """What images were made into, and how often the net named their class then."""

    size: int  # height and width in pixels
    crop: float  # share of each side that a central crop keeps
    top_1: float | None = None  # in %, of ImageNet's 50,000 validation images; None: not stated
    top_5: float | None = None


@dataclass(frozen=True)
class Published:
    """One file of weights in a repository of the hub, as its publisher describes it."""

    repository: str  # "owner/name", which is the row's name
    net: str  # key of its family
    evaluations: tuple[Evaluation, ...]  # at the size of training, then at one for tests, if any
    mean: PerChannel  # of pixels from 0 to 1
    std: PerChannel
    interpolation: Interpolation
    licence: str  # as the publisher writes it
    source: str  # of all these
    alpha: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)  # what its builder alone takes
    classes: int = IMAGENET_CLASSES  # of the net that is built
    background: bool = False  # whether the file has another class ahead of these
    million_params: float | None = None  # as stated: trained ones, to two decimals
    revision: str | None = None  # a commit that is known to hold the file; None: the newest
    file: str = WEIGHTS

    @property
    def family(self) -> Family:
        """The net's family."""
        return registry.family(self.net)

    @property
    def training(self) -> Evaluation:
        """The images of the training's size."""
        return self.evaluations[0]

    @property
    def test(self) -> Evaluation:
        """The images that the publisher tests with: often larger ones."""
        return self.evaluations[-1]

    def crop_at(self, height: int | None) -> float:
        """Return what a central crop keeps of each side where images become `height` pixels."""
        fitting = (x.crop for x in self.evaluations if x.size == height)
        return next(fitting, self.training.crop)

    @property
    def takes_minus_one_to_one(self) -> bool:
        """Whether its net takes what Keras' MobileNets take: pixels scaled to -1 to 1."""
        return {*self.mean, *self.std} == {0.5}

    @property
    def arguments(self) -> dict[str, Any]:
        """What to pass to the builder, but for the image's size and the weights."""
        return {"alpha": self.alpha, **self.options, "classes": self.classes}

    def network(self, include_top: bool = True) -> Net:
        """Return the net whose arrays the file holds."""
        return self.family.network(**self.arguments, include_top=include_top)

    @property
    def max_bytes(self) -> int:
        """The most bytes that the file may have: its values in float32, and names."""
        stored = {**self.arguments, "classes": self.classes + self.background}
        return 4 * self.family.network(**stored).count_params() + _NAMES_BYTES

    def __str__(self) -> str:
        return self.repository


def trained_params(net: Net) -> int:
    """Return the number of values that training changes: all but batch norms' moving statistics."""
    moving = ("moving_mean", "moving_variance")
    shapes = net.arrays().items()
    statistics = sum(shape[0] for name, shape in shapes if name.endswith(moving))
    return net.count_params() - statistics
