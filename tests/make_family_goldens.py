"""Write what MobileNetV2, V3 and V4 of timm, torchvision and Hugging Face put out, `family.json`.

Run by hand, with the real libraries; the tests only read what it wrote:

    python -m pip install torch==2.13.0 torchvision timm==1.0.31 transformers==5.24.0
    python tests/make_family_goldens.py [what the names of the nets begin with]

No array is stored: each is made from its own name and shape, here and in the tests.
"""

import json
import sys
from zlib import crc32

import numpy as np
from make_goldens import BACKGROUND_CLASSES, CLASSES, FOLDER, outputs

GOLDENS = FOLDER / "family.json"
STORED = 24  # outputs at most
SIZES = (224, 225)  # odd lengths meet every stride of the latter, where paddings differ
# By the name of a timm net, of torchvision's builder, or of Hugging Face's class: the builder
# here, and its arguments.
NETS = {
    "timm/mobilenetv2_035": ("MobileNetV2", {"alpha": 0.35}),
    "timm/mobilenetv3_small_050": ("MobileNetV3Small", {"alpha": 0.5}),
    "timm/mobilenetv3_large_075": ("MobileNetV3Large", {"alpha": 0.75}),
    "timm/tf_mobilenetv3_small_075": ("MobileNetV3Small", {"alpha": 0.75}),
    "timm/tf_mobilenetv3_large_075": ("MobileNetV3Large", {"alpha": 0.75}),
    "timm/tf_mobilenetv3_small_minimal_100": ("MobileNetV3Small", {"minimalistic": True}),
    "timm/tf_mobilenetv3_large_minimal_100": ("MobileNetV3Large", {"minimalistic": True}),
    "timm/mobilenetv4_conv_small_035": ("MobileNetV4ConvSmall", {"alpha": 0.35}),
    "timm/mobilenetv4_conv_small_050": ("MobileNetV4ConvSmall", {"alpha": 0.5}),
    "timm/mobilenetv4_conv_small": ("MobileNetV4ConvSmall", {}),
    "timm/mobilenetv4_conv_medium": ("MobileNetV4ConvMedium", {}),
    "timm/mobilenetv4_conv_large": ("MobileNetV4ConvLarge", {}),
    "timm/mobilenetv4_hybrid_medium_075": ("MobileNetV4HybridMedium", {"alpha": 0.75}),
    "timm/mobilenetv4_hybrid_large_075": ("MobileNetV4HybridLarge", {"alpha": 0.75}),
    "torchvision/mobilenet_v2": ("MobileNetV2", {"alpha": 0.5}),
    "torchvision/mobilenet_v3_small": ("MobileNetV3Small", {}),
    "torchvision/mobilenet_v3_large": ("MobileNetV3Large", {}),
    "hugging_face/MobileNetV2ForImageClassification": ("MobileNetV2", {"alpha": 0.35}),
    "hugging_face/MobileNetV2Model": ("MobileNetV2", {"alpha": 0.35}),
}


def values(name, shape):
    """Return an array of PyTorch's name and shape, which keeps activations of a net's size."""
    if name.endswith("num_batches_tracked"):
        return np.full(shape, 7)
    random = np.random.default_rng(crc32(name.encode()))
    if len(shape) > 1:
        drawn = random.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))
    elif name.endswith("running_var"):
        drawn = random.uniform(0.3, 1.5, shape)
    elif name.endswith(".weight"):  # gamma
        drawn = random.uniform(0.7, 1.4, shape)
    else:
        drawn = random.uniform(-0.3, 0.5, shape)
    return drawn.astype("float32")


def real(name):
    """Return the real library's net, with the arrays that `values` makes."""
    import torch

    library, _, kind = name.partition("/")
    alpha = NETS[name][1].get("alpha", 1.0)
    net = {"timm": _timm, "torchvision": _torchvision, "hugging_face": _hugging_face}[library](
        kind, alpha
    )
    for array, tensor in net.state_dict().items():
        tensor.copy_(torch.from_numpy(np.asarray(values(array, tuple(tensor.shape)))))
    return net.eval()


def _timm(kind, alpha):
    import timm

    return timm.create_model(kind, num_classes=CLASSES)


def _torchvision(kind, alpha):
    import torchvision

    width = {"width_mult": alpha} if kind == "mobilenet_v2" else {}
    return getattr(torchvision.models, kind)(num_classes=CLASSES, **width)


def _hugging_face(kind, alpha):
    import transformers

    config = transformers.MobileNetV2Config(depth_multiplier=alpha, num_labels=BACKGROUND_CLASSES)
    return getattr(transformers, kind)(config)


def sizes_of(name):
    """Return the sizes that a net is run at: V4 has weights for 256 pixels as well.

    The hybrid nets, which are large, get small images: attention meets even and odd lengths there.
    """
    if "hybrid" in name:
        return (96, 97)
    return (*SIZES, 256) if "v4" in name else SIZES


def main():
    chosen = tuple(sys.argv[1:]) or ("",)
    found = json.loads(GOLDENS.read_text()) if GOLDENS.exists() else {}
    for name in (name for name in NETS if name.startswith(chosen)):
        net = real(name)
        rows = {str(size): outputs(net, size) for size in sizes_of(name)}
        if name == "hugging_face/MobileNetV2ForImageClassification":
            rows = {size: row[1:] for size, row in rows.items()}  # without the background class
        found[name] = {size: row[:STORED].tolist() for size, row in rows.items()}
    found = {name: found[name] for name in NETS if name in found}
    GOLDENS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
