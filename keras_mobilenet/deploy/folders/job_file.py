"""What made a file of results, in a JSON file beside it: so that a resumed job is the same.

The file stays when the results are complete. It says where they came from.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from keras_mobilenet.deploy.comparison import generated_images
from keras_mobilenet.deploy.predictor import Predictor
from keras_mobilenet.files import replacing
from keras_mobilenet.images.prefetch import BATCH

_SUFFIX = ".job.json"
_VERSION = 1
_LARGEST = 8  # outputs that tell one model from another
_SAME = 1e-3  # of the largest; another processor's float32 is nearer, other weights are further
_UNKNOWN_SIZE = 224  # pixels, for the image that a model of any size is tried on
JobSettings = dict[str, Any]


def settings_of(predictor: Predictor, *, top: int | None) -> JobSettings:
    """Return what the results of a job depend on, beside the images.

    A model may come from any file or from none: it is known by what it computes for an image.

    Args:
        predictor: The compiled model.
        top: Classes an image; None for features.
    """
    outputs = predictor.predict(_trial(predictor)).reshape(-1)
    largest = np.argsort(outputs)[::-1][:_LARGEST]
    info = predictor.info.to_text().encode("utf-8", "replace")
    return {
        "version": _VERSION,
        "model": predictor.name,
        "results": "features" if top is None else f"{top} classes",
        "engine": predictor.engine,
        "precision": predictor.precision,
        "model_info": hashlib.sha256(info).hexdigest(),  # size, crop, scaling, labels
        "width": outputs.size,
        "outputs": {str(i): float(outputs[i]) for i in largest},
        "batch": BATCH,  # an image's last digits depend on the batch that it is in
    }


def write_settings(out: str, settings: JobSettings) -> None:
    """Write settings beside the results in `out`, in place of any that are there."""
    with replacing(out + _SUFFIX) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(settings, file, indent=2)
        file.write("\n")


def check_settings(out: str, settings: JobSettings) -> None:
    """Raise unless the results in `out` were made with the same settings.

    Raises:
        ValueError: they were made with others, or it is not known with which.
    """
    path = out + _SUFFIX
    try:
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
        different = _differences(before, settings)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{out} cannot be resumed: what made it is not known, as {path} cannot be read "
            f"({error}). Begin anew: pass overwrite (--overwrite)."
        ) from error
    if different:
        raise ValueError(
            f"{out} was made in another way than is asked for now: {'; '.join(different)}. "
            "Ask for the same, for another output, or to begin anew: overwrite (--overwrite)."
        )


def _trial(predictor: Predictor) -> Any:
    known = predictor.info.size or (_UNKNOWN_SIZE, _UNKNOWN_SIZE)
    height, width, channels = predictor.input_shape
    shape = (1, height or known[0], width or known[1], channels or 3)
    return generated_images(shape).astype(np.uint8)


def _differences(before: JobSettings, now: JobSettings) -> list[str]:
    keys = [key for key in now if key not in ("model", "outputs")]
    changes = [f"{k} {before.get(k)!r}, now {now[k]!r}" for k in keys if before.get(k) != now[k]]
    if not changes and not _same_outputs(before["outputs"], now["outputs"]):
        changes = [f"by {before['model']}, whose outputs are not those of {now['model']}"]
    return changes


def _same_outputs(before: dict[str, float], now: dict[str, float]) -> bool:
    # Near ties may change places at the end of the list: what both have in common is compared.
    common = before.keys() & now.keys()
    allowed = _SAME * max(map(abs, now.values()))
    close = all(abs(before[key] - now[key]) <= allowed for key in common)
    return close and 2 * len(common) >= len(now)
