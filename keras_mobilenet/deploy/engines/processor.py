"""What the processor can do: it decides which engine is fast, and whether an int8 one is right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Instructions of x86 that add int8 products in 32 bits. Without them they are added in pairs in
# 16 bits, and what does not fit there is cut off.
_INT8_PRODUCTS = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})


def about_processor() -> Mapping[str, str]:
    """Return what Linux says of the first processor; nothing elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def instructions() -> frozenset[str]:
    """Return the names of the processor's instruction sets, as Linux spells them."""
    about = about_processor()
    return frozenset(about.get("flags", about.get("Features", "")).split())


def adds_int8_products() -> bool:
    """Return whether the processor is known to add int8 products without cutting them off."""
    return bool(_INT8_PRODUCTS & instructions())
