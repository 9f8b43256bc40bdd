"""Which part of a net is the first that trains; Keras is not imported."""

from __future__ import annotations

from keras_mobilenet.nets.net import Net

TOP, ALL = "top", "all"


def checked_train_from(value: str, net: Net) -> str:
    """Return the first part of a net that trains; `"all"` is the stem.

    Raises:
        ValueError: there is no such part.
    """
    parts = _parts(net)
    if value not in (TOP, ALL, *parts):
        raise ValueError(
            f"`train_from` must be 'top', 'all', or the first part that trains: {', '.join(parts)}."
            f" Received: train_from={value!r}"
        )
    return parts[0] if value == ALL else value


def frozen_until(train_from: str, net: Net) -> str | None:
    """Return what `freeze` is to be told, so that the parts from `train_from` on train."""
    if train_from == TOP:
        return ALL
    parts = _parts(net)
    place = parts.index(train_from)
    return parts[place - 1] if place else None


def _parts(net: Net) -> list[str]:
    return [part for part in net.parts if part not in ("input", "top")]
