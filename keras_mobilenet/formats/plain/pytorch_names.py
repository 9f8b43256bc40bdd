"""Other libraries' MobileNets: what they call each array, how they store it, how they compute.

A file is recognised by its array names alone. One source is one row of `sources()`; what shapes and
names cannot show, the padding and the epsilon, is a convention of the source.

Sources: timm 1.0.31, `models/efficientnet.py`, `_gen_mobilenet_v1` and `_gen_mobilenet_v2`, and
`models/mobilenetv3.py`, with V4; torchvision 0.29, `models/mobilenetv2.py` and `mobilenetv3.py`;
transformers 5.24, `models/mobilenet_v1` and `mobilenet_v2`; TF-slim's padding as these repeat it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace

from keras_mobilenet.formats.plain import pytorch_layers
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import v1, v2, v3, v4, v4_hybrid
from keras_mobilenet.nets.net import Layer, Net

Axes = tuple[int | None, ...]  # theirs in our order; None is a new axis of length 1

# PyTorch keeps (out, in, h, w), for a depthwise convolution (in * multiplier, 1, h, w), and for
# a linear layer a matrix (out, in).
_CONV: Axes = (2, 3, 1, 0)
_DEPTHWISE: Axes = (2, 3, 0, 1)
_LINEAR: Axes = (None, None, 1, 0)
_DENSE: Axes = (1, 0)
_VECTOR: Axes = (0,)
_BATCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_COUNTER = "num_batches_tracked"  # of training steps; no net reads it


@dataclass(frozen=True)
class Source:
    """One library's net: its names and its conventions.

    Attributes:
        name: The library and its class or net, in words.
        net_name: The net's.
        net: Our net of these arrays.
        layers: Their names of its convolutions and batch norms.
        conventions: The library's, by what its names of nets begin with where those differ in it.
        linear: The parts and roles of convolutions of 1 x 1 that they keep as a matrix.
        model_type: In the `config.json` that may lie beside the file, and can say otherwise.
        background_classes: The number of classes of which the first is a background class.
        scales: Their names of factors that are parts of arrays here, by these arrays' names.
        unlike: What the library's nets do whose names begin so: they have the same arrays, and
            are none of ours.
    """

    name: str
    net_name: str
    net: Net
    layers: pytorch_layers.Names
    conventions: Mapping[str, Conventions]
    linear: Collection[str] = ("classifier",)
    model_type: str | None = None
    background_classes: int | None = None
    scales: Mapping[str, str] = field(default_factory=dict)
    unlike: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(init=False)  # of each of our arrays
    axes: Mapping[str, Axes] = field(init=False)  # how each is put in Keras' order
    counters: frozenset[str] = field(init=False)  # arrays of theirs that hold no weight

    def __post_init__(self) -> None:
        convolutions, batch_norms = self.layers
        ours = {norm: convolution for convolution, norm in self.net.batch_norm_names().items()}
        names, order = {}, {}
        for layer in self.net:
            for array in layer.arrays():
                variable = array.rpartition("/")[2]
                if layer.name in ours:
                    names[array] = f"{batch_norms[ours[layer.name]]}.{_BATCH_NORM[variable]}"
                else:
                    theirs = "weight" if variable == "kernel" else variable
                    names[array] = f"{convolutions[layer.name]}.{theirs}"
                linear = not {layer.part, layer.role}.isdisjoint(self.linear)
                order[array] = axes(layer, linear=linear) if variable == "kernel" else _VECTOR
        counters = frozenset(f"{norm}.{_COUNTER}" for norm in batch_norms.values())
        for key, value in (("names", names), ("axes", order), ("counters", counters)):
            object.__setattr__(self, key, value)

    @property
    def beginning(self) -> tuple[str, str]:
        """Their names of the first two kernels."""
        stem, first = (self.names[f"{layer.name}/kernel"] for layer in self.net.convolutions[:2])
        return stem, first


def axes(layer: Layer, *, linear: bool = False) -> Axes:
    """Return how PyTorch's axes of a layer's kernel are put in Keras' order."""
    if layer.kind == "Dense":
        return _DENSE
    if linear:
        return _LINEAR
    return _DEPTHWISE if layer.kind == "DepthwiseConv2D" else _CONV


def find(names: Collection[str]) -> Source | None:
    """Return the source of a file with arrays of these names, or None if it is none of them.

    Raises:
        ValueError: the file is of a source's library, but of another net.
    """
    found = set(names)
    alike = [source for source in sources() if found.issuperset(source.beginning)]
    if not alike:
        return None
    # Nets of one library begin alike: it is the one that has the most of the names, and of two
    # of which one has layers more, the one that the file has all of.
    source = max(alike, key=lambda source: _alike(source, found))
    _check_net(source, names)
    return source


def _alike(source: Source, names: Set[str]) -> tuple[int, int]:
    theirs = set(source.names.values())
    return len(theirs & names), -len(theirs)


def _check_net(source: Source, names: Collection[str]) -> None:
    """Raise where a name is of a layer that makes another net of this one."""
    parts = {part for name in source.names.values() for part in name.split(".")}
    for part, what in _OTHER_NETS.items():
        array = next((n for n in names if f".{part}." in f".{n}"), None)
        if array and part not in parts:
            library = source.name.partition(",")[0]
            raise ValueError(
                f"the file is of {library}, but {array} {what}, which {source.net_name} lacks"
            )


_OTHER_NETS = {
    "conv_pwl": "belongs to an inverted residual, as MobileNetV2, V3 and EfficientNet have them",
    "se": "belongs to a squeeze-and-excitation block",
    "attn": "belongs to an attention block, as MobileNetV4's hybrid nets have them",
    "conv_head": "is an extra 1x1 convolution before the pool, as mobilenetv1_100h has it",
}


_PYTORCH = Conventions(epsilon=1e-5, padding="symmetric")
_SLIM = Conventions(epsilon=1e-3, padding="same")
# timm's own nets, and those that it took over from TensorFlow: the same arrays.
_TIMM_V3 = {"mobilenetv3": _PYTORCH, "tf_mobilenetv3": _SLIM}
_FILTERS = "filters the image at each stride"
_TIMM_V4_UNLIKE = {"mobilenetv4_conv_aa": _FILTERS, "mobilenetv4_conv_blur": _FILTERS}


def _timm(name: str, net: Net, conventions: Mapping[str, Conventions]) -> Source:
    return Source(f"timm, {name}", name, net, pytorch_layers.timm(net), conventions)


def _torchvision(name: str, net: Net, conventions: Conventions) -> Source:
    layers = pytorch_layers.torchvision(net)
    return Source(f"torchvision, {name}", name, net, layers, {"": conventions}, linear=("top",))


def _hugging_face(
    name: str, model_type: str, net: Net, layers: Callable[[Net, str], pytorch_layers.Names]
) -> Iterator[Source]:
    kind = name.replace(" ", "")
    whole, headless = f"{kind}ForImageClassification", f"{kind}Model"
    for theirs, prefix, classes in ((whole, f"{model_type}.", 1001), (headless, "", None)):
        yield Source(
            f"Hugging Face, {theirs}", name, net, layers(net, prefix), {"": _SLIM},
            model_type=model_type, background_classes=classes,
        )  # fmt: skip


def _sources() -> Iterator[Source]:
    net = v1.network()
    yield _timm("MobileNet V1", net, {"": _PYTORCH})
    yield from _hugging_face("MobileNet V1", "mobilenet_v1", net, pytorch_layers.hugging_face_v1)
    net, name = v2.FAMILY.network(), v2.FAMILY.name
    yield _timm(name, net, {"": _PYTORCH})
    yield _torchvision(name, net, _PYTORCH)
    yield from _hugging_face(name, "mobilenet_v2", net, pytorch_layers.hugging_face_v2)
    for family in (v3.SMALL_FAMILY, v3.LARGE_FAMILY):
        net, minimalistic = family.network(), family.network(minimalistic=True)
        yield _timm(family.name, net, _TIMM_V3)
        yield _timm(f"{family.name}, minimalistic", minimalistic, {"": _SLIM})
        # torchvision has V3 with alpha=1 only: it scales other widths than Keras does.
        yield _torchvision(family.name, net, replace(_PYTORCH, epsilon=1e-3))
    for family in (v4.SMALL_FAMILY, v4.MEDIUM_FAMILY, v4.LARGE_FAMILY):
        net = family.network()
        yield Source(
            f"timm, {family.name}", family.name, net, pytorch_layers.timm_v4(net),
            {"": _PYTORCH}, unlike={} if family == v4.SMALL_FAMILY else _TIMM_V4_UNLIKE,
        )  # fmt: skip
    for family in (v4_hybrid.MEDIUM_FAMILY, v4_hybrid.LARGE_FAMILY):
        net = family.network()
        yield Source(
            f"timm, {family.name}", family.name, net, pytorch_layers.timm_v4(net),
            {"": _PYTORCH}, scales=pytorch_layers.timm_scales(net),
        )  # fmt: skip


@functools.cache
def sources() -> tuple[Source, ...]:
    """Return the sources, which are made when a file may be one of theirs."""
    return (*_sources(),)
