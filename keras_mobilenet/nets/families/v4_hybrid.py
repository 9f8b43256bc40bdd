"""MobileNetV4's hybrid nets, Medium and Large: convolutions, and attention in their later blocks.

timm multiplies what a block puts out by a number for each channel, its layer scale. That is a part
of the kernel or the batch norm before it here, so that a net has no arrays for it.

Source: Qin et al., 2024, arXiv 2404.10518; timm 1.0.31, `models/mobilenetv3.py`,
`_gen_mobilenet_v4`.
"""

from __future__ import annotations

from keras_mobilenet.nets.families.v4 import LARGE_STEM, STEM, Block, family_of, universal


def _attention(filters: int, heads: int, depth: int, kernel: int = 0) -> Block:
    return Block(filters, kernel=kernel, heads=heads, depth=depth)


_REDUCED = _attention(160, 4, 64, kernel=3)  # of Medium's larger images, with a stride
_WHOLE = _attention(256, 4, 64)
MEDIUM = (
    Block(48, stride=2, fused=True),
    universal(3, 5, 80, stride=2),
    universal(3, 3, 80, 2),
    universal(3, 5, 160, 6, stride=2),
    universal(0, 0, 160, 2),
    universal(3, 3, 160),
    universal(3, 5, 160),
    _REDUCED,
    universal(3, 3, 160),
    _REDUCED,
    universal(3, 0, 160),
    _REDUCED,
    universal(3, 3, 160),
    _REDUCED,
    universal(3, 0, 160),
    universal(5, 5, 256, 6, stride=2),
    universal(5, 5, 256),
    *[universal(3, 5, 256)] * 2,
    universal(0, 0, 256, 2),
    universal(3, 5, 256, 2),
    universal(0, 0, 256, 2),
    universal(0, 0, 256),
    _WHOLE,
    universal(3, 0, 256),
    _WHOLE,
    universal(5, 5, 256),
    _WHOLE,
    universal(5, 0, 256),
    _WHOLE,
    universal(5, 0, 256),
)
_LARGE_REDUCED = _attention(192, 8, 48, kernel=3)
_LARGE_WHOLE = _attention(512, 8, 64)
LARGE = (
    Block(48, stride=2, fused=True),
    universal(3, 5, 96, stride=2),
    universal(3, 3, 96),
    universal(3, 5, 192, stride=2),
    *[universal(3, 3, 192)] * 3,
    universal(3, 5, 192),
    *[universal(5, 3, 192)] * 2,
    *[_LARGE_REDUCED, universal(5, 3, 192)] * 3,
    _LARGE_REDUCED,
    universal(3, 0, 192),
    universal(5, 5, 512, stride=2),
    *[universal(5, 5, 512)] * 3,
    universal(5, 0, 512),
    universal(5, 3, 512),
    *[universal(5, 0, 512)] * 2,
    universal(5, 3, 512),
    universal(5, 5, 512),
    *[_LARGE_WHOLE, universal(5, 0, 512)] * 4,
)
# The sizes are those of the weights that timm lists first of each net.
MEDIUM_FAMILY = family_of("hybrid_medium", MEDIUM, STEM, 256, blocks_name=f"{__name__}.MEDIUM")
LARGE_FAMILY = family_of(
    "hybrid_large", LARGE, LARGE_STEM, 384, blocks_name=f"{__name__}.LARGE", activation="gelu"
)
