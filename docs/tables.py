"""The tables of the site that are made from the package's rows when `mkdocs` builds it.

A page has `<!-- table: NAME -->` where a table goes. Nothing here needs Keras.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from keras_mobilenet.display import paper_tables
from keras_mobilenet.display.text_tables import markdown_table
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.costs.layers import net_costs
from keras_mobilenet.nets.families.registry import BY_KEY, family
from keras_mobilenet.nets.net import Net
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


TABLES = {"keras": keras_table, "hub": hub_table, "builders": builders_table, "papers": papers}
