"""What the processor can do: it decides which engine is fast, and whether an int8 one is right."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bfloat16", "int8"]  # what is computed in

# Instructions that decide how fast these are, as Linux spells them.
_DECISIVE = ("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16",
             "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8",
             "asimd", "asimddp", "i8mm", "bf16", "sve")  # fmt: skip
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


def processor_name() -> str:
    """Return what the processor is called, or its architecture."""
    name = about_processor().get("model name")
    return name or platform.processor() or platform.machine()


def instructions() -> frozenset[str]:
    """Return the names of the processor's instruction sets, as Linux spells them."""
    about = about_processor()
    return frozenset(about.get("flags", about.get("Features", "")).split())


def decisive_instructions() -> tuple[str, ...]:
    """Return those of the processor's instruction sets that decide how fast it computes."""
    return tuple(name for name in _DECISIVE if name in instructions())


def adds_int8_products() -> bool:
    """Return whether the processor is known to add int8 products without cutting them off."""
    return bool(_INT8_PRODUCTS & instructions())
