"""Nothing is left out of the site, which `mkdocs build --strict` in CI does not see."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_mobilenet
from keras_mobilenet.commands.app import COMMANDS
from keras_mobilenet.nets import pretrained
from keras_mobilenet.nets.families.registry import BY_KEY
from keras_mobilenet.nets.published.table import ROWS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("docs_tables", DOCS / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_has_its_place_in_the_api():
    pages = "".join(page.read_text() for page in DOCS.glob("api/*.md"))
    described = re.findall(r"^::: keras_mobilenet\.(\w+)$", pages, re.M)
    assert sorted(name for name in described if name != "errors") == keras_mobilenet.__all__
    index = (DOCS / "api" / "index.md").read_text()
    assert set(re.findall(r"`(\w+)`", index)) >= set(keras_mobilenet.__all__)


def test_tables_have_every_row(tables):
    page = tables.on_page_markdown((DOCS / "family.md").read_text())
    rows = [line for line in page.splitlines() if line.startswith(("| `", "| ["))]
    assert len(rows) == len(BY_KEY) + len(pretrained.PRETRAINED) + len(ROWS)
    assert "| `mobilenet` | 0.25 | 128 | 0.48 | 14 | 41.5 | 66.3 |" in rows


def test_readmes_ten_best_are_made_from_the_rows(tables):
    script = [sys.executable, DOCS / "tables.py", "best"]
    printed = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    assert printed.count("\n") == 2 + 10
    assert f"\n\n{printed}\n" in (DOCS.parent / "README.md").read_text()


def test_no_net_among_the_best_is_equalled_by_one_no_larger(tables):
    known = tables.known_nets()
    stated = [row for row in ROWS if row.classes == 1000 and row.test.top_1]
    assert len(known) == len(pretrained.PRETRAINED) + len(stated)
    best = tables.front(known)
    params = {x.name: x.net.count_params() for x in known}
    for net in best:
        others = [x for x in known if x.name != net.name and params[x.name] <= params[net.name]]
        assert all(x.top_1 < net.top_1 for x in others)
    assert max(known, key=lambda x: x.top_1) in best
    assert max(known, key=lambda x: x.per_million) in best


def test_calls_among_the_best_name_size_and_options(tables):
    find = pretrained.find
    assert tables._call(find(0.5, 160)) == "MobileNet((160, 160, 3), alpha=0.5)"
    small = find(1.0, 224, "MobileNetV3Small", minimalistic=True)
    assert tables._call(small) == "MobileNetV3Small(alpha=1, minimalistic=True)"


def test_every_command_is_described_with_its_options(tables):
    page = tables.on_page_markdown((DOCS / "api" / "commands.md").read_text())
    headings = set(re.findall(r"^## `keras-mobilenet (\w+)", page, re.M))
    assert headings == set(COMMANDS)
    assert "| <code>--train-from TRAIN-FROM</code> | `top` | What trains:" in page
    assert "<code>--schedule paper&#124;cosine&#124;constant</code>" in page
    assert "keras-mobilenet weights convert SOURCE TARGET [OPTIONS]" in page


def test_papers_are_all_there(tables):
    page = tables.on_page_markdown((DOCS / "papers.md").read_text())
    headings = re.findall(r"^## (.*)$", page, re.M)
    assert headings == ["MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"]
    assert "a slip of the paper's" in page
