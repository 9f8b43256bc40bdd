"""What timm, torchvision and Hugging Face call the layers of a net, from their parts and roles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from keras_mobilenet.nets.net import REDUCE, Layer, Net

# Their names of the convolutions and of the batch norms after them, by our convolutions'.
Names = tuple[dict[str, str], dict[str, str]]
_Pair = tuple[Layer, str, str]  # a convolution, and their names of it and of its batch norm
_CLASSIFIER = "classifier"
_TIMM = {
    "expand": "conv_pw",
    "depthwise": "conv_dw",
    "pointwise": "conv_pw",
    "project": "conv_pwl",
    "squeeze": "se.conv_reduce",
    "excite": "se.conv_expand",
}
_TIMM_V4 = {"start": "dw_start", "expand": "pw_exp", "depthwise": "dw_mid", "project": "pw_proj"}
_TIMM_ATTENTION = {"query": "query", "key": "key", "value": "value", "project": "output"}
_HUGGING_FACE = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}
_WEIGHS = ("squeeze", "excite")  # these have no batch norm


def timm(net: Net) -> Names:
    """Return timm's: batch norms are numbered within a block, and projections end in "l".

    Blocks that put out the same number of channels are a stage: `blocks.<stage>.<block>`.
    """
    return _named(_timm(net))


def timm_v4(net: Net) -> Names:
    """Return timm's of V4: what a block is made of, and a stage that begins where a stride is."""
    return _named(_timm_v4(net))


def timm_scales(net: Net) -> dict[str, str]:
    """Return timm's names of the factors of a hybrid net's blocks, by our arrays that hold them.

    A factor for each channel is behind a block's projection, and goes into its batch norm or, where
    there is none, into its kernel. Fused blocks have no factors.
    """
    names, norms = timm_v4(net)[0], net.batch_norm_names()
    scales: dict[str, str] = {}
    for part in net.blocks:
        first, *_, project = _convolutions(net, part)
        if first.window != (1, 1) and first.role == "expand":
            continue
        block = ".".join(names[project.name].split(".")[:3])
        norm = norms.get(project.name)
        ours = [f"{norm}/gamma", f"{norm}/beta"] if norm else [f"{project.name}/kernel"]
        scales |= dict.fromkeys(ours, f"{block}.layer_scale.gamma")
    return scales


def torchvision(net: Net) -> Names:
    """Return torchvision's: all parts before the pool are one list, `features`."""
    return _named(_torchvision(net))


def hugging_face_v1(net: Net, prefix: str) -> Names:
    """Return Hugging Face's of V1: a list of layers, depthwise and pointwise in turn."""
    stem, *others, classifier = net.convolutions
    theirs = {layer: f"layer.{number}" for number, layer in enumerate(others)}
    pairs = [_hugging_face(layer, prefix + x) for layer, x in {stem: "conv_stem", **theirs}.items()]
    return _named([*pairs, (classifier, _CLASSIFIER, "")])


def hugging_face_v2(net: Net, prefix: str) -> Names:
    """Return Hugging Face's of V2, which takes the first block to the stem."""
    first, *others = net.blocks
    theirs = {first: "conv_stem"} | {block: f"layer.{i}" for i, block in enumerate(others)}
    pairs = [_hugging_face(net.stem, f"{prefix}conv_stem.first_conv")]
    for block, name in theirs.items():
        for layer in _convolutions(net, block):
            pairs.append(_hugging_face(layer, f"{prefix}{name}.{_HUGGING_FACE[layer.role]}"))
    *head, classifier = net.convolutions[-2:]
    pairs += [_hugging_face(layer, f"{prefix}conv_1x1") for layer in head]
    return _named([*pairs, (classifier, _CLASSIFIER, "")])


def _named(pairs: Iterable[_Pair]) -> Names:
    rows = [*pairs]
    convolutions = {layer.name: convolution for layer, convolution, _ in rows}
    return convolutions, {layer.name: norm for layer, _, norm in rows if norm}


def _hugging_face(layer: Layer, theirs: str) -> _Pair:
    return layer, f"{theirs}.convolution", f"{theirs}.normalization"


def _convolutions(net: Net, part: str) -> list[Layer]:
    return [layer for layer in net.parts.get(part, ()) if layer.kernel]


def _timm(net: Net) -> Iterator[_Pair]:
    yield net.stem, "conv_stem", "bn1"
    stages = [
        [*blocks] for _, blocks in groupby(net.blocks, key=lambda b: net.parts[b][-1].channels)
    ]
    for stage, blocks in enumerate(stages):
        for number, block in enumerate(blocks):
            yield from _timm_block(_convolutions(net, block), f"blocks.{stage}.{number}")
    *wide, classifier = _convolutions(net, "top")
    for layer in _convolutions(net, "head"):
        if wide:  # then the 1 x 1 convolution before the pool is one more block
            yield layer, f"blocks.{len(stages)}.0.conv", f"blocks.{len(stages)}.0.bn1"
        else:
            yield layer, "conv_head", "bn2"
    for layer in wide:
        yield layer, "conv_head", ""
    yield classifier, _CLASSIFIER, ""


def _timm_block(layers: list[Layer], prefix: str) -> Iterator[_Pair]:
    names = _TIMM
    if layers[0].role != "expand":  # a depthwise separable one, which has no linear end by name
        names = _TIMM | {"project": "conv_pw"}
    norm = 0
    for layer in layers:
        weighs = layer.role in _WEIGHS
        norm += not weighs
        yield layer, f"{prefix}.{names[layer.role]}", "" if weighs else f"{prefix}.bn{norm}"


def _timm_v4(net: Net) -> Iterator[_Pair]:
    yield net.stem, "conv_stem", "bn1"
    stage, number = -1, 0
    for part in net.blocks:
        layers = _convolutions(net, part)
        strides = any(layer.image_stride > 1 for layer in layers)
        stage, number = (stage + 1, 0) if strides else (stage, number + 1)
        if any(layer.role == "query" for layer in layers):
            yield from _timm_attention(net, part, f"blocks.{stage}.{number}")
        else:
            yield from _timm_v4_block(layers, f"blocks.{stage}.{number}")
    for layer in _convolutions(net, "head"):
        yield layer, f"blocks.{stage + 1}.0.conv", f"blocks.{stage + 1}.0.bn1"
    wide, classifier = _convolutions(net, "top")
    yield wide, "conv_head", "norm_head"
    yield classifier, _CLASSIFIER, ""


def _timm_v4_block(layers: list[Layer], prefix: str) -> Iterator[_Pair]:
    first, *others = layers
    if not others:
        yield first, f"{prefix}.conv", f"{prefix}.bn1"
    elif first.role == "expand" and first.window != (1, 1):
        (project,) = others
        yield first, f"{prefix}.conv_exp", f"{prefix}.bn1"
        yield project, f"{prefix}.conv_pwl", f"{prefix}.bn2"
    else:
        for layer in layers:
            theirs = f"{prefix}.{_TIMM_V4[layer.role]}"
            yield layer, f"{theirs}.conv", f"{theirs}.bn"


def _timm_attention(net: Net, part: str, prefix: str) -> Iterator[_Pair]:
    """Yield the names of a block whose batch norm is behind no convolution of its own."""
    norm, *_ = net.parts[part]
    yield net.inputs[norm.name][0], "", f"{prefix}.norm"
    layers = _convolutions(net, part)
    reducing = (layer for layer in layers if layer.role == REDUCE)
    for role, layer in zip(("key", "value"), reducing, strict=False):
        yield layer, f"{prefix}.attn.{role}.down_conv", f"{prefix}.attn.{role}.norm"
    for layer in layers:
        if layer.role != REDUCE:
            yield layer, f"{prefix}.attn.{_TIMM_ATTENTION[layer.role]}.proj", ""


def _torchvision(net: Net) -> Iterator[_Pair]:
    *wide, classifier = _convolutions(net, "top")
    yield net.stem, "features.0.0", "features.0.1"
    block = _torchvision_v3_block if wide else _torchvision_v2_block
    for number, part in enumerate(net.blocks, start=1):
        yield from block(_convolutions(net, part), f"features.{number}")
    last = len(net.blocks) + 1
    for layer in _convolutions(net, "head"):
        yield layer, f"features.{last}.0", f"features.{last}.1"
    for layer in wide:
        yield layer, f"{_CLASSIFIER}.0", ""
    yield classifier, f"{_CLASSIFIER}.{3 if wide else 1}", ""


def _torchvision_v2_block(layers: list[Layer], prefix: str) -> Iterator[_Pair]:
    *others, project = layers
    for number, layer in enumerate(others):
        yield layer, f"{prefix}.conv.{number}.0", f"{prefix}.conv.{number}.1"
    yield project, f"{prefix}.conv.{len(others)}", f"{prefix}.conv.{len(others) + 1}"


def _torchvision_v3_block(layers: list[Layer], prefix: str) -> Iterator[_Pair]:
    number = -1
    for layer in layers:
        number += layer.role != "excite"  # of one module with the convolution before it
        theirs = f"{prefix}.block.{number}"
        if layer.role in _WEIGHS:
            yield layer, f"{theirs}.fc{1 + _WEIGHS.index(layer.role)}", ""
        else:
            yield layer, f"{theirs}.0", f"{theirs}.1"
