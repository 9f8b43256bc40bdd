"""How large the image is after each stride, for every size, `padding` and `output_stride`.

Read off `spec` without Keras. The stem halves a length and rounds up, under every padding. A
block's stride rounds down under `"keras"`, which pads one zero at the end, and up under `"same"`
and `"symmetric"`. So a length `n` ends as `floor(ceil(n / 2) / 16)` under `"keras"` and as
`ceil(n / 32)` under the two others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from keras_mobilenet.display.text_tables import UNKNOWN, Format, check_format, written
from keras_mobilenet.nets import arguments, v1
from keras_mobilenet.nets.net import (
    DEFAULT_SIZE,
    Conventions,
    Layer,
    OutputStride,
    Padding,
    block_name,
)

PADDINGS: tuple[Padding, ...] = get_args(Padding)
# The least size; the published ones, and one beside each of three; one that is no multiple of 32.
EXAMPLES = (32, 33, 100, 128, 160, 161, 192, 193, 224, 225)
Length = int | None


@dataclass(frozen=True)
class Stage:
    """A place in the net where a stride makes the image smaller, or would."""

    part: str  # "stem", "block_2", ...
    stride: int  # of the input over this place's output, where lengths divide
    size: tuple[Length, Length]  # (height, width); None where the input's is unknown


def stage_sizes(
    size: int | tuple[Length, Length] | None = DEFAULT_SIZE,
    *,
    padding: Padding = "keras",
    output_stride: OutputStride = 32,
    blocks: Sequence[v1.Block] = v1.BLOCKS,
) -> tuple[Stage, ...]:
    """Return the size after the stem and after each block that has a stride, in graph order.

    Args:
        size: Height and width of the image in pixels, each at least 32, or None where unknown;
            one number for a square.
        padding: That of the strided convolutions, as in `MobileNet`.
        output_stride: 32, or 16 or 8, where the strides after it become dilations.
        blocks: The blocks, by default the paper's thirteen.

    Raises:
        ValueError: an argument has a wrong type or value.
    """
    height, width = size if isinstance(size, Sequence) and len(size) == 2 else (size, size)
    checked = arguments.check(
        input_shape=(height, width, 3),
        alpha=1.0,
        depth_multiplier=1,
        include_top=False,
        pooling=None,
        classes=1,
        padding=padding,
        output_stride=output_stride,
        blocks=blocks,
    )
    strided = {block_name(i) for i, block in enumerate(blocks, start=1) if block.stride > 1}
    reached: tuple[Length, Length] = checked.size
    stages: dict[str, Stage] = {}
    stride = 1
    for layer in checked.network(padding):
        reached = _after(layer, reached[0]), _after(layer, reached[1])
        stride *= layer.stride
        if layer.part == "stem" or layer.part in strided:
            stages[layer.part] = Stage(layer.part, stride, reached)
    return tuple(stages.values())


def size_table(
    sizes: Sequence[int | tuple[Length, Length]] = EXAMPLES,
    *,
    paddings: Sequence[Padding] = PADDINGS,
    output_stride: OutputStride = 32,
    format: Format = "text",  # noqa: A002
) -> str:
    """Return a table with a row for each size and padding, and a column for each stage.

    The last column says whether the net is, at that size, the same function as Keras' with the same
    weights: then a file of the one may be loaded into the other.

    Raises:
        ValueError: a size, a padding, `output_stride` or `format` is wrong.
    """
    check_format(format)
    records = [_record(size, padding, output_stride) for size in sizes for padding in paddings]
    if format == "json":
        return json.dumps(records, indent=2)
    cells = [list(map(str, record.values())) for record in records]
    return written(list(records[0]) if records else [], cells, format, left=2)


def _record(
    size: int | tuple[Length, Length], padding: Padding, output_stride: OutputStride
) -> dict[str, str]:
    stages = stage_sizes(size, padding=padding, output_stride=output_stride)
    height, width = (size, size) if isinstance(size, int) else size
    ours, keras = Conventions(padding=padding), Conventions()
    net = v1.network(padding="keras", output_stride=output_stride)
    same = ours.fits(keras, net.windows((height, width)), v1.zeros)
    shown = {stage.part: _times(stage.size) for stage in stages}
    return {"input": _times((height, width)), "padding": padding} | shown | {
        "as Keras": "yes" if same else "no"
    }  # fmt: skip


def _times(size: tuple[Length, Length]) -> str:
    return " x ".join(UNKNOWN if n is None else str(n) for n in size)


def _after(layer: Layer, length: Length) -> Length:
    return None if length is None else layer.output_size((length, length))[0]
