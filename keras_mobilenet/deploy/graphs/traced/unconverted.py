"""Operators that a file's format does not have: which they are, and what to do about it.

Converters tell of them in pages of their own traces, or write them nevertheless.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_MOST = 3  # operators that an error names
_TFLITE = re.compile(
    r'fused\["\w+:", "(?P<place>[^"@]+)[^\n]*\'tf\.(?P<name>\w+)\' op is neither a custom'
)
_OPENVINO = re.compile(r"No conversion rule found for operations: (?P<names>[\w:, ]+)")


def unknown_to_tflite(error: Exception) -> list[str]:
    """Return the operators that TensorFlow's converter failed at, each with its place."""
    return [f"{x['name']} (in {x['place']})" for x in _TFLITE.finditer(str(error))]


def unknown_to_openvino(error: Exception) -> list[str]:
    """Return the operators that OpenVINO failed at."""
    match = _OPENVINO.search(str(error))
    return [] if match is None else match["names"].strip().split(", ")


def unknown_to_onnx(graph: Any) -> list[str]:
    """Return the operators of an ONNX graph that no version of ONNX has, each with its place."""
    from onnx import defs  # noqa: PLC0415 - an extra

    nodes = (node for node in _nodes(graph) if not defs.has(node.op_type, node.domain))
    return [f"{node.op_type} (in {node.name})" for node in nodes]


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph, and of those within its loops and conditions."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def attempted(
    convert: Callable[[], Any], unknown: Callable[[Exception], list[str]]
) -> tuple[Any, list[str]]:
    """Return what a converter returns, or None and the operators for which it fails."""
    try:
        return convert(), []
    except Exception as error:
        operators = unknown(error)
        if not operators:
            raise
        return None, operators


def check_operators(kind: str, operators: Iterable[str], others: str) -> None:
    """Raise if there are operators that a format does not have.

    Args:
        kind: The format's name.
        operators: Those that it does not have.
        others: What other formats and engines to try.

    Raises:
        ValueError: there are some.
    """
    names = list(dict.fromkeys(operators))
    if names:
        more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
        raise ValueError(
            f"{kind} has no operator for {', '.join(names[:_MOST])}{more}, which the model's graph "
            "computes with. Build the layer that does so from others, or do its work on the "
            f"pixels before the model; or try {others}."
        )
