"""The processes that `TF_CONFIG` names, told without loading TensorFlow."""

from __future__ import annotations

import json
import os


def check_alone() -> None:
    """Raise unless this process works alone.

    Raises:
        ValueError: `TF_CONFIG` names several workers, or is no JSON.
    """
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        count = sum(len(cluster.get(role, ())) for role in ("chief", "worker"))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"TF_CONFIG is not what TensorFlow describes: {error}") from error
    if count > 1:
        raise ValueError(
            f"finetune works in one process; TF_CONFIG names {count} workers, which would all "
            "compute the same and write the same files. Unset TF_CONFIG and run it once, or train "
            "from scratch with train(), which shares the work."
        )
