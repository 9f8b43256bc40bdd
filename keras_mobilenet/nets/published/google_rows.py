"""Google's checkpoints of TF-slim as Hugging Face converted them, for the library transformers.

Sources: `convert_original_tf_checkpoint_to_pytorch.py` of transformers' `mobilenet_v1` and
`mobilenet_v2` for sizes, classes and the crop (the shortest side becomes 32 pixels more than the
crop); `image_processing_mobilenet_v1.py` and `_v2.py` for mean, std and interpolation; the
repositories' pages for the licence. They state no accuracy and no count. No commit of a main
branch was seen to hold safetensors, only proposals of a conversion: where there is none,
fetching says so.
"""

from __future__ import annotations

from keras_mobilenet.nets.published.rows import Evaluation, Published

_SOURCE = "huggingface/transformers: models/mobilenet_v1, models/mobilenet_v2"
_BORDER = 32  # pixels
_HALF = (0.5, 0.5, 0.5)


def _row(version: int, alpha: str, size: int) -> Published:
    return Published(
        f"google/mobilenet_v{version}_{alpha}_{size}",
        "mobilenet" if version == 1 else "mobilenet_v2",
        (Evaluation(size, size / (size + _BORDER)),),
        _HALF, _HALF, "bilinear", "other", _SOURCE, float(alpha), background=True,
    )  # fmt: skip


ROWS = (
    _row(1, "1.0", 224),
    _row(1, "0.75", 192),
    _row(2, "1.4", 224),
    _row(2, "1.0", 224),
    _row(2, "0.75", 160),
    _row(2, "0.35", 96),
)
