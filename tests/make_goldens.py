"""Write the goldens of foreign sources: small nets of the real libraries, and what they predict.

Run by hand; the tests only read what it wrote:

    python -m pip install torch==2.13.0 timm==1.0.31 transformers==5.23.0 onnx onnxscript
    python tests/make_goldens.py

Every array is random, the batch norms' statistics too. The widths are those of alpha=3/32, which
every source's rule rounds alike. timm rounds to multiples of 8, so its own `round_channels` is
called with divisor=1 here; nothing else of it is changed.
"""

import importlib.abc
import importlib.machinery
import json
import sys
import types
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np

FOLDER = Path(__file__).parent / "goldens"
ALPHA = 3 / 32
CLASSES = 5
BACKGROUND_CLASSES = 1001
SIZES = (224, 193)


def image(size):
    """Return the input of every golden, `(1, size, size, 3)` in [-1, 1]; tests make it again."""
    random = np.random.default_rng(size)
    return random.uniform(-1, 1, (1, size, size, 3)).astype("float32")


class NoTorchvision(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for torchvision, of which timm imports names that no net of ours calls."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = _stand_in
        return module

    def exec_module(self, module):
        pass


class _Attributes(type):
    """A class that has every attribute, such as an enumeration's members."""

    def __getattr__(cls, name):
        return _stand_in(name)


def _stand_in(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _Attributes(name, (), {})


def timm_net(name="mobilenetv1_100", **options):
    from timm.models import _efficientnet_builder, efficientnet

    narrow = partial(_efficientnet_builder.round_channels, divisor=1)
    wide, efficientnet.round_channels = efficientnet.round_channels, narrow
    try:
        return efficientnet._gen_mobilenet_v1(name, ALPHA, num_classes=CLASSES, **options)
    finally:
        efficientnet.round_channels = wide


def hugging_face_net(top=True, **options):
    from transformers import MobileNetV1Config, MobileNetV1ForImageClassification, MobileNetV1Model

    config = MobileNetV1Config(depth_multiplier=ALPHA, min_depth=1, **options)
    return MobileNetV1ForImageClassification(config) if top else MobileNetV1Model(config)


def randomize(net, seed):
    """Give every array values of its own, of a size that keeps the activations between 0 and 6."""
    import torch

    random = np.random.default_rng(seed)
    for name, array in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            array.fill_(7)
            continue
        values = random.standard_normal(array.shape)
        if array.ndim > 1:
            values *= np.sqrt(2 / np.prod(array.shape[1:]))  # He's: as large out as in
        elif name.endswith("running_var"):
            values = random.uniform(0.3, 1.5, array.shape)
        elif name.endswith(".weight"):  # gamma
            values = random.uniform(0.7, 1.4, array.shape)
        else:
            values = random.uniform(-0.3, 0.5, array.shape)
        array.copy_(torch.from_numpy(np.asarray(values)))
    return net.eval()


def outputs(net, size):
    """Return the logits, or a headless net's pooled features, `(outputs,)`."""
    import torch

    with torch.no_grad():
        found = net(torch.from_numpy(image(size).transpose(0, 3, 1, 2).copy()))
    if isinstance(found, dict):
        found = found["logits" if "logits" in found else "pooler_output"]
    elif isinstance(found, tuple):
        found = found[0]
    return found[0].numpy()


def save_state(net, name, keep_config=True):
    from safetensors.torch import save_file

    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), folder / "model.safetensors", {"format": "pt"})
    if hasattr(net, "config") and keep_config:
        text = json.dumps(net.config.to_diff_dict() | {"id2label": {}, "label2id": {}}, indent=1)
        (folder / "config.json").write_text(text + "\n")


def save_onnx(net, name, size=SIZES[0], **options):
    import onnx
    import torch

    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(1, 3, size, size)
    torch.onnx.export(net, (example,), folder / "model.onnx", **options)
    model = onnx.load(folder / "model.onnx")
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer, model.graph):
        part.ClearField("metadata_props")  # stack traces, which name this machine's folders
        part.ClearField("doc_string")
    onnx.save(model, folder / "model.onnx")


def goldens():
    """Yield each golden's name, its net and how to save it."""
    from torch.onnx import TrainingMode

    legacy = {"dynamo": False}
    new = {"dynamo": True, "external_data": False, "verbose": False}
    yield "timm", timm_net(), save_state
    yield "hugging_face", hugging_face_net(num_labels=CLASSES, layer_norm_eps=2e-3), save_state
    no_padding = hugging_face_net(num_labels=CLASSES, tf_padding=False)
    yield "hugging_face_symmetric", no_padding, save_state
    yield "hugging_face_no_top", hugging_face_net(top=False), save_state
    yield "onnx_timm_folded", timm_net(), partial(save_onnx, **legacy)
    yield "onnx_timm", timm_net(), partial(save_onnx, **new)
    labels = {"num_labels": CLASSES, "return_dict": False}
    unfolded = {"training": TrainingMode.PRESERVE, "do_constant_folding": False} | legacy
    yield "onnx_timm_unfolded", timm_net(), partial(save_onnx, **unfolded)
    yield "onnx_hugging_face", hugging_face_net(**labels), partial(save_onnx, **new)
    at_200 = partial(save_onnx, size=200, **new)  # where no padding is like another
    yield "onnx_hugging_face_200", hugging_face_net(**labels), at_200


def full_size_nets():
    """Yield the published nets, without memory for their values."""
    import timm
    import torch
    from transformers import MobileNetV1Config, MobileNetV1ForImageClassification

    with torch.device("meta"):
        for name in ("mobilenetv1_100", "mobilenetv1_125", "mobilenetv1_100h", "mobilenetv2_100"):
            yield f"timm_{name}", timm.create_model(name)
        config = MobileNetV1Config(num_labels=BACKGROUND_CLASSES)
        yield "hugging_face_1.0", MobileNetV1ForImageClassification(config)


def shapes(net):
    return {name: list(array.shape) for name, array in net.state_dict().items()}


def import_timm():
    """Import timm without torchvision, and leave no stand-in that transformers could find."""
    finder = NoTorchvision()
    sys.meta_path.append(finder)
    import timm  # noqa: F401

    sys.meta_path.remove(finder)
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def main():
    import_timm()
    full_size = {name: shapes(net) for name, net in full_size_nets()}
    (FOLDER / "shapes.json").write_text(json.dumps(full_size) + "\n")
    logits = {}
    for name, net, save in goldens():
        randomize(net, crc32(name.encode()))
        logits[name] = {str(size): outputs(net, size).tolist() for size in SIZES}
        save(net, name)
        print(name, sum(f.stat().st_size for f in (FOLDER / name).iterdir()))
    for path in FOLDER.rglob("model.*"):
        path.chmod(0o644)
    (FOLDER / "outputs.json").write_text(json.dumps(logits, indent=1) + "\n")


if __name__ == "__main__":
    main()
