"""The templates' filters: numbers, names and settings as a report's reader wants them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

NOTHING = "\N{EN DASH}"
_THIN, _SPACE = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as `87.5 %`, a dash for None."""
    return NOTHING if share is None else f"{100 * share:.{digits}f}{_THIN}%"


def number(value: Any, digits: int = 3) -> str:
    """Return a number with some decimals, a dash for None; of one that is not finite its name."""
    if value is None:
        return NOTHING
    return f"{value:.{digits}f}" if math.isfinite(value) else str(float(value))


def seconds(value: float) -> str:
    """Return a time as `0.35 s`, `12.3 s`, `2 min 05 s` or `1 h 02 min`."""
    if not value < 59.95:  # not finite, too, which the last line would raise at
        return _minutes(value) if math.isfinite(value) else str(value)
    return f"{value:.{1 if value >= 9.995 else 2}f}{_THIN}s"


def _minutes(value: float) -> str:
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{_THIN}min{_SPACE}{rest:02}{_THIN}s"
    return f"{minutes // 60}{_THIN}h{_SPACE}{minutes % 60:02}{_THIN}min"


def plural(count: int, noun: str) -> str:
    """Return `1 example`, `2 examples`, `2 classes`."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,}{_SPACE}{noun}{ending}"


def listed(names: Sequence[str], most: int) -> str:
    """Return names with commas, and how many more there are than `most`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def setting(value: Any) -> str:
    """Return a JSON value as words."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case float():
            return f"{value:.6g}"
        case [*items] if all(not isinstance(item, (list, tuple, dict)) for item in items):
            return ", ".join(map(setting, items)) or "none"
    return json.dumps(value, ensure_ascii=False, default=str)


def px(value: float) -> str:
    """Return a coordinate, which needs no more than a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


FILTERS = {each.__name__: each for each in (percent, number, seconds, plural, listed, setting, px)}
