"""timm's MobileNets, whose weights Ross Wightman trained or converted.

Sources, read at commit aa4b5850c154 of huggingface/pytorch-image-models: the configurations in
`timm/models/efficientnet.py` (V1, V2) and `timm/models/mobilenetv3.py` (V3, V4) for mean, std,
interpolation, crop, size, classes and licence; `results/results-imagenet.csv` for accuracies and
counts. No accuracy on ImageNet's 1000 classes can be stated for the nets of 11,221 and 11,821.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_mobilenet.nets.published.rows import Evaluation, Interpolation, PerChannel, Published

_IMAGENET: tuple[PerChannel, PerChannel] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: tuple[PerChannel, PerChannel] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_NONE: tuple[PerChannel, PerChannel] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_SOURCE = "huggingface/pytorch-image-models@aa4b5850c154: timm/models, results/results-imagenet.csv"
_IN12K = 11821
_MIIL_IN21K = 11221
_MINIMALISTIC = {"minimalistic": True}
# Commits that others fetched `model.safetensors` of; of the rest none was seen, and the newest is
# taken. Sources: D-Robotics/rdk_model_zoo, utils/tools/mobilenet/checkpoints.json, with hashes and
# sizes of the files; and caches of the hub's client and pins of the file in public repositories.
_REVISIONS = {
    "mobilenetv1_100.ra4_e3600_r224_in1k": "636812647d7a669e4ce6d6d367f27c8ee71155f6",
    "mobilenetv1_125.ra4_e3600_r224_in1k": "9e2b4f9a089f39eaf59cb38fb5d595f4d78c8064",
    "mobilenetv2_100.ra_in1k": "5afa12513b048c79b9147a5d210e9bdc50035481",
    "mobilenetv2_140.ra_in1k": "008fa2eb59c0080738c65898a7666059e11c0a75",
    "mobilenetv3_large_100.ra_in1k": "96f46a1c52932f27492dff66c72378eb99b443a7",
    "mobilenetv3_large_100.ra4_e3600_r224_in1k": "26a545b7c557e54fa13caff7e76da391f6bcbc1a",
    "mobilenetv3_small_050.lamb_in1k": "f58e7345afe2832abd6f81cc60f67cd1ddf7ce00",
    "mobilenetv3_small_100.lamb_in1k": "1824797e7887cbec1990e4adbd6675960a36c589",
    "tf_mobilenetv3_large_075.in1k": "b1c1e44af126225ee71496e7a1f77eae95529ae3",
    "mobilenetv4_conv_small.e1200_r224_in1k": "c9f31ac64483d7f0590db9edccb4418392a96eea",
    "mobilenetv4_conv_small.e2400_r224_in1k": "331fb803779522b685cf942e15f914fb6741c1eb",
    "mobilenetv4_conv_medium.e500_r224_in1k": "02a09fbfb82b289e871ba8255f9da58c056fb13b",
    "mobilenetv4_conv_medium.e500_r256_in1k": "ad66898c045c1b5223ea3f2c0830b74cf2e75bac",
    "mobilenetv4_conv_large.e500_r256_in1k": "033de0bd74b5261f7339c5de242a2e4785808aa3",
}


def _row(
    name: str,
    net: str,
    alpha: float,
    million_params: float | None,
    *evaluations: tuple[int, float] | tuple[int, float, float, float],
    scaling: tuple[PerChannel, PerChannel] = _IMAGENET,
    interpolation: Interpolation = "bicubic",
    options: Mapping[str, Any] | None = None,
    classes: int = 1000,
) -> Published:
    return Published(
        f"timm/{name}", net, tuple(Evaluation(*numbers) for numbers in evaluations), *scaling,
        interpolation, "apache-2.0", _SOURCE, alpha, options or {}, classes,
        million_params=million_params, revision=_REVISIONS.get(name),
    )  # fmt: skip


V1 = (
    _row(
        "mobilenetv1_100.ra4_e3600_r224_in1k", "mobilenet", 1.0, 4.23,
        (224, 0.875, 75.388, 92.310), (256, 0.95, 76.088, 93.006), scaling=_HALF,
    ),
    _row(
        "mobilenetv1_125.ra4_e3600_r224_in1k", "mobilenet", 1.25, 6.27,
        (224, 0.9, 76.920, 93.232), (256, 1.0, 77.612, 93.754), scaling=_HALF,
    ),
)  # fmt: skip
V2 = (
    _row("mobilenetv2_050.lamb_in1k", "mobilenet_v2", 0.5, 1.97, (224, 0.875, 65.928, 86.114)),
    _row("mobilenetv2_100.ra_in1k", "mobilenet_v2", 1.0, 3.50, (224, 0.875, 72.910, 91.000)),
    _row("mobilenetv2_140.ra_in1k", "mobilenet_v2", 1.4, 6.11, (224, 0.875, 76.528, 93.008)),
)
_LARGE, _SMALL = "mobilenet_v3_large", "mobilenet_v3_small"
V3 = (
    _row("mobilenetv3_large_100.ra_in1k", _LARGE, 1.0, 5.48, (224, 0.875, 75.784, 92.528)),
    _row(
        "mobilenetv3_large_100.ra4_e3600_r224_in1k", _LARGE, 1.0, 5.48,
        (224, 0.95, 76.310, 92.842), (256, 1.0, 77.182, 93.328), scaling=_HALF,
    ),
    _row(
        "mobilenetv3_large_100.miil_in21k_ft_in1k", _LARGE, 1.0, 5.48,
        (224, 0.875, 77.920, 92.894), scaling=_NONE, interpolation="bilinear",
    ),
    _row(
        "mobilenetv3_large_100.miil_in21k", _LARGE, 1.0, None,
        (224, 0.875), scaling=_NONE, interpolation="bilinear", classes=_MIIL_IN21K,
    ),
    _row(
        "mobilenetv3_small_050.lamb_in1k", _SMALL, 0.5, 1.59, (224, 0.875, 57.918, 80.144),
    ),
    _row("mobilenetv3_small_075.lamb_in1k", _SMALL, 0.75, 2.04, (224, 0.875, 65.284, 85.462)),
    _row("mobilenetv3_small_100.lamb_in1k", _SMALL, 1.0, 2.54, (224, 0.875, 67.636, 87.638)),
    _row(
        "tf_mobilenetv3_large_075.in1k", _LARGE, 0.75, 3.99, (224, 0.875, 73.442, 91.332),
        scaling=_HALF, interpolation="bilinear",
    ),
    _row(
        "tf_mobilenetv3_large_100.in1k", _LARGE, 1.0, 5.48, (224, 0.875, 75.510, 92.600),
        scaling=_HALF, interpolation="bilinear",
    ),
    _row(
        "tf_mobilenetv3_large_minimal_100.in1k", _LARGE, 1.0, 3.92,
        (224, 0.875, 72.270, 90.664),
        scaling=_HALF, interpolation="bilinear", options=_MINIMALISTIC,
    ),
    _row(
        "tf_mobilenetv3_small_075.in1k", _SMALL, 0.75, 2.04, (224, 0.875, 65.706, 86.130),
        scaling=_HALF, interpolation="bilinear",
    ),
    _row(
        "tf_mobilenetv3_small_100.in1k", _SMALL, 1.0, 2.54, (224, 0.875, 67.922, 87.686),
        scaling=_HALF, interpolation="bilinear",
    ),
    _row(
        "tf_mobilenetv3_small_minimal_100.in1k", _SMALL, 1.0, 2.04,
        (224, 0.875, 62.892, 84.270),
        scaling=_HALF, interpolation="bilinear", options=_MINIMALISTIC,
    ),
)  # fmt: skip
_V4_SMALL, _V4_MEDIUM, _V4_LARGE = (
    f"mobilenet_v4_conv_{size}" for size in ("small", "medium", "large")
)
V4 = (
    _row(
        "mobilenetv4_conv_small_050.e3000_r224_in1k", _V4_SMALL, 0.5, 2.24,
        (224, 0.875, 64.778, 85.500), (256, 0.95, 65.826, 86.416), scaling=_HALF,
    ),
    _row(
        "mobilenetv4_conv_small.e1200_r224_in1k", _V4_SMALL, 1.0, 3.77,
        (224, 0.875, 73.450, 91.340), (256, 0.95, 74.282, 92.122),
    ),
    _row(
        "mobilenetv4_conv_small.e2400_r224_in1k", _V4_SMALL, 1.0, 3.77,
        (224, 0.875, 73.756, 91.430), (256, 0.95, 74.644, 92.022),
    ),
    _row(
        "mobilenetv4_conv_small.e3600_r256_in1k", _V4_SMALL, 1.0, 3.77,
        (256, 0.95, 74.534, 91.940), (320, 1.0, 75.616, 92.768), scaling=_HALF,
    ),
    _row(
        "mobilenetv4_conv_medium.e500_r224_in1k", _V4_MEDIUM, 1.0, 9.72,
        (224, 0.95, 79.092, 94.788), (256, 1.0, 79.836, 95.192),
    ),
    _row(
        "mobilenetv4_conv_medium.e500_r256_in1k", _V4_MEDIUM, 1.0, 9.72,
        (256, 0.95, 79.916, 95.188), (320, 1.0, 80.890, 95.750),
    ),
    _row(
        "mobilenetv4_conv_medium.e250_r384_in12k_ft_in1k", _V4_MEDIUM, 1.0, 9.72,
        (384, 0.95, 82.776, 96.448),
    ),
    *(
        _row(
            f"mobilenetv4_conv_medium.{name}_r384_in12k", _V4_MEDIUM, 1.0, None,
            (384, 1.0), classes=_IN12K,
        )
        for name in ("e180", "e180_ad", "e250")
    ),
    _row(
        "mobilenetv4_conv_large.e500_r256_in1k", _V4_LARGE, 1.0, 32.59,
        (256, 0.95, 81.864, 95.696), (320, 1.0, 82.672, 96.310),
    ),
    _row(
        "mobilenetv4_conv_large.e600_r384_in1k", _V4_LARGE, 1.0, 32.59,
        (384, 0.95, 82.974, 96.244), (448, 1.0, 83.418, 96.612),
    ),
)  # fmt: skip
_HYBRID_MEDIUM, _HYBRID_LARGE = (f"mobilenet_v4_hybrid_{size}" for size in ("medium", "large"))
V4_HYBRID = (
    _row(
        "mobilenetv4_hybrid_medium.e500_r224_in1k", _HYBRID_MEDIUM, 1.0, 11.07,
        (224, 0.95, 80.432, 95.378), (256, 1.0, 81.284, 95.746),
    ),
    _row(
        "mobilenetv4_hybrid_medium.ix_e550_r256_in1k", _HYBRID_MEDIUM, 1.0, 11.07,
        (256, 0.95, 81.478, 95.692), (320, 1.0, 82.500, 96.286),
    ),
    _row(
        "mobilenetv4_hybrid_medium.ix_e550_r384_in1k", _HYBRID_MEDIUM, 1.0, 11.07,
        (384, 0.95, 82.952, 96.470), (448, 1.0, 83.390, 96.766),
    ),
    _row(
        "mobilenetv4_hybrid_medium.e200_r256_in12k_ft_in1k", _HYBRID_MEDIUM, 1.0, 11.07,
        (256, 0.95, 82.360, 96.256), (320, 1.0, 82.998, 96.676),
    ),
    _row(
        "mobilenetv4_hybrid_medium.e200_r256_in12k", _HYBRID_MEDIUM, 1.0, None,
        (256, 0.95), (320, 1.0), classes=_IN12K,
    ),
    _row(
        "mobilenetv4_hybrid_large.e600_r384_in1k", _HYBRID_LARGE, 1.0, 37.76,
        (384, 0.95, 83.826, 96.748), (448, 1.0, 84.264, 96.956),
    ),
    _row(
        "mobilenetv4_hybrid_large.ix_e600_r384_in1k", _HYBRID_LARGE, 1.0, 37.76,
        (384, 0.95, 83.996, 96.714), (448, 1.0, 84.352, 96.888),
    ),
)  # fmt: skip

_SMOOTHED = "smooths the images that it strides over"
_DEEPER = "has more blocks than the paper's net"
# Published by timm under the names of MobileNets, and of other nets than those.
OTHERS = {
    "timm/mobilenetv1_100h.ra4_e3600_r224_in1k": "has a convolution more before the pool",
    "timm/mobilenetv2_110d.ra_in1k": _DEEPER,
    "timm/mobilenetv2_120d.ra_in1k": _DEEPER,
    "timm/mobilenetv3_large_150d.ra4_e3600_r256_in1k": _DEEPER,
    "timm/mobilenetv3_rw.rmsp_in1k": "has a head without biases and a first block without skip",
    "timm/mobilenetv4_conv_blur_medium.e500_r224_in1k": _SMOOTHED,
    **{
        f"timm/mobilenetv4_conv_aa_large.{name}": _SMOOTHED
        for name in (
            "e230_r384_in12k", "e230_r384_in12k_ft_in1k", "e230_r448_in12k_ft_in1k",
            "e600_r384_in1k",
        )
    },
}  # fmt: skip
