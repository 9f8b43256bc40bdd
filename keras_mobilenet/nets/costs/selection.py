"""Which of the published nets to take for a device: the most accurate within a budget."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from keras_mobilenet.nets import arguments, pretrained
from keras_mobilenet.nets.costs import memory
from keras_mobilenet.nets.costs.latency import LatencyTable, estimate_latency
from keras_mobilenet.nets.costs.layers import LayerCost, layer_costs, net_costs
from keras_mobilenet.nets.costs.memory import DType, Runtime
from keras_mobilenet.nets.published import table

_KERAS = "keras"


@dataclass(frozen=True)
class Variant:
    """A published net and what it costs."""

    net: str  # its builder
    alpha: float
    size: int  # height and width of the image in pixels
    dtype: DType
    top_1: float  # ImageNet, in %, as `pretrained` has it for the dtype
    macs: int
    params: int  # as Keras counts them, with the top
    ram: int  # bytes, as `peak_memory` counts them for the runtime
    flash: int  # bytes, as `weight_bytes` counts them
    minimalistic: bool = False  # V3 only
    name: str | None = None  # of weights on the hub, which `from_pretrained` takes
    licence: str = pretrained.LICENCE  # of the weights
    latency: float | None = None  # seconds for one image, as a table of a machine's times tells

    @property
    def publisher(self) -> str:
        """Who publishes the weights: an owner on the hub, or Keras."""
        return self.name.partition("/")[0] if self.name else _KERAS

    def __str__(self) -> str:
        if self.name:
            return f"{self.name} at {self.size}, {self.dtype}"
        net = pretrained.label(self.net, self.alpha, minimalistic=self.minimalistic)
        return f"{net} at {self.size}, {self.dtype}"


@dataclass(frozen=True)
class Selection:
    """What `select_variant` found."""

    best: Variant | None  # None where nothing fits
    runners_up: tuple[Variant, ...]  # what fits too, the most accurate first
    next_up: Variant | None  # the least of what is more accurate than the best, and does not fit
    nearest: Variant | None  # where nothing fits, what exceeds the budget by the smallest factor
    budget: Mapping[str, float]  # the limits asked for, by the fields of `Variant` they are on

    def excess(self, variant: Variant) -> dict[str, float]:
        """Return by how much a variant misses each limit that it does not keep."""
        return {field: miss for field in self.budget if (miss := _miss(variant, field, self)) > 0}


def variants(dtype: DType = "float32", runtime: Runtime = "litert") -> tuple[Variant, ...]:
    """Return the published nets with their costs: Keras' own, then the hub's rows.

    Keras' are 44; a row of the hub counts at each size that its accuracy is stated for. With int8
    they are the 20 of Keras' whose accuracy in it was published: V1's 16, V2 and V3 Small of alpha
    1.0 at 224, and V3 Large of alpha 1.0, minimalistic or not.

    Raises:
        ValueError: `dtype` or `runtime` is unknown.
    """
    arguments.check_choice("dtype", dtype, memory.BYTES)
    arguments.check_choice("runtime", runtime, get_args(Runtime))
    found = (_variant(row, dtype, runtime) for row in pretrained.PRETRAINED)
    own = tuple(variant for variant in found if variant is not None)
    return own if dtype == "int8" else (*own, *_hub_variants(dtype, runtime))


@functools.cache
def _hub_variants(dtype: DType, runtime: Runtime) -> tuple[Variant, ...]:
    return tuple(
        _costed(
            net_costs(row.network(), (x.size, x.size)), dtype, runtime,
            net=row.family.name, alpha=row.alpha, size=x.size, top_1=x.top_1,
            minimalistic=bool(row.options.get("minimalistic")), name=row.repository,
            licence=row.licence,
        )
        for row in table.ROWS
        for x in row.evaluations
        if x.top_1 is not None
    )  # fmt: skip


@functools.cache
def _variant(row: pretrained.Pretrained, dtype: DType, runtime: Runtime) -> Variant | None:
    top_1 = row.top_1_int8 if dtype == "int8" else row.top_1
    if top_1 is None:
        return None
    costs = layer_costs(
        row.alpha, net=row.net, size=row.size, classes=pretrained.CLASSES, **row.options
    )
    return _costed(
        costs, dtype, runtime, net=row.net, alpha=row.alpha, size=row.size, top_1=top_1,
        minimalistic=row.minimalistic,
    )  # fmt: skip


def _costed(costs: tuple[LayerCost, ...], dtype: DType, runtime: Runtime, **known: Any) -> Variant:
    return Variant(
        dtype=dtype,
        macs=sum(cost.macs for cost in costs),
        params=sum(cost.params for cost in costs),
        ram=memory.peak_memory(costs, dtype, runtime=runtime).bytes,
        flash=memory.weight_bytes(costs, dtype),
        **known,
    )


def select_variant(
    *,
    max_macs: float | None = None,
    max_params: float | None = None,
    max_ram: float | None = None,
    max_flash: float | None = None,
    min_top1: float | None = None,
    dtype: DType = "float32",
    runtime: Runtime = "litert",
    publisher: str | None = None,
    latencies: LatencyTable | None = None,
    max_latency: float | None = None,
) -> Selection:
    """Return the most accurate of all published nets that keeps every limit given.

    Of two that are equally accurate the one with fewer MACs is taken. Accuracies are published
    ones; those of int8 are of checkpoints that were trained with quantisation in mind, and were
    published for 20 of Keras' nets: with int8 the others are left out.

    Args:
        max_macs: Multiply-accumulates for one image.
        max_params: Parameters, as Keras counts them, with the top.
        max_ram: Bytes for the activations, as `peak_memory` counts them.
        max_flash: Bytes for the weights, as `weight_bytes` counts them; a file's graph adds to it.
        min_top1: ImageNet top-1 accuracy in %.
        dtype: `"float32"` or `"int8"`, of weights and activations.
        runtime: `"litert"`, `"tflite-micro"` or `"minimal"`, as in `peak_memory`.
        publisher: `"keras"` for the weights that Keras fetches, or an owner on the hub, such as
            `"timm"`; None for all.
        latencies: Times of a machine, as `read_latencies` returns them, to estimate each net's by.
        max_latency: Seconds for one image there.

    Raises:
        ValueError: a limit is no positive number, `dtype`, `runtime` or `publisher` is unknown, or
            there are no latencies of that dtype to keep `max_latency` by.
    """
    _check_latencies(latencies, max_latency, dtype)
    limits = {"macs": max_macs, "params": max_params, "ram": max_ram, "flash": max_flash,
              "latency": max_latency}  # fmt: skip
    given = {"top_1": min_top1} | limits
    budget = {field: _limit(field, limit) for field, limit in given.items() if limit is not None}
    every = sorted(
        _timed(_published_by(publisher, dtype, variants(dtype, runtime)), latencies),
        key=lambda variant: (-variant.top_1, variant.macs),
    )
    asked = Selection(None, (), None, None, budget)
    fitting = [variant for variant in every if not asked.excess(variant)]
    if not fitting:
        return Selection(None, (), None, min(every, key=lambda v: _factor(v, asked)), budget)
    best, *others = fitting
    better = [variant for variant in every if variant.top_1 > best.top_1]
    return Selection(best, tuple(others), better[-1] if better else None, None, budget)


def _published_by(
    publisher: str | None, dtype: DType, every: tuple[Variant, ...]
) -> tuple[Variant, ...]:
    if publisher is None:
        return every
    known = {variant.publisher: None for variant in every}
    if dtype == "int8" and publisher not in known:
        raise ValueError(
            f"Accuracies in int8 are published by {', '.join(known)} alone. Received: publisher="
            f"{publisher!r}. Pass dtype='float32' (--dtype float32) to choose from all."
        )
    arguments.check_choice("publisher", publisher, known)
    return tuple(variant for variant in every if variant.publisher == publisher)


def _check_latencies(
    latencies: LatencyTable | None, max_latency: float | None, dtype: DType
) -> None:
    if latencies is None and max_latency is not None:
        raise ValueError("`max_latency` needs `latencies`: pass what read_latencies returns.")
    if latencies is not None and latencies.precision != dtype:
        raise ValueError(
            f"`latencies` must be of {dtype}, as `dtype` is. Received: {latencies.precision}"
        )


def _timed(every: tuple[Variant, ...], latencies: LatencyTable | None) -> tuple[Variant, ...]:
    """Return variants with the time that each takes on a table's machine, if there is one."""
    if latencies is None:
        return every
    return tuple(replace(x, latency=estimate_latency(_layers(x), latencies)) for x in every)


def _layers(variant: Variant) -> tuple[LayerCost, ...]:
    row = table.find(variant.name or "")
    if row is not None:
        return net_costs(row.network(), (variant.size, variant.size))
    return layer_costs(
        variant.alpha, net=variant.net, size=variant.size, minimalistic=variant.minimalistic
    )


def _limit(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        name = "min_top1" if field == "top_1" else f"max_{field}"
        raise ValueError(f"`{name}` must be a positive number or None. Received: {name}={value!r}")
    return value


def _miss(variant: Variant, field: str, selection: Selection) -> float:
    """Return by how much a variant misses a limit; zero or less where it keeps it."""
    difference: float = getattr(variant, field) - selection.budget[field]
    return -difference if field == "top_1" else difference


def _factor(variant: Variant, selection: Selection) -> float:
    """Return the largest share of a limit by which a variant misses it."""
    return max(miss / selection.budget[f] for f, miss in selection.excess(variant).items())
