"""timm's functions that make a MobileNet, and the arguments under which one of them is a net here.

Source: timm 1.0.31, `models/efficientnet.py` and `models/mobilenetv3.py`: the registered names, and
what `bn_eps`, `pad_type` and `act_layer` mean there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isclose
from typing import Any

from keras_mobilenet.formats.plain.pytorch_names import Source, sources
from keras_mobilenet.formats.plain.third_party import ACTIVATION, EPSILON, PAD_TYPES, PADDING
from keras_mobilenet.nets.conventions import Conventions
from keras_mobilenet.nets.families import registry
from keras_mobilenet.nets.net import Family, Origin

_MINIMALISTIC = {"minimalistic": True}
_SMALL, _LARGE = "mobilenet_v3_small", "mobilenet_v3_large"
# What a name begins with, the net, its options, and the widths that there are.
_NAMES: tuple[tuple[str, str, Mapping[str, Any], tuple[float, ...]], ...] = (
    ("mobilenetv1", "mobilenet", {}, (1.0, 1.25)),
    ("mobilenetv2", "mobilenet_v2", {}, (0.35, 0.5, 0.75, 1.0, 1.4)),
    ("mobilenetv3_small", _SMALL, {}, (0.5, 0.75, 1.0)),
    ("tf_mobilenetv3_small", _SMALL, {}, (0.75, 1.0)),
    ("tf_mobilenetv3_small_minimal", _SMALL, _MINIMALISTIC, (1.0,)),
    ("mobilenetv3_large", _LARGE, {}, (0.75, 1.0)),
    ("tf_mobilenetv3_large", _LARGE, {}, (0.75, 1.0)),
    ("tf_mobilenetv3_large_minimal", _LARGE, _MINIMALISTIC, (1.0,)),
    ("mobilenetv4_conv_small", "mobilenet_v4_conv_small", {}, (0.35, 0.5, 1.0)),
    ("mobilenetv4_conv_medium", "mobilenet_v4_conv_medium", {}, (1.0,)),
    ("mobilenetv4_conv_large", "mobilenet_v4_conv_large", {}, (1.0,)),
    ("mobilenetv4_hybrid_medium", "mobilenet_v4_hybrid_medium", {}, (0.75, 1.0)),
    ("mobilenetv4_hybrid_large", "mobilenet_v4_hybrid_large", {}, (0.75, 1.0)),
)


@dataclass(frozen=True)
class TimmModel:
    """One of timm's functions, with arguments that differ from its defaults."""

    name: str
    family: Family
    alpha: float
    options: Mapping[str, Any]  # of our builder
    source: Source  # what it calls each array
    conventions: Conventions
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def under(self, conventions: Conventions) -> TimmModel:
        """Return the same with the arguments under which it follows these conventions."""
        own = self.conventions
        arguments: dict[str, Any] = {}
        if not isclose(conventions.epsilon, own.epsilon, rel_tol=1e-6):
            arguments[EPSILON] = conventions.epsilon
        if conventions.padding != own.padding:
            (arguments[PADDING],) = (k for k, v in PAD_TYPES.items() if v == conventions.padding)
        if conventions.activation != own.activation:
            arguments[ACTIVATION] = conventions.activation
        return replace(self, conventions=conventions, arguments=arguments)


@functools.cache
def models() -> tuple[TimmModel, ...]:
    """Return them all, which are made when a net is to be one of them."""
    return (*_models(),)


def _models() -> Iterator[TimmModel]:
    for beginning, key, options, alphas in _NAMES:
        family = registry.family(key)
        arrays = family.network(**options).arrays().keys()
        source = next(
            x for x in sources() if x.name.startswith("timm,") and x.net.arrays().keys() == arrays
        )
        told = (known for start, known in source.conventions.items() if beginning.startswith(start))
        conventions = next(told)
        for alpha in alphas:
            plain = "v4" in beginning and alpha == 1
            name = beginning if plain else f"{beginning}_{round(100 * alpha):03d}"
            yield TimmModel(name, family, alpha, options, source, conventions)


def model_for(origin: Origin, conventions: Conventions) -> TimmModel:
    """Return the model of timm's that is a net, by what its arrays tell and its conventions.

    Of several it is the one that needs the fewest arguments.

    Args:
        origin: The net.
        conventions: Those of its arrays, with the padding `"same"` or `"symmetric"`.

    Raises:
        ValueError: timm has no such net.
    """
    family = registry.family(origin.net)
    ours = {**family.options, **origin.options}
    alike = [x for x in models() if x.family is family and {**family.options, **x.options} == ours]
    fitting = [model.under(conventions) for model in alike if model.alpha == origin.alpha]
    if not fitting:
        alphas = ", ".join(f"{a:g}" for a in sorted({x.alpha for x in alike}))
        there = f"It has alpha {alphas}." if alphas else "It has that net without these options."
        raise ValueError(f"timm has no {origin.net} with {origin}. {there}")
    if family.has_wide_top and (origin.on_pool or not origin.include_top):
        what = "its own top" if origin.on_pool else "a top"
        raise ValueError(
            f"timm's {fitting[0].name} has a convolution behind the pool, which a net without "
            f"{what} has no values for. Convert weights that have it."
        )
    return min(fitting, key=lambda model: len(model.arguments))
