"""Other libraries' MobileNet V1: what they call each array, how they store it, how they compute.

A file is told by its array names alone. One source is one row of `SOURCES`; what shapes and names
cannot show, the padding and the epsilon, is a convention of the source.

Sources: timm 1.0.31, `models/efficientnet.py`, `_gen_mobilenet_v1`; transformers 5.23,
`models/mobilenet_v1/modeling_mobilenet_v1.py`; TF-slim's padding as the latter repeats it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import groupby

from keras_mobilenet.nets import v1
from keras_mobilenet.nets.net import Conventions

Axes = tuple[int | None, ...]  # theirs in our order; None is a new axis of length 1

# PyTorch keeps (out, in, h, w), for a depthwise convolution (in * multiplier, 1, h, w), and for
# the classifier a matrix (classes, channels).
_CONV: Axes = (2, 3, 1, 0)
_DEPTHWISE: Axes = (2, 3, 0, 1)
_LINEAR: Axes = (None, None, 1, 0)
_VECTOR: Axes = (0,)
_BATCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_COUNTER = "num_batches_tracked"  # of training steps; no net reads it
_CLASSIFIER = "classifier"


@dataclass(frozen=True)
class Source:
    """One library's names and conventions.

    Attributes:
        name: The library and its net, in words.
        names: Their name of each of our arrays.
        counters: Their arrays that hold no weight, which are passed over.
        conventions: The library's defaults.
        configured: Whether a `config.json` beside the file can say otherwise.
        background_classes: The number of classes of which the first is a background class.
    """

    name: str
    names: Mapping[str, str]
    counters: frozenset[str]
    conventions: Conventions
    configured: bool = False
    background_classes: int | None = None


def axes(name: str) -> Axes:
    """Return how PyTorch's axes are put in Keras' order, for one of our array names."""
    return _AXES[name]


def find(names: Collection[str]) -> Source | None:
    """Return the source of a file with arrays of these names, or None if it is none of them.

    Raises:
        ValueError: the file is of a source's library, but of another net.
    """
    for source in SOURCES:
        stem, first = (source.names[f"{layer.name}/kernel"] for layer in _NET.convolutions[:2])
        if stem in names and first in names:
            _check_net(source, names)
            return source
    return None


def _check_net(source: Source, names: Collection[str]) -> None:
    """Raise where a name is of a layer that makes another net of this one."""
    for part, what in _OTHER_NETS.items():
        if array := next((n for n in names if f".{part}." in f".{n}"), None):
            raise ValueError(f"the file is of {source.name.partition(',')[0]}, but {array} {what}")


_NET = v1.network()
_OTHER_NETS = {
    "conv_pwl": "belongs to an inverted residual, as MobileNet V2, V3 and EfficientNet have them: "
    "it is no MobileNet V1",
    "se": "belongs to a squeeze-and-excitation block, which MobileNet V1 lacks",
    "conv_head": "is an extra 1x1 convolution before the pool, as mobilenetv1_100h has it, which "
    "MobileNet V1 lacks",
}


def _names(convolutions: Mapping[str, str], batch_norms: Mapping[str, str]) -> dict[str, str]:
    """Return their name of each of our arrays, from their names of the layers."""
    names, ours = {}, _NET.batch_norm_names()
    for layer, theirs in convolutions.items():
        names[f"{layer}/kernel"] = f"{theirs}.weight"
        if layer in batch_norms:
            for variable, name in _BATCH_NORM.items():
                names[f"{ours[layer]}/{variable}"] = f"{batch_norms[layer]}.{name}"
        else:
            names[f"{layer}/bias"] = f"{theirs}.bias"
    return names


_TIMM = {"depthwise": ("conv_dw", "bn1"), "pointwise": ("conv_pw", "bn2")}


def _timm() -> tuple[dict[str, str], dict[str, str]]:
    """Return timm's names of the convolutions and of the batch norms after them.

    Blocks that put out the same number of channels are a stage: `blocks.<stage>.<block>`.
    """
    stem, classifier = _NET.stem.name, v1.FAMILY.classifier.name
    convolutions, batch_norms = {stem: "conv_stem"}, {stem: "bn1"}
    channels = {block: _NET.parts[block][-1].channels for block in _NET.blocks}
    for stage, (_, blocks) in enumerate(groupby(_NET.blocks, key=channels.__getitem__)):
        for number, block in enumerate(blocks):
            prefix = f"blocks.{stage}.{number}"
            for layer in _NET.parts[block]:
                if layer.kernel:
                    kind, norm = _TIMM[layer.role]
                    convolutions[layer.name] = f"{prefix}.{kind}"
                    batch_norms[layer.name] = f"{prefix}.{norm}"
    return convolutions | {classifier: _CLASSIFIER}, batch_norms


def _hugging_face(prefix: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return Hugging Face's names: a list of layers, depthwise and pointwise in turn."""
    ours = [layer.name for layer in _NET.convolutions][1:-1]
    theirs = {_NET.stem.name: f"{prefix}conv_stem"}
    theirs |= {layer: f"{prefix}layer.{number}" for number, layer in enumerate(ours)}
    convolutions = {layer: f"{name}.convolution" for layer, name in theirs.items()}
    batch_norms = {layer: f"{name}.normalization" for layer, name in theirs.items()}
    return convolutions | {v1.FAMILY.classifier.name: _CLASSIFIER}, batch_norms


def _source(
    name: str,
    layers: tuple[dict[str, str], dict[str, str]],
    conventions: Conventions,
    *,
    configured: bool = False,
    background_classes: int | None = None,
) -> Source:
    counters = frozenset(f"{batch_norm}.{_COUNTER}" for batch_norm in layers[1].values())
    names = _names(*layers)
    return Source(name, names, counters, conventions, configured, background_classes)


def _axes() -> dict[str, Axes]:
    kernels = {
        layer.name: _DEPTHWISE if layer.kind == "DepthwiseConv2D" else _CONV
        for layer in _NET.convolutions
    } | {v1.FAMILY.classifier.name: _LINEAR}
    return {
        name: kernels[name.partition("/")[0]] if name.endswith("/kernel") else _VECTOR
        for name in _NET.arrays()
    }


_AXES = _axes()
_SLIM = Conventions(epsilon=1e-3, padding="same")
SOURCES = (
    _source("timm, MobileNet V1", _timm(), Conventions(epsilon=1e-5, padding="symmetric")),
    _source(
        "Hugging Face, MobileNetV1ForImageClassification",
        _hugging_face("mobilenet_v1."),
        _SLIM,
        configured=True,
        background_classes=1001,
    ),
    _source("Hugging Face, MobileNetV1Model", _hugging_face(""), _SLIM, configured=True),
)
