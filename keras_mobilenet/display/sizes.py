"""How large the image is after each stride, for every size, `padding` and `output_stride`.

Read off the net without Keras. The stem halves a length and rounds up, under every padding. A
block's stride rounds up under `"same"` and `"symmetric"`, so that a length `n` ends as
`ceil(n / 32)`. Under `"keras"` it rounds down in V1, which pads one zero at the end: there `n` ends
as `floor(ceil(n / 2) / 16)`. V2 and V3 pad by the parity of what they meet, as `"same"` does, where
the net is built for a size. One that is built for any size takes each length as even, and rounds
down like V1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from keras_mobilenet.display.text_tables import UNKNOWN, Format, check_format, written
from keras_mobilenet.nets import arguments
from keras_mobilenet.nets.conventions import (
    Conventions,
    Length,
    Padding,
    Window,
)
from keras_mobilenet.nets.families.registry import family
from keras_mobilenet.nets.net import (
    DEFAULT_SIZE,
    MIN_SIZE,
    Family,
    OutputStride,
)

PADDINGS: tuple[Padding, ...] = get_args(Padding)
# The least size; the published ones, and one beside each of three; one that is no multiple of 32.
EXAMPLES = (32, 33, 100, 128, 160, 161, 192, 193, 224, 225)
ANY_SIZE = "keras, any size"  # of a net that was built for no size


@dataclass(frozen=True)
class Stage:
    """A place in the net where a stride makes the image smaller, or would."""

    part: str  # "stem", "block_2", ...
    stride: int  # of the input over this place's output, where lengths divide
    size: tuple[Length, Length]  # (height, width); None where the input's is unknown


def stage_sizes(
    size: int | tuple[Length, Length] | None = DEFAULT_SIZE,
    *,
    net: str = "mobilenet",
    minimalistic: bool = False,
    padding: Padding = "keras",
    output_stride: OutputStride = 32,
    blocks: Sequence[Any] | None = None,
    any_size: bool = False,
) -> tuple[Stage, ...]:
    """Return the size after the stem and after each block that has a stride, in graph order.

    Args:
        size: Height and width of the image in pixels, each at least 32, or None where unknown;
            one number for a square.
        net: Which MobileNet, as `"mobilenet"`, `"mobilenet_v3_small"` or
            `"mobilenet_v4_conv_medium"`; `nets.families.registry` lists them.
        minimalistic: Whether V3 goes without 5 x 5 kernels.
        padding: That of the strided convolutions, as in `MobileNet`.
        output_stride: 32, or 16 or 8, where the strides after it become dilations.
        blocks: The blocks, of the net's own kind; by default the paper's.
        any_size: Whether the net was built for images of any size and meets one of `size`.

    Raises:
        ValueError: an argument has a wrong type or value.
    """
    height, width = size if isinstance(size, Sequence) and len(size) == 2 else (size, size)
    known = family(net)
    checked = arguments.check(
        known,
        input_shape=(height, width, 3),
        alpha=1.0,
        minimalistic=minimalistic,
        include_top=False,
        pooling=None,
        classes=1,
        padding=padding,
        output_stride=output_stride,
        blocks=blocks,
    )
    stages: dict[str, Stage] = {}
    stride = 1
    layers = checked.layers(padding=padding, size=(None, None) if any_size else checked.size)
    reached = layers.sizes(checked.size)
    # Which blocks have a stride: some are left out under another output stride.
    whole = known.network(blocks=arguments.checked_blocks(blocks, 1.0, known))
    strided = {layer.part for layer in whole if layer.image_stride > 1}
    for layer in layers:
        stride *= layer.image_stride
        if layer.part in strided:
            stages[layer.part] = Stage(layer.part, stride, reached[layer.name])
    return tuple(stages.values())


def size_table(
    sizes: Sequence[int | tuple[Length, Length]] = EXAMPLES,
    *,
    net: str = "mobilenet",
    minimalistic: bool = False,
    paddings: Sequence[Padding] = PADDINGS,
    output_stride: OutputStride = 32,
    format: Format = "text",  # noqa: A002
) -> str:
    """Return a table with a row for each size and padding, and a column for each stage.

    The last column says whether the net is, at that size, the same function as Keras', of V4 as
    timm's, with the same weights: then a file of the one may be loaded into the other. A net that
    pads by the parity of its size has a row of its own for being built for any size.

    Raises:
        ValueError: a size, a padding, `net`, `output_stride` or `format` is wrong.
    """
    check_format(format)
    known = family(net)
    build = partial(known.network, output_stride=output_stride, **_options(minimalistic))
    options: dict[str, Any] = {
        "net": net,
        "minimalistic": minimalistic,
        "output_stride": output_stride,
    }
    records, whole = [], f"as {known.publisher}"
    for size in sizes:
        lengths = (size, size) if isinstance(size, int) else size
        exact = build(size=lengths)
        for padding in paddings:
            same = Conventions(padding=padding).fits(
                Conventions(), exact.windows(lengths), known.zeros
            )
            stages = stage_sizes(lengths, padding=padding, **options)
            records.append(_record(lengths, padding, stages) | {whole: _yes_or_no(same)})
            if padding == "keras" and _goes_by_parity(known) and None not in lengths:
                pads = zip(exact, build(), strict=True)
                same = all(layer.pad == taken_as_even.pad for layer, taken_as_even in pads)
                stages = stage_sizes(lengths, any_size=True, **options)
                records.append(_record(lengths, ANY_SIZE, stages) | {whole: _yes_or_no(same)})
    if format == "json":
        return json.dumps(records, indent=2)
    cells = [list(map(str, record.values())) for record in records]
    return written(list(records[0]) if records else [], cells, format, left=2)


def _options(minimalistic: bool) -> dict[str, Any]:
    return {"minimalistic": True} if minimalistic else {}


def _goes_by_parity(known: Family) -> bool:
    """Return whether Keras' padding of a family is another one where the size is unknown."""
    window = Window(3, 2, (MIN_SIZE + 1,) * 2, is_stem=False)
    return known.zeros("keras", window, MIN_SIZE + 1) != known.zeros("keras", window, None)


def _record(size: tuple[Length, Length], padding: str, stages: Sequence[Stage]) -> dict[str, str]:
    shown = {stage.part: _times(stage.size) for stage in stages}
    return {"input": _times(size), "padding": padding} | shown


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def _times(size: tuple[Length, Length]) -> str:
    return " x ".join(UNKNOWN if n is None else str(n) for n in size)
