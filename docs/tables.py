"""The tables of the site that are made from the package's rows when `mkdocs` builds it.

A page has `<!-- table: NAME -->` where a table goes; `python docs/tables.py NAME` prints one, as
`best`, the README's. Nothing here needs Keras.
"""

from __future__ import annotations

import html
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import typer

from keras_mobilenet.commands.app import COMMANDS
from keras_mobilenet.commands.terminal.options import parameters_of
from keras_mobilenet.display import paper_tables
from keras_mobilenet.display.text_tables import markdown_table
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.costs.layers import net_costs
from keras_mobilenet.nets.families.registry import BY_KEY, family
from keras_mobilenet.nets.net import DEFAULT_SIZE, Net
from keras_mobilenet.nets.published.rows import IMAGENET_CLASSES
from keras_mobilenet.nets.published.table import ROWS

_MARK = re.compile(r"<!-- table: (\w+) -->")
_COUNTS = ("size", "params, M", "MACs, M", "top-1, %", "top-5, %")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with its tables; MkDocs calls this for each."""
    return _MARK.sub(lambda match: TABLES[match[1]](), markdown)


def keras_table() -> str:
    """Return the nets that Google published for Keras."""
    rows = [
        (f"`{family(row.net).key}`", f"{row.alpha:g}{' minimalistic' * row.minimalistic}",
         *_counts(row.network(True), row.size, row.top_1, row.top_5))
        for row in pretrained.PRETRAINED
    ]  # fmt: skip
    return markdown_table(("net", "alpha", *_COUNTS), rows, left=2)


def hub_table() -> str:
    """Return the files on the hub that open by their names."""
    rows = [
        (f"[{row.repository}](https://huggingface.co/{row.repository})", row.licence,
         *_counts(row.network(), row.test.size, row.test.top_1, row.test.top_5))
        for row in ROWS
    ]  # fmt: skip
    return markdown_table(("name", "licence", *_COUNTS), rows, left=2)


def _counts(net: Net, size: int, *accuracies: float | None) -> Iterator[str]:
    macs = sum(cost.macs for cost in net_costs(net, (size, size)))
    yield from (str(size), f"{net.count_params() / 1e6:.2f}", f"{macs / 1e6:,.0f}")
    yield from ("-" if top is None else f"{top:.1f}" for top in accuracies)


class Known(NamedTuple):
    """A published net of ImageNet's 1000 classes whose accuracy is known."""

    name: str  # what opens it
    licence: str
    net: Net
    size: int  # that its accuracy is of
    top_1: float  # in %

    @property
    def per_million(self) -> float:
        """Its top-1 per million parameters."""
        return 1e6 * self.top_1 / self.net.count_params()


def best_table() -> str:
    """Return the ten best nets by top-1 per parameter, without those that a smaller one equals.

    The bare ratio would name the two smallest nets at all their sizes and little else.
    """
    best = sorted(front(known_nets()), key=lambda known: -known.per_million)[:10]
    rows = []
    for known in best:
        counts = _counts(known.net, known.size, known.top_1)
        rows.append((f"`{known.name}`", known.licence, *counts, f"{known.per_million:.1f}"))
    return markdown_table(("name", "licence", *_COUNTS[:4], "top-1 / M"), rows, left=2)


def front(nets: list[Known]) -> list[Known]:
    """Return the nets, smallest first, that are more accurate than all up to their size."""
    found: list[Known] = []
    for known in sorted(nets, key=lambda known: (known.net.count_params(), -known.top_1)):
        if not found or known.top_1 > found[-1].top_1:
            found.append(known)
    return found


def known_nets() -> list[Known]:
    """Return Google's nets for Keras and those on the hub, where their accuracy is stated."""
    keras = [
        Known(_call(row), pretrained.LICENCE, row.network(True), row.size, row.top_1)
        for row in pretrained.PRETRAINED
    ]
    hub = [
        Known(row.repository, row.licence, row.network(), row.test.size, row.test.top_1)
        for row in ROWS
        if row.test.top_1 is not None and row.classes == IMAGENET_CLASSES
    ]
    return keras + hub


def _call(row: pretrained.Pretrained) -> str:
    """Return the call that builds a net with Google's weights: `MobileNet(alpha=0.25)`."""
    shape = "" if row.size == DEFAULT_SIZE else f"({row.size}, {row.size}, 3), "
    options = "".join(f", {name}={value}" for name, value in row.options.items())
    return f"{row.net}({shape}alpha={row.alpha:g}{options})"


def builders_table() -> str:
    """Return the nets that can be built, and what they cost at their usual size."""
    rows = []
    for key, known in BY_KEY.items():
        net = known.network()
        rows.append((f"`{known.name}`", f"`{key}`", *list(_counts(net, 224))[1:]))
    return markdown_table(("builder", "`net=`, `--net`", *_COUNTS[1:3]), rows, left=2)


def papers() -> str:
    """Return every paper's tables beside what the architectures give."""
    return "\n\n".join(_paper(net) for net in paper_tables.PAPERS)


def _paper(net: str) -> str:
    titles = paper_tables.paper_of(net).titles
    tables = [paper_tables.paper_table(number, net) for number in titles]
    text = paper_tables.written(tables, net=net, format="markdown")
    return f"## {family(net).name}\n\n{re.sub('^## ', '### ', text, flags=re.M)}"


def commands() -> str:
    """Return what `--help` says of every command."""
    return "\n\n".join(itertools.starmap(_command, _functions()))


def _functions() -> Iterator[tuple[str, Callable[..., None]]]:
    for name, place in COMMANDS.items():
        module, _, attribute = place.rpartition(".")
        found = getattr(importlib.import_module(f"keras_mobilenet.commands.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            yield name, found
            continue
        for command in found.registered_commands:
            function: Any = command.callback
            own = command.name or function.__name__
            yield name if len(found.registered_commands) == 1 else f"{name} {own}", function


def _command(name: str, function: Callable[..., None]) -> str:
    parameters = [p for p in parameters_of(function) if get_origin(p.annotation) is Annotated]
    given = [p for p in parameters if _is_argument(p)]
    words = [
        _name(p) if p.default is p.empty or _name(p).startswith("[") else f"[{_name(p)}]"
        for p in given
    ]
    usage = " ".join(["keras-mobilenet", name, *words, "[OPTIONS]"])
    rows = [(_code(_name(p)), _default(p), _info(p).help or "") for p in parameters]
    table = markdown_table(("", "default", ""), rows, left=3) if rows else ""
    about = inspect.getdoc(function)
    return f"## `keras-mobilenet {name}`\n\n```text\n{usage}\n```\n\n{about}\n\n{table}"


def _code(text: str) -> str:
    """Return code for a cell: Markdown would show the backslash before a bar in it."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"


def _info(parameter: inspect.Parameter) -> Any:
    return get_args(parameter.annotation)[1]


def _is_argument(parameter: inspect.Parameter) -> bool:
    return isinstance(_info(parameter), type(typer.Argument()))


def _name(parameter: inspect.Parameter) -> str:
    """Return an argument or an option as it is typed, with its choices or what it takes."""
    kind, info = get_args(parameter.annotation)[:2]
    kinds = [kind, *get_args(kind)]
    choices = [str(c) for k in kinds if get_origin(k) is Literal for c in get_args(k)]
    word = info.metavar or "|".join(choices) or parameter.name.upper().replace("_", "-")
    if _is_argument(parameter):
        more = any(get_origin(k) is list for k in kinds) and not info.metavar
        return f"{word}{'...' * more}"
    # Within Annotated the first of an option's names stands where a default would.
    names = [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]
    option = ", ".join(names) or f"--{parameter.name.replace('_', '-')}"
    return option if bool in kinds else f"{option} {word}"


def _default(parameter: inspect.Parameter) -> str:
    without = any(parameter.default is value for value in (None, False, parameter.empty))
    return "" if without else f"`{parameter.default}`"


TABLES = {"keras": keras_table, "hub": hub_table, "best": best_table, "builders": builders_table,
          "papers": papers, "commands": commands}  # fmt: skip

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TABLES:
        sys.exit(f"usage: python docs/tables.py {'|'.join(TABLES)}")
    sys.stdout.write(f"{TABLES[sys.argv[1]]()}\n")
