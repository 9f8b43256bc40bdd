"""What a net needs of a device, as a table: memory, room for its weights, and time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import get_args

from keras_mobilenet.costs import LayerCost
from keras_mobilenet.latency import LatencyTable, estimate_latency
from keras_mobilenet.memory import BYTES, Runtime, WeightFormat, peak_memory, weight_bytes
from keras_mobilenet.tables import Format, markdown_table, text_table

_WORDS: dict[str, str] = {
    "litert": "RAM in LiteRT",
    "minimal": "RAM, input and output of a layer",
}


def device_table(
    layers: Sequence[LayerCost],
    *,
    latencies: LatencyTable | None = None,
    format: Format = "text",  # noqa: A002
) -> str:
    """Return peak memory, the weights' bytes in each format, and an estimate of the time.

    Args:
        layers: What `layer_costs` returned.
        latencies: Times measured on the machine, for the estimate; None for none.
        format: `"text"`, `"markdown"` or `"json"`.

    Raises:
        ValueError: `format` is unknown, or there are no layers.
    """
    makers = {"text": text_table, "markdown": markdown_table}
    if format not in get_args(Format):
        raise ValueError(f"`format` must be text, markdown or json. Received: format={format!r}")
    records = [
        {"what": _WORDS[runtime], "in": dtype, "value": peak.bytes, "unit": "bytes",
         "where": peak.layer}
        for runtime in get_args(Runtime)
        for dtype in BYTES
        for peak in [peak_memory(layers, dtype, runtime=runtime)]
    ]  # fmt: skip
    for weights in get_args(WeightFormat):
        value = weight_bytes(layers, weights)
        records.append(
            {"what": "weights", "in": weights, "value": value, "unit": "bytes", "where": ""}
        )
    if latencies is not None:
        where = f"{latencies.engine}, {latencies.threads} threads, estimated"
        microseconds = round(1e6 * estimate_latency(layers, latencies))
        records.append({"what": "one picture", "in": latencies.precision, "value": microseconds,
                        "unit": "microseconds", "where": where})  # fmt: skip
    if format == "json":
        return json.dumps(records, indent=2)
    cells = [
        [f"{v:,}" if isinstance(v, int) else str(v) for v in record.values()] for record in records
    ]
    return makers[format](list(records[0]), cells, left=2)
