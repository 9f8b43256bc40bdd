"""The MobileNets there are, and which of them it is that has some layers or arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from keras_mobilenet.nets.families import v1, v2, v3, v4, v4_hybrid
from keras_mobilenet.nets.net import (
    Family,
    Net,
    Origin,
    Shape,
)

# A new net is one module here, and one row.
FAMILIES: tuple[Family, ...] = (
    v1.FAMILY,
    v2.FAMILY,
    v3.SMALL_FAMILY,
    v3.LARGE_FAMILY,
    v4.SMALL_FAMILY,
    v4.MEDIUM_FAMILY,
    v4.LARGE_FAMILY,
    v4_hybrid.MEDIUM_FAMILY,
    v4_hybrid.LARGE_FAMILY,
)


BY_KEY: dict[str, Family] = {family.key: family for family in FAMILIES}


def family(net: str) -> Family:
    """Return the family of a key, such as `"mobilenet_v2"`, or of a builder's name.

    Raises:
        ValueError: there is none.
    """
    for known in FAMILIES:
        if net in (known.key, known.name):
            return known
    raise ValueError(f"`net` must be one of {', '.join(BY_KEY)}. Received: net={net!r}")


def net_with(names: Collection[str]) -> Net:
    """Return a net that has layers of these names; its channels and strides mean nothing.

    It is of the family that has the most of them.
    """
    nets = [known.describe(names) for known in FAMILIES]
    return max(nets, key=lambda net: len(net.by_name.keys() & set(names)))


def net_with_arrays(names: Iterable[str]) -> Net:
    """Return a net that has layers with arrays of these names."""
    return net_with({name.rpartition("/")[0] for name in names})


def todays_names(names: Collection[str]) -> dict[str, str]:
    """Return today's names of the layers to which older versions of Keras gave others."""
    return {old: new for known in FAMILIES for old, new in known.renamed(names).items()}


def recognise(shapes: Mapping[str, Shape]) -> Origin | None:
    """Return the arguments that lead to arrays of these shapes, None if no family's do."""
    origins = (known.recognise(shapes) for known in FAMILIES)
    return next((origin for origin in origins if origin is not None), None)


def prefixes_in(names: Collection[str]) -> list[tuple[str, Family]]:
    """Return what may go before the names of a net, with the family whose names they would be."""
    found: dict[tuple[str, Family], None] = {}
    for known in FAMILIES:
        matches = map(known.convolutions.fullmatch, names)
        found |= dict.fromkeys((match[1], known) for match in matches if match)
    return [*found]


def name_prefix(names: Collection[str]) -> str:
    """Return the `name_prefix` of the one net that has these layers; "" without, or of several.

    Of several nets the prefixes are what tells them apart, so that they are part of the names.
    """
    whole = {prefix for prefix, known in prefixes_in(names) if _is_whole(prefix, known, names)}
    return whole.pop() if len(whole) == 1 else ""


def _is_whole(prefix: str, known: Family, names: Collection[str]) -> bool:
    """Return whether a net begins with its stem: a single layer of such a name may be anybody's."""
    plain = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    net = known.describe(plain)
    stem = net.stem.name
    first = next((x.name for part in net.blocks[:1] for x in net.parts[part] if x.kernel), None)
    # A folded net has no batch norm.
    return stem in plain and not plain.isdisjoint({net.batch_norm_names()[stem], first})
