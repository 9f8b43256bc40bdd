"""Nets to be written for timm, each with arrays that are made of their names alone."""

from dataclasses import dataclass, field
from zlib import crc32

import numpy as np

from keras_mobilenet.checkpoints.net_weights import NetWeights
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families.registry import family

CLASSES = 5
TIMM = Conventions(1e-5, "symmetric")


@dataclass(frozen=True)
class Case:
    """A net, the sizes at which timm was asked for its logits, and what its folder must say."""

    net: str
    alpha: float
    conventions: Conventions
    sizes: tuple[int, ...]
    architecture: str
    model_args: dict = field(default_factory=dict)
    channels: int = 3
    include_top: bool = True
    options: dict = field(default_factory=dict)

    def weights(self, size):
        known = family(self.net)
        net = known.network(
            alpha=self.alpha, channels=self.channels, classes=CLASSES, size=(size, size),
            include_top=self.include_top, padding=self.conventions.padding,
            pooling=None if self.include_top else "avg", **self.options,
        )  # fmt: skip
        return NetWeights(
            known, net, arrays_of(net), self.conventions, known.name, (size, size), None, False
        )


_SAME, _EPSILON = {"pad_type": "same"}, {"bn_eps": 1e-3}
# Keras' padding is timm's "same": of V1 at multiples of 32, of the others at every size.
CASES = {
    "v1_keras": Case("mobilenet", 1.0, Conventions(), (96,), "mobilenetv1_100", _EPSILON | _SAME),
    "v1_grey": Case(
        "mobilenet", 1.0, Conventions(1e-5, "symmetric", "relu"), (97,), "mobilenetv1_100",
        {"act_layer": "relu"}, channels=1,
    ),
    "v2_keras": Case(
        "mobilenet_v2", 0.35, Conventions(), (96, 97), "mobilenetv2_035", _EPSILON | _SAME
    ),
    "v2_timm": Case("mobilenet_v2", 0.35, TIMM, (97,), "mobilenetv2_035"),
    "v2_no_top": Case(
        "mobilenet_v2", 0.5, TIMM, (64,), "mobilenetv2_050", include_top=False, channels=4
    ),
    "v3_keras": Case(
        "mobilenet_v3_small", 0.75, Conventions(), (96, 97), "tf_mobilenetv3_small_075"
    ),
    "v3_torchvision": Case(
        "mobilenet_v3_small", 0.5, Conventions(1e-3, "symmetric"), (97,),
        "mobilenetv3_small_050", _EPSILON,
    ),
    "v3_minimalistic": Case(
        "mobilenet_v3_large", 1.0, Conventions(1e-3, "same"), (97,),
        "tf_mobilenetv3_large_minimal_100", options={"minimalistic": True},
    ),
    "v4_hybrid": Case(
        "mobilenet_v4_hybrid_medium", 0.75, Conventions(1e-5, "same"), (64, 65),
        "mobilenetv4_hybrid_medium_075", _SAME,
    ),
    "v4_timm": Case(
        "mobilenet_v4_conv_small", 0.35, Conventions(1e-5), (97,), "mobilenetv4_conv_small_035"
    ),
    "v4_same": Case(
        "mobilenet_v4_conv_small", 0.35, Conventions(1e-3, "same"), (97,),
        "mobilenetv4_conv_small_035", _EPSILON | _SAME,
    ),
}  # fmt: skip


def arrays_of(net):
    """Return arrays that keep activations of a net's size."""
    return {name: _values(name, shape) for name, shape in net.arrays().items()}


def _values(name, shape):
    random = np.random.default_rng(crc32(name.encode()))
    variable = name.rpartition("/")[2]
    if variable == "kernel":
        inputs = np.prod(shape[:2]) if shape[-1] == 1 < len(shape) - 2 else np.prod(shape[:-1])
        drawn = random.standard_normal(shape) / np.sqrt(inputs)
    else:
        low, high = {"moving_variance": (0.3, 1.5), "gamma": (0.7, 1.4)}.get(variable, (-0.3, 0.5))
        drawn = random.uniform(low, high, shape)
    return drawn.astype("float32")


def image(size, channels):
    """Return the input of a case, `(1, size, size, channels)` in -1 to 1."""
    random = np.random.default_rng(size)
    return random.uniform(-1, 1, (1, size, size, channels)).astype("float32")


def digest(arrays):
    """Return what tells whether two files hold the same bits under the same names."""
    import hashlib

    whole = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        whole.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    return whole.hexdigest()
